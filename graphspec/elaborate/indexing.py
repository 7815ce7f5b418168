"""Formulas of a repeated node's outputs: what says `index` inside is the instance's number outside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

from graphspec.elaborate.body import NodeResult
from graphspec.graph import Value
from graphspec.traced import (
    INDEX,
    Symbolic,
    TracedInt,
    at_index,
    formula,
    formula_of,
    simplest,
    substituted,
    times,
    traced,
)


def of_instance(value: Any, number: int) -> Any:
    """An item of a list of a `repeat`, as the item at `index`."""
    tree = formula_of(value)
    if tree is None or tree.kind != "item" or tree.parts[1] != formula("constant", number):
        return value
    return traced(value, formula("item", tree.parts[0], INDEX))


def numbered(result: NodeResult, number: Symbolic) -> None:
    """Replaces `index` in the sizes of an instance's outputs by its number."""
    _change(result, lambda tree: at_index(tree, number))


def settle_last(results: list[NodeResult], count: Symbolic | None) -> None:
    """Writes the sizes of what comes out of all instances over their number: the last `index` is one less,
    and the last item of a list is its last. What grows by the same in each instance grows so many times as
    much.
    """
    if not results or results[-1].op is None:
        return
    last = formula("-", count, formula("constant", 1)) if count is not None else None

    def change(leaf: Symbolic) -> Symbolic | None:
        if leaf.kind == "item":
            return formula("item", leaf.parts[0], formula("constant", -1)) if leaf.parts[1] is INDEX else None
        return (last or formula("constant", len(results) - 1)) if leaf is INDEX else leaf

    _change(results[-1], lambda tree: substituted(tree, change))
    if (
        count is None
        or results[0].op is None
        or not results[0].op.inputs
        or results[-1].op.repeated != "repeat"
    ):
        return
    for key, value in results[-1].outputs.items():
        if isinstance(value, Value):
            before = [each.outputs.get(key) for each in results]
            values = [results[0].op.inputs[0], *(each for each in before if isinstance(each, Value))]
            value.tensor = value.tensor.with_shape(
                *(_grown(values, axis, count) for axis in range(value.tensor.rank))
            )


def _grown(values: list[Value], axis: int, count: Symbolic) -> Any:
    """A size of the last of a chain, where each adds as much to that of the one before."""
    size = values[-1].tensor.shape[axis]
    sizes = [formula_of(value.tensor.shape[axis]) if value.tensor.rank > axis else None for value in values]
    known = [each for each in sizes if each is not None]
    if len(known) < len(sizes) or not isinstance(size, TracedInt):
        return size
    steps = [simplest(formula("-", b, a)) for a, b in pairwise(known)]
    alike = steps and all(step is steps[0] for step in steps) and steps[0] is not formula("constant", 0)
    return traced(size, formula("+", known[0], times(count, steps[0]))) if alike else size


def _change(result: NodeResult, change: Callable[[Symbolic], Symbolic | None]) -> None:
    for value in result.outputs.values():
        if isinstance(value, Value) and any(isinstance(size, TracedInt) for size in value.tensor.shape):
            sizes = [
                traced(size, change(size.formula)) if isinstance(size, TracedInt) else size
                for size in value.tensor.shape
            ]
            value.tensor = replace(value.tensor, shape=tuple(sizes))
