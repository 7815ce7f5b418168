"""Where a layer multiplies the numbers of an input by weights, before anything has scaled them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from graphspec.graph import Graph, Op, Value, types


def multiplied(
    value: Value, graph: Graph, through: Callable[[Op], bool], seen: set[Op] | None = None
) -> Iterator[Op]:
    """The layers that multiply the elements of a value by weights, after others without weights that let
    them `through`; not those whose output is normalized at once. `seen` are the ops that were looked at.
    """
    seen = set() if seen is None else seen
    for op in graph.ops:
        if value not in op.inputs or not op.present or op in seen:
            continue
        seen.add(op)
        if op.graph is not None:
            for inner, argument in op.passed():
                if inner is not None and argument is value:
                    yield from multiplied(inner, op.graph, through, seen)
        elif op.layer is None or op.wrapper is not None:
            continue
        elif is_linear(op):
            if not _is_normalized(op.output, graph):
                yield op
        elif not op.weights() and through(op):
            yield from multiplied(op.output, graph, through, seen)


def keeps_scale(op: Op) -> bool:
    """Whether a layer without weights surely leaves numbers about as large as they are."""
    layer = op.layer
    if layer is None:
        return False
    slides = layer.memory(*(types(argument) for argument in op.arguments)) == "first"
    return slides or layer.rearranges or layer.keeps or layer.training_only


def is_linear(op: Op) -> bool:
    """Whether a layer multiplies its input by weights, before its activation."""
    return op.present and op.layer is not None and len(op.inputs) == 1 and op.layer.linear() is not None


def _is_normalized(value: Value, graph: Graph) -> bool:
    """Whether all that reads a value normalizes it."""
    readers = [op for op in graph.ops if value in op.inputs]
    return bool(readers) and all(
        op.layer is not None and op.layer.affine_axis(value.tensor.rank) is not None for op in readers
    )
