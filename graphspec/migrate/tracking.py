"""Which channels of the new graph are which of the old one, and what this makes of each weight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from graphspec.contract.layer import Layer
from graphspec.graph import Graph, Op, Unit, Value
from graphspec.migrate.roles import LayerRoles, Role, channel_axis, roles
from graphspec.weights import unit_keys

Indices = tuple[int, ...]
"""For each new channel, or row, the old one; -1 for one that is new."""
Growth = Literal["fresh", "copied"]
"""The kind of new channels: fresh ones, which nothing reads at first, or copies of old ones, whose readers
share what they read. Copies keep means and variances over channels where each channel has as many.
"""
Moving = Callable[[Op, Op, list[Indices | None]], Indices | None]
"""The channels after an op that moves elements, from the channels of its inputs."""


@dataclass(slots=True)
class AxisPlan:
    """How an axis of a new weight comes from the old one. What is `read` is 0 where it is new, and divided
    among copies.
    """

    indices: Indices
    read: bool = False

    @property
    def same(self) -> bool:
        return self.indices == tuple(range(len(self.indices)))


@dataclass(slots=True)
class WeightPlan:
    """A weight of the new spec, and the key of the one that it comes from. `scale` multiplies it along axis 0
    or, for tables, along the last axis; `zero` says that what is new of it starts at 0, `bias` at this value.
    """

    key: str
    shape: tuple[int, ...]
    source: str | None = None
    axes: list[AxisPlan] = field(default_factory=list)
    scale: tuple[float, ...] | None = None
    factor: float = 1.0
    zero: bool = False
    bias: float | None = None
    rows: bool = False
    identity: Literal["kernel", "zero", "one"] | None = None
    trainable: bool = True


def appended(old: int, new: int) -> Indices:
    """New channels after the old ones."""
    return tuple(index if index < old else -1 for index in range(new))


def repeated(old: int, new: int) -> Indices:
    """New channels as copies of the old ones, in turn."""
    return tuple(index % old for index in range(new))


class ChannelTracker:
    """Walks the new graph in data order. `known` are the paths of the old nodes by those of the new ones,
    `heads` and `tables` the indices of classes and of ids by the path of the node that has them.
    """

    def __init__(
        self,
        old: Graph,
        new: Graph,
        known: Mapping[str, str],
        growth: Growth,
        heads: Mapping[str, Indices],
        tables: Mapping[str, Indices],
        moving: Moving,
    ):
        self.known, self.growth, self.moving = known, growth, moving
        self.heads, self.tables = heads, tables
        self.old_ops = dict(by_path(old))
        self.new_ops = dict(by_path(new))
        self.old_keys, self.new_keys = dict(unit_keys(old)), dict(unit_keys(new))
        self.maps: dict[Value, Indices] = {}
        self.plans: dict[str, WeightPlan] = {}
        self.added: list[tuple[str, Op]] = []
        self._roles: dict[Unit, LayerRoles] = {}
        self._producers: dict[Value, Value] = {}

    def run(self, graph: Graph) -> dict[str, WeightPlan]:
        self._walk(graph, "")
        return self.plans

    def _walk(self, graph: Graph, prefix: str) -> None:
        for op in graph.ops:
            path = prefix + op.name
            if not op.present:
                if op.inputs:
                    self._pass(op.inputs[0], op.output)
                continue
            if path not in self.known:
                self.added.append((path, op))
            if op.graph is not None:
                for inner, outer in op.passed():
                    if inner is not None and isinstance(outer, Value):
                        self._pass(outer, inner)
                self._walk(op.graph, f"{path}.")
                for name, inside in op.results.items():
                    if name in op.outputs:
                        self._pass(inside, op.outputs[name])
            else:
                self._op(op, path)
            if path not in self.known and op.inputs and op.inputs[0].tensor == op.output.tensor:
                self.maps.pop(op.output, None)  # what comes after it reads what came before it
                self._pass(op.inputs[0], op.output)

    def _pass(self, source: Value, value: Value) -> None:
        self._producers.setdefault(value, source)
        if source in self.maps:
            self.maps[value] = self.maps[source]

    def _op(self, op: Op, path: str) -> None:
        old = self.old_ops.get(self.known.get(path, ""))
        if op.parameter is not None:
            self._parameter(op, old)
        elif op.weights():
            self._weights(op, old, path)
        else:
            self._without(op, old)

    # --- ops without weights

    def _without(self, op: Op, old: Op | None) -> None:
        """An op without weights passes on the channels of what it reads: moved, where it says that it moves
        elements, else in their places.
        """
        channels = [self.maps.get(value) for value in op.inputs]
        if old is not None and any(channels) and op.layer is not None and _moves(op):
            indices = self.moving(op, old, channels)
            if indices is not None:
                self.maps[op.output] = indices
            return
        for value in op.outputs.values():
            size = value.tensor.shape[-1] if value.tensor.rank > 1 else None
            fitting = [indices for indices in channels if indices is not None and len(indices) == size]
            if fitting:  # of what is added up, what was there before says where channels are
                self.maps[value] = max(fitting, key=lambda indices: sum(index >= 0 for index in indices))

    # --- weights

    def _parameter(self, op: Op, old: Op | None) -> None:
        assert op.unit is not None and op.parameter is not None
        key = self.new_keys[op.unit].removesuffix(".")
        plan = self.plans[key] = WeightPlan(key, op.parameter.shape)
        if old is None or old.parameter is None or old.unit is None:
            return
        if len(old.parameter.shape) != len(op.parameter.shape):
            return
        plan.source = self.old_keys[old.unit].removesuffix(".")
        plan.axes = [
            AxisPlan(self._grown(before, after))
            for before, after in zip(old.parameter.shape, op.parameter.shape, strict=True)
        ]
        self._give(op, plan.axes[-1].indices)

    def _give(self, op: Op, indices: Indices) -> None:
        if indices != tuple(range(len(indices))):
            self.maps[op.output] = indices

    def _grown(self, old: int, new: int) -> Indices:
        return repeated(old, new) if self.growth == "copied" and new > old else appended(old, new)

    def _weights(self, op: Op, old: Op | None, path: str) -> None:
        assert op.layer is not None and op.unit is not None
        site = op.site()
        layer_roles = roles(op.layer, site.inputs)
        if op.unit in self._roles:
            self._again(op, old, layer_roles)
            return
        self._roles[op.unit] = layer_roles
        fits = old is not None and old.layer is not None and type(old.layer) is type(op.layer)
        before = {weight.name: weight for weight in old.weights()} if fits and old is not None else {}
        reads = [self._reads(op, old, number) for number in range(len(site.inputs))]
        gives = self._gives(op, old if fits else None, path, layer_roles, reads)
        for weight in op.weights():
            key = f"{self.new_keys[op.unit]}{weight.name}"
            plan = self.plans[key] = WeightPlan(key, weight.shape, trainable=weight.trainable)
            source = before.get(weight.name)
            if source is None or len(source.shape) != len(weight.shape):
                continue
            assert old is not None and old.unit is not None and old.layer is not None
            plan.source = f"{self.old_keys[old.unit]}{weight.name}"
            theirs = roles(old.layer, old.site().inputs).axes[weight.name]
            pairs = zip(layer_roles.axes[weight.name], theirs, source.shape, weight.shape, strict=True)
            plan.axes = [
                self._axis(role, other, sizes, reads, gives, path, place)
                for place, (role, other, *sizes) in enumerate(pairs)
            ]
            self._particular(plan, op.layer, old.layer, weight.name, path, layer_roles)
        self._give(op, gives)

    def _reads(self, op: Op, old: Op | None, number: int) -> Indices | None:
        """The channels of an argument: as tracked, or in their places, those that are too many new."""
        value = op.arguments[number] if number < len(op.arguments) else None
        if not isinstance(value, Value) or op.layer is None or value.tensor.rank < 2:
            return None
        size = value.tensor.shape[channel_axis(op.layer, value.tensor.rank)]
        if value in self.maps:
            return self.maps[value] if len(self.maps[value]) == size else None
        other = old.arguments[number] if old is not None and number < len(old.arguments) else None
        if not isinstance(size, int) or not isinstance(other, Value):
            return None
        before = other.tensor.shape[channel_axis(op.layer, other.tensor.rank)]
        return appended(before, size) if isinstance(before, int) else None

    def _gives(
        self, op: Op, old: Op | None, path: str, roles: LayerRoles, reads: list[Indices | None]
    ) -> Indices:
        """The channels of an output."""
        assert op.layer is not None
        size = op.output.tensor.shape[channel_axis(op.layer, op.output.tensor.rank)]
        if not isinstance(size, int):
            return ()
        if path in self.heads:
            return self.heads[path]
        if roles.follows is not None:
            indices = reads[roles.follows]
            if indices is not None and len(indices) == size:
                return indices
        if old is None:
            return (-1,) * size
        before = old.output.tensor.shape[channel_axis(op.layer, old.output.tensor.rank)]
        return self._grown(before, size) if isinstance(before, int) else (-1,) * size

    def _axis(
        self,
        role: Role,
        other: Role,
        sizes: list[int],
        reads: list[Indices | None],
        gives: Indices,
        path: str,
        place: int,
    ) -> AxisPlan:
        before, after = sizes
        if role.kind == "rows":
            return AxisPlan(self.tables.get(path, appended(before, after)))
        if role.kind == "in":
            indices = reads[role.source] if role.source < len(reads) else None
            if indices is not None and len(indices) == after:
                return AxisPlan(indices, read=True)
            return AxisPlan(appended(before, after), read=True)
        if role.kind == "inner":
            return AxisPlan(joined(other.parts, role.parts), read=place > 0)
        if role.kind == "out" and role.parts and role.parts[-1] == len(gives) and len(other.parts) > 0:
            base = other.parts[-1]
            blocks = after // len(gives)
            return AxisPlan(
                tuple(-1 if index < 0 else block * base + index for block in range(blocks) for index in gives)
            )
        return AxisPlan(self._grown(before, after))

    def _particular(
        self, plan: WeightPlan, layer: Layer, old: Layer, name: str, path: str, roles: LayerRoles
    ) -> None:
        """Applies the needs of layers and heads beside their channels."""
        growth = layer.growth(old)
        plan.factor = growth.factors.get(name.partition(".")[0], 1.0)
        plan.zero = name.partition(".")[0] in growth.zero
        if path in self.heads:
            plan.rows = True
            plan.zero = layer.output_activation() == "softmax" or self._softmax_after(path)
            if plan.zero and name.endswith("bias"):
                plan.bias = IMPROBABLE
        elif path in self.tables and any(role.kind == "rows" for role in roles.axes[name]):
            plan.rows = True

    def _softmax_after(self, path: str) -> bool:
        value = self.new_ops[path].output
        readers = (op for op in self.new_ops.values() if value in op.inputs and op.layer is not None)
        return any(op.layer is not None and op.layer.output_activation() == "softmax" for op in readers)

    def _again(self, op: Op, old: Op | None, roles: LayerRoles) -> None:
        """One more call of shared weights. Where it reads what the first call gives, as a table of words that
        gives their scores, what it reads is made so that new channels count nothing.
        """
        assert op.unit is not None and op.layer is not None
        value = op.arguments[0] if op.arguments else None
        first = self._roles[op.unit]
        indices = self.maps.get(value) if isinstance(value, Value) else None
        keys = [f"{self.new_keys[op.unit]}{weight.name}" for weight in op.weights()]
        plans = [self.plans[key] for key in keys if key in self.plans]
        reversed_ = (
            indices is not None
            and first.follows is None
            and any(
                any(not axis.same and axis.indices == indices and not axis.read for axis in plan.axes)
                for plan in plans
            )
        )
        if reversed_ and isinstance(value, Value) and indices is not None:
            counts = Counter(indices)
            self._scale(value, tuple(0.0 if index < 0 else 1 / counts[index] for index in indices))
            return
        size = op.output.tensor.shape[-1]
        if roles.follows is not None and indices is not None and len(indices) == size:
            self.maps[op.output] = indices
        elif op.unit.first_call.output in self.maps:
            self.maps[op.output] = self.maps[op.unit.first_call.output]

    def _scale(self, value: Value, factors: tuple[float, ...]) -> None:
        """Multiplies what the layer that gives a value puts into each channel."""
        while value.op is None or value.op.layer is None or value.op.layer.training_only:
            source = self._producers.get(value) or (value.op.inputs[0] if value.op is not None else None)
            if source is None:
                return
            value = source
        op = value.op
        if op.unit is None or op.unit not in self._roles:
            return
        for weight in op.weights():
            plan = self.plans.get(f"{self.new_keys[op.unit]}{weight.name}")
            if plan is not None and weight.trainable and weight.shape[0] == len(factors):
                plan.scale = factors


IMPROBABLE = -16.0
"""The first logit of a class that is new: its probability is below 1e-6 wherever another class has one."""


def joined(old: tuple[int, ...], new: tuple[int, ...]) -> Indices:
    """The indices of an axis that is several joined: [heads, size] in [more heads, larger size]."""
    if len(old) != len(new):
        return ()
    indices: list[int] = [0]
    for before, after in zip(old, new, strict=True):
        indices = [
            -1 if index < 0 or place >= before else index * before + place
            for index in indices
            for place in range(after)
        ]
    return tuple(indices)


def _moves(op: Op) -> bool:
    """Whether an op moves elements of its inputs to other places."""
    assert op.layer is not None
    moved = op.layer.moves(*op.site().inputs)
    return bool(moved) and moved[0] != "same"


def by_path(graph: Graph, prefix: str = "") -> Iterator[tuple[str, Op]]:
    """All ops of a graph and of those inside it, by their paths."""
    for op in graph.ops:
        yield prefix + op.name, op
        if op.graph is not None:
            yield from by_path(op.graph, f"{prefix}{op.name}.")
