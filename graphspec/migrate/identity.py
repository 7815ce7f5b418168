"""New nodes that can start as identities, so that a deeper network computes what the old one did."""

from __future__ import annotations

from typing import Literal

from graphspec.graph import Graph, Op, Value
from graphspec.migrate.roles import channel_axis, roles
from graphspec.migrate.tracking import ChannelTracker
from graphspec.transfer.targets import Origins

Start = Literal["kernel", "zero", "one"]
"""How a layer starts: its kernel gives what it reads; it gives 0; it normalizes nothing."""
Starts = list[tuple[Op, Start]]

ZERO_AT_ZERO = ("linear", "relu", "relu6", "tanh", "gelu", "silu", "leaky_relu", "elu", "selu", "softsign")
"""Activations that are 0 at 0."""
NOT_NEGATIVE = ("relu", "relu6", "sigmoid", "softplus", "softmax", "hard_sigmoid", "exponential")


def start_as_identities(tracker: ChannelTracker, graph: Graph) -> None:
    """Gives the weights of added nodes their start, where the node can pass on its first input."""
    search = _Search(graph)
    added = {path for path, _ in tracker.added}
    for path, op in tracker.added:
        if any(path.startswith(f"{other}.") for other in added) or not op.inputs or not op.outputs:
            continue
        if op.inputs[0].tensor != op.output.tensor:
            continue
        starts = search.same(op.output, search.origins.origin(op.inputs[0]))
        if starts:
            for each, start in starts:
                _begin(tracker, each, start)


def _begin(tracker: ChannelTracker, op: Op, start: Start) -> None:
    assert op.layer is not None and op.unit is not None
    axes = roles(op.layer, op.site().inputs).axes
    for weight in op.weights():
        plan = tracker.plans[f"{tracker.new_keys[op.unit]}{weight.name}"]
        gives = any(role.kind == "out" for role in axes[weight.name])
        if start != "zero" or (gives and weight.trainable):
            plan.identity = start


class _Search:
    def __init__(self, graph: Graph):
        self.origins = Origins(graph)

    def same(self, value: Value, target: Value) -> Starts | None:
        """How layers must start for a value to be `target`; None where they cannot."""
        value = self.origins.origin(value)
        if value is target:
            return []
        op = value.op
        if op is None or op.layer is None or op.wrapper is not None or not op.inputs:
            return None
        if op.layer.spec_name == "add":
            return self._sum(op, target)
        before = self._passes(op, target)
        rest = self.same(op.inputs[0], target) if before is not None else None
        return None if rest is None or before is None else rest + before

    def _sum(self, op: Op, target: Value) -> Starts | None:
        """One of the terms is the target, and the others are 0."""
        for number, value in enumerate(op.inputs):
            kept = self.same(value, target)
            others = [self.zero(other) for place, other in enumerate(op.inputs) if place != number]
            if kept is not None and None not in others:
                return kept + [each for found in others for each in found or ()]
        return None

    def _passes(self, op: Op, target: Value) -> Starts | None:
        """How an op must start to give what it reads, where that is `target`."""
        layer = op.layer
        assert layer is not None
        if layer.training_only:
            return []
        harmless = self._harmless(layer.output_activation(), op, target)
        if not op.weights():
            return [] if harmless and layer.output_activation() is not None else None
        if layer.affine_axis(op.output.tensor.rank) is not None:
            return [(op, "one")]
        linear = layer.linear()
        if linear is None or linear.width is None or not harmless or len(op.inputs) != 1:
            return None
        kernel = next(w for w in op.weights() if w.name == linear.kernel)
        square = kernel.shape[0] == kernel.shape[1] and all(size % 2 for size in kernel.shape[2:])
        axis = channel_axis(layer, op.output.tensor.rank)
        fits = op.inputs[0].tensor == op.output.tensor and op.output.tensor.shape[axis] == kernel.shape[0]
        strides = getattr(layer, "strides", (1,))
        return [(op, "kernel")] if square and fits and set(strides) == {1} else None

    def _harmless(self, activation: str | None, op: Op, target: Value) -> bool:
        written = getattr(op.layer, "activation", None)
        if activation == "linear" or (activation is None and written is None):
            return True
        return activation == "relu" and self.not_negative(target)

    def not_negative(self, value: Value) -> bool:
        """Whether no element is below 0, as far as the graph shows."""
        op = self.origins.origin(value).op
        if op is None or op.layer is None or op.wrapper is not None:
            return False
        if op.layer.output_activation() in NOT_NEGATIVE:
            return True
        slides = not op.weights() and len(op.inputs) == 1 and op.layer.memory(*op.site().inputs) == "first"
        passes = op.layer.training_only or op.layer.rearranges or slides
        return passes and bool(op.inputs) and self.not_negative(op.inputs[0])

    def zero(self, value: Value) -> Starts | None:
        """How layers must start for a value to be 0 everywhere; None where they cannot."""
        op = self.origins.origin(value).op
        if op is None or op.layer is None or op.wrapper is not None or not op.inputs:
            return None
        layer, activation = op.layer, op.layer.output_activation()
        linear = activation is None and getattr(layer, "activation", None) is None
        flat = linear or activation in ZERO_AT_ZERO
        if layer.spec_name in ("add", "multiply"):
            by_input = [self.zero(each) for each in op.inputs]
            if layer.spec_name == "multiply":
                return next((each for each in by_input if each is not None), None)
            return None if None in by_input else [each for starts in by_input for each in starts or ()]
        if not flat or layer.opaque or layer.recurrent:
            return None
        if op.weights():
            gives = [role.kind for axes in roles(layer, op.site().inputs).axes.values() for role in axes]
            return [(op, "zero")] if "out" in gives and "rows" not in gives else None
        passes = layer.training_only or layer.rearranges or layer.keeps or activation is not None
        return self.zero(op.inputs[0]) if passes else None
