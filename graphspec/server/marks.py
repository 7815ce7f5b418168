"""Semantic tokens of a text: names and words of the language by their kind, and the files that it names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from graphspec.contract import REGISTRY
from graphspec.server.analysis import Analysis
from graphspec.server.symbols import Symbols, texts
from graphspec.source import Path as Keys

KINDS = {
    "node": "variable",
    "param": "parameter",
    "block": "class",
    "size": "typeParameter",
    "output": "property",
    "layer": "type",
    "merge": "function",
    "op": "function",
}
"""The kinds of words, as the protocol calls them."""
FILES = ("train", "validation", "test", "path", "weights", "annotations")
"""Keys whose texts may be the paths of files."""


def tokens(analysis: Analysis) -> list[tuple[int, int, str, bool]]:
    """Offsets of the words of a text, in their order, with their kinds, and whether they are declared."""
    names = analysis.names
    if names is None or not analysis.current:
        return []
    found = [
        (each.start, each.end, KINDS[each.symbol.kind], each.declares)
        for each in names.occurrences
        if each.symbol.kind in KINDS
    ]
    found += [(start, end, KINDS[kind], False) for start, end, kind in _classes(names)]
    found.sort()
    apart, last = list[tuple[int, int, str, bool]](), 0
    for each in found:  # a param may choose a node: one word, and two names
        if each[0] >= last and "\n" not in analysis.text[each[0] : each[1]]:
            apart.append(each)
            last = each[1]
    return apart


def _classes(names: Symbols) -> Iterator[tuple[int, int, str]]:
    """The names of layers, merges and ops."""
    for section in ("nodes", "shared", "blocks"):
        for text, path in texts(names.document.value.get(section), (section,)):
            kind = path[-1]
            if kind in REGISTRY and text in REGISTRY[kind]:
                yield (*names.place(path, 0, len(text)), str(kind))


def links(analysis: Analysis, folder: Path) -> Iterator[tuple[int, int, Path]]:
    """Offsets of the paths of files that are there, below a folder, and these files."""
    names = analysis.names
    if names is None or not analysis.current:
        return
    for each in names.occurrences:
        if each.symbol.kind == "file" and each.symbol.file is not None:
            yield each.start, each.end, each.symbol.file
    for text, path in _paths(names):
        file = folder / text
        if "\0" not in text and file.is_file():
            yield (*names.place(path, 0, len(text)), file)


def _paths(names: Symbols) -> Iterator[tuple[str, Keys]]:
    for text, path in texts(names.document.value, ()):
        if path[-1] in FILES or path == ("data",):
            yield text, path
