"""Where the cursor is, in a text that may be half typed: the keys around it, and what is begun there."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_ENTRY = re.compile(r"(\"[^\"]*\"|'[^']*'|[^\s:{}\[\],#'\"-][^:{}\[\],#]*?)[ \t]*:(?:[ \t]+|\Z)")

_WHOLE = re.compile(r"\{(?:[^{}\[\]'\"#]|\"[^\"\\]*\"|'[^']*')*\}\Z|\[[^{}\[\]'\"#]*\]\Z")
"""A collection of plain values that ends on its line, as most nodes are."""
_SCALAR = re.compile(r"[|>][-+\d]*\Z")
"""Matches the mark of a text on the lines below."""


@dataclass(slots=True)
class _Frame:
    """A collection that is open. `entries` are its keys with their values as written, `key` the last of
    them."""

    kind: str  # block, dash, { or [
    indent: int
    entries: dict[str, str] = field(default_factory=dict)
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Cursor:
    """`path` leads to the mapping around the cursor. `key` is that of the value that is written there, or
    None where a key is; the value is an item of it `in_list`. `begun` is its text up to the cursor, `entries`
    what the mapping has already, `outer` what the one around it has.
    """

    path: tuple[str, ...]
    key: str | None
    begun: str
    entries: dict[str, str]
    in_list: bool = False
    outer: dict[str, str] = field(default_factory=dict)

    @property
    def word(self) -> str:
        """The word that is begun."""
        match = re.search(r"[\w./$-]*\Z", self.begun)
        return match[0] if match is not None else ""


def cursor_at(text: str, offset: int) -> Cursor:
    """Where an offset of a text is. Lists are steps `-` of the path."""
    frames = [_Frame("block", 0)]
    begun = ""
    start = 0
    for line in re.split(r"(?<=\n)", text[:offset]):
        start += len(line)
        last = start >= offset and not line.endswith("\n")
        line = line.rstrip("\r\n")
        if frames[-1].kind in "{[":
            begun = _flow(frames, line, begun)
        elif line.strip() or last:
            begun = _line(frames, line)
    if not text[:offset] or text[:offset].endswith("\n"):
        begun = _line(frames, "") if frames[-1].kind not in "{[" else begun
    top = frames[-1]
    if top.kind == "block":
        _after(top, text, offset)
    in_list = top.kind in ("[", "dash") and len(frames) > 1
    if in_list:
        frames.pop()
    path = tuple(frame.key or "-" for frame in frames[:-1])
    outer = next((frame.entries for frame in frames[-2::-1] if frame.kind in ("block", "{")), {})
    return Cursor(path, frames[-1].key, begun, frames[-1].entries, in_list, outer)


def _line(frames: list[_Frame], line: str) -> str:
    """Reads a line outside of brackets; the text that is begun at its end."""
    body = line.lstrip(" ")
    column = len(line) - len(body)
    if body.startswith("#"):
        return ""
    _leave(frames, column, body.startswith("- "))
    top = frames[-1]
    if column > top.indent and top.key is not None and _SCALAR.match(top.entries.get(top.key, "")):
        return body
    while re.match(r"- |-\Z", body):
        if not (frames[-1].kind == "dash" and frames[-1].indent == column):
            frames.append(_Frame("dash", column))
        frames[-1].key = "-"
        rest = body[1:].lstrip(" ")
        column += len(body) - len(rest)
        body = rest
        if _ENTRY.match(body):
            frames.append(_Frame("block", column))
    if frames[-1].kind == "block" and column > frames[-1].indent and frames[-1].key is not None:
        frames.append(_Frame("block", column))
    top = frames[-1]
    match = _ENTRY.match(body)
    if match is not None and top.kind == "block":
        top.key = match[1].strip("\"'")
        value = body[match.end() :]
        top.entries[top.key] = value.strip()
        return _value(frames, value)
    if top.kind == "block":
        top.key = None
        return body
    return _value(frames, body)


def _leave(frames: list[_Frame], column: int, dash: bool) -> None:
    """Ends the collections that a line in this column is not part of."""
    while len(frames) > 1:
        top = frames[-1]
        if top.indent < column or (top.indent == column and (top.kind == "dash") == dash):
            return
        frames.pop()


def _value(frames: list[_Frame], text: str) -> str:
    if text[:1] not in ("{", "["):
        return text
    if _WHOLE.match(text):
        return ""
    return _flow(frames, text, "")


def _flow(frames: list[_Frame], text: str, begun: str) -> str:
    """Reads text in brackets; what is begun at its end."""
    position, depth, quote = 0, 0, ""
    for position, char in enumerate(text):
        top = frames[-1]
        if quote:
            quote = "" if char == quote else quote
            begun += char
        elif char in "'\"" and not begun.strip():
            quote = char
            begun += char
        elif char == "#" and (position == 0 or text[position - 1] == " "):
            break
        elif char in "(" or depth:
            depth += (char == "(") - (char == ")")
            begun += char
        elif char in "{[":
            frames.append(_Frame(char, top.indent + 2))
            begun = ""
        elif char in "}]" and top.kind in "{[":
            _store(top, begun)
            frames.pop()
            begun = ""
            if frames[-1].kind not in "{[":
                return text[position + 1 :]
        elif char == ",":
            _store(top, begun)
            if top.kind == "{":
                top.key = None
            begun = ""
        elif char == ":" and top.kind == "{" and text[position + 1 : position + 2] in ("", " "):
            top.key = begun.strip().strip("\"'")
            top.entries[top.key] = ""
            begun = ""
        else:
            begun += char
    return begun.lstrip(" ")


def _store(frame: _Frame, begun: str) -> None:
    if frame.kind == "{" and frame.key is not None and begun.strip():
        frame.entries[frame.key] = begun.strip()


def _after(top: _Frame, text: str, offset: int) -> None:
    """Adds the entries of a mapping that follow the cursor."""
    for line in text[offset:].split("\n")[1:]:
        body = line.lstrip(" ")
        column = len(line) - len(body)
        if not body or body.startswith("#"):
            continue
        if column < top.indent:
            return
        if column == top.indent and (match := _ENTRY.match(body)) is not None:
            top.entries.setdefault(match[1].strip("\"'"), body[match.end() :].strip())
