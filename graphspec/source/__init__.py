"""Reading YAML: text -> plain values, and the place of every key and value by its path.

The file is read as YAML 1.2 core, from the events of PyYAML's parser, whose own resolution (YAML 1.1) and
construction are not used. So `yes`, `on`, `12:30`, `1_000` and `2001-12-14` are strings, `1e-3` and `.5` are
numbers, `0o17` is 15, and `010` is the ten that it looks like (YAML 1.1 would read eight). A key is its text,
whatever it looks like: `1: x` and `"1": x` are the same key.

Anchors and aliases work within a budget; an alias yields a copy. Tags, merge keys and directives do not.

An expression that YAML cuts in two (`{units: $(max(a, b))}`) is one mistake and not the several that its
pieces would be: the text is parsed again with the expression masked, and goes on with what was meant.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from graphspec.diagnostics import Change, Diagnostic, Diagnostics, Remedy, Span, erase, hidden_in
from graphspec.source.cuts import Cut, blanked
from graphspec.source.places import aligned, line_starts, place
from graphspec.source.reader import MAX_ERRORS, Arguments, Node, Reader, Stop

Path = tuple[str | int, ...]

_BLANKS = re.compile("(?m)(?:^[ \\t]*|[:,{\\[-] *)([\u00a0\u2002-\u200a\u202f\u205f\u3000]+)")
"""Blanks of other kinds where YAML wants spaces."""
MAX_BYTES = 2**20
_MAX_REPARSED = 4 * MAX_BYTES
"""Characters that may be parsed again to go on after expressions that YAML cuts."""


@dataclass(frozen=True, slots=True)
class Document:
    """The content of a file; `value` is made of dict, list, str, int, float, bool and None only."""

    file: str
    text: str
    value: Any
    root: Node = field(repr=False)
    lines: list[int] = field(repr=False)
    grafts: dict[Path, tuple[Document, Path]] = field(default_factory=dict, repr=False)
    """Values that are written elsewhere, by their paths: in which document, and at which path of it."""

    def span(self, path: Path) -> Span:
        """The place of the value at `path`, or of its nearest parent that exists."""
        if self.grafts and (graft := self._grafted(path)) is not None:
            return graft[0].span(graft[1])
        node = self.root
        for step in path:
            below = _below(node, step)
            if below is None:
                break
            node = below[2] if node[2].__class__ is dict else below
        return place(self.file, self.lines, node[0], node[1])

    def within(self, path: Path, start: int, end: int) -> Span:
        """The place of a part of the text at `path`, given by its offsets there; of the whole text where that
        is written with escapes.
        """
        if self.grafts and (graft := self._grafted(path)) is not None:
            return graft[0].within(graft[1], start, end)
        node, value = self.root, self.value
        for step in path:
            below = _below(node, step)
            if below is None:
                return self.span(path)
            node, value = (below[2] if isinstance(node[2], dict) else below), value[step]
        offsets = aligned(self.text[node[0] : node[1]], value) if isinstance(value, str) else None
        if offsets is None:
            return self.span(path)
        inside = [offsets[i] for i in range(start, min(end, len(value))) if i in offsets]
        if not inside:
            return self.span(path)
        return place(self.file, self.lines, node[0] + inside[0][0], node[0] + inside[-1][1])

    def value_ends(self) -> dict[int, int]:
        """The end of each value of a mapping, by the offset at which its key starts."""
        ends, waiting = dict[int, int](), [self.root]
        while waiting:
            children = waiting.pop()[2]
            if isinstance(children, dict):
                for start, _, value in children.values():
                    ends[start] = value[1]
                    waiting.append(value)
            elif isinstance(children, list):
                waiting += children
        return ends

    def key(self, path: Path) -> Span:
        """The place of the key that `path` ends in; that of the value where it ends in an index."""
        if self.grafts and (graft := self._grafted(path)) is not None:
            return graft[0].key(graft[1])
        node = self.root
        for position, step in enumerate(path, 1):
            below = _below(node, step)
            if below is None:
                break
            if node[2].__class__ is dict:
                if position == len(path):
                    return place(self.file, self.lines, below[0], below[1])
                below = below[2]
            node = below
        return place(self.file, self.lines, node[0], node[1])

    def _grafted(self, path: Path) -> tuple[Document, Path] | None:
        """Where the value at a path is written, if not here: it, one that holds it, or one for whose sake it
        was made.
        """
        for length in range(len(path), 0, -1):
            if path[:length] in self.grafts:
                document, start = self.grafts[path[:length]]
                return document, (*start, *path[length:])
        node: Any = self.root
        for step in path:
            below = _below(node, step)
            if below is None:
                return next((at for graft, at in self.grafts.items() if graft[: len(path)] == path), None)
            node = below[2] if isinstance(node[2], dict) else below
        return None


def _below(node: Node, step: str | int) -> Any:
    children = node[2]
    if children.__class__ is dict:
        return children.get(step)
    if isinstance(children, list) and isinstance(step, int) and 0 <= step < len(children):
        return children[step]
    return None


def read(
    text: str | bytes, file: str, diagnostics: Diagnostics, arguments: Arguments | None = None
) -> Document | None:
    """The document in `text`; None if too little of it can be read.

    `arguments` names what a mapping of the text takes, for the help where a value is without its key.
    Errors are added to `diagnostics`. Never raises for any text.
    """
    decoded = _decode(text, file, diagnostics)
    if decoded is None:
        return None
    lines, masked = line_starts(decoded), decoded
    masks: dict[int, Cut] = {}
    parsed = 0
    while True:
        reader = Reader(decoded, file, lines, masks, masked, arguments)
        reader.run()
        # A pass costs something for the whole text, and most for the part that was parsed.
        parsed += reader.reached + len(decoded) // 16
        if not reader.cuts or parsed > _MAX_REPARSED or len(masks) > MAX_ERRORS:
            break
        masks, masked = masks | reader.cuts, blanked(masked, reader.cuts.values())
    for diagnostic in _findings(reader):
        diagnostics.add(diagnostic)
    return None if reader.root is None else Document(file, decoded, reader.value, reader.root, reader.lines)


def _findings(reader: Reader) -> list[Diagnostic]:
    """The findings of the last pass, with the expressions for which there was no other pass."""
    try:
        for cut in reader.cuts.values():
            reader.tell(cut, reader.text[cut.start : cut.end])
    except Stop:
        pass
    return reader.diagnostics


def _decode(text: str | bytes, file: str, diagnostics: Diagnostics) -> str | None:
    def fail(code: str, before: str, length: int, message: str, help: str | None = None) -> None:
        span = place(file, line_starts(before), len(before), len(before))
        span = Span(file, span.line, span.column, span.line, span.column + length)
        diagnostics.add(Diagnostic(code, message, span, help=help))

    size = len(text) if isinstance(text, bytes) else len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        fail("file-too-large", "", 0, f"the file has {size:,} bytes; a spec has at most {MAX_BYTES:,}")
        return None
    if isinstance(text, bytes):
        raw = text
        wide = raw[:2] in (b"\xff\xfe", b"\xfe\xff") or raw[1:4:2] == b"\0\0" or raw[:3:2] == b"\0\0"
        if wide:
            fail("encoding", "", 0, "the file is UTF-16 or UTF-32", "save it as UTF-8")
            return None
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            before = raw[: error.start].decode("utf-8").removeprefix("\ufeff")
            fail(
                "encoding",
                before,
                1,
                f"byte 0x{raw[error.start]:02X} is not UTF-8",
                "save the file as UTF-8",
            )
            return None
    text = text.removeprefix("\ufeff")
    starts = [match.start() for match, _ in zip(hidden_in(text), range(MAX_ERRORS), strict=False)]
    for start in starts:
        message = f"the invisible or control character U+{ord(text[start]):04X} is here"
        fail("control-character", text[:start], 1, message, erase("; in double quotes YAML has escapes"))
    blanks = [] if starts else [at for match in _BLANKS.finditer(text) for at in range(*match.span(1))]
    for start in blanks[:MAX_ERRORS]:
        message = f"a blank that YAML takes for a letter is here, the no-break space U+{ord(text[start]):04X}"
        fail("control-character", text[:start], 1, message, Remedy("write a space", Change(" ")))
    return None if starts or blanks else text
