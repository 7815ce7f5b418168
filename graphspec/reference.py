"""The language as data: what each layer takes, the JSON Schema of specs, and a spec to start from."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import PydanticUndefined

from graphspec.diagnostics import Diagnostic, SpecError, nearest
from graphspec.elaborate.forms import MERGE_WORDS, PYTORCH_LAYERS
from graphspec.layers import REGISTRY
from graphspec.layers.base import Layer
from graphspec.objectives import LOSSES, METRICS
from graphspec.objectives.setting import Family, show
from graphspec.schema import FORMS, REPEATABLE, Block, Input, Node, Output, Spec
from graphspec.train.config import OPTIMIZERS, TrainConfig

START = """\
# A classifier of vectors of 64 numbers. See it with `graphspec summary`, train it with `graphspec train`.

params: {width: 32}            # change it on the command line: --set width=64

inputs:
  features: {shape: [64]}      # without the batch axis

nodes:                         # each takes the one above it, unless it says `from:`
  hidden: {layer: Dense, units: $width, activation: relu}
  drop:   {layer: Dropout, rate: 0.2}
  probs:  {layer: Dense, units: 10, activation: softmax}

outputs:
  probs: {loss: sparse_categorical_crossentropy, metrics: [accuracy]}

# Without `data:`, training runs on synthetic data. Yours is an .npz or .csv with columns `features`, `probs`:
# data: {train: digits.npz, validation: {split: 0.2}}

train:
  optimizer: adam
  epochs: 10
  batch_size: 32
"""


@dataclass(frozen=True, slots=True)
class Parameter:
    """An argument of a layer, as a spec writes it."""

    name: str
    type: str
    required: bool
    default: Any

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {"name": self.name, "type": self.type, "required": self.required}
        return found if self.required else {**found, "default": self.default}


@dataclass(frozen=True, slots=True)
class Entry:
    """What the reference says of a layer, merge or op."""

    name: str
    kind: str
    family: str
    doc: str
    inputs: tuple[str, ...]
    parameters: tuple[Parameter, ...]

    @property
    def line(self) -> str:
        """The first sentence of its description."""
        return self.doc.partition("\n")[0]

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind,
            "family": self.family,
            "doc": self.doc,
            "inputs": list(self.inputs),
            "arguments": [parameter.to_json() for parameter in self.parameters],
        }

    def text(self) -> str:
        """Its page of the reference."""
        required = "".join(f", {p.name}: ..." for p in self.parameters if p.required)
        lines = [
            f"{{{self.kind}: {self.name}{required}}}",
            "",
            self.doc,
            "",
            f"inputs: {', '.join(self.inputs)}",
        ]
        if self.parameters:
            wide = max(len(p.name) for p in self.parameters)
            lines.append("arguments:")
            for p in self.parameters:
                given = "required" if p.required else f"default: {show(p.default)}"
                lines.append(f"  {p.name:<{wide}}  {p.type}  [{given}]")
        return "\n".join(lines)


def entries() -> list[Entry]:
    """Every layer, merge and op, by family."""
    found = [_entry(cls) for classes in REGISTRY.values() for cls in classes.values()]
    kinds = list(REGISTRY)
    return sorted(found, key=lambda entry: (kinds.index(entry.kind), entry.family, entry.name))  # type: ignore[arg-type]


def find(name: str) -> list[Entry]:
    """What has this name: usually one, or a merge and an op. Raises `SpecError` with the nearest name."""
    found = [_entry(classes[name]) for classes in REGISTRY.values() if name in classes]
    if found:
        return found
    names = [known for classes in REGISTRY.values() for known in classes]
    near = nearest(name, names, {**PYTORCH_LAYERS, **MERGE_WORDS})
    help = f"did you mean `{near}`?" if near else "`graphspec layers` lists them all"
    raise SpecError(
        [Diagnostic("unknown-layer", f"there is no layer, merge or op `{name}`", None, help=help)]
    )


def listing(entries: Iterable[Entry]) -> str:
    """One line for each, under the names of their families."""
    lines: list[str] = []
    entries, family = list(entries), ""
    wide = max(len(entry.name) for entry in entries)
    for entry in entries:
        title = f"{entry.kind}: {entry.family}"
        if title != family:
            lines += ["", title] if lines else [title]
            family = title
        lines.append(f"  {entry.name:<{wide}}  {entry.line}")
    return "\n".join(lines)


def _entry(cls: type[Layer]) -> Entry:
    properties = cls.model_json_schema().get("properties", {})
    definitions = cls.model_json_schema().get("$defs", {})
    parameters = []
    for name, field in cls.model_fields.items():
        required = field.is_required()
        word = field.alias or name
        default = None if required else _plain(field.get_default(call_default_factory=True))
        parameters.append(
            Parameter(word, type_text(properties.get(word, {}), definitions), required, default)
        )
    inputs = (
        ["a list of tensors"]
        if cls.variadic
        else [f"{a.name}{'' if a.required else '?'}" for a in cls.arguments]
    )
    doc = inspect.cleandoc(cls.__doc__ or "")
    return Entry(
        cls.spec_name, cls.kind, cls.__module__.rpartition(".")[2], doc, tuple(inputs), tuple(parameters)
    )


def _plain(value: Any) -> Any:
    """A default as a spec writes it."""
    if value is PydanticUndefined:
        return None
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    word = getattr(value, "word", None) or getattr(value, "canonical", None)
    return word if word is not None else value


def type_text(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """A JSON Schema in words: `integer > 0 or list`."""
    if "$ref" in schema:
        return type_text(definitions.get(schema["$ref"].rpartition("/")[2], {}), definitions)
    options = schema.get("anyOf") or schema.get("oneOf")
    if options:
        return " or ".join(dict.fromkeys(type_text(option, definitions) for option in options))
    if "enum" in schema:
        return ", ".join("null" if item is None else str(item) for item in schema["enum"])
    if "const" in schema:
        return str(schema["const"])
    kind = {"array": "list", "object": "mapping", "number": "number", None: "any"}.get(
        schema.get("type"), schema.get("type")
    )
    if kind == "list" and isinstance(schema.get("items"), dict):
        kind = f"list of {type_text(schema['items'], definitions)}"
    if kind == "list" and "prefixItems" in schema:
        kind = f"list of {len(schema['prefixItems'])}: {type_text(schema['prefixItems'][0], definitions)}"
    signs = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}
    bounds = [f"{sign} {schema[key]:g}" for key, sign in signs.items() if key in schema]
    return " ".join([str(kind), *bounds])


# --- JSON Schema

EXPRESSION = {"$ref": "#/$defs/expression"}


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a spec, for editors: every argument may also be an expression."""
    definitions: dict[str, Any] = {
        "expression": {"type": "string", "pattern": r"\$", "description": "$name, or $(...)"},
        "name": {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
        "reference": {
            "type": "string",
            "description": "a node, an input, or an output of a node: node.output",
        },
    }
    definitions["references"] = {
        "anyOf": [
            {"$ref": "#/$defs/reference"},
            {"type": "array", "items": {"$ref": "#/$defs/reference"}},
            {"type": "object", "additionalProperties": {"$ref": "#/$defs/references"}},
        ]
    }
    definitions["loss"] = _family(LOSSES, definitions)
    definitions["metric"] = _family(METRICS, definitions)
    definitions["optimizer"] = _family(OPTIMIZERS, definitions)
    definitions["node"] = _node(definitions)
    definitions["nodes"] = _named({"$ref": "#/$defs/node"})
    definitions["input"] = _keys(
        Input,
        {
            "shape": {
                "anyOf": [{"type": "array", "items": {"type": ["integer", "string", "null"]}}, EXPRESSION]
            }
        },
    )
    definitions["output"] = _output()
    definitions["block"] = _keys(
        Block,
        {
            "params": {"type": "object"},
            "shared": {"$ref": "#/$defs/nodes"},
            "nodes": {"$ref": "#/$defs/nodes"},
            "edges": _EDGES,
            "inputs": {"type": "array", "items": {"$ref": "#/$defs/name"}, "minItems": 1},
        },
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "graphspec",
        **_top(definitions),
        "$defs": definitions,
    }


_EDGES = {"type": "array", "items": {"type": "string", "pattern": "->"}}


def _top(definitions: dict[str, Any]) -> dict[str, Any]:
    train = _pydantic(TrainConfig, definitions)
    train["properties"]["optimizer"] = {"$ref": "#/$defs/optimizer"}
    train["additionalProperties"] = True
    outputs = [_named({"anyOf": [{"$ref": "#/$defs/output"}, {"type": "null"}]}), {"$ref": "#/$defs/name"}]
    outputs.append({"type": "array", "items": {"$ref": "#/$defs/name"}})
    return _keys(
        Spec,
        {
            "name": {"type": "string"},
            "params": {"type": "object"},
            "presets": {"type": "object", "additionalProperties": {"type": "object"}},
            "inputs": _named({"$ref": "#/$defs/input"}),
            "blocks": _named({"$ref": "#/$defs/block"}),
            "shared": {"$ref": "#/$defs/nodes"},
            "nodes": {"$ref": "#/$defs/nodes"},
            "edges": _EDGES,
            "outputs": {"anyOf": outputs},
            "data": {"type": ["object", "string"]},
            "train": train,
            "tune": {"type": "object"},
        },
    )


def _node(definitions: dict[str, Any]) -> dict[str, Any]:
    """A node has one form; a layer, merge or op of a known name has that one's arguments."""
    properties: dict[str, Any] = {field.alias or name: {} for name, field in Node.model_fields.items()}
    properties |= {form: {"type": "string"} for form in FORMS}
    properties["parameter"] = {"anyOf": [{"type": "array"}, EXPRESSION]}
    properties["from"] = {"$ref": "#/$defs/references"}
    properties["wraps"] = {"$ref": "#/$defs/node"}
    properties["trainable"] = properties["when"] = {"anyOf": [{"type": "boolean"}, EXPRESSION]}
    repeats = {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "object"}, EXPRESSION]}
    properties["repeat"] = properties["parallel"] = repeats
    rules: list[dict[str, Any]] = []
    for kind, classes in REGISTRY.items():
        properties[kind] = {"anyOf": [{"enum": sorted(classes)}, EXPRESSION]}
        for name, cls in classes.items():
            key = f"{kind}.{name}"
            definitions[key] = _arguments(cls, definitions)
            test = {"properties": {kind: {"const": name}}, "required": [kind]}
            rules.append({"if": test, "then": {"$ref": f"#/$defs/{key}"}})
    free = [{"required": [form]} for form in ("block", "model", "call", "parameter")]
    expression = [{"properties": {kind: EXPRESSION}, "required": [kind]} for kind in REGISTRY]
    rules.append(
        {
            "if": {"anyOf": [*free, *expression]},
            "then": {"unevaluatedProperties": True},
        }
    )
    forms = [{"required": [form]} for form in FORMS]
    return {
        "type": "object",
        "properties": properties,
        "oneOf": forms,
        "allOf": rules,
        "unevaluatedProperties": False,
    }


def _arguments(cls: type[Layer], definitions: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a layer. Where it is repeated, required ones may stand in the lists."""
    schema = _pydantic(cls, definitions)
    properties = _opened(schema.get("properties", {}))
    properties.pop("wraps", None)  # a key of the node
    found: dict[str, Any] = {"description": inspect.cleandoc(cls.__doc__ or ""), "properties": properties}
    required = [name for name in schema.get("required", []) if name != "wraps"]
    if required and cls.kind in REPEATABLE:
        found["anyOf"] = [{"required": required}, {"required": ["repeat"]}, {"required": ["parallel"]}]
    elif required:
        found["required"] = required
    return found


def _output() -> dict[str, Any]:
    metrics = {
        "anyOf": [
            {"$ref": "#/$defs/metric"},
            {"type": "array", "items": {"$ref": "#/$defs/metric"}},
            EXPRESSION,
        ]
    }
    weight = {"anyOf": [{"type": "number"}, {"const": "learned"}, EXPRESSION]}
    source = {"$ref": "#/$defs/references"}
    return _keys(
        Output,
        {
            "loss": {"$ref": "#/$defs/loss"},
            "metrics": metrics,
            "loss_weight": weight,
            "from": source,
            "target": {"type": "string"},
        },
    )


def _family(family: Family, definitions: dict[str, Any]) -> dict[str, Any]:
    """A name, or a mapping with the name and that member's arguments."""
    names = sorted(family.members)
    rules = []
    for cls in dict.fromkeys(family.members.values()):
        schema = _pydantic(cls, definitions)
        properties = {
            key: value for key, value in _opened(schema.get("properties", {})).items() if key != "name"
        }
        key = f"{family.kind}.{cls.names()[0]}"
        definitions[key] = {"description": inspect.cleandoc(cls.__doc__ or ""), "properties": properties}
        test = {"properties": {"name": {"enum": list(cls.names())}}}
        rules.append({"if": test, "then": {"$ref": f"#/$defs/{key}"}})
    mapping = {
        "type": "object",
        "properties": {"name": {"enum": names}},
        "required": ["name"],
        "allOf": rules,
        "unevaluatedProperties": False,
    }
    return {"anyOf": [{"enum": names}, mapping, EXPRESSION]}


def _pydantic(cls: type[Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Pydantic's schema of a class; what it refers to goes to `definitions`."""
    schema = cls.model_json_schema()
    definitions.update(schema.pop("$defs", {}))
    return schema


def _opened(properties: Mapping[str, Any]) -> dict[str, Any]:
    """The same arguments, each of which may be an expression, and so may the items of lists."""
    return {name: _open(schema) for name, schema in properties.items()}


def _open(schema: Mapping[str, Any]) -> dict[str, Any]:
    inner = dict(schema)
    notes = ("default", "title", "description")
    kept: dict[str, Any] = {key: inner.pop(key) for key in notes if key in inner}
    if isinstance(inner.get("items"), dict):
        inner["items"] = _open(inner["items"])
    if "prefixItems" in inner:
        inner["prefixItems"] = [_open(item) for item in inner["prefixItems"]]
    if "anyOf" in inner:
        options = [_open(option)["anyOf"] for option in inner.pop("anyOf")]
        return {
            "anyOf": [*(o for group in options for o in group if o != EXPRESSION), EXPRESSION],
            **inner,
            **kept,
        }
    return {"anyOf": [inner, EXPRESSION], **kept}


def _keys(cls: type[Any], properties: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping with the keys of a structural class, and no others."""
    words: dict[str, Any] = {field.alias or name: {} for name, field in cls.model_fields.items()}
    required = [field.alias or name for name, field in cls.model_fields.items() if field.is_required()]
    return {
        "type": "object",
        "properties": {**words, **properties},
        "required": required,
        "additionalProperties": False,
    }


def _named(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "propertyNames": {"$ref": "#/$defs/name"}, "additionalProperties": schema}
