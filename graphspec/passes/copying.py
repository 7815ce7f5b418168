"""A graph made again, so that a pass changes its own and leaves the one that it is given as it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from graphspec.graph import Graph, Op, Unit, Value


class Copy:
    """A program's graph once more: new graphs, ops, units and values, wired as the old ones are.

    `ops` gives the new op for each old one, `values` the new value. What never changes is shared: layers,
    types, expressions.
    """

    def __init__(self, root: Graph):
        self.ops: dict[Op, Op] = {}
        self.values: dict[Value, Value] = {}
        self._units: dict[Unit, Unit] = {}
        self.graph = self._graph(root)
        for old, value in self.values.items():
            value.op = self.ops[old.op] if old.op is not None else None
        for old_unit, unit in self._units.items():
            unit.calls = [self.ops[call] for call in old_unit.calls]

    def _graph(self, old: Graph) -> Graph:
        return replace(
            old,
            inputs={name: self._argument(value) for name, value in old.inputs.items()},
            units=[self._unit(unit) for unit in old.units],
            ops=[self._op(op) for op in old.ops],
            outputs={name: self._value(value) for name, value in old.outputs.items()},
        )

    def _op(self, old: Op) -> Op:
        new = self.ops[old] = replace(
            old,
            arguments=self._argument(old.arguments),
            outputs={key: self._value(value) for key, value in old.outputs.items()},
            results={key: self._value(value) for key, value in old.results.items()},
            unit=self._unit(old.unit) if old.unit is not None else None,
            graph=self._graph(old.graph) if old.graph is not None else None,
        )
        return new

    def _unit(self, old: Unit) -> Unit:
        if old not in self._units:
            self._units[old] = replace(old, calls=[])
        return self._units[old]

    def _value(self, old: Value) -> Value:
        if old not in self.values:
            self.values[old] = replace(old, op=None)
        return self.values[old]

    def _argument(self, argument: Any) -> Any:
        if isinstance(argument, tuple):
            return tuple(self._argument(item) for item in argument)
        return self._value(argument) if isinstance(argument, Value) else argument
