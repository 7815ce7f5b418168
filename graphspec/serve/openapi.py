"""The description of a server for other programs: OpenAPI, from the columns of its runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphspec.data.rows.cells import CellType
from graphspec.serve.asked import CompletionRequest, GenerateRequest
from graphspec.serve.samples import SampleRequest
from graphspec.serve.served import Served
from graphspec.settings import Setting
from graphspec.tensor import Tensor
from graphspec.version import __version__

Schema = dict[str, Any]


def document(runs: Mapping[str, Served]) -> Schema:
    """The whole description, of runs whose specs are read."""
    paths: Schema = {}
    for index, (name, served) in enumerate(runs.items()):
        for prefix in (f"/runs/{name}", *(("",) if index == 0 else ())):
            paths[f"{prefix}/predict"] = {"post": _predict(name, served)}
            paths[f"{prefix}/reload"] = {"post": _reload(name)}
    makers = [name for name, served in runs.items() if served.maker is not None]
    for name in [*makers, *(name for name, served in runs.items() if served.samples is not None)]:
        for prefix in (f"/runs/{name}", *(("",) if name == next(iter(runs)) else ())):
            paths[f"{prefix}/generate"] = {"post": _generate(name) if name in makers else _samples(name)}
    if makers:
        paths["/v1/completions"] = {"post": _completions(makers)}
    for path, (summary, content, more) in ABOUT.items():
        paths[path] = {"get": {"summary": summary, "responses": {"200": _response(summary, content), **more}}}
    components = {"schemas": {"Refused": REFUSED}}
    info = {"title": "graphspec", "version": __version__}
    return {"openapi": "3.1.0", "info": info, "paths": paths, "components": components}


def _predict(name: str, served: Served) -> Schema:
    row, answer = row_schema(served), answer_schema(served)
    rows = {"type": "array", "items": row}
    ways: list[Schema] = [rows] if served.history else [row, rows]
    ways.append({"type": "object", "required": ["rows"], "properties": {"rows": rows}})
    body: Schema = _json({"anyOf": ways})
    if served.picture is not None:
        body["image/*"] = {"schema": {"type": "string", "format": "binary"}}
    many = {"type": "array", "items": {"oneOf": [answer, {"type": "null"}]}}
    parts: Schema = {"predictions": many, "diagnostics": DIAGNOSTICS}
    given: Schema = {"anyOf": [answer, {"type": "object", "required": ["predictions"], "properties": parts}]}
    if served.history:
        forecasts = {"predictions": {"type": "array", "items": answer}, "notes": NOTES}
        given = {"type": "object", "required": ["predictions", "notes"], "properties": forecasts}
    wrong = {"type": "object", "required": ["diagnostics"], "properties": parts}
    return {
        "summary": f"{'Forecast after a history' if served.history else 'Predict'} with the run `{name}`",
        "requestBody": {"required": True, "content": body},
        "responses": {
            "200": _response("Predictions", _json(given) | _png(served)),
            "400": _refused("The body is not JSON, or the request is for another host"),
            "406": _refused("A picture was asked for, and the answer is another kind of value"),
            "413": _refused("The body is too large, or has too many rows"),
            "415": _refused("The body is of another type"),
            "422": _response("Some rows are wrong; the others are answered", _json(wrong)),
            "500": _response("The module fails on some rows; the others are answered", _json(wrong)),
            "503": _response("Rows cannot be answered now: some, or all", _json(wrong)),
        },
    }


def _generate(name: str) -> Schema:
    text = {"text": {"type": "string"}, "tokens": {"type": "integer"}, "ended": {"enum": [*ENDINGS]}}
    made: Schema = {"type": "object", "required": [*text], "properties": text}
    many = {
        "type": "object",
        "required": ["texts"],
        "properties": {"texts": {"type": "array", "items": made}},
    }
    body = _json(_form(GenerateRequest, "from", "beams"))
    return {
        "summary": f"Let texts go on with the run `{name}`",
        "requestBody": {"required": True, "content": body},
        "responses": {"200": _response("Texts", _json({"anyOf": [made, many]}) | EVENTS), **NO_TEXT},
    }


def _samples(name: str) -> Schema:
    many: Schema = {"type": "object", "required": ["samples"], "properties": {"samples": {"type": "array"}}}
    made = {**_json(many), "image/png": {"schema": {"type": "string", "format": "binary"}}}
    return {
        "summary": f"Make samples of noise with the run `{name}`",
        "requestBody": {"required": True, "content": _json(_form(SampleRequest))},
        "responses": {"200": _response("Samples, or with `Accept: image/png` a picture", made), **NO_TEXT},
    }


def _completions(names: Sequence[str]) -> Schema:
    """The completions API, of whose answers the documents of that API say more."""
    form = _form(CompletionRequest)
    form["properties"]["model"] = {"enum": [*names]}
    failed = _json({"type": "object", "required": ["error"]})
    refused = {status: _response(each["description"], failed) for status, each in NO_TEXT.items()}
    answer = {"type": "object", "required": ["choices", "usage"]}
    return {
        "summary": "Let texts go on, for clients of the completions API",
        "requestBody": {"required": True, "content": _json(form)},
        "responses": {"200": _response("Texts", _json(answer) | EVENTS), **refused},
    }


def _form(request: type[Setting], *absent: str) -> Schema:
    """The schema of a request, without some keys."""
    schema = request.model_json_schema()
    parts = schema.pop("$defs", {})
    properties = {key: each for key, each in schema["properties"].items() if key not in absent}
    if parts:
        properties["stream_options"] = parts["StreamOptions"]
    return {**schema, "properties": properties}


def _reload(name: str) -> Schema:
    reloaded = {"type": "object", "required": ["reloaded"], "properties": {"reloaded": {"const": name}}}
    return {
        "summary": f"Read the run `{name}` again; only from the server's own machine",
        "responses": {
            "200": _response("It answers from now on", _json(reloaded)),
            "400": _refused("The request is for another host"),
            "403": _refused("The request comes from another machine, through a proxy, or from a web page"),
            "503": _refused("The run cannot be read again; the old one stays in use"),
        },
    }


def _response(description: str, content: Schema) -> Schema:
    return {"description": description, "content": content}


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


def _png(served: Served) -> Schema:
    """The mask of a picture, of a run that predicts one."""
    return (
        {} if served.drawings is None else {"image/png": {"schema": {"type": "string", "format": "binary"}}}
    )


def _refused(description: str) -> Schema:
    return _response(description, _json({"$ref": "#/components/schemas/Refused"}))


NOTES: Schema = {"type": "array", "items": {"type": "string"}}
ENDINGS = ("end", "length", "context")
EVENTS: Schema = {"text/event-stream": {"schema": {"type": "string"}}}
DIAGNOSTICS: Schema = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "row": {"type": "integer"},
            "code": {"type": "string"},
            "message": {"type": "string"},
            "help": {"type": ["string", "null"]},
        },
    },
}
REFUSED: Schema = {"type": "object", "required": ["diagnostics"], "properties": {"diagnostics": DIAGNOSTICS}}
NO_TEXT: Schema = {
    "400": _refused("The body is not JSON, or the request is for another host"),
    "404": _refused("There is no such run, or it makes no texts"),
    "413": _refused("The body is too large, there are too many texts, or their states take too much memory"),
    "415": _refused("The body is of another type"),
    "422": _refused("What is asked for is wrong, or a prompt does not fit"),
    "500": _refused("The module fails"),
    "503": _refused("No text can begin now"),
}
"""Answers where no text is made."""
_OK: Schema = {"ok": {"const": True}}
_NAMES: Schema = {"type": "array", "items": {"type": "string"}}
_RUN: Schema = {name: {"type": "string"} for name in ("name", "run_dir", "engine")}
_RUNS: Schema = {"runs": {"type": "array", "items": {"type": "object", "properties": _RUN}}}
ABOUT: Mapping[str, tuple[str, Schema, Schema]] = {
    "/health": ("The server lives", _json({"type": "object", "properties": _OK}), {}),
    "/ready": (
        "Its runs can be asked",
        _json({"type": "object", "properties": {**_OK, "runs": _NAMES}}),
        {"503": _refused("No row could be answered now")},
    ),
    "/metrics": ("Counts, for Prometheus", {"text/plain": {"schema": {"type": "string"}}}, {}),
    "/v1/models": (
        "The runs that make texts, for clients of the completions API",
        _json({"type": "object"}),
        {},
    ),
    "/runs": ("The runs", _json({"type": "object", "properties": _RUNS}), {}),
}
"""The paths that say something of the server: what, of which form, and their other answers."""


KINDS: Mapping[str, Schema] = {
    "number": {"type": "number"},
    "integer": {"type": "integer"},
    "date": {"type": "string"},
    "text": {"type": ["string", "number", "boolean"]},
    "picture": {"type": "string", "contentEncoding": "base64"},
}
"""A value by the kind of its cell; texts may be written as the numbers that they are."""


def row_schema(served: Served) -> Schema:
    """A row: its columns, each with its type; those that may be missing may be null."""
    encoders, program = served.reader.encoders, served.reader.program
    properties: Schema = {}
    if encoders is None:
        properties = {n: _array(t) for n, t in program.inputs.items() if n not in program.defaults}
        return {"type": "object", "properties": properties, "required": list(properties)}
    required: list[str] = []
    for fill in encoders.plan.fills:
        if fill.target:
            continue
        encoder = encoders.encoders[fill.field]
        optional = served.history or getattr(encoder.feature, "fill", None) is not None
        for place, column in enumerate(encoder.columns if encoder.feature is not None else (fill.field,)):
            schema = _array(fill.tensor) if encoder.feature is None else cell_schema(encoder.cell(place))
            properties[column] = {"oneOf": [schema, {"type": "null"}]} if optional else schema
            if not optional:
                required.append(column)
    for key in program.data.key if program.data is not None else ():
        properties.setdefault(key, {})
    for name in columns_of_time(served):
        properties[name] = {}
        required.append(name)
    return {"type": "object", "properties": properties, "required": required}


def columns_of_time(served: Served) -> Sequence[str]:
    """The columns that say which row of a history is which step; none without windows."""
    data = served.reader.program.data
    return data.windows.columns if data is not None and data.windows is not None else ()


def cell_schema(cell: CellType) -> Schema:
    """A cell of a column; one of a list with a single number is that number."""
    schema = KINDS[cell.kind]
    if cell.kind == "date":
        schema = {**schema, "description": cell.format or "ISO 8601: 2024-12-31T23:59:59"}
    if cell.values:
        schema = {"enum": list(cell.values)}
    for size in reversed(cell.sizes if cell.sizes != (1,) else ()):
        fixed = {"minItems": size, "maxItems": size} if isinstance(size, int) else {}
        schema = {"type": "array", "items": schema, **fixed}
    return schema


def _array(tensor: Tensor) -> Schema:
    """Nested lists of numbers."""
    return cell_schema(CellType("number" if tensor.is_float else "integer", tensor.shape[1:]))


def answer_schema(served: Served) -> Schema:
    """The schema of the answer for a row."""
    properties = Schema()
    if served.history:  # a row for each step
        names = (*columns_of_time(served), *served.reader.program.outputs)
        return {"type": "object", "properties": {name: {} for name in names}}
    for name in served.found:
        properties[name] = {"type": "array"}
        properties[f"{name}.score"] = {"type": "array", "items": {"type": "number"}}
    for name, written in served.answering.written.items():
        types = written.types(served.reader.program.outputs[name].tensors[0].shape[1:])
        properties |= {column: {} if cell is None else cell_schema(cell) for column, cell in types.items()}
    return {"type": "object", "properties": properties}
