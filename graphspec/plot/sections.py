"""Cuts bodies that are too long to read into sections: consecutive boxes in one box that can be opened."""

from __future__ import annotations

from graphspec.plot.picture import ENDS, Box, Edge, Picture, Port

LONG = 250
"""Boxes of a body that is not cut."""
LENGTH = 32
"""Boxes of a section, more or less."""

Link = tuple[Box, int, Box, int | None, bool]


def cut(body: Picture) -> Picture:
    """The same picture, with each body of more than `LONG` boxes cut into sections, recursively."""
    for box in body.boxes:
        if box.body is not None:
            box.body = cut(box.body)
    while sum(box.kind not in ENDS for box in body.boxes) > LONG:
        body = _sectioned(body)
    return body


def _sectioned(body: Picture) -> Picture:
    inner = [index for index, box in enumerate(body.boxes) if box.kind not in ENDS]
    starts = _starts(body, inner)
    sections = [
        _Section([body.boxes[index] for index in inner[start:end]])
        for start, end in zip(starts, [*starts[1:], len(inner)], strict=True)
    ]
    home = {id(box): section for section in sections for box in section.boxes}
    links: list[Link] = []
    for edge in body.edges:
        source, target = body.boxes[edge.source], body.boxes[edge.target]
        left, right = home.get(id(source)), home.get(id(target))
        if left is not None and left is right:
            left.links.append((source, edge.port, target, edge.slot, edge.weights))
            continue
        start = (source, edge.port) if left is None else left.leave(source, edge.port, edge.weights)
        if right is None:
            links.append((*start, target, edge.slot, edge.weights))
        elif (slot := right.enter(start, target, edge)) is not None:
            links.append((*start, right.box, slot, edge.weights))
    first = inner[0]
    boxes = [box for box in body.boxes[:first] if box.kind in ENDS]
    boxes += [section.close() for section in sections]
    boxes += [box for box in body.boxes[first:] if box.kind in ENDS]
    return _assembled(boxes, links)


class _Section:
    """Consecutive boxes that become the body of one box."""

    def __init__(self, boxes: list[Box]):
        self.boxes, self.links = boxes, list[Link]()
        self.box = Box("section", boxes[0].name)
        self._entries: dict[tuple[int, int], Box] = {}
        self._exits: dict[tuple[int, int], int] = {}
        self._last: list[Box] = []

    def leave(self, source: Box, port: int, weights: bool) -> tuple[Box, int]:
        """The port of the section that passes on a port of one of its boxes."""
        key = id(source), port
        if key not in self._exits:
            self._exits[key] = len(self.box.ports)
            self.box.ports.append(Port(source.name, source.ports[port].label))
            self._last.append(Box("exit", source.name))
            self.links.append((source, port, self._last[-1], None, weights))
        return self.box, self._exits[key]

    def enter(self, start: tuple[Box, int], target: Box, edge: Edge) -> int | None:
        """Connects `start` to a box inside. Returns the slot of the section, if it is a new one."""
        key, new = (id(start[0]), start[1]), None
        if key not in self._entries:
            new = len(self._entries)
            name = start[0].ports[start[1]].name or start[0].name
            self._entries[key] = Box("entry", name, ports=[Port("", "")])
        self.links.append((self._entries[key], 0, target, edge.slot, edge.weights))
        return new

    def close(self) -> Box:
        """The section's box, with its body and sums."""
        box, boxes = self.box, self.boxes
        for ends in (list(self._entries.values()), self._last):
            if len(ends) == 1:
                ends[0].name = ""
        box.body = _assembled([*self._entries.values(), *boxes, *self._last], self.links)
        box.name = f"{boxes[0].name.split(' … ')[0]} … {boxes[-1].name.split(' … ')[-1]}"
        box.path = box.name
        nodes = sum(each.nodes for each in boxes)
        box.nodes, box.title = nodes, f"{nodes:,} nodes"
        for each in boxes:
            box.params, box.trainable = box.params + each.params, box.trainable + each.trainable
            box.opaque = box.opaque or each.opaque
            box.flops, box.memory = box.flops + each.flops, box.memory + each.memory
        return box


def _assembled(boxes: list[Box], links: list[Link]) -> Picture:
    number = {id(box): index for index, box in enumerate(boxes)}
    return Picture(
        boxes,
        [
            Edge(number[id(source)], port, number[id(target)], slot, weights)
            for source, port, target, slot, weights in links
        ],
    )


def _starts(body: Picture, inner: list[int]) -> list[int]:
    """Where sections begin, as positions in `inner`: near each `LENGTH`th, where the fewest values cross."""
    position = {index: at for at, index in enumerate(inner)}
    last: dict[tuple[int, int], int] = {}
    for edge in body.edges:
        key = edge.source, edge.port
        last[key] = max(last.get(key, 0), position.get(edge.target, 0))
    changes = [0] * (len(inner) + 1)
    for (source, _), end in last.items():
        start = position.get(source, -1)
        if end > start:
            changes[start + 1] += 1
            changes[end + 1] -= 1
    crossing, count = [], 0
    for change in changes:
        count += change
        crossing.append(count)  # for a cut before this position
    starts = [0]
    while len(inner) - starts[-1] > LENGTH * 3 // 2:
        middle = starts[-1] + LENGTH
        near = range(starts[-1] + LENGTH // 2, middle + LENGTH // 2)
        starts.append(min(near, key=lambda at: (crossing[at], abs(at - middle), at)))
    return starts
