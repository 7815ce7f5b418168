"""A model of ONNX that reads columns and returns labels and numbers: its encoders are inside.

What onnxruntime alone cannot compute stays outside, an array under the name of the input, with the reason.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import onnx
from onnx import helper

from graphspec.data.encoders import Encoders
from graphspec.data.encoders.numbers import NumberEncoder
from graphspec.diagnostics.packages import EXTRAS
from graphspec.elaborated import BaseProgram
from graphspec.export.columns.decoding import Answers, decoded
from graphspec.export.columns.encoding import Inside, encoded, na_values_of
from graphspec.export.columns.graph import EXTENSIONS, NUMBER, OPSETS, TEXT, WHOLE, GraphWriter

WORDS: dict[int, str] = {TEXT: "text", NUMBER: "number", WHOLE: "integer"}
PREFIX, MODEL = "graphspec/", "model/"
"""Prefixes of the names of values inside a file, so that columns keep theirs; names of the model's values
begin with both.
"""


@dataclass(frozen=True, slots=True)
class ColumnForm:
    """The columns that a file reads and returns, as its metadata have them."""

    columns: dict[str, str]
    """By column, `text`, `number` or `integer`; `list of text`, ... of one that holds lists."""
    outside: dict[str, str]
    """The inputs that stay arrays, and why."""
    inside: list[str]
    """The inputs that are made of columns."""
    outputs: dict[str, str]
    """By output, the column of `predict` that it is, or `NAME.probabilities`."""
    classes: dict[str, list[Any]]
    """By output, the label of each of its probabilities."""
    steps: dict[str, tuple[int, int]]
    """Of windows, by column its first and its last step; the last one of the past is 0."""
    forecasts: dict[str, int]
    """By output, how many steps that come it has."""
    numbers: dict[str, list[dict[str, Any]]]
    """By output in the units of columns, these, each with the transform, the shift and the scale that are
    undone, or the column by which rows have scales of their own.
    """
    units: dict[str, str]
    """By column, what its numbers are written with, where the spec says it: the file has bare numbers."""
    missing: list[str]
    """The texts that mean a missing value, and so do those numbers."""
    needs: list[str]
    """The packages beside onnxruntime whose operators it has."""

    def to_json(self) -> dict[str, Any]:
        return {
            "columns": self.columns,
            "arrays": self.outside,
            "predictions": self.outputs,
            "classes": self.classes,
            "steps": self.steps,
            "forecasts": self.forecasts,
            "numbers": self.numbers,
            "units": self.units,
            "missing": self.missing,
            "needs": self.needs,
        }


def with_columns(program: BaseProgram, encoders: Encoders, path: Path, free: Mapping[str, Any]) -> ColumnForm:
    """Rewrites a file of ONNX that reads arrays: it then reads columns. `free` are its dynamic sizes."""
    inner = onnx.load(path, load_external_data=False)
    keys = [value.name for value in inner.graph.output]
    g = GraphWriter(_free_prefix(encoders))
    _prefix(inner.graph, g.name(MODEL))
    inside = encoded(g, program, encoders, free)
    before, g.nodes = g.nodes, []
    prefixed = {key: g.name(MODEL + key) for key in keys}
    answers = decoded(g, program, encoders, prefixed, inside.lengths)
    _rewrite(inner, g, before, inside, answers)
    extended = any(node.domain == EXTENSIONS for node in before)
    form = _form(g, inside, answers, _units(encoders), list(na_values_of(program)), extended)
    known, opsets = {each.domain for each in inner.opset_import}, dict(OPSETS)
    if form.needs:
        opsets[EXTENSIONS] = 1
    for domain, version in opsets.items():
        if domain not in known:
            inner.opset_import.append(helper.make_opsetid(domain, version))
    about = next(each for each in inner.metadata_props if each.key == "graphspec")
    about.value = json.dumps({**json.loads(about.value), **form.to_json()})
    onnx.save(inner, path)
    return form


def _free_prefix(encoders: Encoders) -> str:
    """`PREFIX`, after more letters where the name of a column begins with it."""
    prefix = PREFIX
    columns = [name for each in encoders.encoders.values() for name in (*each.columns, *each.beside)]
    while any(name.startswith(prefix) for name in columns):
        prefix = f"_{prefix}"
    return prefix


def _prefix(graph: onnx.GraphProto, prefix: str) -> None:
    """Puts a prefix before every name of a graph, and of those of its nodes, which read the values of it."""
    for name in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        name.name = prefix + name.name
    for node in graph.node:
        node.name = prefix + node.name
        for names in (node.input, node.output):
            names[:] = [prefix + name if name else name for name in names]
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else ())):
                _prefix(inner, prefix)


def _rewrite(
    model: onnx.ModelProto, g: GraphWriter, before: list[onnx.NodeProto], inside: Inside, answers: Answers
) -> None:
    """Puts nodes before and after those of the model, and gives it other inputs and outputs."""
    graph = model.graph
    graph_inputs = {value.name: value for value in graph.input}
    fed = {**inside.values, **{name: name for name in inside.outside}}
    feeding = [helper.make_node("Identity", [value], [g.name(MODEL + name)]) for name, value in fed.items()]
    names = _output_names(g, inside, answers)
    after = [helper.make_node("Identity", [answers.values[key][0]], [name]) for key, name in names.items()]
    nodes = [*before, *feeding, *graph.node, *g.nodes, *after]
    outputs = [_output(names[key], kind) for key, (_, kind) in answers.values.items()]
    inputs = [helper.make_tensor_value_info(n, kind, shape) for n, (kind, shape) in g.inputs.items()]
    for name in inside.outside:
        outer = onnx.ValueInfoProto()
        outer.CopyFrom(graph_inputs[g.name(MODEL + name)])
        outer.name = name
        inputs.append(outer)
    graph.initializer.extend(g.constants.values())
    for field, values in (("node", nodes), ("input", inputs), ("output", outputs)):
        graph.ClearField(field)
        getattr(graph, field).extend(values)


def _output(name: str, kind: int) -> onnx.ValueInfoProto:
    """An output whose shape the graph tells."""
    return helper.make_tensor_value_info(name, kind, None)


def _output_names(g: GraphWriter, inside: Inside, answers: Answers) -> dict[str, str]:
    """The name of each output: one of a column gets a number."""
    taken, names = {*g.inputs, *inside.outside}, dict[str, str]()
    others = {*taken, *answers.values}
    for key in answers.values:
        numbered = (f"{key}_{number}" for number in count(1))
        names[key] = key if key not in taken else next(name for name in numbered if name not in others)
        others.add(names[key])
    return names


def _units(encoders: Encoders) -> dict[str, str]:
    return {
        name: unit
        for encoder in encoders.encoders.values()
        if isinstance(encoder, NumberEncoder) and (unit := encoder.feature.unit or encoder.feature.prefix)
        for name in encoder.columns
    }


def _form(
    g: GraphWriter,
    inside: Inside,
    answers: Answers,
    units: dict[str, str],
    missing: list[str],
    extended: bool,
) -> ColumnForm:
    columns = {
        name: ("list of " if len(shape) > 1 else "") + WORDS.get(kind, "number")
        for name, (kind, shape) in g.inputs.items()
    }
    names = {name: key for key, name in _output_names(g, inside, answers).items()}
    spans = {name: (each.first, each.first + each.count - 1) for name, each in g.spans.items()}
    forecasts = {name: answers.forecasts[key] for name, key in names.items() if key in answers.forecasts}
    numbers = {name: answers.numbers[key] for name, key in names.items() if key in answers.numbers}
    return ColumnForm(
        columns,
        inside.outside,
        list(inside.values),
        names,
        answers.classes,
        spans,
        forecasts,
        numbers,
        units,
        missing,
        list(EXTRAS["extensions"]) if extended else [],
    )
