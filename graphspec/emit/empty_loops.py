"""Loops that params may leave without an instance.

A class is written for what the instances of its loops give. Where a loop changes a size, the spec without an
instance is another model, so that the constructor asserts that there is one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from graphspec.graph import Definition, Graph, Op
from graphspec.traced import Symbolic, evaluated, formula_of, outward

Loop = tuple[Definition, str]
"""The block of a loop, and its node."""


def emptied(root: Graph, params: Mapping[str, Any]) -> Iterator[tuple[Loop, dict[str, Any]]]:
    """The loops that change a size, with a value of a param at which each has no instance."""

    def visit(graph: Graph, bodies: tuple[Graph, ...]) -> Iterator[tuple[Loop, dict[str, Any]]]:
        for first, last in _loops(graph):
            count: Any = first.count
            for body in bodies:
                count = outward(count, body.bindings)
            tree = formula_of(count)
            if tree is not None and _sizes(first.inputs[0].tensor) != _sizes(last):
                yield from (((graph.definition, first.node), values) for values in _emptying(tree, params))
        for inner in (op.graph for op in graph.ops if op.graph is not None):
            yield from visit(inner, (inner, *bodies))

    return visit(root, ())


def _loops(graph: Graph) -> Iterator[tuple[Op, Any]]:
    """The first op of each loop, and the type of what its last one passes on."""
    ends: dict[str, tuple[Op, Any]] = {}
    for op in graph.ops:
        if op.repeated == "repeat" and op.present and op.inputs:
            first = ends[op.node][0] if op.node in ends else op
            ends[op.node] = first, op.output.tensor
    yield from ends.values()


def _sizes(tensor: Any) -> list[Any]:
    return [formula_of(size) or size for size in tensor.shape]


def _emptying(count: Symbolic, params: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """For each param in the count of a loop, the first value at which it is 0."""
    for word in sorted({leaf.parts[0] for leaf in count.leaves() if leaf.kind == "param"}):
        value = params[word]
        others = range(value) if type(value) is int else [[]] if isinstance(value, list) else []
        empty = (other for other in others if _value(count, {**params, word: other}) == 0)
        yield from ({word: other} for other in islice(empty, 1))


def _value(tree: Symbolic, params: Mapping[str, Any]) -> Any:
    """The value of a formula; None where it reads an item that a list does not have."""
    try:
        return evaluated(tree, lambda leaf: params[leaf.parts[0]])
    except LookupError:
        return None
