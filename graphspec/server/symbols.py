"""Where the names of a spec are declared and read: in references, expressions, formulas, dotted paths, and in
what trains and searches. Whoever renames, looks up or completes a name asks here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from graphspec.diagnostics import Span
from graphspec.expressions import closing
from graphspec.server.scopes import Body, Inside, Models, Scopes, Symbol, mapping, sized
from graphspec.source import Document, Path


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A place where a name is written: offsets in the text, and whether it is declared there."""

    symbol: Symbol
    start: int
    end: int
    declares: bool = False


@dataclass(frozen=True, slots=True)
class _Choice:
    """A value in place of a name, which a param may choose: of a block, of a node that the body `within` has,
    or of what is `inner` to a path. `body` reads the params; `start` is its place in the text at `path`.
    """

    kind: str
    within: Body
    body: Body
    text: str
    path: Path
    start: int = 0


_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_BARE = re.compile(r"(?<![\w.$])[A-Za-z_]\w*", re.ASCII)
_STRING = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"")


FORMULAS = ("compute", "update")
"""Keys of nodes whose texts are formulas."""
REFERRING = ("from", "else", "like")
"""Keys of nodes whose texts are references."""
MATCHING = ("match", "freeze", "update")
"""Keys of `train` whose texts are patterns of weights."""
MEASURED = ("monitor", "objective")
"""Keys of `train` and `tune` whose texts are values of an epoch."""


class Symbols(Scopes):
    """The occurrences of a document, which are looked for when they are asked for."""

    def __init__(self, document: Document, models: Models | None = None):
        super().__init__(document, models)
        self._found: list[Occurrence] = []
        self._keys: dict[Path, Symbol] = {}
        """The names that keys are, by the path of the key."""
        self._choices: list[_Choice] = []
        self._given: dict[Symbol, list[tuple[Body, Any, Path]]] = {}
        """The values that nodes give to params of blocks: the body of the node, the value and its path."""

    @cached_property
    def occurrences(self) -> list[Occurrence]:
        """All names, in the order of the text."""
        value = self.document.value
        self._body(None, value, ())
        for name, block in self.blocks.items():
            self._add(Symbol("block", name), ("blocks", name), declares=True)
            self._body(name, mapping(block), ("blocks", name))
        self._sections(value)
        for choice in self._choices:
            self._choose(choice)
        return sorted(set(self._found), key=lambda each: (each.start, each.end))

    def at(self, offset: int) -> Occurrence | None:
        """The name at an offset, or just before it."""
        here = [each for each in self.occurrences if each.start <= offset <= each.end]
        return min(here, key=lambda each: (offset == each.end, each.end - each.start), default=None)

    def of(self, symbol: Symbol) -> list[Occurrence]:
        """All places of a name."""
        return self._places.get(symbol, [])

    def reads(self, block: str, symbol: Symbol) -> bool:
        """Whether a block has a name in it."""
        start, end = self._offsets(self.document.span(("blocks", block)))
        return any(start <= each.start < end for each in self.of(symbol))

    def beside(self, symbol: Symbol) -> Symbol | None:
        """Another thing that is meant where a name is written: a param can choose one in each body."""
        places = {(each.start, each.end) for each in self.of(symbol)}
        both = (each.symbol for each in self.occurrences if (each.start, each.end) in places)
        return next((each for each in both if each != symbol), None)

    @cached_property
    def _places(self) -> dict[Symbol, list[Occurrence]]:
        places: dict[Symbol, list[Occurrence]] = {}
        for each in self.occurrences:
            places.setdefault(each.symbol, []).append(each)
        return places

    # --- one body

    def _body(self, body: Body, value: Mapping[str, Any], path: Path) -> None:
        for key, item in value.items():  # any value may read params
            for text, here in texts(item, (*path, key)) if body is not None or key != "blocks" else ():
                self._expressions(body, text, here)
        for name in mapping(value.get("params")):
            self._add(Symbol("param", name, body), (*path, "params", name), declares=True)
        self._inputs(body, value.get("inputs"), (*path, "inputs"))
        for section in ("shared", "nodes"):
            for name, node in mapping(value.get(section)).items():
                self._add(Symbol("node", name, body), (*path, section, name), declares=True)
                if isinstance(node, dict):
                    self._node(body, node, (*path, section, name))
        for edge, here in texts(value.get("edges"), (*path, "edges")):
            self._paths(body, edge, here)
        self._outputs(body, value.get("outputs"), (*path, "outputs"))

    def _inputs(self, body: Body, value: Any, path: Path) -> None:
        if isinstance(value, list):
            for index, name in enumerate(value):
                if isinstance(name, str):
                    self._add(Symbol("node", name, body), (*path, index), declares=True)
            return
        for name, item in mapping(value).items():
            self._add(Symbol("node", name, body), (*path, name), declares=True)
            self._sized(mapping(item).get("shape"), (*path, name, "shape"), declares=body is None)

    def _node(self, body: Body, node: Mapping[str, Any], path: Path) -> None:
        target = self.target(body, node)
        sizes = sized(node)
        for key, item in node.items():
            here = (*path, key)
            if key == "block" and isinstance(item, str):
                if item in self.blocks:
                    self._add(Symbol("block", item), here)
                self._choices += [_Choice("block", None, body, item, here)]
            elif key in ("call", "average_of") and isinstance(item, str):
                self._add(Symbol("node", item, self.owner(body, item)), here)
            elif key == "model" and target is not None and target[0].file is not None:
                self._file(Symbol("file", str(item), None, target[0].file), here)
            elif key in REFERRING:
                self._references(body, item, here)
                for argument in mapping(item):  # which for a block is an input of it
                    if target is not None and argument in target[0].names(target[1]):
                        self._add(Symbol("node", argument, target[1], target[0].file), (*here, argument))
            elif key in FORMULAS and isinstance(item, str):
                self._paths(body, _formula(item), here, calls=True)
            elif key == "wraps" and isinstance(item, dict):
                self._node(body, item, here)
            elif key in ("repeat", "parallel") and isinstance(item, dict):
                for argument, values in item.items():
                    self._argument(target, body, argument, values, (*here, argument))
                    if argument == "from":
                        self._references(body, values, (*here, argument))
            elif key in sizes:
                self._sized(item, here)
            elif key not in ("layer", "merge", "op", "model", "module"):
                self._argument(target, body, key, item, here)

    def _argument(self, target: Inside | None, body: Body, key: str, value: Any, path: Path) -> None:
        """An argument, whose name for a block or a model is a param of it."""
        if target is not None and key in mapping(target[0].value(target[1]).get("params")):
            symbol = Symbol("param", key, target[1], target[0].file)
            self._add(symbol, path)
            self._given.setdefault(symbol, []).append((body, value, path))

    def _outputs(self, body: Body, value: Any, path: Path) -> None:
        if isinstance(value, list | str):
            self._references(body, value, path)
        for name, item in mapping(value).items():
            if "block" in (loss := mapping(mapping(item).get("loss"))):
                self._node(None, loss, (*path, name, "loss"))
            written = item if body is not None else mapping(item).get("from", None)
            if written is None:
                self._add(Symbol("node", name, body), (*path, name))
                continue
            symbol = self.output(body, name)
            self._add(symbol, (*path, name), declares=symbol.kind == "output")
            self._references(body, written, (*path, name) if body is not None else (*path, name, "from"))

    # --- what is outside of bodies

    def _sections(self, value: Mapping[str, Any]) -> None:
        for preset, settings in mapping(value.get("presets")).items():
            for name in mapping(settings):
                self._setting(name, ("presets", preset, name))
        for name, item in mapping(mapping(value.get("tune")).get("search")).items():
            self._setting(name, ("tune", "search", name))
            words = name.split(".")
            if len(words) > 1 and words[-1] in ("block", *REFERRING):
                within = words[1] if words[0] == "blocks" else None
                kind = "block" if words[-1] == "block" else "node"
                for text, path in texts(item, ("tune", "search", name)):
                    self._word(kind, within, text, path, 0)
        for name in mapping(mapping(value.get("data")).get("features")):
            if (symbol := self.field(name)) is not None:
                self._add(symbol, ("data", "features", name))
        for name, item in mapping(value.get("outputs")).items():
            target = mapping(item).get("target")
            if isinstance(target, str) and (symbol := self.field(target)) is not None:
                self._part(symbol, ("outputs", name, "target"), 0, len(target))
        for section in ("train", "tune"):
            for text, path in texts(value.get(section), (section,)):
                key = next(step for step in reversed(path) if isinstance(step, str))
                if key in MATCHING:
                    self._pattern(text, path)
                elif key in MEASURED:
                    self._value(text, path)
                elif key == "outputs":
                    self._output(text, 0, path)
                elif key == "bucket":
                    self._sized(text, path)

    def _setting(self, name: str, path: Path) -> None:
        """A key that names a setting by its dotted path, or a param by its name."""
        start, at = 0, ("params",) if "." not in name else ()
        for word in name.split("."):
            at = (*at, word)
            symbol = self._keys.get(at)
            if symbol is not None:
                span = self.document.key(path)
                first = self._offset(span.line, span.column)
                first += start + (self.document.text[first : first + 1] in ("'", '"'))
                self._keep(symbol, first, first + len(word))
            start += len(word) + 1

    def _pattern(self, text: str, path: Path) -> None:
        """A pattern of weights: the path of a node, which stars may follow."""
        head = _NAME.match(text)
        if head is not None and text[head.end() : head.end() + 1] in ("", "."):
            self._path(None, text, 0, path)

    def _value(self, text: str, path: Path) -> None:
        """A value of an epoch: `val_age_loss`, of an output `age`."""
        outputs = mapping(self.value(None).get("outputs"))
        rest = text.removeprefix("val_")
        known = [name for name in outputs if rest.startswith(f"{name}_")] if len(outputs) > 1 else []
        if known:
            self._output(max(known, key=len), len(text) - len(rest), path)

    def _output(self, name: str, start: int, path: Path) -> None:
        """The name of an output at an offset of a text."""
        if name in mapping(self.value(None).get("outputs")):
            self._part(self.output(None, name), path, start, start + len(name))

    # --- texts

    def _sized(self, value: Any, path: Path, declares: bool = False) -> None:
        """The sizes that the texts of a value name."""
        for text, here in texts(value, path):
            for match in _BARE.finditer(text):
                if match[0] in self.sizes:
                    self._part(Symbol("size", match[0]), here, *match.span(), declares)

    def _references(self, body: Body, value: Any, path: Path) -> None:
        for text, here in texts(value, path):
            self._path(body, text, 0, here)
            self._choices += [_Choice("node", body, body, text, here)]

    def _path(self, body: Body, text: str, start: int, path: Path) -> int:
        """A dotted path in a text at an offset; where it ends."""
        head = _NAME.match(text, start)
        if head is None:
            return start + 1
        self._name(Symbol("node", head[0], body), path, head)
        inside, end = self.inside(body, head[0]), head.end()
        while text[end : end + 1] == ".":
            first = end + 1
            if text.startswith("$(", end + 1):
                stop = closing(text, end + 2)
                end = len(text) if stop is None else stop + 1
            elif step := re.compile(r"\.(-?\d+|\*|\$[A-Za-z_]\w*)").match(text, end):
                end = step.end()
            elif name := _NAME.match(text, end + 1):
                end = name.end()
                if inside is not None:
                    scopes, within = inside
                    symbol = scopes.part(within, name[0])
                    if symbol is not None:
                        self._part(symbol, path, *name.span())
                    is_node = symbol is not None and symbol.kind == "node"
                    inside = scopes.inside(within, name[0]) if is_node else None
            else:
                break
            if inside is not None and inside[0] is self and text[first] == "$":
                self._choices += [_Choice("inner", inside[1], body, text[first:end], path, first)]
        return end

    # --- names that params choose

    def _choose(self, choice: _Choice) -> None:
        """The names that a value in place of a name may be."""
        for text, path, start in self._chosen(choice.body, choice.text, choice.path, choice.start, set()):
            self._word(choice.kind, choice.within, text, path, start)

    def _word(self, kind: str, within: Body, text: str, path: Path, start: int) -> None:
        """The name that begins at an offset of a text, of the kinds that a choice has."""
        name = _NAME.match(text, start)
        if name is None:
            return
        if kind == "node":
            self._path(within, text, start, path)
        elif kind == "inner" and (symbol := self.part(within, name[0])) is not None:
            self._part(symbol, path, *name.span())
        elif kind == "block" and name[0] in self.blocks:
            self._part(Symbol("block", name[0]), path, *name.span())

    def _chosen(
        self, body: Body, text: str, path: Path, start: int, seen: set[Symbol]
    ) -> Iterator[tuple[str, Path, int]]:
        """The texts that a value may be, if it is `$name` or an expression: each as a text and where in it
        the name begins. `start` is where the value begins in the text at its path.
        """
        match = re.compile(r"\$[A-Za-z_]\w*\Z", re.ASCII).match(text)
        if match is None and not (text.startswith("$(") and closing(text, 1) == len(text) - 1):
            return
        padded = " " * start + text
        for string in _STRING.finditer(padded):
            yield padded, path, string.start() + 1
        params = mapping(self.value(body).get("params"))
        for word in re.finditer(r"(?<![\w.])[A-Za-z_]\w*", _STRING.sub("", text)):
            symbol = Symbol("param", word[0], body if word[0] in params else None)
            if symbol in seen or word[0] not in self.params(body):
                continue
            seen.add(symbol)
            for reader, value, there in self._values(symbol):
                for item, here in texts(value, there):
                    if "$" in item:
                        yield from self._chosen(reader, item, here, 0, seen)
                    else:
                        yield item, here, 0

    def _values(self, param: Symbol) -> Iterator[tuple[Body, Any, Path]]:
        """All values of a param: the body that gives it, the value and its path."""
        section: Path = ("params",) if param.body is None else ("blocks", param.body, "params")
        yield (
            param.body,
            mapping(self.value(param.body).get("params")).get(param.name),
            (*section, param.name),
        )
        yield from self._given.get(param, ())
        if param.body is None:
            value = self.value(None)
            for preset, settings in mapping(value.get("presets")).items():
                yield None, mapping(settings).get(param.name), ("presets", preset, param.name)
            search = mapping(mapping(value.get("tune")).get("search"))
            yield None, search.get(param.name), ("tune", "search", param.name)

    def _paths(self, body: Body, text: str, path: Path, calls: bool = False) -> None:
        """The dotted paths in edges, or in the bare text of a formula, which `calls` functions."""
        position = 0
        while match := _BARE.search(text, position):
            after = text[match.end() :].lstrip() if calls else ""
            if after[:1] == "(" or re.match(r"=(?!=)", after):
                position = match.end()
            else:
                position = max(self._path(body, text, match.start(), path), match.end())

    def _expressions(self, body: Body, value: str, path: Path) -> None:
        """The params that a text reads, by `$name` and in `$(...)`."""
        if "$" not in value:
            return
        position = 0
        while match := re.compile(r"\$(?:(\$)|(\()|([A-Za-z_]\w*))", re.ASCII).search(value, position):
            position = match.end()
            if match[3]:
                self._param(body, match[3], path, match.span(3))
            elif match[2]:
                end = closing(value, match.end() - 1)
                end = len(value) if end is None else end
                self._expression(body, value, match.end(), end, path)
                position = end

    def _expression(self, body: Body, text: str, start: int, end: int, path: Path) -> None:
        bare = _STRING.sub(lambda match: " " * len(match[0]), text[:end])
        for match in re.compile(r"(?<![\w.])[A-Za-z_]\w*", re.ASCII).finditer(bare, start):
            before, after = bare[: match.start()].rstrip(), bare[match.end() :].lstrip()
            if after[:1] == "(" or match[0] in ("and", "or", "not", "if", "else", "in", "index"):
                continue
            if re.search(r"\b(channels|given|vocabulary)\(\Z", before):
                self._name(Symbol("node", match[0], body), path, match)
            else:
                self._param(body, match[0], path, match.span())

    def _param(self, body: Body, name: str, path: Path, span: tuple[int, int]) -> None:
        """A param that is read, of a block or of the file, if there is one."""
        params = mapping(mapping(self.blocks.get(body)).get("params")) if body is not None else {}
        if name in self.params(body):
            self._part(Symbol("param", name, body if name in params else None), path, *span)

    # --- places

    def _offset(self, line: int, column: int) -> int:
        return self.document.lines[line - 1] + column - 1

    def _offsets(self, span: Span) -> tuple[int, int]:
        return self._offset(span.line, span.column), self._offset(span.end_line, span.end_column)

    def _keep(self, symbol: Symbol, start: int, end: int, declares: bool = False) -> bool:
        """Keeps a place where a name is written as it is; one in an alias or a file that is merged is not."""
        written = self.document.text[start:end] == symbol.name
        if written:
            self._found.append(Occurrence(symbol, start, end, declares))
        return written

    def _add(self, symbol: Symbol, path: Path, declares: bool = False) -> None:
        """A name that is the key at a path, or else the value."""
        for span in (self.document.key(path), self.document.span(path)):
            start, end = self._offsets(span)
            if self.document.text[start : start + 1] in ("'", '"'):
                start, end = start + 1, end - 1
            if self._keep(symbol, start, end, declares):
                self._keys.setdefault(path, symbol)
                return
            if declares:
                return

    def _file(self, symbol: Symbol, path: Path) -> None:
        """The path of a file, wherever it is written."""
        self._found.append(Occurrence(symbol, *self._offsets(self.document.span(path))))

    def _name(self, symbol: Symbol, path: Path, match: re.Match[str]) -> None:
        """A name in a text, if the body has it."""
        if symbol.name in self.names(symbol.body):
            self._part(symbol, path, *match.span())

    def _part(self, symbol: Symbol, path: Path, start: int, end: int, declares: bool = False) -> None:
        self._keep(symbol, *self.place(path, start, end), declares)

    def place(self, path: Path, start: int, end: int) -> tuple[int, int]:
        """Where a part of the text at a path is written: its offsets in the document."""
        return self._offsets(self.document.within(path, start, end))


def texts(value: Any, path: Path) -> Iterator[tuple[str, Path]]:
    """The texts in a value, each with its path."""
    if isinstance(value, str):
        yield value, path
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from texts(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from texts(item, (*path, index))


def _formula(text: str) -> str:
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
