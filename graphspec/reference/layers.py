"""The reference of layers, merges, ops and every other word of the language, as data and as text; and a spec
to start from.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from graphspec.contract import REGISTRY
from graphspec.contract.activations import ActivationFunction
from graphspec.contract.initializers import Initializer
from graphspec.contract.keras_names import ALIASES, REFUSED
from graphspec.contract.layer import Layer
from graphspec.contract.penalties import Constraint, Regularizer
from graphspec.contract.wrapper import Wrapper
from graphspec.data.config import DataConfig
from graphspec.data.features import FEATURES
from graphspec.data.features.windows import Windows
from graphspec.data.files import DataFile, Marked, SourceFile, Split
from graphspec.data.mixing import MIXINGS
from graphspec.diagnostics import CODES, did_you_mean, fail, same_word
from graphspec.diagnostics.foreign_terms import ARGUMENT_WORDS, ARGUMENTS, ENCODINGS, LAYERS, bare
from graphspec.generate.config import GenerateSettings
from graphspec.generate.loop_config import LoopSettings, Way
from graphspec.language.docstrings import field_doc
from graphspec.language.glossary import OF_FORMS, keys_of, meaning
from graphspec.language.schema import FORMS, Block, Input, Node, Output, Spec
from graphspec.objectives import LOSSES, METRICS
from graphspec.reference.entries import SHOWN, Parameter, ReferenceEntry, width
from graphspec.reference.field_types import field_types
from graphspec.reference.library import blocks
from graphspec.settings import a, filled
from graphspec.source.writing import write_flow
from graphspec.train.config import CALLBACKS, OPTIMIZERS, SCHEDULES, TrainConfig
from graphspec.train.config.adapters import AdapterSettings
from graphspec.train.config.groups import ParameterGroup
from graphspec.train.config.optimizers import Adam
from graphspec.train.config.phases import PhaseSettings, StepSettings
from graphspec.train.config.varying import Varying
from graphspec.tune.config import Choice, FloatRange, IntRange, TuneConfig

START = """\
# A classifier of vectors of 64 numbers. See it with `graphspec summary`, train it with `graphspec train`.

params: {width: 32}            # change it on the command line: --set width=64

inputs:
  features: {shape: [64]}      # without the batch axis

nodes:                         # each reads the node above it, unless it has `from`
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


FAMILIES: Mapping[str, str] = {
    "adaptive_pooling": "pooling",
    "multi_head_attention": "attention",
    **dict.fromkeys(("augmentation", "filtering", "filters", "recoloring", "sampling", "toning"), "images"),
    **dict.fromkeys(("depthwise", "transposed"), "convolution"),
    **dict.fromkeys(("batch_normalization", "layer_normalization", "feature_normalization"), "normalization"),
    **dict.fromkeys(("bidirectional", "cells", "conv_lstm", "gru", "lstm", "simple_rnn"), "recurrent"),
}
"""The heading under which `graphspec layers` lists the classes of a file, where it is not the file's name."""


BESIDE = ("encoder", "batch augmentation")
"""Kinds of settings whose arguments are written beside what they are called."""


@cache
def entries() -> tuple[ReferenceEntry, ...]:
    """Every layer, merge and op, by family."""
    all_entries = [_entry(cls) for classes in REGISTRY.values() for cls in classes.values()]
    kinds: list[str] = list(REGISTRY)
    return tuple(sorted(all_entries, key=lambda entry: (kinds.index(entry.kind), entry.family, entry.name)))


@cache
def others() -> tuple[ReferenceEntry, ...]:
    """Everything else that has a name in the language, by kind."""
    rest = [*_structure()]
    examples = {
        "loss": "outputs: {{y: {{loss: {}}}}}",
        "metric": "outputs: {{y: {{metrics: [{}]}}}}",
        "optimizer": "train: {{optimizer: {}}}",
        "schedule": "train: {{schedule: {}}}",
        "callback": "train: {{callbacks: {{{}}}}}",
    }
    for family in (LOSSES, METRICS, OPTIMIZERS, SCHEDULES, CALLBACKS):
        for cls in dict.fromkeys(family.members.values()):
            rest.append(_setting(cls, cls.names(), family.kind, examples[family.kind], family.synonyms))
    for name, feature in FEATURES.items():
        rest.append(_setting(feature, (name,), "encoder", "data: {{features: {{name: {{encode: {}}}}}}}", {}))
    for name, step in MIXINGS.items():
        rest.append(_setting(step, (name,), "batch augmentation", "data: {{mix: [{{layer: {}}}]}}", {}))
    for base in (Initializer, Regularizer, Constraint, ActivationFunction):
        argument = base.family if base is ActivationFunction else f"kernel_{base.family}"
        example = f"{{{{layer: Dense, units: 8, {argument}: {{}}}}}}"
        for value in dict.fromkeys(base.members.values()):
            aliases = (
                name for name, member in base.members.items() if member is value and name != value.word
            )
            names = (value.word, *aliases)
            rest.append(_setting(value, names, base.family, example, base.synonyms))
    return (*rest, *blocks())


def _structure() -> Iterator[ReferenceEntry]:
    """The sections of a file, the forms of a node, and the keys of every node."""
    for cls in (Spec, Node):
        for key, _ in keys_of(cls):
            kind = "section" if cls is Spec else "form of a node" if key in FORMS else "key of a node"
            yield ReferenceEntry(key, kind, kind, f"{meaning(cls, key)}.", example=example_of(cls, key))


def example_of(cls: type[BaseModel], key: str) -> str:
    """An example of a key in a spec; empty where its docstring has none."""
    doc = field_doc(cls, key)
    return doc.example if doc is not None else ""


def _setting(
    cls: type[Any], names: tuple[str, ...], kind: str, example: str, synonyms: Mapping[str, str]
) -> ReferenceEntry:
    """The page of a setting that is chosen by its name."""
    foreign = tuple(word for word, ours in synonyms.items() if ours in names)
    parameters = tuple(p for p in parameters_of(cls) if p.name not in ("name", "encode", "layer", "seed"))
    written = _written(kind, names[0], [p.name for p in parameters if p.required])
    doc = inspect.cleandoc(cls.__doc__ or "")
    return ReferenceEntry(
        names[0],
        kind,
        kind,
        doc,
        parameters=parameters,
        also=(*names[1:], *foreign),
        example=example.format(written),
    )


def _written(kind: str, name: str, required: Iterable[str]) -> str:
    """How a spec writes a setting of a kind, with the keys that it needs."""
    arguments = ", ".join(f"{key}: ..." for key in required)
    if kind == "callback":
        return f"{name}: {{{arguments}}}"
    if not arguments:
        return name
    return f"{name}, {arguments}" if kind in BESIDE else f"{{name: {name}, {arguments}}}"


def find(name: str) -> list[ReferenceEntry]:
    """Everything that has this name, here or in another library: usually one, or a merge and an op; else the
    key of the language with this name. Raises
    `SpecError` with the nearest name.
    """
    written, name = name, bare(name)
    name = ALIASES.get(name, name)
    matches = [_entry(classes[name]) for classes in REGISTRY.values() if name in classes]
    rest = others()
    matches += [entry for entry in rest if entry.name == name]
    if matches:
        return matches
    kinds = [REGISTRY[kind].synonyms for kind in ("layer", "op", "merge")]
    foreign = [(kind, REGISTRY[kind].synonyms[name]) for kind in REGISTRY if name in REGISTRY[kind].synonyms]
    matches = [_entry(REGISTRY[kind][ours]) for kind, ours in foreign]
    matches += [entry for entry in rest if name in entry.also]
    matches += _keys(name) or _keys(_SETTINGS.get(name, ""))
    if matches:
        return matches
    for kind, refused in REFUSED.items():
        if name in refused:
            reason, instead = refused[name]
            message = f"`{name}` is not {a(kind)} of a spec: {reason}"
            raise fail("not-supported", message, instead)
    for family in (LOSSES, METRICS, OPTIMIZERS, SCHEDULES, CALLBACKS):
        if name in family.refused:
            reason, instead = family.refused[name]
            raise fail("not-supported", f"`{name}` is not {a(family.kind)} of a spec: {reason}", instead)
    exact, near = _instead(name)
    if exact is not None:
        raise fail("unknown-layer", f"nothing is called `{written}`", exact)
    names = [known for classes in REGISTRY.values() for known in classes] + [entry.name for entry in rest]
    synonyms = {word: ours for known in kinds for word, ours in known.items()}
    also = [*names, *ALIASES, *synonyms, *(word for entry in rest for word in entry.also)]
    if same := next((known for known in also if same_word(known, name) and known != name), None):
        return find(same)
    listed = "`graphspec layers` lists them all"
    help = near or did_you_mean(name, names, listed, synonyms)
    if name in CODES:
        help = f"it is a code: `graphspec explain {name}`"
    raise fail("unknown-layer", f"nothing is called `{written}`", help)


def _instead(name: str) -> tuple[str | None, str | None]:
    """The replacement for a word of other libraries that has no single name here; and the name here of one
    with another spelling.
    """
    if name in ENCODINGS:
        return f"it is how a column is encoded: data: {{features: {{name: {ENCODINGS[name]}}}}}", None
    tables = (LAYERS, ARGUMENTS, TrainConfig.remedies, DataConfig.remedies, Spec.remedies)
    exact = (table[name] for table in tables if name in table)
    near = (text for table in tables for word, text in table.items() if same_word(word, name))
    return filled(next(exact, None)), filled(next(near, None))


_SETTINGS = {**ARGUMENT_WORDS, **TrainConfig.synonyms, **Adam.synonyms}
"""Keys by what other libraries call them."""


SECTIONS: Mapping[type[BaseModel], str] = {
    Spec: "a file",
    Input: "an input",
    Block: "a block",
    Node: "a node",
    Output: "an output",
    DataConfig: "`data`",
    DataFile: "a file of `data`",
    SourceFile: "a source of `data.train`",
    **dict.fromkeys((Split, Marked), "`data.validation`"),
    Windows: "`data.windows`",
    TrainConfig: "`train`",
    ParameterGroup: "`train.parameter_groups`",
    AdapterSettings: "`train.adapters`",
    PhaseSettings: "`train.phases`",
    StepSettings: "`train.steps`",
    Varying: "a number that varies",
    TuneConfig: "`tune`",
    **dict.fromkeys((IntRange, FloatRange, Choice), "`tune.search`"),
    **dict.fromkeys((GenerateSettings, LoopSettings, Way), "`generate`"),
}
"""The keys whose mappings have a class that the spec does not name."""


def classes() -> Iterator[tuple[str, type[BaseModel]]]:
    """Every class whose fields are keys of a spec, by what it is called there."""
    yield from ((place, cls) for cls, place in SECTIONS.items())
    yield from ((f"`{name}`", cls) for names in REGISTRY.values() for name, cls in names.items())
    for family in (LOSSES, METRICS, OPTIMIZERS, SCHEDULES, CALLBACKS):
        yield from ((f"`{cls.canonical}`", cls) for cls in dict.fromkeys(family.members.values()))
    yield from ((f"`{name}`", cls) for each in (FEATURES, MIXINGS) for name, cls in each.items())
    for base in (Initializer, Regularizer, Constraint, ActivationFunction):
        yield from ((f"`{cls.word}`", cls) for cls in dict.fromkeys(base.members.values()))


def _keys(name: str) -> list[ReferenceEntry]:
    """The pages of a key of the language: one for each of its meanings, with the places where it has it."""
    places: dict[tuple[str, str], dict[str, None]] = {}
    for place, cls in classes():
        if any(key == name for key, _ in keys_of(cls)):
            places.setdefault((meaning(cls, name), example_of(cls, name)), {})[place] = None
    if name in OF_FORMS:
        places.setdefault((OF_FORMS[name], ""), {})["a node"] = None
    return [
        ReferenceEntry(
            name,
            f"key of {', '.join(where)}" if len(where) <= SHOWN else "key",
            "keys",
            f"{text}.",
            example=example,
        )
        for (text, example), where in places.items()
    ]


def listing(entries: Iterable[ReferenceEntry]) -> str:
    """A line for each layer and merge under the name of its family; only the names of the others."""
    lines: list[str] = []
    families: dict[tuple[str, str], list[ReferenceEntry]] = {}
    for entry in entries:
        families.setdefault((entry.kind, entry.family), []).append(entry)
    wide = max(len(entry.name) for (kind, _), group in families.items() if kind != "op" for entry in group)
    for (kind, family), group in families.items():
        lines += ["", kind if kind == family else f"{kind}: {family}"]
        if kind in ("layer", "merge", "block"):
            lines += [f"  {entry.name:<{wide}}  {entry.line}" for entry in group]
        else:
            names = ", ".join(sorted(entry.name for entry in group))
            lines += textwrap.wrap(names, width(), initial_indent="  ", subsequent_indent="  ")
    return "\n".join([*lines[1:], "", "`graphspec layers NAME` explains each of them."])


def _entry(cls: type[Layer]) -> ReferenceEntry:
    inputs = (
        ["a list of tensors"]
        if cls.variadic
        else [f"{a.name}{'' if a.required else '?'}" for a in cls.arguments]
    )
    return ReferenceEntry(
        cls.spec_name,
        cls.kind,
        _family(cls),
        inspect.cleandoc(cls.__doc__ or ""),
        tuple(inputs),
        _outputs(cls),
        parameters_of(cls),
        tuple(word for word, ours in REGISTRY[cls.kind].synonyms.items() if ours == cls.spec_name),
        _example(cls),
    )


def _family(cls: type[Layer]) -> str:
    """The family of a class, from the name of its file; files of one kind are one family."""
    file = cls.__module__.rpartition(".")[2]
    return FAMILIES.get(file, file.replace("_", " "))


def _outputs(cls: type[Layer]) -> tuple[str, ...]:
    """The outputs after the first, with the option that gives them."""
    outputs: dict[str, str] = {}
    options = [{}, *({name: True} for name in cls.model_fields if name.startswith("return_"))]
    for option in options if cls.examples and not issubclass(cls, Wrapper) else ():
        layer = cls.model_validate({**cls.examples[0].arguments, **option})
        for name in layer.output_names():
            key = layer.option_for(name)
            outputs[name] = f"{name} ({key}: true)" if key else name
    return ("the first", *outputs.values()) if outputs else ()


def _example(cls: type[Layer]) -> str:
    """How a spec writes it, by the first example of its contract."""
    if not cls.examples:
        return ""
    node = {cls.kind: cls.spec_name, **cls.examples[0].arguments}
    if cls.variadic or len(cls.examples[0].shapes) > 1:
        node["from"] = list("abcdefgh")[: len(cls.examples[0].shapes)]
    return write_flow(_as_written(node))


def parameters_of(cls: type[Any]) -> tuple[Parameter, ...]:
    """The keys of a class of settings."""
    types, definitions = field_types(cls)
    keys = []
    for name, field in cls.model_fields.items():
        required = field.is_required()
        word = field.alias or name
        default = None if required else _as_written(field.get_default(call_default_factory=True))
        keys.append(
            Parameter(word, type_text(types[word], definitions), required, default, meaning(cls, word))
        )
    return tuple(keys)


def _as_written(value: Any) -> Any:
    """A value as a spec writes it."""
    if value is PydanticUndefined:
        return None
    if isinstance(value, tuple | list):
        return [_as_written(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _as_written(item) for key, item in value.items()}
    word = getattr(value, "word", None) or getattr(value, "canonical", None)
    return word if word is not None else value


def type_text(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """A JSON Schema in words: `integer > 0 or list`."""
    if "$ref" in schema:
        return type_text(definitions.get(schema["$ref"].rpartition("/")[2], {}), definitions)
    options = schema.get("anyOf") or schema.get("oneOf")
    if options:
        return " or ".join(dict.fromkeys(type_text(option, definitions) for option in options))
    if "kind" in schema:
        return a(schema["kind"])
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
