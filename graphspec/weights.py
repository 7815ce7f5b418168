"""The weights of a program by their keys in its module's state dict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from graphspec.graph import Graph
from graphspec.layers.base import Layer, Weight
from graphspec.names import attribute


@dataclass(frozen=True, slots=True)
class Held:
    """One weight of a layer: its key in the state dict, and the layer that says what it is."""

    key: str
    weight: Weight
    layer: Layer


def held(graph: Graph, prefix: str = "") -> Iterator[Held]:
    """All weights of the layers of a graph and of those inside it, each once; parameters have no layer."""
    for unit in graph.units:
        here = f"{prefix}{attribute(unit.name)}{'' if unit.index is None else f'.{unit.index}'}."
        op = unit.first
        if op.graph is not None:
            yield from held(op.graph, here)
        elif op.layer is not None:
            for weight in op.weights():
                yield Held(here + weight.name, weight, op.layer)
