"""The values that a program accepts: of integer inputs, and of its symbolic sizes."""

from __future__ import annotations

from graphspec.graph import Graph, Value
from graphspec.tensor import BATCH, largest, names_of, smallest


def ranges(graph: Graph) -> dict[str, int]:
    """For integer inputs, the exclusive upper bound that the layers which read them accept."""
    bounds: dict[Value, int] = {}

    def visit(graph: Graph, origin: dict[Value, Value]) -> None:
        for op in graph.ops:
            if op.graph is not None:
                inner = dict(zip(op.graph.inputs.values(), op.arguments, strict=True))
                visit(op.graph, {i: origin[o] for i, o in inner.items() if i is not None and o in origin})
            elif op.layer is not None and op.present and (limit := op.layer.limit()) is not None:
                for value in op.inputs:
                    if value in origin:
                        bounds[origin[value]] = min(limit, bounds.get(origin[value], limit))
            elif not op.present and op.inputs[0] in origin:
                origin[op.output] = origin[op.inputs[0]]

    inputs = {value: value for value in graph.inputs.values() if value is not None}
    visit(graph, dict(inputs))
    return {name: bounds[v] for name, v in graph.inputs.items() if v is not None and v in bounds}


def minimum_sizes(graph: Graph) -> dict[str, int]:
    """The smallest legal value of each named size: every tensor of the graph must have at least one element
    on each axis.
    """
    sizes = {size for op in graph.walk() for value in op.outputs.values() for size in value.tensor.shape}
    return {name: smallest(sizes, name) for name in _sizes(graph)}


def maximum_sizes(graph: Graph) -> dict[str, int]:
    """The largest value of each named size that has one, as the layers of the graph say."""
    ops = [op for op in graph.walk() if op.present and op.layer is not None]
    bounds = {bound for op in ops if op.layer is not None for bound in op.layer.longest(*op.site().inputs)}
    found = {name: largest(bounds, name) for name in _sizes(graph)} if bounds else {}
    return {name: most for name, most in found.items() if most is not None}


def _sizes(graph: Graph) -> list[str]:
    """The names of the sizes of a program's inputs, but for the batch."""
    inputs = [value for value in graph.inputs.values() if value is not None]
    return sorted({n for value in inputs for size in value.tensor.shape for n in names_of(size)} - {BATCH})
