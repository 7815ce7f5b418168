"""A graph of nodes that passes change: what reads each value, and what it reads instead."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graphspec.convert.nodes import ConvertedNode, ConvertedValue

Readers = dict[ConvertedValue, list[ConvertedNode]]


@dataclass(eq=False, slots=True)
class NodeGraph:
    """Nodes in their order, and the outputs by their names."""

    nodes: list[ConvertedNode]
    outputs: dict[str, ConvertedValue]

    def prune(self) -> None:
        """Leaves out the nodes that no output depends on."""
        waiting = [value.maker for value in self.outputs.values()]
        kept: set[Any] = set()
        while waiting:
            node = waiting.pop()
            if node in kept or not isinstance(node, ConvertedNode):
                continue
            kept.add(node)
            waiting += [value.maker for value in node.sources()]
        self.nodes = [node for node in self.nodes if node in kept]

    def readers(self) -> Readers:
        """The nodes that read each value; an output counts as one more."""
        readers_by_value: Readers = defaultdict(list)
        for node in self.nodes:
            for value in node.sources():
                readers_by_value[value].append(node)
        for value in self.outputs.values():
            readers_by_value[value].append(None)  # type: ignore[arg-type]
        return readers_by_value

    def replace(self, changes: Mapping[ConvertedValue, ConvertedValue]) -> None:
        """Makes everything read other values."""

        def final(value: ConvertedValue) -> ConvertedValue:
            while value in changes:
                value = changes[value]
            return value

        for node in self.nodes:
            node.reads = [
                (slot, final(read) if isinstance(read, ConvertedValue) else tuple(map(final, read)))
                for slot, read in node.reads
            ]
        for key, value in self.outputs.items():
            self.outputs[key] = final(value)
