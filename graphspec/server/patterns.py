"""Patterns of weights when a name changes: what `train` freezes, updates and groups stays the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from os.path import realpath

from graphspec.graph import Graph
from graphspec.server.scopes import Symbol
from graphspec.server.symbols import MATCHING, Symbols, texts
from graphspec.source import Path
from graphspec.weights import key_prefix

Keys = list[tuple[str, str]]
"""Paths of weights, and of the layers that hold them, each with that after a rename."""
Edits = list[tuple[int, int, str]]
"""Texts in place of what lies between two offsets."""

PARTS = ("exclude_layers",)
"""Keys of `train` whose texts are parts of the paths of weights."""


@dataclass(frozen=True, slots=True)
class Reread:
    """A pattern that would mean other weights, and the edits with which it does not, or None."""

    text: str
    edits: Edits | None

    @property
    def reason(self) -> str:
        return f"the pattern `{self.text}` of weights would match others: write the name in it whole"


def reread(names: Symbols, symbol: Symbol, name: str, graph: Graph | None) -> Iterator[Reread]:
    """The patterns of a document that would mean other weights when all places of a symbol read `name`.
    `graph` is what the document says, None of one with mistakes.
    """
    if symbol.kind != "node" or name == symbol.name:
        return
    keys = _likely(symbol.name, name) if graph is None else list(_keys(graph, symbol, name, graph))
    for section in ("train", "tune"):
        for text, path in texts(names.value(None).get(section), (section,)):
            key = next(step for step in reversed(path) if isinstance(step, str))
            if key in (*MATCHING, *PARTS) and "$" not in text:
                change = _changed(names, symbol, name, keys, text, path, key in PARTS)
                if change is not None:
                    yield change


def _changed(
    names: Symbols, symbol: Symbol, name: str, keys: Keys, text: str, path: Path, part: bool
) -> Reread | None:
    """A pattern at a path, if it would mean other weights."""

    def means(after: str) -> bool:
        """Whether a pattern means after the rename what `text` means before."""
        if part:
            return all((text in old) == (after in new) for old, new in keys)
        return all(fnmatchcase(old, text) == fnmatchcase(new, after) for old, new in keys)

    known = {each.start for each in names.of(symbol)}
    words = [match.start() for match in re.finditer(rf"(?<![^.]){re.escape(symbol.name)}(?![^.])", text)]
    places = {start: names.place(path, start, start + len(symbol.name)) for start in words}
    if means(_with(text, symbol.name, name, [word for word in words if places[word][0] in known])):
        return None
    written = all(names.document.text[slice(*place)] == symbol.name for place in places.values())
    if not written or not means(_with(text, symbol.name, name, words)):
        return Reread(text, None)
    return Reread(text, [(*place, name) for place in places.values() if place[0] not in known])


def _with(text: str, old: str, new: str, starts: list[int]) -> str:
    """A text with another word at some places."""
    for start in reversed(starts):
        text = text[:start] + new + text[start + len(old) :]
    return text


def _keys(
    graph: Graph, symbol: Symbol, name: str, root: Graph, before: str = "", after: str = ""
) -> Iterator[tuple[str, str]]:
    file = root.definition.file if symbol.file is None else symbol.file
    declares = graph.definition.block == symbol.body and realpath(graph.definition.file) == realpath(file)
    for unit in graph.units:
        renamed = replace(unit, name=name) if declares and unit.name == symbol.name else unit
        old, new = key_prefix(before, unit), key_prefix(after, renamed)
        inside = unit.first_call.graph
        if inside is not None:
            yield from _keys(inside, symbol, name, root, old, new)
            continue
        yield old.removesuffix("."), new.removesuffix(".")
        # of a custom module the keys are known when it is made
        leaves = [weight.name for weight in unit.first_call.weights()] or ["weight"]
        yield from ((old + leaf, new + leaf) for leaf in leaves)


def _likely(old: str, new: str) -> Keys:
    """The paths that the weights of a node may have."""
    ends = ("", ".weight", ".bias", ".0.weight", ".inner.weight")
    return [(f"{start}{old}{end}", f"{start}{new}{end}") for start in ("", "outer.") for end in ends]
