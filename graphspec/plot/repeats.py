"""Finds identical instances of a repeated node, which are drawn once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from graphspec.graph import Graph, Op, Value


class Kinship:
    """Numbers what ops compute: ops with equal numbers have the same arguments, types and bodies."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}

    def runs(self, ops: Iterable[Op]) -> list[list[Op]]:
        """The ops in order, grouped into lists of consecutive identical ones."""
        runs: list[list[Op]] = []
        for op in ops:
            if op.repeated is not None and runs and self._continues(runs[-1], op):
                runs[-1].append(op)
            else:
                runs.append([op])
        return runs

    def _continues(self, run: list[Op], op: Op) -> bool:
        last = run[-1]
        if last.node != op.node or last.repeated != op.repeated or self.number(last) != self.number(op):
            return False
        pattern = _pattern(last, op)
        return pattern is not None and (len(run) == 1 or _pattern(run[-2], last) == pattern)

    def number(self, op: Op) -> int:
        unit = op.unit
        parts = (
            op.kind,
            op.title,
            repr(op.options),
            repr(op.wrapper),
            tuple(value.tensor for value in op.inputs),
            tuple((key, value.tensor) for key, value in op.outputs.items()),
            unit and (unit.trainable, unit.weights, unit.name if unit.shared else None),
            op.present,
            None if op.graph is None else self._structure(op.graph),
        )
        return self._numbers.setdefault(parts, len(self._numbers))

    def _structure(self, graph: Graph) -> int:
        numbers: dict[Value | None, int] = {None: -1}
        for value in graph.inputs.values():
            numbers.setdefault(value, len(numbers))
        parts = []
        for op in graph.ops:
            parts.append((op.name, self.number(op), tuple(numbers[value] for value in op.inputs)))
            for value in op.outputs.values():
                numbers.setdefault(value, len(numbers))
        results = tuple((name, numbers[value]) for name, value in graph.outputs.items())
        return self._numbers.setdefault((graph.definition, tuple(parts), results), len(self._numbers))


def _pattern(last: Op, op: Op) -> tuple[str | None, ...] | None:
    """For each input of `op`, the output of the previous instance that feeds it.

    An entry is None where both instances read the same value. The result is None if any input is neither.
    """
    names = {value: key for key, value in last.outputs.items()}
    pattern: list[str | None] = []
    if len(last.inputs) != len(op.inputs):
        return None
    for before, value in zip(last.inputs, op.inputs, strict=True):
        if value in names:
            pattern.append(names[value])
        elif value is before:
            pattern.append(None)
        else:
            return None
    return tuple(pattern)
