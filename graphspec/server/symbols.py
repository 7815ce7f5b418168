"""Where the names of a spec are declared and read: nodes, params, blocks, sizes and outputs, in references,
expressions, formulas and dotted paths."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path as FilePath
from typing import Any

from graphspec.expressions import closing
from graphspec.language.schema import FORMS, NAMED_SIZE, NODE_KEYS
from graphspec.source import Document, Path

Body = str | None
"""A block's name, or None for the file itself."""


@dataclass(frozen=True, slots=True)
class Symbol:
    """A name: `kind` is node (inputs and shared layers, too), param, block, size or output; or file, of one
    that a model names. `file` is where it is declared, None in the document itself.
    """

    kind: str
    name: str
    body: Body = None
    file: FilePath | None = None


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A place where a name is written: offsets in the text, and whether it is declared there."""

    symbol: Symbol
    start: int
    end: int
    declares: bool = False


_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_STRING = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"")
SIZED = ("shape", "target_shape", "sequence_length", "length")
"""Arguments whose texts are sizes."""


class Scopes:
    """The names that the bodies of a document declare. `file` is the document's, where another one reads it;
    `models` gives the scopes of a file by the path that is written.
    """

    def __init__(self, document: Document, models: Models | None = None, file: FilePath | None = None):
        self.document, self.models, self.file = document, models, file
        value = document.value
        self.blocks: Mapping[str, Any] = _mapping(_mapping(value).get("blocks"))
        self._known: dict[Body, dict[str, None]] = {}

    def value(self, body: Body) -> Mapping[str, Any]:
        """What is written of a body."""
        return _mapping(self.document.value if body is None else self.blocks.get(body))

    def names(self, body: Body) -> Collection[str]:
        """The names that a reference in a body can have, in the order of the text."""
        if body not in self._known:
            self._known[body] = dict.fromkeys(_names(self.value(body)))
        return self._known[body].keys()

    def params(self, body: Body) -> list[str]:
        """The params that an expression in a body can read: its own first."""
        own = self.value(body).get("params") if body is not None else None
        return list({**_mapping(own), **_mapping(self.value(None).get("params"))})

    def target(self, body: Body, node: Mapping[str, Any]) -> Inside | None:
        """The body that a node makes an instance of: that of a block, of a model's file, of what it calls."""
        called = node.get("call")
        if isinstance(called, str):
            owner = self.owner(body, called)
            node = _mapping(_mapping(self.value(owner).get("shared")).get(called))
        block, model = node.get("block"), node.get("model")
        if isinstance(block, str) and block in self.blocks:
            return self, block
        other = self.models(model) if isinstance(model, str) and self.models is not None else None
        return (other, None) if other is not None else None

    def inside(self, body: Body, name: str) -> Inside | None:
        """The body whose nodes a path after this name leads to."""
        return self.target(body, _mapping(_mapping(self.value(body).get("nodes")).get(name)))

    def owner(self, body: Body, name: str) -> Body:
        """The body whose `shared` has an entry: a block sees the file's."""
        return body if body is not None and name in _mapping(self.value(body).get("shared")) else None

    def output(self, body: Body, name: str) -> Symbol:
        """What the name of an output means: one of a block that is named as an input is chained to it, and
        one of a file that reads nothing is a node's.
        """
        written = _mapping(self.value(body).get("outputs"))
        if body is None:
            named = "from" in _mapping(written.get(name))
        else:
            inputs = self.value(body).get("inputs")
            named = name in written and not (isinstance(inputs, list | dict) and name in inputs)
        return Symbol("output" if named else "node", name, body, self.file)


Models = Callable[[str], Scopes | None]
"""The scopes of the file that a path leads to; None where it is none."""
Inside = tuple[Scopes, Body]
"""A body of a document."""


class Symbols(Scopes):
    """The occurrences of a document, in the order of the text."""

    def __init__(self, document: Document, models: Models | None = None):
        super().__init__(document, models)
        self.found: list[Occurrence] = []
        value = document.value
        self.sizes = set(_sizes(value.get("inputs")))
        self._body(None, value, ())
        for name, block in self.blocks.items():
            self._add(Symbol("block", name), ("blocks", name), declares=True)
            self._body(name, _mapping(block), ("blocks", name))
        self._sections(value)
        self.found = sorted(set(self.found), key=lambda each: (each.start, each.end))

    def at(self, offset: int) -> Occurrence | None:
        """The name at an offset, or just before it."""
        here = [each for each in self.found if each.start <= offset <= each.end]
        return min(here, key=lambda each: (offset == each.end, each.end - each.start), default=None)

    def of(self, symbol: Symbol) -> list[Occurrence]:
        """All places of a name."""
        return self._places.get(symbol, [])

    @cached_property
    def _places(self) -> dict[Symbol, list[Occurrence]]:
        places: dict[Symbol, list[Occurrence]] = {}
        for each in self.found:
            places.setdefault(each.symbol, []).append(each)
        return places

    # --- one body

    def _body(self, body: Body, value: Mapping[str, Any], path: Path) -> None:
        for name, item in _mapping(value.get("params")).items():
            self._add(Symbol("param", name, body), (*path, "params", name), declares=True)
            self._expressions(body, item, (*path, "params", name))
        self._inputs(body, value.get("inputs"), (*path, "inputs"))
        for section in ("shared", "nodes"):
            for name, node in _mapping(value.get(section)).items():
                self._add(Symbol("node", name, body), (*path, section, name), declares=True)
                if isinstance(node, dict):
                    self._node(body, node, (*path, section, name))
        edges = value.get("edges")
        for index, edge in enumerate(edges if isinstance(edges, list) else ()):
            if isinstance(edge, str):
                for match in _NAME.finditer(edge):
                    self._name(Symbol("node", match[0], body), (*path, "edges", index), match)
        self._outputs(body, value.get("outputs"), (*path, "outputs"))

    def _inputs(self, body: Body, value: Any, path: Path) -> None:
        if isinstance(value, list):
            for index, name in enumerate(value):
                if isinstance(name, str):
                    self._add(Symbol("node", name, body), (*path, index), declares=True)
            return
        for name, item in _mapping(value).items():
            self._add(Symbol("node", name, body), (*path, name), declares=True)
            self._strings(body, item, (*path, name), sizes=True)

    def _node(self, body: Body, node: Mapping[str, Any], path: Path) -> None:
        target = self.target(body, node)
        for key, item in node.items():
            here = (*path, key)
            if key == "block" and isinstance(item, str) and item in self.blocks:
                self._add(Symbol("block", item), here)
            elif key == "call" and isinstance(item, str):
                self._add(Symbol("node", item, self.owner(body, item)), here)
            elif key == "model" and target is not None and target[0].file is not None:
                self._file(Symbol("file", str(item), None, target[0].file), here)
            elif key in ("from", "else"):
                self._references(body, item, here)
                for argument in _mapping(item):  # which for a block is an input of it
                    if target is not None and argument in target[0].names(target[1]):
                        self._add(Symbol("node", argument, target[1], target[0].file), (*here, argument))
            elif key == "compute" and isinstance(item, str):
                self._formula(body, item, here)
            elif key == "wraps" and isinstance(item, dict):
                self._node(body, item, here)
            elif key in ("repeat", "parallel") and isinstance(item, dict):
                for argument, values in item.items():
                    self._argument(target, argument, (*here, argument))
                    if argument == "from":
                        self._references(body, values, (*here, argument))
                    else:
                        self._strings(body, values, (*here, argument))
            elif key not in ("layer", "merge", "op", "model", "module"):
                self._argument(target, key, here)
                self._strings(body, item, here, sizes=key in SIZED)

    def _argument(self, target: Inside | None, key: str, path: Path) -> None:
        """The name of an argument, which for a block or a model is a param of it."""
        if target is not None and key in _mapping(target[0].value(target[1]).get("params")):
            self._add(Symbol("param", key, target[1], target[0].file), path)

    def _outputs(self, body: Body, value: Any, path: Path) -> None:
        if isinstance(value, list):
            for index, name in enumerate(value):
                if isinstance(name, str):
                    self._references(body, name, (*path, index))
        elif isinstance(value, str):
            self._references(body, value, path)
        for name, item in _mapping(value).items():
            written = item if body is not None else _mapping(item).get("from", None)
            if written is None:
                self._add(Symbol("node", name, body), (*path, name))
                continue
            symbol = self.output(body, name)
            self._add(symbol, (*path, name), declares=symbol.kind == "output")
            self._references(body, written, (*path, name) if body is not None else (*path, name, "from"))

    def _sections(self, value: Mapping[str, Any]) -> None:
        """What is outside of bodies: presets, features, what a search varies."""
        params = _mapping(value.get("params"))
        for preset, settings in _mapping(value.get("presets")).items():
            for name in _mapping(settings):
                self._add(Symbol("param", name), ("presets", preset, name))
        search = _mapping(_mapping(value.get("tune")).get("search"))
        for name in (name for name in search if name in params):
            self._add(Symbol("param", name), ("tune", "search", name))
        known = set(_names(value))
        for name in _mapping(_mapping(value.get("data")).get("features")):
            if name in known:
                self._add(Symbol("node", name), ("data", "features", name))
        for section in ("train", "data"):
            self._strings(None, value.get(section), (section,))

    # --- texts

    def _strings(self, body: Body, value: Any, path: Path, sizes: bool = False) -> None:
        """The expressions in all texts of a value, and the sizes that it names."""
        if isinstance(value, str):
            self._expressions(body, value, path)
            size = NAMED_SIZE.fullmatch(value) if sizes else None
            if size is not None and size["name"] in self.sizes:
                self._part(Symbol("size", size["name"]), path, *size.span("name"), body is None)
        elif isinstance(value, dict):
            for key, item in value.items():
                self._strings(body, item, (*path, key), sizes)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                self._strings(body, item, (*path, index), sizes)

    def _references(self, body: Body, value: Any, path: Path) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                self._references(body, item, (*path, key))
        elif isinstance(value, list):
            for index, item in enumerate(value):
                self._references(body, item, (*path, index))
        elif isinstance(value, str):
            self._expressions(body, value, path)
            self._path(body, value, 0, path)

    def _path(self, body: Body, text: str, start: int, path: Path) -> int:
        """A dotted path in a text at an offset; where it ends."""
        head = _NAME.match(text, start)
        if head is None:
            return start + 1
        self._name(Symbol("node", head[0], body), path, head)
        inside, end = self.inside(body, head[0]), head.end()
        while text[end : end + 1] == ".":
            if text.startswith("$(", end + 1):
                stop = closing(text, end + 2)
                end = len(text) if stop is None else stop + 1
            elif step := re.compile(r"\.(-?\d+|\*|\$[A-Za-z_]\w*)").match(text, end):
                end = step.end()
            elif name := _NAME.match(text, end + 1):
                end = name.end()
                if inside is not None:
                    scopes, within = inside
                    symbol = scopes.output(within, name[0])
                    if symbol.kind == "output" or name[0] in scopes.names(within):
                        self._part(symbol, path, *name.span())
                    inside = scopes.inside(within, name[0]) if symbol.kind == "node" else None
            else:
                break
        return end

    def _formula(self, body: Body, text: str, path: Path) -> None:
        self._expressions(body, text, path)
        bare = _blanked(text)
        position = 0
        while match := re.compile(r"(?<![\w.$])[A-Za-z_]\w*", re.ASCII).search(bare, position):
            after = bare[match.end() :].lstrip()
            if after[:1] == "(" or re.match(r"=(?!=)", after):
                position = match.end()
            else:
                position = max(self._path(body, bare, match.start(), path), match.end())

    def _expressions(self, body: Body, value: Any, path: Path) -> None:
        """The params that a text reads, by `$name` and in `$(...)`."""
        if isinstance(value, list | dict):
            return self._strings(body, value, path)
        if not isinstance(value, str) or "$" not in value:
            return None
        position = 0
        while match := re.compile(r"\$(?:(\$)|(\()|([A-Za-z_]\w*))", re.ASCII).search(value, position):
            position = match.end()
            if match[3]:
                self._part(self._param(body, match[3]), path, *match.span(3))
            elif match[2]:
                end = closing(value, match.end() - 1)
                end = len(value) if end is None else end
                self._expression(body, value, match.end(), end, path)
                position = end
        return None

    def _expression(self, body: Body, text: str, start: int, end: int, path: Path) -> None:
        bare = _STRING.sub(lambda match: " " * len(match[0]), text[:end])
        for match in re.compile(r"(?<![\w.])[A-Za-z_]\w*", re.ASCII).finditer(bare, start):
            before, after = bare[: match.start()].rstrip(), bare[match.end() :].lstrip()
            if after[:1] == "(" or match[0] in ("and", "or", "not", "if", "else", "in", "index"):
                continue
            if re.search(r"\b(channels|given|vocabulary)\(\Z", before):
                self._name(Symbol("node", match[0], body), path, match)
            else:
                self._part(self._param(body, match[0]), path, *match.span())

    def _param(self, body: Body, name: str) -> Symbol:
        own = _mapping(_mapping(self.blocks.get(body)).get("params")) if body is not None else {}
        return Symbol("param", name, body if name in own else None)

    # --- places

    def _add(self, symbol: Symbol, path: Path, declares: bool = False) -> None:
        span = self.document.key(path)
        start = self.document.lines[span.line - 1] + span.column - 1
        end = self.document.lines[span.end_line - 1] + span.end_column - 1
        if not declares and self.document.text[start:end].strip("\"'") != symbol.name:
            span = self.document.span(path)
            start = self.document.lines[span.line - 1] + span.column - 1
            end = self.document.lines[span.end_line - 1] + span.end_column - 1
        if self.document.text[start : start + 1] in ("'", '"'):
            start, end = start + 1, end - 1
        if self.document.text[start:end] == symbol.name:
            self.found.append(Occurrence(symbol, start, end, declares))

    def _file(self, symbol: Symbol, path: Path) -> None:
        """The path of a file, wherever it is written."""
        span = self.document.span(path)
        first = self.document.lines[span.line - 1] + span.column - 1
        last = self.document.lines[span.end_line - 1] + span.end_column - 1
        self.found.append(Occurrence(symbol, first, last))

    def _name(self, symbol: Symbol, path: Path, match: re.Match[str]) -> None:
        """A name in a text, if the body has it."""
        if symbol.name in self.names(symbol.body):
            self._part(symbol, path, *match.span())

    def _part(self, symbol: Symbol, path: Path, start: int, end: int, declares: bool = False) -> None:
        span = self.document.within(path, start, end)
        first = self.document.lines[span.line - 1] + span.column - 1
        last = self.document.lines[span.end_line - 1] + span.end_column - 1
        if self.document.text[first:last] == symbol.name:
            self.found.append(Occurrence(symbol, first, last, declares))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _names(value: Mapping[str, Any]) -> Iterator[str]:
    """The inputs, shared entries and nodes of a body."""
    inputs = value.get("inputs")
    yield from (name for name in inputs if isinstance(name, str)) if isinstance(inputs, list | dict) else ()
    for section in ("shared", "nodes"):
        yield from _mapping(value.get(section))


def _sizes(inputs: Any) -> Iterator[str]:
    """The sizes with a name that inputs have."""
    for item in _mapping(inputs).values():
        shape = _mapping(item).get("shape")
        for size in shape if isinstance(shape, list) else ():
            if isinstance(size, str) and (match := NAMED_SIZE.fullmatch(size)):
                yield match["name"]


def _blanked(text: str) -> str:
    """A formula without its texts and expressions, of the same length."""
    bare = _STRING.sub(lambda match: " " * len(match[0]), text)
    position = 0
    while (start := bare.find("$(", position)) >= 0:
        stop = closing(bare, start + 1)
        end = len(bare) if stop is None else stop + 1
        before = bare[start - 1 : start]
        if before == ".":  # of a path: `downs.$(...)`, which goes on
            position = end
            continue
        bare = bare[:start] + " " * (end - start) + bare[end:]
        position = end
    return bare


OWN_KEYS = frozenset([*FORMS, *NODE_KEYS])
"""Keys of every node."""
