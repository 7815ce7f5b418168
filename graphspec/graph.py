"""The program as a graph that keeps its nesting: an instance of a block or model is one op with a graph of
its own.

Elaboration makes graphs in data order; summary, plot, layout and emission read them. Nothing is flattened.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from graphspec.contract.layer import Layer, Site, Weight
from graphspec.contract.state import Updating
from graphspec.diagnostics import Span
from graphspec.expressions import Expression
from graphspec.tensor import Dim, Tensor
from graphspec.traced import Symbolic

if TYPE_CHECKING:
    from graphspec.train.config.varying import Varying

Plain = Any  # a plain value of a spec: number, string, boolean, null, or a list of them


class ArgumentExpression(NamedTuple):
    """An expression that the spec has for an argument: its value here, and its path from the node's keys."""

    expression: Expression
    value: Plain
    path: tuple[str | int, ...]


OpKind = Literal[
    "layer", "merge", "op", "block", "model", "parameter", "constant", "state", "compute", "module"
]
"""The kind of an op; a call has the kind of the shared entry."""


@dataclass(eq=False, slots=True)
class Value:
    """A tensor that flows in one graph: an input of it, or an output of one of its ops. Compared by
    identity.
    """

    tensor: Tensor
    name: str
    op: Op | None = None


class WeightAverage(NamedTuple):
    """The average of another unit's weights: the name of that unit in its graph, and the share that a step
    keeps.
    """

    of: str
    momentum: float | Varying


@dataclass(eq=False, slots=True)
class Unit:
    """A layer, block or model with one set of weights, and the ops that call it: several when it is shared.

    `index` is the instance's number where the node is repeated; `shared` units are called, not placed. The
    weights of one with an `average` follow those of another.
    """

    name: str
    index: int | None
    span: Span | None
    shared: bool = False
    trainable: bool = True
    weights: str | None = None
    calls: list[Op] = field(default_factory=list)
    average: WeightAverage | None = None

    @property
    def path(self) -> str:
        """Its name within the graph that owns it: `stages.0`."""
        return self.name if self.index is None else f"{self.name}.{self.index}"

    @property
    def first_call(self) -> Op:
        return self.calls[0]


@dataclass(eq=False, slots=True)
class Formula:
    """A node whose ops are one formula, the last of them the node itself. Compared by identity."""

    text: str


@dataclass(eq=False, slots=True)
class Op:
    """One node at work: a layer, merge or op called on values; an instance of a block or model; a parameter;
    a constant.

    Exactly one of `layer`, `graph` and `parameter` says what it does. `present` is false where `when` left
    it out: then it passes on `inputs[0]`, if there is one. `arguments` groups the inputs as the callee takes
    them: for each of its arguments a Value, a tuple of Values, or None. `wrapper` is a layer such as
    TimeDistributed around it; then `inner` are the types that the wrapped one sees. `results` gives, for a
    graph, the value inside it that each output is.
    """

    node: str
    index: int | None
    span: Span | None
    kind: OpKind
    arguments: tuple[Any, ...] = ()
    outputs: dict[str, Value] = field(default_factory=dict)
    results: dict[str, Value] = field(default_factory=dict)
    unit: Unit | None = None
    layer: Layer | None = None
    graph: Graph | None = None
    parameter: Weight | None = None
    wrapper: Any = None
    inner: tuple[Any, ...] = ()
    inner_outputs: tuple[Tensor, ...] = ()
    present: bool = True
    title: str = ""
    options: dict[str, Plain] = field(default_factory=dict)
    expressions: tuple[ArgumentExpression, ...] = ()
    when: Expression | None = None
    passes: bool = False  # where its `when` is false, its first input replaces it
    repeated: Literal["repeat", "parallel", None] = None
    count: int = 1  # of the instances of its node
    varying: Varying | None = None  # what a constant is over a training
    formula: Formula | None = None  # which it is a step of
    checkpoint: bool = False  # in training what is inside is computed again, and not kept

    @property
    def name(self) -> str:
        return self.node if self.index is None else f"{self.node}.{self.index}"

    @property
    def updates(self) -> bool:
        """Whether it changes a state, its first input, which only training does; nothing reads it."""
        return isinstance(self.wrapper, Updating)

    @property
    def inputs(self) -> tuple[Value, ...]:
        """All values it reads, in order."""
        return tuple(flatten(self.arguments))

    def passed(self) -> Iterator[tuple[Value | None, Any]]:
        """The inputs of its graph, each with the argument for it; a mask that a wrapper reads comes after
        these.
        """
        return zip(self.graph.inputs.values() if self.graph is not None else (), self.arguments, strict=False)

    @property
    def output(self) -> Value:
        """Its first output."""
        return next(iter(self.outputs.values()))

    def site(self, channels_first: bool = False) -> Site:
        """The use of its layer: the types of its inputs and outputs."""
        listed = self.layer is not None and self.layer.variadic
        inputs = self.inner or tuple([types(a) for a in self.arguments if a is not None or not listed])
        outputs = self.inner_outputs or tuple([value.tensor for value in self.outputs.values()])
        return Site(inputs, outputs, channels_first)

    def weights(self) -> tuple[Weight, ...]:
        """The parameters and buffers of its own layer or parameter; those of a graph are its units'."""
        if self.parameter is not None:
            return (self.parameter,)
        if self.layer is None or not self.present:
            return ()
        return self.layer.weights(*self.site().inputs)

    def flops(self) -> Dim:
        """Operations for one example of one call."""
        if not self.present:
            return 0
        if self.graph is not None:
            cost: Dim = 0
            for op in self.graph.ops:
                cost = cost + op.flops()
        else:
            cost = self.layer.flops(self.site()) if self.layer is not None else 0
        return (
            cost * self.wrapper.times(*(types(a) for a in self.arguments))
            if self.wrapper is not None
            else cost
        )


def steps(ops: Iterable[Op]) -> Iterator[tuple[Op, ...]]:
    """The ops of each node: one, or all of a formula, where the last of them is."""
    open_formulas: dict[Formula, list[Op]] = {}
    listed = list(ops)
    last = {op.formula: op for op in listed if op.formula is not None}
    for op in listed:
        if op.formula is None:
            yield (op,)
            continue
        open_formulas.setdefault(op.formula, []).append(op)
        if last[op.formula] is op:
            yield tuple(open_formulas[op.formula])


def read_by(step: tuple[Op, ...]) -> tuple[Value, ...]:
    """The values that the ops of a node read from other nodes, in order; for a formula each value once."""
    if len(step) == 1:
        return step[0].inputs
    return tuple(dict.fromkeys(v for op in step for v in op.inputs if v.op is None or v.op not in step))


def flatten(arguments: Any) -> list[Value]:
    """The values in nested tuples, in order; None is nothing."""
    values: list[Value] = []
    for argument in arguments:
        if argument.__class__ is Value:
            values.append(argument)
        elif argument is not None:
            values += flatten(argument)
    return values


def chained_inputs(inputs: Iterable[str], outputs: Collection[str]) -> list[str]:
    """The inputs that an instance of a repeated node gets from the one before: those that are called as its
    outputs. If there are none, its first output is the first input.
    """
    return [name for name in inputs if name in outputs]


def types(argument: Any) -> Any:
    """The same grouping with tensors in place of values."""
    if argument.__class__ is Value:
        return argument.tensor
    return tuple([types(item) for item in argument]) if isinstance(argument, tuple) else argument


def replaced(argument: Any, values: Mapping[Value, Value]) -> Any:
    """The same grouping, with others in the place of these values."""
    if isinstance(argument, tuple):
        return tuple(replaced(item, values) for item in argument)
    return values.get(argument, argument) if isinstance(argument, Value) else argument


@dataclass(frozen=True, slots=True)
class Definition:
    """Where a graph's text is: a whole file, or a block of one. Equal definitions are one class when
    emitted.
    """

    file: str
    block: str | None
    title: str


@dataclass(eq=False, slots=True)
class Graph:
    """One body: a file's or a block's, for given inputs and params.

    `params` are its own, `visible` all that its expressions can read. `units` are its submodules in
    construction order: shared ones first, then those of its nodes. `results` of an op of the parent point
    at values of this graph.
    """

    definition: Definition
    params: dict[str, Plain] = field(default_factory=dict)
    declared: dict[str, Plain] = field(default_factory=dict)
    visible: dict[str, Plain] = field(default_factory=dict)
    inputs: dict[str, Value | None] = field(default_factory=dict)
    units: list[Unit] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    outputs: dict[str, Value] = field(default_factory=dict)
    bindings: dict[Symbolic, Any] = field(default_factory=dict)  # what its names in formulas are around it

    def graphs(self) -> Iterator[Graph]:
        """This graph and all inside it, outer ones first."""
        yield self
        for op in self.ops:
            if op.graph is not None:
                yield from op.graph.graphs()

    def walk(self) -> Iterator[Op]:
        """All ops of this graph and of the graphs inside it."""
        for op in self.ops:
            yield op
            if op.graph is not None:
                yield from op.graph.walk()
