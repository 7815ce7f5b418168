"""Shared units: which graph declares each, and which other graphs its module is passed to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphspec.emit.layer_codes import LayerCodes
from graphspec.emit.module_class import ModuleClass
from graphspec.emit.template import ClassTemplate
from graphspec.graph import Graph, Unit


class SharedUnits:
    """The shared units of all instances, and of the templates of classes; `classes` is filled later on."""

    def __init__(self, graphs: Sequence[Graph], codes: LayerCodes, classes: Mapping[Graph, ModuleClass]):
        self._codes, self._classes = codes, classes
        self._owners = {unit: graph.definition for graph in graphs for unit in graph.units}
        self._raw: dict[Unit, Unit] = {}  # of a template -> of an instance
        self._calls: dict[Graph, list[Unit]] = {}

    def add(self, template: ClassTemplate) -> None:
        """Adds the units of a template."""
        self._owners |= dict.fromkeys(template.graph.units, template.graph.definition)
        self._raw |= {mine: unit for unit, mine in template.units.items()}

    def borrowed(self, graph: Graph) -> list[Unit]:
        """The shared units of other graphs that a graph, or one inside it, calls.

        Their modules are passed to its `forward`.
        """
        return [unit for unit in self._called(graph) if not self.owns(graph, unit) and self._has_module(unit)]

    def lent(self, graph: Graph) -> list[Unit]:
        """The shared units of a graph that only graphs inside it call."""
        direct = {op.unit for op in graph.ops}
        called = (unit for unit in self._called(graph) if self.owns(graph, unit))
        return [unit for unit in called if unit not in direct and self._has_module(unit)]

    def type_of(self, unit: Unit) -> str:
        """The type of the module of a shared unit."""
        op = self._raw.get(unit, unit).first_call
        return self._classes[op.graph].name if op.graph is not None else "nn.Module"

    def owns(self, graph: Graph, unit: Unit) -> bool:
        """Whether a shared unit is declared in the block or file of a graph."""
        return self._owners[unit] == graph.definition

    def _called(self, graph: Graph) -> list[Unit]:
        """The shared units that a graph calls, or that are lent to one inside it; of equal names one."""
        if graph not in self._calls:
            called: dict[tuple[bool, str], Unit] = {}
            declared = {unit.name: unit for unit in graph.units if unit.shared}
            for op in graph.ops:
                units = list(self._called(op.graph)) if op.graph is not None else []
                units = [unit for unit in units if op.graph is None or not self.owns(op.graph, unit)]
                if op.unit is not None and op.unit.shared:
                    units.append(op.unit)
                for unit in units:
                    owned = self.owns(graph, unit)
                    called.setdefault((owned, unit.name), declared[unit.name] if owned else unit)
            self._calls[graph] = list(called.values())
        return self._calls[graph]

    def _has_module(self, unit: Unit) -> bool:
        op = self._raw.get(unit, unit).first_call
        if op.graph is not None:
            return not self._classes[op.graph].is_function
        return op.layer is not None and self._codes.structural(op).construct is not None
