"""Blocks that make a text longer, written in place: those of one use, those whose uses say as much."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from graphspec.convert.folding.parts import (
    Instance,
    ItemKey,
    Parts,
    RepeatedPart,
    Source,
    Wires,
    mapped,
    targets,
)
from graphspec.convert.nodes import ConvertedNode
from graphspec.convert.writing import text

LEAST = 3
"""Lines that a block must cost more than its nodes in place, to be written so."""


def dissolve(parts: Parts, document: Mapping[str, Any], renamed: dict[ConvertedNode, str]) -> bool:
    """Puts the nodes of the costliest block in the place of its uses; whether there was one. `document` is
    what the parts are written as. `renamed` gets the names that nodes had.
    """
    blocks = document.get("blocks", {})
    entries: dict[str, list[dict[str, Any]]] = {}
    for graph in (*blocks.values(), document):
        for name, node in graph["nodes"].items():
            if "block" in node:
                entries.setdefault(node["block"], []).append({name: node})
    costs = {
        id(part): _cost(blocks[part.name], entries.get(part.name, []))
        for part in parts.all
        if part.name in blocks and _can(part, parts)
    }
    if not costs or max(costs.values()) < LEAST:
        return False
    part = max(parts.all, key=lambda each: costs.get(id(each), 0))
    around = [outer for outer in parts.all if any(True for _ in _uses(part, outer))]
    if len(around) == 1 and not around[0].is_model and part.classed:
        around[0].word = part.word  # a layer and what joins it to the others is called by the layer
    for outer in around:
        _put(part, outer, renamed)
    parts.all.remove(part)
    return True


def _cost(block: Mapping[str, Any], uses: list[dict[str, Any]]) -> int:
    """The lines of a block and its uses, less those of its nodes in place of each use."""
    block_lines = _lines({"blocks": {"block": dict(block)}})
    called = sum(_lines({"nodes": use}) for use in uses)
    return block_lines + called - len(uses) * _lines({"nodes": dict(block["nodes"])})


def _lines(section: dict[str, Any]) -> int:
    return text(section).count("\n") - 1


def _can(part: RepeatedPart, parts: Parts) -> bool:
    """Whether the nodes of a part may be wherever it is used."""
    if part is parts.root or (part.is_model and not part.classed):
        return False
    if any(instance.part is part for instance in parts.inner.values()):
        return False
    if any(key.kind == "alone" for key in part.keys):
        return False
    used = 0
    for outer in parts.all:
        for position in _uses(part, outer):
            used += 1
            single = all(len(instance.items[position].units) == 1 for instance in outer.instances)
            if not single or outer.keys[position].repeats is not None:
                return False
    return used > 0


def _uses(part: RepeatedPart, outer: RepeatedPart) -> Iterator[int]:
    for position, key in enumerate(outer.keys):
        if key.kind == "part" and key.what == id(part):
            yield position


def _put(part: RepeatedPart, outer: RepeatedPart, renamed: dict[ConvertedNode, str]) -> None:
    """Replaces all uses of a part inside another one."""
    while (position := next(_uses(part, outer), None)) is not None:
        for used in _replace(part, outer, position):
            _prefix(used, renamed)


def _replace(part: RepeatedPart, outer: RepeatedPart, position: int) -> Iterator[Instance]:
    """Replaces one use; gives what was there."""
    count = len(part.keys)
    reads = list(targets(outer.wiring[position]))

    def inner(target: Source) -> Source:
        return target.moved(target.position + position) if target.input is None else reads[target.input]

    def after(target: Source) -> Source:
        if target.input is not None or target.position < position:
            return target
        if target.position > position:
            return target.moved(target.position + count - 1)
        return inner(part.outputs[target.output][1])

    keys: list[ItemKey] = outer.keys[:position] + part.keys + outer.keys[position + 1 :]
    wiring: list[Wires] = outer.wiring[:position]
    wiring += [mapped(wires, inner) for wires in part.wiring]
    wiring += [mapped(wires, after) for wires in outer.wiring[position + 1 :]]
    outer.keys, outer.wiring = keys, wiring
    outer.outputs = [(name, after(target)) for name, target in outer.outputs]
    for instance in outer.instances:
        used = instance.items[position].units[0]
        assert isinstance(used, Instance)
        part.instances.remove(used)
        instance.items[position : position + 1] = used.items
        yield used


def _prefix(used: Instance, renamed: dict[ConvertedNode, str]) -> None:
    """Nodes named by attributes of a class keep the attribute of the class before theirs."""
    if not used.part.classed or not used.name:
        return
    alone = len(used.items) == 1
    for unit in (unit for item in used.items for unit in item.units):
        if isinstance(unit, Instance):
            unit.name = f"{used.name}_{unit.name}" if unit.name else used.name if alone else ""
        elif not unit.automatic:
            renamed.setdefault(unit, unit.name)
            unit.name = f"{used.name}_{unit.name}"
