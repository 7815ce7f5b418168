"""The shape of a document: an outline of what it declares, ranges that fold, hints with types."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from graphspec.server.analysis import Analysis, shape
from graphspec.server.scopes import Symbol
from graphspec.source.reader import Node


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the outline: offsets of the whole entry and of its name."""

    name: str
    detail: str
    start: int
    end: int
    name_end: int
    below: tuple[Entry, ...] = ()


SECTIONS = ("params", "inputs", "blocks", "shared", "nodes", "outputs")
"""Sections whose entries are listed."""


def outline(analysis: Analysis) -> list[Entry]:
    """The sections of a file, and below each the names that it declares."""
    document = analysis.document
    if document is None or not analysis.current or not isinstance(document.root[2], dict):
        return []
    return [_entry(name, child, name in SECTIONS) for name, child in document.root[2].items()]


def _entry(name: str, child: tuple[int, int, Node], listed: bool) -> Entry:
    start, name_end, node = child
    children = node[2] if listed and isinstance(node[2], dict) else {}
    below = []
    for key, inner in children.items():
        deeper = inner[2][2]
        block = name == "blocks" and isinstance(deeper, dict)
        entry = _entry(key, inner, False)
        parts = tuple(_entry(k, c, k in SECTIONS) for k, c in deeper.items()) if block else ()
        below.append(Entry(entry.name, entry.detail, entry.start, entry.end, entry.name_end, parts))
    return Entry(name, "", start, max(node[1], name_end), name_end, tuple(below))


def folds(analysis: Analysis) -> Iterator[tuple[int, int]]:
    """The first and the last offset of each entry over several lines."""
    document = analysis.document
    if document is None or not analysis.current:
        return
    stack: list[Node] = [document.root]
    while stack:
        children = stack.pop()[2]
        if isinstance(children, dict):
            for start, _, node in children.values():
                if "\n" in document.text[start : node[1]]:
                    yield start, node[1]
                stack.append(node)
        elif isinstance(children, list):
            stack += children


def hints(analysis: Analysis) -> Iterator[tuple[int, str]]:
    """For each node the offset at the end of its first line, or of the node if others follow there, and its
    type.
    """
    names = analysis.names
    if names is None or not analysis.current:
        return
    ends = names.document.value_ends()
    text = analysis.text
    for (body, name), ops in analysis.nodes.items():
        declared = next((each for each in names.of(Symbol("node", name, body)) if each.declares), None)
        op = next((each for each in reversed(ops) if each.present and each.outputs), None)
        if declared is None or op is None:
            continue
        end = text.find("\n", declared.end)
        end = len(text) if end < 0 else end
        own_end = ends.get(declared.start, end)
        if own_end < end and (rest := text[own_end : own_end + _NEAR].lstrip(" }]").partition("\n")[0]):
            end = end if rest.startswith("#") else own_end
        while text[end - 1] in " \t\r":
            end -= 1
        yield end, f"-> {shape(op.output.tensor)}"


_NEAR = 200
"""Characters after a node that say whether another follows on its line."""
