"""Completions at the cursor."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from graphspec import std
from graphspec.contract import REGISTRY
from graphspec.data.features import FEATURES
from graphspec.data.files import format_of
from graphspec.expressions.grammar import FUNCTIONS
from graphspec.language.glossary import OF_FORMS, meaning
from graphspec.language.schema import FORMS, NODE_KEYS, Block, Node
from graphspec.objectives import LOSSES, METRICS
from graphspec.objectives.history import directions
from graphspec.reference.entries import Parameter, ReferenceEntry
from graphspec.reference.layers import entries, others
from graphspec.server.analysis import Analysis
from graphspec.server.cursor import Cursor, cursor_at
from graphspec.server.keys import classes_at, parameters_at
from graphspec.server.scopes import Body, Inside, Symbol, mapping, sized
from graphspec.server.symbols import FORMULAS, MATCHING, MEASURED, REFERRING
from graphspec.server.tables import columns, sources, trained_on
from graphspec.settings import show
from graphspec.tensor import DTYPES
from graphspec.train.config import CALLBACKS, OPTIMIZERS, SCHEDULES
from graphspec.weights import paths


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


MANY = 100
"""Names that are read from top to bottom; of more, those that are nearest come first."""
NAMED = ("initializer", "regularizer", "constraint", "activation")
"""Kinds of what an argument of a layer names, as its last word says."""
KEYS_OF = {
    "parameter": ("initializer",),
    "constant": ("dtype",),
    "state": ("update", "initializer", "dtype"),
    "average_of": ("momentum",),
}
"""The keys of nodes of some forms alone."""
FAMILIES = {"loss": LOSSES, "metrics": METRICS, "optimizer": OPTIMIZERS, "schedule": SCHEDULES}


def completions(analysis: Analysis, offset: int, folder: Path | None) -> tuple[str, list[Completion]]:
    """The start of the word at an offset, and its completions. Data files are looked up in `folder`."""
    cursor = cursor_at(analysis.text, offset)
    body: Body = cursor.path[1] if len(cursor.path) > 1 and cursor.path[0] == "blocks" else None
    at = _At(analysis, cursor, body, cursor.path[2:] if body is not None else cursor.path, folder)
    candidates = list(at.keys() if cursor.key is None else at.values())
    word = cursor.word
    if word.startswith("$") or "$" in word:
        word = word[word.rindex("$") + 1 :]
    if "." in word and cursor.key != "layer":
        word = word[word.rindex(".") + 1 :]
    unique = {each.label: each for each in reversed(candidates)}
    return word, [unique[label] for label in dict.fromkeys(each.label for each in candidates)]


def nearest(candidates: list[Completion], word: str, most: int) -> list[Completion]:
    """At most so many of the candidates: those that have the letters of a word in their order."""
    if len(candidates) <= most:
        return candidates
    letters = re.compile(".*?".join(map(re.escape, word)), re.IGNORECASE)
    return [each for each in candidates if letters.search(each.label)][:most]


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
        if self._in_node():
            yield from self._node_keys()
        elif classes := (Block,) if self.body is not None and not self.path else classes_at(self.path):
            for cls in classes:
                yield from _of_class(cls)
        else:
            yield from self._names_as_keys()
            if kind := self._kind():
                yield Completion("encode" if kind == "encoder" else "name", "key", first=True)
            yield from _arguments(self._entry())

    def _names_as_keys(self) -> Iterator[Completion]:
        """The names that are the keys of the mapping."""
        match self.path:
            case (*_, "repeat" | "parallel"):
                yield from self._arguments(self.cursor.outer)
                yield Completion("from", "key")
            case (*_, key) if key in REFERRING:
                yield from (
                    Completion(name, "key", "an input") for name in self._inputs_of(self.cursor.outer)
                )
            case ("train", "callbacks"):
                yield from _members(CALLBACKS.members, "callback")
            case ("data", "features"):
                yield from (Completion(name, "name") for name in self._known("inputs"))
                yield from self._columns()
            case ("tune", "search") | ("presets", *_):
                yield from (Completion(name, "name", "a param") for name in self._params())
            case ("outputs",):
                yield from self._names()

    def _kind(self) -> str:
        """The kind of what the mapping names: `loss`, `initializer`; "" where it names nothing."""
        match self.path:
            case ("data", "features", _):
                return "encoder"
            case (*_, key) if key in FAMILIES:
                return FAMILIES[key].kind
            case ("nodes" | "shared", *_, key):
                return next((kind for kind in NAMED if key.endswith(kind)), "")
        return ""

    def _entry(self) -> ReferenceEntry | None:
        """The reference entry whose arguments the mapping has."""
        entries = self.cursor.entries
        if self._in_node():
            form = _form_of(entries)
            return _entry(entries.get(form, ""), form)
        match self.path:
            case ("train", "callbacks", name):
                return _entry(name, "callback")
        kind = self._kind()
        return _entry(entries.get("encode" if kind == "encoder" else "name", ""), kind)

    def _in_node(self) -> bool:
        path = self.path
        of_block = path[-1:] == ("loss",) and "block" in self.cursor.entries
        return of_block or (len(path) == 2 and path[0] in ("nodes", "shared")) or path[-1:] == ("wraps",)

    def _node_keys(self) -> Iterator[Completion]:
        entries = self.cursor.entries
        if not _form_of(entries):
            for form in FORMS:
                yield Completion(form, "key", "what the node is", meaning(Node, form), first=True)
        yield from self._arguments(entries)
        for key in NODE_KEYS:
            yield Completion(key, "key", "of every node", meaning(Node, key))

    def _arguments(self, entries: Mapping[str, str]) -> Iterator[Completion]:
        """The arguments of the node that has these entries."""
        form = _form_of(entries)
        if form in REGISTRY:
            yield from _arguments(_entry(entries[form], form))
            return
        yield from (Completion(key, "key", "", OF_FORMS[key]) for key in KEYS_OF.get(form, ()))
        body = self._body_of_node(entries)
        params = body[0].value(body[1]).get("params") if body is not None else None
        for name, value in (params or {}).items() if isinstance(params, dict) else ():
            detail = "required" if value == "required" else f"default: {show(value)}"
            yield Completion(name, "key", detail, first=value == "required")

    def _body_of_node(self, entries: Mapping[str, str]) -> Inside | None:
        """The body that a node with these entries makes an instance of."""
        names = self.analysis.names
        unquoted = {key: text.strip("\"'") for key, text in entries.items()}
        return names.target(self.body, unquoted) if names is not None else None

    def _inputs_of(self, entries: Mapping[str, str]) -> list[str]:
        """The inputs of a node with these entries, by name."""
        for form, classes in REGISTRY.items():
            name = entries.get(form, "").strip("\"'")
            if name in classes:
                return [argument.name for argument in classes[name].arguments]
        body = self._body_of_node(entries)
        return body[0].inputs(body[1]) if body is not None else []

    # --- values

    def values(self) -> Iterator[Completion]:
        """The values of the key at the cursor."""
        cursor, path = self.cursor, self.path
        key = cursor.key or ""
        if cursor.begun.rpartition("$(")[2].count(")") == 0 and "$(" in cursor.begun:
            yield from self._expression()
        elif "$" in cursor.word:
            yield from (Completion(name, "name", "a param") for name in self._params())
        elif key in (*REFERRING, "edges") or self._reads_names(key):
            yield from self._names()
        elif key in FORMULAS and self._in_node():
            yield from self._names()
            if "." not in cursor.word:
                yield from (Completion(name, "function", "an op") for name in REGISTRY["op"])
        elif key in REGISTRY and (self._in_node() or path[-1:] == ("augment",)):
            names = REGISTRY[key]
            yield from (Completion(n, "word", "", names[n].__doc__ or "") for n in names)
        elif key in ("block", "call", "average_of") and self.analysis.names is not None:
            known = [*self.analysis.names.blocks, *std.names()] if key == "block" else self._known("shared")
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
        elif key in MATCHING and path[:1] == ("train",):
            yield from self._weights()
        elif key in ("columns", "target", "column"):
            yield from self._columns()
        elif key in MEASURED:
            program = self.analysis.program
            outputs = program.outputs if program is not None else {}
            yield from (Completion(name, "word") for name in directions(outputs, validated=True))
        elif key == "name" and (wanted := self._kind()):
            yield from (Completion(name, "word", kind) for kind, name in reference() if kind == wanted)
        elif key == "data" and path and path[-1] != "data":
            yield from (Completion(name, "word", "a source") for name in sources(trained_on(self.analysis)))
        elif path[:1] == ("data",) and (
            key in ("train", "validation", "test", "path") or path[1:] == ("train",)
        ):
            yield from self._files()
        elif (parameter := self._parameter(key)) is not None:
            yield from _choices(parameter)

    def _parameter(self, key: str) -> Parameter | None:
        """The reference entry of an argument at the cursor."""
        entry = self._entry()
        parameters: Iterable[Parameter] = entry.parameters if entry is not None else ()
        if self._in_node():
            parameters = (*parameters, *parameters_at(Node))
        if classes := classes_at(self.path):
            parameters = (each for cls in classes for each in parameters_at(cls))
        return next((each for each in parameters if each.name == key and each.type), None)

    # --- names

    def _names(self) -> Iterator[Completion]:
        """The nodes and inputs in scope, or after a dot what is inside of one."""
        this_node = self.path[1] if len(self.path) > 1 else ""
        if "." in (word := self.cursor.word):
            yield from self._inside(word.rpartition(".")[0])
            return
        names = self.analysis.names
        if names is None:
            return
        shared = mapping(names.value(self.body).get("shared"))
        known = list(names.names(self.body))
        if this_node in known[MANY:]:  # the nodes before this one are those that it will read
            at = known.index(this_node)
            known = [*known[:at][::-1], *known[at + 1 :]]
        for name in known:
            if name != this_node and name not in shared:
                yield Completion(name, "name", self._type(name))

    def _inside(self, path: str) -> Iterator[Completion]:
        """Names after a path: unread ones, too, in a text with mistakes."""
        head, *steps = path.split(".")
        for op in self.analysis.nodes.get((self.body, head), [])[:1] if not steps else ():
            yield from (Completion(name, "name", str(v.tensor)) for name, v in op.outputs.items() if name)
            if op.graph is not None:
                yield from (Completion(inner.node, "name", inner.title) for inner in op.graph.ops)
        names = self.analysis.names
        inside = names.inside(self.body, head) if names is not None else None
        for step in steps:
            if inside is not None and step.isidentifier():
                inside = inside[0].inside(inside[1], step)
        if inside is not None:
            value = inside[0].value(inside[1])
            for section in ("outputs", "nodes"):
                yield from (Completion(name, "name") for name in mapping(value.get(section)))

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

    def _files(self) -> Iterator[Completion]:
        """The files of data in the folder of the spec."""
        files = sorted(self.folder.iterdir()) if self.folder is not None and self.folder.is_dir() else []
        yield from (Completion(file.name, "word") for file in files if format_of(file.name) is not None)

    def _weights(self) -> Iterator[Completion]:
        """Patterns of weights: one for all of each node, and the path of each."""
        known = list(paths(self.analysis.program.graph)) if self.analysis.program is not None else []
        for part in dict.fromkeys(path.partition(".")[0] for path in known):
            yield Completion(f"{part}.*", "word", "all weights of a node", first=True)
        yield from (Completion(path, "word", "a weight") for path in known)

    def _columns(self) -> Iterator[Completion]:
        """The columns of the file that `data` trains on."""
        if self.folder is not None:
            known = columns(self.folder, trained_on(self.analysis))
            yield from (Completion(name, "column", "a column") for name in known)


def symbol_of(analysis: Analysis, offset: int) -> Symbol | None:
    """The name at an offset of a text that can be read."""
    if analysis.names is None or not analysis.current:
        return None
    occurrence = analysis.names.at(offset)
    return occurrence.symbol if occurrence is not None else None


def _form_of(entries: Mapping[str, str]) -> str:
    """The form of a node that has these entries; "" if it has none yet."""
    return next((form for form in FORMS if form in entries), "")


def _of_class(cls: type[Any]) -> Iterator[Completion]:
    for each in parameters_at(cls):
        yield Completion(each.name, "key", each.type, each.meaning, first=each.required)


def _arguments(entry: ReferenceEntry | None) -> Iterator[Completion]:
    for each in entry.parameters if entry is not None else ():
        given = "required" if each.required else f"default: {show(each.default)}"
        yield Completion(each.name, "key", each.type, f"{each.meaning} ({given})", first=each.required)


def _members(members: Mapping[str, type[Any]], kind: str) -> Iterator[Completion]:
    for cls in dict.fromkeys(members.values()):
        first, *also = cls.names()
        yield Completion(first, "word", kind, (cls.__doc__ or "").strip())
        yield from (Completion(word, "word", first, (cls.__doc__ or "").strip()) for word in also)


def _choices(parameter: Parameter) -> Iterator[Completion]:
    """The words that an argument takes, from its type as the reference has it."""
    for option in re.split(r", | or ", parameter.type):
        if option == "boolean":
            yield from (Completion(word, "word") for word in ("true", "false"))
        elif re.fullmatch(r"[a-z][a-z0-9_]*", option) and option not in _TYPES:
            yield Completion(option, "word")


_TYPES = frozenset(["integer", "number", "string", "list", "mapping", "any", "object", "of"])


@cache
def reference() -> dict[tuple[str, str], ReferenceEntry]:
    """The pages of the reference by kind and name; the first time takes a while."""
    by_name = {(entry.kind, entry.name): entry for entry in [*entries(), *others()]}
    return {**{(e.kind, word): e for e in by_name.values() for word in e.also}, **by_name}


def _entry(name: str, kind: str) -> ReferenceEntry | None:
    return reference().get((kind, name.strip("\"'")))
