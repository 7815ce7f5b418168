"""The JSON Schema of specs, for editors. Every argument may also be an expression."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from graphspec.contract import REGISTRY
from graphspec.contract.layer import Layer
from graphspec.data.config import DataConfig
from graphspec.data.features import FEATURES, Judged
from graphspec.objectives import LOSSES, METRICS
from graphspec.objectives.settings import Family
from graphspec.schema import FORMS, REPEATABLE, Block, Input, Node, Output, Spec
from graphspec.train.config import CALLBACKS, OPTIMIZERS, SCHEDULES, TrainConfig
from graphspec.tune.config import TuneConfig

EXPRESSION = {"$ref": "#/$defs/expression"}
OWN_PATH = {
    "type": "string",
    "pattern": r"^([A-Za-z_]\w*(\.[A-Za-z_]\w*)+|\$.*)$",
    "description": "the path of a class of one's own, such as my_layers.GatedMix",
}


def json_schema() -> dict[str, Any]:
    """The schema, draft 2020-12."""
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
    definitions["loss"] = _or_own(_family(LOSSES, definitions))
    definitions["metric"] = _or_own(_family(METRICS, definitions))
    definitions["optimizer"] = _family(OPTIMIZERS, definitions)
    definitions["schedule"] = _family(SCHEDULES, definitions)
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
            "inputs": {
                "anyOf": [
                    {"type": "array", "items": {"$ref": "#/$defs/name"}, "minItems": 1},
                    {**_named({"enum": ["required", None]}), "minProperties": 1},
                ]
            },
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
    train["properties"]["schedule"] = {"$ref": "#/$defs/schedule"}
    train["properties"]["callbacks"] = _callbacks(definitions)
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
            "data": _data(definitions),
            "train": train,
            "tune": _pydantic(TuneConfig, definitions),
        },
    )


def _node(definitions: dict[str, Any]) -> dict[str, Any]:
    """A node has one form; a layer, merge or op of a known name has that one's arguments."""
    properties: dict[str, Any] = {field.alias or name: {} for name, field in Node.model_fields.items()}
    properties |= {form: {"type": "string"} for form in FORMS}
    properties["module"] = OWN_PATH
    properties["parameter"] = {"anyOf": [{"type": "array"}, EXPRESSION]}
    properties["constant"] = {"anyOf": [{"type": ["array", "number", "boolean"]}, EXPRESSION]}
    properties["compute"] = {"type": "string", "description": "a formula over nodes: mean + exp(x) * noise"}
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
    free = [
        {"required": [form]}
        for form in ("block", "model", "call", "parameter", "constant", "compute", "module")
    ]
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
            **_opened(_pydantic(Judged, {})["properties"]),
        },
    )


def _callbacks(definitions: dict[str, Any]) -> dict[str, Any]:
    """A mapping from the names of callbacks to their arguments."""
    properties = {}
    for name, cls in CALLBACKS.members.items():
        schema = _pydantic(cls, definitions)
        arguments = {key: value for key, value in schema["properties"].items() if key != "name"}
        properties[name] = {
            "type": "object",
            "description": inspect.cleandoc(cls.__doc__ or ""),
            "properties": _opened(arguments),
            "required": [key for key in schema.get("required", []) if key != "name"],
            "additionalProperties": False,
        }
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _data(definitions: dict[str, Any]) -> dict[str, Any]:
    data = _pydantic(DataConfig, definitions)
    data["properties"]["features"] = {"type": "object", "additionalProperties": {"$ref": "#/$defs/feature"}}
    for key in ("train", "validation", "test"):
        data["properties"][key] = {"anyOf": [{"type": "string"}, data["properties"][key]]}
    texts = {"type": ["string", "number"]}
    for key in ("key", "na_values"):
        data["properties"][key] = {"anyOf": [texts, {"type": "array", "items": texts}]}
    data["additionalProperties"] = True
    definitions["feature"] = _features(definitions)
    return {"anyOf": [{"type": "string"}, data]}


def _features(definitions: dict[str, Any]) -> dict[str, Any]:
    """A mapping with the arguments of the encoder that it names."""
    rules = []
    for name, cls in FEATURES.items():
        schema = _pydantic(cls, definitions)
        properties = {key: value for key, value in schema["properties"].items() if key != "encode"}
        required = [key for key in schema.get("required", []) if key != "encode"]
        definitions[f"feature.{name}"] = {
            "description": inspect.cleandoc(cls.__doc__ or ""),
            "properties": _opened(properties),
            "required": required,
        }
        test = {"properties": {"encode": {"const": name}}}
        rules.append({"if": test, "then": {"$ref": f"#/$defs/feature.{name}"}})
    return {
        "type": "object",
        "properties": {"encode": {"enum": list(FEATURES)}},
        "required": ["encode"],
        "allOf": rules,
        "unevaluatedProperties": False,
    }


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


def _or_own(family: dict[str, Any]) -> dict[str, Any]:
    """A member of a family, or one's own: a mapping with the path of its code and any arguments."""
    own = {"type": "object", "properties": {"module": OWN_PATH}, "required": ["module"]}
    return {"anyOf": [*family["anyOf"], own]}


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
