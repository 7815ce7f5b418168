"""What can be written where the cursor is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from graphspec.contract import REGISTRY
from graphspec.data.config import DataConfig
from graphspec.data.features import FEATURES
from graphspec.data.files import parse_file
from graphspec.data.folders import find
from graphspec.diagnostics import SpecError
from graphspec.expressions.grammar import FUNCTIONS
from graphspec.language.schema import FORMS, NODE_KEYS, Block, Input, Node, Output, Spec
from graphspec.objectives import LOSSES, METRICS
from graphspec.reference.layers import Parameter, ReferenceEntry, entries, others, parameters_of
from graphspec.server.analysis import Analysis
from graphspec.server.cursor import Cursor, cursor_at
from graphspec.server.scopes import Body, Symbol, sized
from graphspec.server.symbols import REFERRING
from graphspec.settings import SettingError, show
from graphspec.tensor import DTYPES
from graphspec.train.config import CALLBACKS, OPTIMIZERS, SCHEDULES, TrainConfig
from graphspec.tune.config import TuneConfig


@dataclass(frozen=True, slots=True)
class Completion:
    """A word that may be written at the cursor: `kind` is key, word, name, function or column, `doc` says
    what it is, and required keys come `first`.
    """

    label: str
    kind: str
    detail: str = ""
    doc: str = ""
    first: bool = False


FAMILIES = {"loss": LOSSES, "metrics": METRICS, "optimizer": OPTIMIZERS, "schedule": SCHEDULES}
KEYS_AT: Mapping[tuple[str, ...], type[Any]] = {
    (): Spec,
    ("inputs", "*"): Input,
    ("outputs", "*"): Output,
    ("blocks", "*"): Block,
    ("train",): TrainConfig,
    ("data",): DataConfig,
    ("tune",): TuneConfig,
}
"""The class of settings that a mapping at a path is; * is any name."""


def completions(analysis: Analysis, offset: int, folder: Path | None) -> tuple[str, list[Completion]]:
    """What is begun at an offset, and all that it can become. Data files are looked up in `folder`."""
    cursor = cursor_at(analysis.text, offset)
    body: Body = cursor.path[1] if len(cursor.path) > 1 and cursor.path[0] == "blocks" else None
    at = _At(analysis, cursor, body, cursor.path[2:] if body is not None else cursor.path, folder)
    found = list(at.keys() if cursor.key is None else at.values())
    word = cursor.word
    if word.startswith("$") or "$" in word:
        word = word[word.rindex("$") + 1 :]
    if "." in word and cursor.key != "layer":
        word = word[word.rindex(".") + 1 :]
    unique = {each.label: each for each in reversed(found)}
    return word, [unique[label] for label in dict.fromkeys(each.label for each in found)]


@dataclass(frozen=True, slots=True)
class _At:
    """A cursor in a body: `path` is the path within it."""

    analysis: Analysis
    cursor: Cursor
    body: Body
    path: tuple[str, ...]
    folder: Path | None

    # --- keys

    def keys(self) -> Iterator[Completion]:
        """The keys that the mapping does not have yet."""
        for each in self._keys():
            if each.label not in self.cursor.entries:
                yield each

    def _keys(self) -> Iterator[Completion]:
        path = self.path
        if self._in_node():
            yield from self._node_keys()
        elif self.body is not None and not path:
            yield from _of_class(Block)
        elif (cls := _class_at(path)) is not None:
            yield from _of_class(cls)
        elif path == ("train", "callbacks"):
            yield from _members(CALLBACKS.members, "callback")
        elif path[:2] == ("train", "callbacks") and len(path) == 3:
            yield from _arguments(_entry(path[2], "callback"))
        elif path == ("data", "features"):
            yield from (Completion(name, "name") for name in self._known("inputs"))
            yield from self._columns()
        elif path[:2] == ("data", "features") and len(path) == 3:
            yield from _arguments(_entry(self.cursor.entries.get("encode", ""), "encoder"))
            yield Completion("encode", "key", first=True)
        elif path == ("tune", "search"):
            yield from (Completion(name, "name", "a param") for name in self._params())
        elif path == ("outputs",) or (self.body is not None and path == ("outputs",)):
            yield from self._names()
        elif path and path[-1] in FAMILIES:
            kind = "metric" if path[-1] == "metrics" else path[-1]
            yield Completion("name", "key", first=True)
            yield from _arguments(_entry(self.cursor.entries.get("name", ""), kind))
        elif path[-2:-1] == ("presets",) or path[:1] == ("presets",):
            yield from (Completion(name, "name", "a param") for name in self._params())

    def _in_node(self) -> bool:
        path = self.path
        return (len(path) == 2 and path[0] in ("nodes", "shared")) or path[-1:] == ("wraps",)

    def _node_keys(self) -> Iterator[Completion]:
        entries = self.cursor.entries
        form = next((form for form in FORMS if form in entries), None)
        if form is None:
            for form in FORMS:
                yield Completion(form, "key", "what the node is", _sentence(Node, form), first=True)
        elif form in REGISTRY:
            yield from _arguments(_entry(entries[form].strip("\"'"), form))
        elif (names := self.analysis.names) is not None:
            target = names.target(self.body, {form: entries[form].strip("\"'")})
            params = target[0].value(target[1]).get("params") if target is not None else None
            for name, value in (params or {}).items() if isinstance(params, dict) else ():
                detail = "required" if value == "required" else f"default: {show(value)}"
                yield Completion(name, "key", detail, first=value == "required")
        for key in NODE_KEYS:
            yield Completion(key, "key", "of every node", _sentence(Node, key))

    # --- values

    def values(self) -> Iterator[Completion]:
        """The values of the key at the cursor."""
        cursor, path = self.cursor, self.path
        key = cursor.key or ""
        if cursor.begun.rpartition("$(")[2].count(")") == 0 and "$(" in cursor.begun:
            yield from self._expression()
        elif "$" in cursor.word:
            yield from (Completion(name, "name", "a param") for name in self._params())
        elif key in REFERRING or self._reads_names(key):
            yield from self._names()
        elif key == "compute":
            yield from self._names()
            yield from (Completion(name, "function", "an op") for name in REGISTRY["op"])
        elif key in REGISTRY and (self._in_node() or path[-1:] == ("augment",)):
            names = REGISTRY[key]
            yield from (Completion(n, "word", "", names[n].__doc__ or "") for n in names)
        elif key in ("block", "call") and self.analysis.names is not None:
            known = self.analysis.names.blocks if key == "block" else self._known("shared")
            yield from (Completion(name, "name", f"a {key}") for name in known)
        elif key in self._sized() and self.analysis.names is not None:
            yield from (Completion(name, "name", "a size") for name in sorted(self.analysis.names.sizes))
        elif key == "model" and self.folder is not None:
            yield from (Completion(f.name, "word") for f in sorted(self.folder.glob("*.yaml")))
        else:
            yield from self._words(key)

    def _sized(self) -> tuple[str, ...]:
        """The keys of this mapping whose texts are sizes."""
        if self.path[:1] == ("inputs",):
            return ("shape",)
        entries = self.cursor.entries
        return sized({form: name.strip("\"'") for form, name in entries.items()}) if self._in_node() else ()

    def _reads_names(self, key: str) -> bool:
        """Whether a value is a reference: within `from`, or an output."""
        inside = any(step in REFERRING for step in self.path)
        listed = key == "outputs" and not self.path and self.cursor.in_list
        return inside or listed or (self.path == ("outputs",) and self.body is not None)

    def _words(self, key: str) -> Iterator[Completion]:
        """The words that a key takes."""
        path = self.path
        where = path[-1] if path else ""
        family = FAMILIES.get(key) or (FAMILIES.get(str(where)) if key == "name" else None)
        if family is not None:
            yield from _members(family.members, family.kind)
        elif key == "encode":
            yield from (Completion(n, "word", "", cls.__doc__ or "") for n, cls in FEATURES.items())
        elif key == "dtype":
            yield from (Completion(name, "word") for name in DTYPES)
        elif key in ("columns", "target", "column"):
            yield from self._columns()
        elif key in ("monitor", "objective"):
            yield from (Completion(name, "word") for name in ("loss", "val_loss"))
        elif (parameter := self._parameter(key)) is not None:
            yield from _choices(parameter)

    def _parameter(self, key: str) -> Parameter | None:
        """What the reference says of an argument at the cursor."""
        found: Iterable[Parameter] = ()
        if self._in_node():
            form = next((form for form in FORMS if form in self.cursor.entries), "")
            entry = _entry(self.cursor.entries.get(form, "").strip("\"'"), form)
            found = entry.parameters if entry is not None else ()
        elif (cls := _class_at(self.path)) is not None:
            found = _class_parameters(cls)
        elif self.path[:2] == ("train", "callbacks") and len(self.path) == 3:
            entry = _entry(self.path[2], "callback")
            found = entry.parameters if entry is not None else ()
        return next((each for each in found if each.name == key), None)

    # --- names

    def _names(self) -> Iterator[Completion]:
        """The nodes and inputs in scope, or after a dot what is inside of one."""
        own = self.path[1] if len(self.path) > 1 else ""
        if "." in (word := self.cursor.word):
            yield from self._inside(word.rpartition(".")[0])
            return
        names = self.analysis.names
        for name in names.names(self.body) if names is not None else ():
            if name != own:
                yield Completion(name, "name", self._type(name))

    def _inside(self, path: str) -> Iterator[Completion]:
        head = path.split(".")[0]
        for op in self.analysis.nodes.get((self.body, head), [])[:1]:
            yield from (Completion(name, "name", str(v.tensor)) for name, v in op.outputs.items() if name)
            if op.graph is not None:
                yield from (Completion(inner.node, "name", inner.title) for inner in op.graph.ops)

    def _type(self, name: str) -> str:
        ops = self.analysis.nodes.get((self.body, name))
        if ops:
            return str(ops[0].output.tensor)
        program = self.analysis.program
        known = program is not None and self.body is None and name in program.inputs
        return str(program.inputs[name]) if known and program is not None else ""

    def _params(self) -> list[str]:
        return self.analysis.names.params(self.body) if self.analysis.names is not None else []

    def _known(self, section: str) -> list[str]:
        """The names that a section of the file has."""
        document = self.analysis.document
        value = document.value.get(section) if document is not None else None
        return list(value) if isinstance(value, dict) else []

    def _expression(self) -> Iterator[Completion]:
        yield from (Completion(name, "name", "a param") for name in self._params())
        yield from (Completion(name, "function", "a function") for name in FUNCTIONS)
        if "channels(" in self.cursor.begun or "given(" in self.cursor.begun:
            yield from self._names()

    def _columns(self) -> Iterator[Completion]:
        """The columns of the file that `data` trains on."""
        document = self.analysis.document
        data = document.value.get("data") if document is not None else None
        train = data.get("train") if isinstance(data, dict) else data
        if train is not None and self.folder is not None:
            yield from (Completion(name, "column", "a column") for name in columns(self.folder, train))


def symbol_of(analysis: Analysis, offset: int) -> Symbol | None:
    """The name at an offset of a text that can be read."""
    if analysis.names is None or not analysis.current:
        return None
    occurrence = analysis.names.at(offset)
    return occurrence.symbol if occurrence is not None else None


def columns(folder: Path, file: Any) -> list[str]:
    """The columns of the table that `train` of `data` names, below a folder; none where it cannot be opened,
    which reads no more than its header.
    """
    from graphspec.data.tables import open_table

    try:
        options = parse_file(file, "train")
        return list(open_table(find(folder / options.path, folder), options).columns)
    except (SpecError, SettingError, OSError):
        return []


def _class_at(path: tuple[str, ...]) -> type[Any] | None:
    for pattern, cls in KEYS_AT.items():
        if len(pattern) == len(path) and all(p in ("*", step) for p, step in zip(pattern, path, strict=True)):
            return cls
    return None


def _class_parameters(cls: type[Any]) -> tuple[Parameter, ...]:
    return parameters_of(cls) if cls in (TrainConfig, DataConfig, TuneConfig) else _fields(cls)


def _fields(cls: type[Any]) -> tuple[Parameter, ...]:
    """The keys of a class whose values are read later: without types."""
    return tuple(
        Parameter(field.alias or name, "", field.is_required(), None)
        for name, field in cls.model_fields.items()
    )


def _of_class(cls: type[Any]) -> Iterator[Completion]:
    for each in _class_parameters(cls):
        yield Completion(each.name, "key", each.type, _sentence(cls, each.name), first=each.required)


def _sentence(cls: type[Any], key: str) -> str:
    """What a class of settings says of a key."""
    fields = cls.model_fields.items()
    return next((field.description or "" for name, field in fields if key == (field.alias or name)), "")


def _arguments(entry: ReferenceEntry | None) -> Iterator[Completion]:
    for each in entry.parameters if entry is not None else ():
        given = "required" if each.required else f"default: {show(each.default)}"
        yield Completion(each.name, "key", each.type, given, first=each.required)


def _members(members: Mapping[str, type[Any]], kind: str) -> Iterator[Completion]:
    for cls in dict.fromkeys(members.values()):
        yield Completion(cls.names()[0], "word", kind, (cls.__doc__ or "").strip())


def _choices(parameter: Parameter) -> Iterator[Completion]:
    """The words that an argument takes, from its type as the reference has it."""
    for option in re.split(r", | or ", parameter.type):
        if option == "boolean":
            yield from (Completion(word, "word") for word in ("true", "false"))
        elif re.fullmatch(r"[a-z][a-z0-9_]*", option) and option not in _TYPES:
            yield Completion(option, "word")


_TYPES = frozenset(["integer", "number", "string", "list", "mapping", "any", "object", "of"])


@cache
def _reference() -> dict[tuple[str, str], ReferenceEntry]:
    found = {(entry.kind, entry.name): entry for entry in [*entries(), *others()]}
    return {**{(e.kind, word): e for e in found.values() for word in e.also}, **found}


def _entry(name: str, kind: str) -> ReferenceEntry | None:
    return _reference().get((kind, name.strip("\"'")))
