"""The JSON Schema of specs, for editors: what keys there are, what they mean, what is missing.

It is made from the classes that read sections, nodes and settings. It accepts every spec that `check`
accepts, and knows only what a file alone can tell. Every argument may also be an expression.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterable, Mapping
from functools import cache, reduce
from operator import or_
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from graphspec.contract import REGISTRY
from graphspec.contract.activations import ActivationFunction
from graphspec.contract.layer import Layer
from graphspec.contract.wrapper import Wrapper
from graphspec.data.config import PARTS as DATA_PARTS
from graphspec.data.config import DataConfig
from graphspec.data.features import FEATURES
from graphspec.data.features.settings import Feature
from graphspec.data.features.windows import Windows
from graphspec.data.mixing import MIXINGS, Mixing
from graphspec.generate.config import GenerateSettings
from graphspec.generate.loop_config import LoopSettings, Way
from graphspec.language.glossary import OF_FORMS, meaning
from graphspec.language.row_settings import RowSettings
from graphspec.language.schema import FORMS, REPEATABLE, Block, Input, Node, Output, Spec
from graphspec.objectives import LOSSES, METRICS
from graphspec.reference.field_types import field_types
from graphspec.settings.families import Named
from graphspec.train.config import CALLBACKS, OPTIMIZERS, SCHEDULES, TrainConfig
from graphspec.train.config.phases import NOTHING, PhaseSettings, StepSettings
from graphspec.train.config.varying import Varying
from graphspec.tune.config import TuneConfig

Schema = dict[str, Any]

KEPT = (
    *("type", "enum", "const", "anyOf", "items", "prefixItems", "properties", "required"),
    *("additionalProperties", "$ref", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
)

URL = "https://json-schema.org/draft/2020-12/schema"
LONG = 200
"""Characters of a type of a key of a section from which on it is in `$defs`."""
SHORT = 40
"""Characters of a type up to which it is not in `$defs`."""
PARTS = (PhaseSettings, StepSettings)
"""Settings of a part of a training, which leave out what is outside."""
OF_BLOCK: dict[str, Schema] = {
    "loss": {"block": {"type": "string", "description": "the block that computes the loss of a batch"}}
}
"""Forms other than a setting that a key may have in its place."""
OF_SOME = ("weights", "checkpoint", "preset", "wraps")
"""Keys of nodes of some forms alone; all others are of every node."""


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


EXPRESSION = _ref("$")
NULL: Schema = {"type": "null"}


@cache
def json_schema() -> Schema:
    """The schema, draft 2020-12: one for all callers, who do not change it."""
    schema = Writer().schema()
    while unread := set(schema["$defs"]) - set(re.findall(r'"#/\$defs/([^"]+)"', json.dumps(schema))):
        schema["$defs"] = {name: each for name, each in schema["$defs"].items() if name not in unread}
    return schema


class Writer:
    """Writes the schema; what it refers to gathers in `definitions`."""

    def __init__(self) -> None:
        self.definitions: Schema = {
            "$": {"type": "string", "pattern": r"\$", "description": "$name, or $(...)"},
            "name": {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
            "path": {
                "type": "string",
                "pattern": r"^([A-Za-z_]\w*(\.[A-Za-z_]\w*)+|\$.*)$",
                "description": "the import path of a custom class, such as my_layers.GatedMix",
            },
            "reference": {
                "anyOf": [
                    {"type": "string"},
                    {"type": "array", "items": {"type": "string"}},
                    {"type": "object", "additionalProperties": _ref("reference")},
                ],
                "description": "a node, an input, or an output of a node: node.output",
            },
        }
        self.definitions |= {kind: {} for kind in ("input", "node", "output", "block", "varying")}
        self._known: dict[str, str] = {}

    def schema(self) -> Schema:
        """The whole schema."""
        defined = self.definitions
        for family in (LOSSES, METRICS, OPTIMIZERS, SCHEDULES):
            self._family(family.kind, family.members, custom=family in (LOSSES, METRICS))
        self._family(ActivationFunction.family, ActivationFunction.members, told=False)
        self._node()
        defined["input"] = self._keys(Input)
        schedule = {**_ref("schedule"), "description": meaning(Varying, "schedule")}
        defined["varying"] = self._keys(Varying, {"schedule": schedule})
        defined["output"] = self._output()
        defined["block"] = self._block()
        return {"$schema": URL, **self._top(), "$defs": defined}

    # --- sections

    def _top(self) -> Schema:
        output = {"anyOf": [_ref("output"), NULL]}
        outputs = [_named(output), _ref("name"), {"type": "array", "items": _ref("name")}]
        way = {"anyOf": [self._keys(Way), {"type": "array", "items": {"type": "number"}}]}
        generate = [self._keys(GenerateSettings), self._keys(LoopSettings, {"repeat": _named(way)}), NULL]
        return self._keys(
            Spec,
            {
                "outputs": {"anyOf": outputs},
                "data": self._data(),
                "train": self._train(),
                "tune": self._keys(TuneConfig),
                "generate": _named({"anyOf": generate}),
            },
        )

    def _block(self) -> Schema:
        names = {"type": "array", "items": _ref("name"), "minItems": 1}
        required = {**_named({"enum": ["required", None]}), "minProperties": 1}
        return self._keys(Block, {"inputs": {"anyOf": [names, required]}})

    def _output(self) -> Schema:
        metric = _ref("metric")
        return self._keys(
            Output,
            {
                "loss_weight": {
                    "anyOf": [{"type": "number"}, {"const": "learned"}, _ref("varying"), EXPRESSION]
                },
                "metrics": {"anyOf": [metric, {"type": "array", "items": metric}, EXPRESSION]},
            },
            nullable=RowSettings.model_fields,
        )

    def _train(self) -> Schema:
        callbacks: dict[str, Schema] = {"properties": {}, "patternProperties": {}}
        for cls in dict.fromkeys(CALLBACKS.members.values()):
            name, *others = cls.names()
            callbacks["properties"][name] = schema = self._setting(cls)
            if others:
                self.definitions[f"callback.{name}"] = schema
                callbacks["properties"][name] = _ref(f"callback.{name}")
                callbacks["patternProperties"][_pattern(others)["pattern"]] = _ref(f"callback.{name}")
        self._types(TrainConfig)
        for part in PARTS:  # which pydantic knows the base classes of
            part_keys = self.definitions[part.__name__]["properties"]
            part_keys["optimizer"] = {**_ref("optimizer"), "description": meaning(part, "optimizer")}
            either = {"anyOf": [_ref("schedule"), NULL]}  # which is not one
            part_keys["schedule"] = {**either, "description": meaning(part, "schedule")}
        return self._keys(
            TrainConfig,
            {
                "optimizer": _ref("optimizer"),
                "schedule": _ref("schedule"),
                "callbacks": {"type": "object", **callbacks, "additionalProperties": False},
            },
        )

    def _data(self) -> Schema:
        texts = {"type": ["string", "number"]}
        several = {"anyOf": [texts, {"type": "array", "items": texts}]}
        properties = self._types(DataConfig)
        for key in ("validation", "test"):
            properties[key] = {"anyOf": [{"type": "string"}, properties[key]]}
        named = _named({"anyOf": [{"type": "string"}, _ref("SourceFile")]})
        properties["train"] = {"anyOf": [{"type": "string"}, _ref("DataFile"), named]}
        properties |= {"key": several, "na_values": several}
        windows = self.definitions["Windows"]["properties"]
        windows["by"] = {**several, "description": meaning(Windows, "by")}
        properties["features"] = {"type": "object", "additionalProperties": _ref("feature")}
        self._features()
        steps = [self._properties(cls, but="layer") for cls in MIXINGS.values()]
        layer: Schema = {"layer": {"enum": [*MIXINGS], "description": meaning(Mixing, "layer")}}
        step = {"properties": reduce(or_, steps, layer), "additionalProperties": False}
        properties["mix"] = {"type": "array", "items": {"type": "object", **step, "required": ["layer"]}}
        return {"anyOf": [{"type": "string"}, self._keys(DataConfig, properties, nullable=DATA_PARTS)]}

    def _features(self) -> None:
        """A mapping with the arguments of the encoder that it names, or of the feature that it is `of`."""
        schemas = {name: self._setting(cls, but="encode", closed=False) for name, cls in FEATURES.items()}
        rules = self._rules("encode", schemas)
        words = _described({name: _line(cls) for name, cls in FEATURES.items()})
        self.definitions["feature"] = {
            "type": "object",
            "properties": {"encode": {"anyOf": words, "description": meaning(Feature, "encode")}},
            "if": {"required": ["encode"]},
            "then": {"allOf": rules},
            "else": {
                "if": {"anyOf": [{"required": [key]} for key in ("of", "shift")]},
                "then": schemas["shift"],
                "else": {"required": ["encode"]},
            },
            "unevaluatedProperties": False,
        }

    # --- nodes

    def _node(self) -> None:
        """A node has one form; a layer, merge or op of a known name has that one's arguments."""
        every = self._properties(Node)
        common = {key: each for key, each in every.items() if key not in (*FORMS, *OF_SOME)}
        common["else"] = {"anyOf": [_ref("reference"), NULL], "description": meaning(Node, "else")}
        forms = {form: every[form] for form in FORMS}
        for kind, classes in REGISTRY.items():
            self._kind(kind, {name: classes[name] for name in sorted(classes)})
            forms[kind] = self._typed(
                f"form.{kind}", {"anyOf": [_ref(f"{kind}s"), EXPRESSION]}, meaning(Node, kind)
            )
        rule: Schema = {"properties": forms, "required": ["layer"], "unevaluatedProperties": True}
        for form in reversed(FORMS):
            then = _ref(f"node.{form}") if form in REGISTRY else {"additionalProperties": True}
            rule = {
                "if": {"required": [form]},
                "then": {"properties": {form: forms[form]}, **then},
                "else": rule,
            }
        self.definitions["node"] = {
            "type": "object",
            "properties": common,
            **rule,
            "unevaluatedProperties": False,
        }

    def _kind(self, kind: str, classes: Mapping[str, type[Layer]]) -> None:
        """The names of a kind, and the keys of a node of each.

        A name that is not known has any arguments: one mistake is one error. So has a repeated node whose
        arguments may be in the lists of `repeat`.
        """
        self.definitions[f"{kind}s"] = {
            "anyOf": _described({name: _line(cls) for name, cls in classes.items()})
        }
        rules = self._rules(kind, {name: self._arguments(cls) for name, cls in classes.items()})
        unknown = {"properties": {kind: {"not": _ref(f"{kind}s")}}}
        listed = [
            {"properties": {key: {"not": {"type": "integer"}}}, "required": [key]}
            for key in ("repeat", "parallel")
        ]
        free = {"anyOf": [unknown, *listed]} if kind in REPEATABLE else unknown
        self.definitions[f"node.{kind}"] = {
            "if": free,
            "then": {"additionalProperties": True},
            "else": {"allOf": rules},
        }

    def _arguments(self, cls: type[Layer]) -> Schema:
        properties = self._properties(cls)
        if "wraps" in properties or issubclass(cls, Wrapper):
            properties["wraps"] = {**_ref("node"), "description": meaning(Node, "wraps")}
        if cls.kind == "op" and any(argument.name == "like" for argument in cls.arguments):
            properties["like"] = {"type": "string", "description": OF_FORMS["like"]}
        required = [key for key in properties if key == "wraps" or key in _required(cls)]
        return {"properties": properties, **({"required": required} if required else {})}

    # --- settings

    def _family(
        self, kind: str, members: Mapping[str, type[BaseModel]], custom: bool = False, told: bool = True
    ) -> None:
        """A name, or a mapping with the name and that member's arguments; or one's `custom`, by its path.

        Editors offer the first of several names for one thing, with its description where it is `told`.
        """
        first = {cls: name for name, cls in reversed(list(members.items()))}
        names = {name: _line(cls) for name, cls in members.items() if first[cls] == name}
        aliases = [alias for alias in members if alias not in names]
        schemas = {name: self._setting(cls, closed=False) for name, cls in members.items()}
        rules = self._rules("name", schemas)
        unknown = {"if": {"properties": {"name": {"not": _ref(_several(kind))}}}}
        self.definitions[_several(kind)] = {
            "anyOf": [
                *(_described(names) if told else [{"enum": [*names]}]),
                {"type": "string", **_pattern(aliases)},
            ]
        }
        mapping: Schema = {
            "type": "object",
            "properties": {"name": {**_ref(_several(kind)), "description": meaning(Named, "name")}},
            "required": ["name"],
            "allOf": [*rules, {**unknown, "then": {"additionalProperties": True}}],
            "unevaluatedProperties": False,
        }
        if custom:
            for word, value in {"module": _ref("path"), **OF_BLOCK.get(kind, {})}.items():
                theirs = {"type": "object", "properties": {word: value}, "additionalProperties": True}
                mapping = {"if": {"type": "object", "required": [word]}, "then": theirs, "else": mapping}
        self.definitions[kind] = {"anyOf": [_ref(_several(kind)), mapping, EXPRESSION]}

    def _rules(self, key: str, schemas: Mapping[str, Schema]) -> list[Schema]:
        """The other keys depend on the value of one; values with the same arguments share a rule."""
        alike: dict[str, list[str]] = {}
        for name, definition in schemas.items():
            if definition.get("properties"):
                alike.setdefault(json.dumps(definition), []).append(name)
        return [
            {
                "if": {"properties": {key: _pattern(names) if len(names) > 1 else {"const": names[0]}}},
                "then": json.loads(definition),
            }
            for definition, names in alike.items()
        ]

    def _setting(self, cls: type[BaseModel], but: str = "name", closed: bool = True) -> Schema:
        """A mapping with the keys of a setting, but for the one that chose it."""
        properties = self._properties(cls, but=but)
        required = [key for key in _required(cls) if key != but]
        schema: Schema = {"properties": properties}
        if required:
            schema["required"] = required
        if closed:
            schema = {"type": "object", "description": _line(cls), **schema, "additionalProperties": False}
        return schema

    def _keys(
        self,
        cls: type[BaseModel],
        given: Mapping[str, Schema] = MappingProxyType({}),
        nullable: Container[str] = (),
    ) -> Schema:
        """A mapping with the keys of a structural class, and no others; some have the types that are `given`.
        A key that has no default, or is `nullable`, may be null, which is as if it were not there.
        """
        types = {key: self._once(each, "t", LONG) for key, each in self._types(cls).items()}
        known, types = Schema(), {**types, **given}
        for name, field in cls.model_fields.items():
            key = field.alias or name
            kind = types[key]
            if field.default is None or key in nullable:
                kind = self._or_null(kind)
            kind = {"allOf": [kind]} if "$ref" in kind else kind
            known[key] = {**kind, "description": meaning(cls, key)}
        required = _required(cls)
        schema = {"type": "object", "properties": known, "additionalProperties": False}
        return {**schema, "required": required} if required else schema

    def _or_null(self, schema: Schema) -> Schema:
        """The same type, or null: in a mapping's own type, so that editors tell what is wrong in it."""
        written = schema
        while "$ref" in written:
            written = self.definitions[written["$ref"].rpartition("/")[2]]
        if not written or NULL in written.get("anyOf", ()):
            return schema
        if "anyOf" in schema:
            return {**schema, "anyOf": [*schema["anyOf"], NULL]}
        if isinstance(schema.get("type"), str):
            return {**schema, "type": [schema["type"], "null"]}
        return {"anyOf": [schema, NULL]}

    def _properties(self, cls: type[BaseModel], but: str = "") -> Schema:
        """The fields of a class `but` one, each with its type and what it means."""
        types = self._types(cls)
        return {key: self._typed(key, each, meaning(cls, key)) for key, each in types.items() if key != but}

    def _types(self, cls: type[BaseModel]) -> Schema:
        """The type of each field; any of them may be an expression."""
        types, definitions = field_types(cls)
        for name, each in definitions.items():
            self.definitions.setdefault(name, self._nested(each, name))
        return {key: _open(each) for key, each in types.items()}

    def _nested(self, schema: Schema, place: str) -> Schema:
        """A setting inside a setting, as pydantic writes it."""
        setting = _without_titles(schema)
        if "properties" in setting:
            setting["properties"] = {
                key: self._typed(key, _open(_type_of_key(key, each, place)), each["description"])
                for key, each in setting["properties"].items()
            }
        return setting

    def _typed(self, key: str, schema: Schema, text: str) -> Schema:
        """The type of a key with its meaning. What is long is written once: the type, and both together."""
        kind = self._once(schema, "t", SHORT)
        return self._once({**kind, "description": text}, key, 0) if text else kind

    def _once(self, schema: Schema, name: str, short: int) -> Schema:
        """The schema, or a reference to where it is in `$defs`; one that is `short` stays where it is."""
        written = json.dumps(schema, sort_keys=True)
        if len(written) < short:
            return schema
        if written not in self._known:
            number, free = 2, name
            while free in self.definitions:
                free, number = f"{name}{number}", number + 1
            self._known[written] = free
            self.definitions[free] = schema
        return _ref(self._known[written])


def _described(names: Mapping[str, str]) -> list[Schema]:
    """Names, each with what it is; those that are the same share an entry."""
    alike: dict[str, list[str]] = {}
    for name, text in names.items():
        alike.setdefault(text, []).append(name)
    return [
        {"const": found[0], "description": text} if len(found) == 1 else {"enum": found, "description": text}
        for text, found in alike.items()
    ]


def _several(kind: str) -> str:
    return f"{kind}es" if kind.endswith("s") else f"{kind}s"


def _pattern(names: Iterable[str]) -> Schema:
    """One of these names, which are not offered where one is written."""
    return {"pattern": f"^({'|'.join(sorted(names))})$"}


def _line(cls: type[BaseModel]) -> str:
    """The first sentence of what a class says of itself, up to a colon or a semicolon: never a part of it."""
    text = " ".join((cls.__doc__ or "").split())
    ends = [end.start() for end in re.finditer(r"[.;:](?= |$)", text)]
    closed = (end for end in ends if text.count("(", 0, end) == text.count(")", 0, end))
    return text[: next(closed, len(text))]


def _required(cls: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in cls.model_fields.items() if field.is_required()]


def _type_of_key(key: str, schema: Mapping[str, Any], place: str) -> Mapping[str, Any]:
    """The type of a key; without null where that looks like none, and is what is outside."""
    if place not in {part.__name__ for part in PARTS} or key not in NOTHING or "anyOf" not in schema:
        return schema
    return {**schema, "anyOf": [each for each in schema["anyOf"] if each != NULL]}


def _without_titles(schema: Mapping[str, Any]) -> Schema:
    """A schema of pydantic's without defaults, titles, and the lengths and patterns that `check` knows."""
    return {key: value for key, value in schema.items() if key in KEPT}


def _open(schema: Mapping[str, Any]) -> Schema:
    """The same type, or an expression; so are the items of lists, whose number is not told."""
    if "kind" in schema:
        return _ref(schema["kind"])
    each = schema.get("additionalProperties")
    if isinstance(each, dict) and "kind" in each:
        return _named(_ref(each["kind"]))
    inner = _without_titles(schema)
    family = next((each["family"] for each in inner.get("anyOf", ()) if "family" in each), None)
    if family == ActivationFunction.family:
        return {"anyOf": [_ref(family), NULL]}
    if "layer" in inner.get("properties", {}):  # a layer inside a layer
        return {"anyOf": [_ref("node"), EXPRESSION]}
    if "name" in inner.get("properties", {}):  # an initializer, a regularizer, a constraint
        inner["properties"] = {"name": {**inner["properties"]["name"], "description": meaning(Named, "name")}}
    if "prefixItems" in inner:
        inner["items"] = {"anyOf": inner.pop("prefixItems")}
    for key in ("minItems", "maxItems"):
        inner.pop(key, None)
    if isinstance(inner.get("items"), dict):
        inner["items"] = _open(inner["items"])
    if "enum" in inner or "const" in inner:
        inner.pop("type", None)
    options = [_open(option) for option in inner.pop("anyOf", ())]
    if not options and not inner:
        return {}
    nested = [each for option in options for each in option.get("anyOf", [option])]
    known = {json.dumps(each): each for each in [*nested, *([inner] if not options else [])]}
    known.pop(json.dumps(EXPRESSION), None)
    return {"anyOf": [*known.values(), EXPRESSION]}


def _named(schema: Mapping[str, Any]) -> Schema:
    return {"type": "object", "propertyNames": _ref("name"), "additionalProperties": schema}
