"""The reference of layers, merges and ops as data and as text, and a spec to start from."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import PydanticUndefined

from graphspec.contract import REGISTRY
from graphspec.contract.layer import Layer
from graphspec.diagnostics import Diagnostic, SpecError, nearest
from graphspec.objectives.settings import show

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

# Without `data:`, training runs on synthetic data. Yours is a file with columns `features`, `probs`:
# data: {train: digits.npz, validation: {split: 0.2}}

train:
  optimizer: adam
  epochs: 10
  batch_size: 32
"""


WIDTH = 100
"""Columns of a page of the reference."""


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
                text = f"  {p.name:<{wide}}  {p.type}  [{given}]"
                lines += textwrap.wrap(
                    text, WIDTH, subsequent_indent=" " * (wide + 4), break_long_words=False
                )
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
    kinds = [REGISTRY[kind].synonyms for kind in ("layer", "op", "merge")]
    near = nearest(name, names, {word: ours for synonyms in kinds for word, ours in synonyms.items()})
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
