"""A value of a text as another value: the edits, in which what stays keeps its text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from graphspec.diagnostics import Diagnostics
from graphspec.diagnostics.remedy import Where
from graphspec.source import read
from graphspec.source.places import line_end
from graphspec.source.reader import Node
from graphspec.source.writing import write_flow

Placed = tuple[int, int, str]
"""A start, an end, and what stands between them instead."""
_COMMENT = re.compile(r"(?:^|\s)#")
_INDICATORS = re.compile(r"[,\[\]{}\n#]")


@dataclass(frozen=True, slots=True)
class _Held:
    """A value and its node, and whether it is in braces or brackets."""

    value: Any
    node: Node
    in_braces: bool

    def inside(self, text: str) -> Iterator[tuple[tuple[int, int], _Held]]:
        """The entries that it holds, each with the place of its key, or of itself in a list."""
        start, _, children = self.node
        flow = self.in_braces or text[start : start + 1] in ("{", "[")
        if isinstance(children, dict) and isinstance(self.value, dict):
            for key, (first, last, node) in children.items():
                yield (first, last), _Held(self.value[key], node, flow)
        elif isinstance(children, list) and isinstance(self.value, list):
            for item, node in zip(self.value, children, strict=False):
                yield node[:2], _Held(item, node, flow)


def became(text: str, file: str, at: tuple[int, int], new: Any, where: Where) -> list[Placed]:
    """The edits by which the value at a place, or of the key there, becomes `new`; with `around` the mapping
    or list that holds it; with `merged` it gets the entries of `new`. None where a comment would be lost.
    """
    document = read(text, file, Diagnostics())
    waiting = [_Held(document.value, document.root, False)] if document is not None else []
    while waiting:
        holder = waiting.pop()
        for key, held in holder.inside(text):
            if at in (key, held.node[:2]):
                changed = holder if where == "around" else held
                if where == "merged":
                    new = {**held.value, **new} if isinstance(held.value, dict) else held.value
                return list(_edits(text, changed, new, changed) or ())
            waiting.append(held)
    return []


def _edits(text: str, old: _Held, new: Any, whole: _Held) -> list[Placed] | None:
    """The edits by which a value becomes `new`, whose parts have the texts that they have in `whole`; None
    where there are none that keep all comments.
    """
    start, end, children = old.node
    braces = text[start : start + 1] in ("{", "[")
    if not (isinstance(children, dict) and isinstance(new, dict) and children.keys() & new.keys()):
        if _COMMENT.search(text, start, end):
            return None
        if isinstance(new, dict) and children is not None and not (braces or old.in_braces):
            lines = (f"{write_flow(key)}: {_text(text, item, whole)}" for key, item in new.items())
            return [(start, end, _indent(text, start).join(lines))]
        return [(start, end, _text(text, new, whole))]
    if braces or old.in_braces:
        if _COMMENT.search(text, start, end):
            return None
        parts = [
            text[children[key][0] : children[key][2][1]]
            if key in children and _same(old.value[key], item)
            else f"{write_flow(key)}: {_text(text, item, whole)}"
            for key, item in new.items()
        ]
        return [(start, end, f"{{{', '.join(parts)}}}")]
    return _in_block(text, old, new, whole)


def _in_block(text: str, old: _Held, new: dict[str, Any], whole: _Held) -> list[Placed] | None:
    """The same for a mapping with a line for each key: what is new takes the place of the first that goes."""
    children = old.node[2]
    indent = _indent(text, old.node[0])
    added = [
        f"{write_flow(key)}: {_text(text, item, whole)}" for key, item in new.items() if key not in children
    ]
    gone = [children[key] for key in children if key not in new]
    edits: list[Placed] = []
    for position, (start, _, node) in enumerate(gone):
        if _COMMENT.search(text, start, node[1]):
            return None
        if position == 0 and added:
            edits.append((start, node[1], indent.join(added)))
            continue
        line, stop = text.rfind("\n", 0, start) + 1, line_end(text, node[1], len(text))
        if text[line:start].strip() or text[node[1] : stop].strip():
            return None
        edits.append((line, min(stop + 1, len(text)), ""))
    if added and not gone:
        stop = line_end(text, old.node[1], len(text))
        edits.append((stop, stop, indent + indent.join(added)))
    for key in children.keys() & new.keys():
        held = _Held(old.value[key], children[key][2], old.in_braces)
        if not _same(held.value, new[key]):
            inner = _edits(text, held, new[key], whole)
            if inner is None:
                return None
            edits += inner
    return sorted(edits)


def _indent(text: str, start: int) -> str:
    """A new line that begins in the column of an offset."""
    ends = "\r\n" if "\r\n" in text else "\n"
    return ends + re.sub(r"[^ ]", " ", text[text.rfind("\n", 0, start) + 1 : start])


def _same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and bool(a == b)


def _text(text: str, value: Any, whole: _Held) -> str:
    """A value on one line, each part as it is written in `whole`, if it is there."""
    for held in _within(text, whole):
        if _same(held.value, value):
            written = text[held.node[0] : held.node[1]]
            quoted = written[:1] in ("'", '"', "{", "[") and "\n" not in written
            if written and (
                quoted or (not isinstance(value, dict | list) and not _INDICATORS.search(written))
            ):
                return written
    if isinstance(value, dict):
        entries = (f"{write_flow(key)}: {_text(text, item, whole)}" for key, item in value.items())
        return f"{{{', '.join(entries)}}}"
    if isinstance(value, list):
        return f"[{', '.join(_text(text, item, whole) for item in value)}]"
    return write_flow(value)


def _within(text: str, held: _Held) -> Iterator[_Held]:
    """The parts of a value, and it itself last."""
    for _, inner in held.inside(text):
        yield from _within(text, inner)
    yield held
