"""The nodes that read each value, and what they read instead."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from graphspec.convert.nodes import ConvertedNode, ConvertedValue

Readers = dict[ConvertedValue, list[ConvertedNode]]


def needed(nodes: list[ConvertedNode], outputs: dict[str, ConvertedValue]) -> list[ConvertedNode]:
    """The nodes that outputs depend on, in their order."""
    waiting = [value.maker for value in outputs.values()]
    kept: set[Any] = set()
    while waiting:
        node = waiting.pop()
        if node in kept or not isinstance(node, ConvertedNode):
            continue
        kept.add(node)
        waiting += [value.maker for value in node.sources()]
    return [node for node in nodes if node in kept]


def readers(nodes: list[ConvertedNode], outputs: dict[str, ConvertedValue]) -> Readers:
    """The nodes that read each value; an output counts as one more."""
    readers_by_value: Readers = defaultdict(list)
    for node in nodes:
        for value in node.sources():
            readers_by_value[value].append(node)
    for value in outputs.values():
        readers_by_value[value].append(None)  # type: ignore[arg-type]
    return readers_by_value


def replaced(
    nodes: list[ConvertedNode],
    outputs: dict[str, ConvertedValue],
    changes: dict[ConvertedValue, ConvertedValue],
) -> None:
    """Makes everything read other values."""

    def final(value: ConvertedValue) -> ConvertedValue:
        while value in changes:
            value = changes[value]
        return value

    for node in nodes:
        node.reads = [
            (slot, final(read) if isinstance(read, ConvertedValue) else tuple(final(v) for v in read))
            for slot, read in node.reads
        ]
    for key, value in outputs.items():
        outputs[key] = final(value)
