"""Plans which parts of a graph are folded."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from graphspec.contract.activations import LINEAR
from graphspec.contract.layer import Layer
from graphspec.graph import Graph, Op, Value
from graphspec.passes.logits import ends_in, origin
from graphspec.tensor import Tensor


@dataclass(eq=False, slots=True)
class FoldPlan:
    """The plan for the ops of one graph: `gone` ones pass on their first input; `absorbed` ones are gone,
    too, and go into another.
    """

    graph: Graph
    gone: set[Op] = field(default_factory=set)
    absorbed: dict[Op, Op] = field(default_factory=dict)

    def shape(self, plans: dict[Graph, FoldPlan]) -> Any:
        """The plan by positions, so that plans of equal graphs are equal."""
        place = {op: position for position, op in enumerate(self.graph.ops)}
        return (
            [op in self.gone for op in self.graph.ops],
            [(place[norm], place[op]) for norm, op in self.absorbed.items()],
            [plans[op.graph].shape(plans) for op in self.graph.ops if op.graph is not None],
        )

    def clear(self, plans: dict[Graph, FoldPlan]) -> None:
        """Clears the plan of this graph and of those inside it."""
        self.gone, self.absorbed = set(), {}
        for op in self.graph.ops:
            if op.graph is not None:
                plans[op.graph].clear(plans)


def plans_of(graph: Graph) -> dict[Graph, FoldPlan]:
    """The plans of a graph and of all graphs inside it."""
    plans: dict[Graph, FoldPlan] = {}
    for op in graph.ops:
        if op.graph is not None:
            plans |= plans_of(op.graph)
    plans[graph] = _Planner(graph).plan
    for unit in graph.units:
        inner = [plans[op.graph] for op in unit.calls if op.graph is not None]
        if any(plan.shape(plans) != inner[0].shape(plans) for plan in inner[1:]):
            for plan in inner:
                plan.clear(plans)
    return plans


def leave_out(plans: dict[Graph, FoldPlan]) -> None:
    """A node that is left out of one body, and gone from all others of its definition, is gone there, too:
    the bodies stay one class.
    """
    present: dict[Any, Counter[bool]] = defaultdict(Counter)
    for graph, plan in plans.items():
        for op in graph.ops:
            if op.present:
                present[graph.definition, op.node][op in plan.gone] += 1
    for graph, plan in plans.items():
        for op in graph.ops:
            counts = present[graph.definition, op.node]
            if not op.present and op.inputs and counts[True] and not counts[False]:
                plan.gone.add(op)


class _Planner:
    """Plans the folding of one graph."""

    def __init__(self, graph: Graph):
        self.graph, self.plan = graph, FoldPlan(graph)
        self.origin: dict[Value, Value] = {}
        self.readers: dict[Value, list[Op | None]] = defaultdict(list)
        self._trace()
        self._absorb()

    def _source(self, value: Value) -> Value:
        return self.origin.get(value, value)

    def _trace(self) -> None:
        """The readers of each value, without left-out and training-only ops. None stands for the outputs."""
        outputs = {origin(value) for value in self.graph.outputs.values()}
        for op in self.graph.ops:
            idle = op.present and op.layer is not None and op.layer.training_only
            idle = idle and op.inputs[0].tensor == op.output.tensor  # integers become floats
            # An output that is no softmax itself has no logits: it does not become the softmax before it.
            if idle and not (op.output in outputs and ends_in(self._source(op.inputs[0]))):
                self.plan.gone.add(op)
            if (op in self.plan.gone or not op.present) and op.inputs:
                self.origin[op.output] = self._source(op.inputs[0])
                continue
            for value in op.inputs:
                self.readers[self._source(value)].append(op)
        for value in self.graph.outputs.values():
            self.readers[self._source(value)].append(None)

    def _absorb(self) -> None:
        """Folds normalizations into the layers before them: all calls of both layers, and all instances of a
        node, or none.
        """
        absorbed = {norm: op for norm in self.graph.ops if (op := self._linear_before(norm)) is not None}
        while True:
            bad = [norm for norm, op in absorbed.items() if not self._all_foldable(norm, op, absorbed)]
            if not bad:
                break
            for norm in bad:
                del absorbed[norm]
        self.plan.absorbed = absorbed
        self.plan.gone |= absorbed.keys()
        for norm, op in absorbed.items():
            self.origin[norm.output] = op.output

    def _linear_before(self, norm: Op) -> Op | None:
        """The op of a linear layer whose output only a normalization over its channels reads."""
        if not norm.present or norm.layer is None or not norm.inputs:
            return None
        x = norm.site().inputs[0]  # no tensor where an op computes with a number or a list: `1 - x`
        axis = norm.layer.affine_axis(x.rank) if isinstance(x, Tensor) else None
        source = self._source(norm.inputs[0])
        op = source.op
        if axis is None or op is None or op.layer is None or op.layer.linear() is None:
            return None
        fits = (
            getattr(op.layer, "activation", LINEAR) == LINEAR
            and self.readers[source] == [norm]
            and _wrapped_alike(op, norm)
            and _channel_axis(op.layer, x.rank) == axis
        )
        return op if fits else None

    def _all_foldable(self, norm: Op, op: Op, foldable: dict[Op, Op]) -> bool:
        """Whether all ops that share a unit or a node with these two can be folded in the same way."""
        assert norm.unit is not None and op.unit is not None
        pairs = {foldable.get(call) for call in norm.unit.calls}
        mates = [each for each in self.graph.ops if each.node == norm.node and each.present]
        return (
            None not in pairs
            and pairs == set(op.unit.calls)
            and all(foldable[call].unit is op.unit for call in norm.unit.calls)
            and all(mate in foldable for mate in mates)
        )


def _wrapped_alike(op: Op, norm: Op) -> bool:
    """Whether two ops are in the same wrappers, which pass on what is inside, or in none."""
    if op.wrapper is not None and not op.wrapper.passes_on:
        return False
    wrappers = [None if each.wrapper is None else each.wrapper.in_inference() for each in (op, norm)]
    return bool(wrappers[0] == wrappers[1])


def _channel_axis(layer: Layer, rank: int) -> int:
    """The axis, from 0, of a linear layer's output channels in a tensor of this rank."""
    return 1 if getattr(layer, "data_format", "channels_last") == "channels_first" else rank - 1
