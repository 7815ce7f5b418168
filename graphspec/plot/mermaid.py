"""A picture as Mermaid text, for pages that render it themselves."""

from __future__ import annotations

from collections.abc import Iterator

from graphspec.plot.picture import TIMES, Box, Edge, Picture
from graphspec.plot.words import heading, second

SHAPES = {
    "input": ("([", "])"),
    "output": ("([", "])"),
    "shared": ("[(", ")]"),
    "parameter": ("[(", ")]"),
    "constant": ("[(", ")]"),
    "merge": ("{{", "}}"),
    "compute": ("{{", "}}"),
    "block": ("[[", "]]"),
    "model": ("[[", "]]"),
    "section": ("[[", "]]"),
}
"""The brackets around the text of a box; a plain rectangle for the others."""
PLAIN = f" _.,·…[]()+-=/:{TIMES}"
"""Characters that mean nothing in a label, besides letters and digits."""


def mermaid(body: Picture, right: bool = False) -> str:
    """The text of a flowchart, from top to bottom or to the `right`. An open group is a subgraph.

    Mermaid draws arrows into a subgraph across its title. So a subgraph has no title: its first node shows
    the name and takes the first input, and the other inputs have nodes of their own.
    """
    names: dict[int, str] = {}
    head = f"flowchart {'LR' if right else 'TD'}"
    return "\n".join([head, *_nodes(body, names, 1), *_edges(body, names)]) + "\n"


def _nodes(body: Picture, names: dict[int, str], depth: int) -> Iterator[str]:
    indent = "  " * depth
    entries = 0
    for box in body.boxes:
        name = names[id(box)] = f"n{len(names)}"
        entries += box.kind == "entry"
        if box.body is not None and box.open:
            yield f'{indent}subgraph {name}g[" "]'
            yield f'{indent}  {name}[["{_label(box, "<br>")}"]]'
            yield from _nodes(box.body, names, depth + 1)
            yield f"{indent}end"
        elif box.kind == "entry" and entries > 1:
            yield f'{indent}{name}(["<b>{_text(box.name)}</b>"])'
        elif box.kind not in ("entry", "exit"):
            opening, closing = SHAPES.get(box.kind, ("[", "]"))
            yield f'{indent}{name}{opening}"{_label(box, "<br>")}"{closing}'


def _label(box: Box, between: str) -> str:
    name, title = heading(box)
    lines = [f"<b>{_text(name)}</b> {_text(title)}".strip(), *map(_text, second(box).split(" · "))]
    return between.join(filter(None, lines))


def _text(text: str) -> str:
    """The text of a label. Characters with a meaning in Mermaid, Markdown or HTML become entities."""
    return "".join(c if c.isalnum() or c in PLAIN else f"#{ord(c)};" for c in text)


def _edges(body: Picture, names: dict[int, str]) -> Iterator[str]:
    edges: list[tuple[Box, Box, str, bool]] = []
    _join(body, [], edges)
    for source, target, label, weights in dict.fromkeys(edges):
        arrow = "-.-" if weights else "-->"
        text = f'|"{_text(label)}"|' if label else ""
        yield f"  {names[id(source)]} {arrow}{text} {names[id(target)]}"


Origin = tuple[Box, str]


def _join(body: Picture, entries: list[Box], edges: list[tuple[Box, Box, str, bool]]) -> list[list[Origin]]:
    """Adds the edges between visible boxes to `edges`. Returns the origins of each of the body's exits.

    `entries` are the boxes that stand for the body's inputs.
    """
    incoming: list[list[Edge]] = [[] for _ in body.boxes]
    for edge in body.edges:
        incoming[edge.target].append(edge)
    origins: list[list[list[Origin]]] = []  # for each box, the origins of each of its ports
    exits = []
    entry = iter(entries)
    for box, arriving in zip(body.boxes, incoming, strict=True):
        links = [(edge, origin) for edge in arriving for origin in origins[edge.source][edge.port]]
        if box.kind == "entry":
            origins.append([[(next(entry), "")]])
        elif box.kind == "exit":
            exits.append([origin for _, origin in links])
            origins.append([])
        elif box.body is None or not box.open:
            edges += [(source, box, label, edge.weights) for edge, (source, label) in links]
            origins.append([[(box, port.label)] for port in box.ports])
        else:
            inputs = [each for each in box.body.boxes if each.kind == "entry"]
            inputs[:1] = [box]  # its own node takes the first input
            edges += [
                (source, inputs[edge.slot or 0], label, edge.weights) for edge, (source, label) in links
            ]
            origins.append(_join(box.body, inputs, edges))
    return exits
