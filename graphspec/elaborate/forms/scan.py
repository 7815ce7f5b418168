"""A cell over the steps of sequences: its block is built on the types of one step."""

from __future__ import annotations

from dataclasses import replace

from graphspec.contract.layer import LayerError
from graphspec.contract.scanning import Scanned, Scanning
from graphspec.elaborate.body import NodeResult, failed
from graphspec.elaborate.forms import block, call
from graphspec.elaborate.forms.binding import report
from graphspec.elaborate.instance import Build, NodeInputs, NodeInstance
from graphspec.elaborate.values import Bound
from graphspec.graph import Op, Value, chained_inputs, types
from graphspec.language.schema import Node
from graphspec.settings import show
from graphspec.tensor import Dim, Tensor


def scan(node: NodeInstance, wrapper: Scanning, wrapped: Node, build_inner: Build) -> NodeResult:
    """The result of a scan; `build_inner` builds its cell."""
    inner = NodeInstance(node.body, node.name, wrapped, (*node.path, "wraps"), node.index)
    inner.inner_paths = node.inner_paths
    names, given = _names(inner)
    states = chained_inputs(names, given)
    over = list(wrapper.over or [name for name in names if name not in states][:1])
    wrong = next((name for name in over if name not in names or name in states), None)
    if names and (wrong is not None or not over):
        what = (
            f"`{wrong}` is not an input"
            if wrong is not None and wrong not in names
            else "a state is not a sequence"
        )
        free = [name for name in names if name not in states]
        help = f"its inputs that are not states: {', '.join(free)}" if free else "give the cell another input"
        where = node.span_of("over") if wrong is not None else node.span_of("wraps")
        return node.failure("unknown-key", where, f"{what} of the cell of `{node.name}`", help)
    if node.inputs.broken or node.refuses_nothing(node.inputs.all()):
        return failed()
    try:
        cut = _Cut(node, names, over, states)
    except LayerError as error:
        report(node, error)
        return failed()
    inner.inputs = cut.inputs
    result = build_inner(inner)
    node.unit, op = inner.unit, result.op
    if op is None or (op.graph is None and op.layer is None):
        return failed()
    if op.wrapper is not None:
        message, help = f"`{node.name}` cannot scan another wrapper", "put it in a block, and scan the block"
        return node.failure("not-supported", node.span_of("wraps"), message, help)
    if not _go_on(node, op, states):
        return failed()
    op.inner = tuple(types(argument) for argument in op.arguments)
    op.inner_outputs = tuple(value.tensor for value in op.outputs.values())
    op.arguments = tuple(cut.outer.get(each, each) for each in op.arguments)
    places = {name: place for place, name in enumerate(op.graph.inputs)} if op.graph is not None else {}
    op.wrapper = Scanned(
        over=tuple(places.get(name, 0) for name in over),
        states=tuple(places[name] for name in op.outputs if name in states),
        outputs=sum(name not in states for name in op.outputs),
    )
    op.span = node.span
    around = tuple(types(argument) for argument in op.arguments)
    for key, value in op.outputs.items():
        if key not in states:
            value.tensor = op.wrapper.leave(value.tensor, *around)
    return NodeResult(dict(op.outputs), op, result.body, result.inner_paths)


def _names(cell: NodeInstance) -> tuple[list[str], list[str]]:
    """The names of the inputs and outputs of a cell; of a layer, of the first input alone."""
    form, target = cell.form, cell.declared.target
    if form == "call":
        entry = call.find_entry(cell)
        form, target = (entry[1].form, entry[1].target) if entry is not None else ("", None)
    if form not in ("block", "model"):
        return ["x"], []
    located = block.find_body(cell, form, cell.evaluate(target, form), quiet=True)
    return (list(located[1].inputs), list(located[1].outputs)) if located is not None else ([], [])


class _Cut:
    """Cuts the inputs of a cell at a step: `inputs`; `outer` are the values around that they are cut from.
    Raises `LayerError`.
    """

    def __init__(self, node: NodeInstance, names: list[str], over: list[str], states: list[str]):
        self.outer: dict[Value, Value] = {}
        given = node.inputs
        named = {**dict(zip(names, ([each] for each in given.positional), strict=False)), **given.named}
        sequences = [each for name in over for each in named.get(name, ())]
        self._batch: Dim = 1
        self.steps: Dim | None = None
        order = list(map(id, given.all()))
        for each in sequences:
            self._accept(each, order.index(id(each)))
        cut = {id(bound): self._step(bound) for bound in sequences}
        cut |= {id(bound): self._state(bound) for name in states for bound in named.get(name, ())}
        self.inputs = NodeInputs(
            [cut.get(id(bound), bound) for bound in given.positional],
            {name: [cut.get(id(bound), bound) for bound in group] for name, group in given.named.items()},
            given.listed,
        )

    def _accept(self, bound: Bound, place: int) -> None:
        """Refuses what has no steps, or other ones than the sequences before."""
        assert isinstance(bound.value, Value)
        x = bound.value.tensor
        if x.rank < 2:
            raise LayerError(
                "wrong-rank",
                f"a sequence has at least 2 axes, `[batch, steps, ...]`, and {{input{place}}} is {x}",
                inputs=(place,),
            )
        if self.steps not in (None, x.shape[1]):
            message = f"the sequences must have as many steps: {{input{place}}} is {x}"
            raise LayerError("shapes-differ", message, inputs=(place,))
        self.steps, self._batch = x.shape[1], x.shape[0] if x.shape[0] != 1 else self._batch

    def _step(self, bound: Bound) -> Bound:
        assert isinstance(bound.value, Value)
        x = bound.value.tensor
        return self._cut(bound, x.with_shape(x.shape[0], *x.shape[2:]))

    def _state(self, bound: Bound) -> Bound:
        """A state, with the batch of the sequences: one that is given for one example begins all."""
        assert isinstance(bound.value, Value)
        x = bound.value.tensor
        return self._cut(bound, x.with_shape(self._batch, *x.shape[1:]) if x.shape[0] == 1 else x)

    def _cut(self, bound: Bound, tensor: Tensor) -> Bound:
        assert isinstance(bound.value, Value)
        value = Value(tensor, bound.value.name)
        self.outer[value] = bound.value
        return replace(bound, value=value)


def _go_on(node: NodeInstance, op: Op, states: list[str]) -> bool:
    """Whether what a cell gives as its states are states again, its last outputs."""
    order = [name in states for name in op.outputs]
    if order != sorted(order):
        last = [name for name in op.outputs if name not in states] + [n for n in op.outputs if n in states]
        message = f"the states of the cell of `{node.name}` are not its last outputs"
        help = f"list them last: outputs: {show(last)}"
        node.error("not-supported", node.span_of("wraps"), message, help)
        return False
    for name in states:
        before, after = op.graph.inputs[name] if op.graph is not None else None, op.results.get(name)
        if before is not None and after is not None and before.tensor != after.tensor:
            message = (
                f"the state `{name}` of `{node.name}` begins as {before.tensor}, and becomes {after.tensor}"
            )
            help = (
                f"begin with zeros of that shape: {{op: zeros, shape: {show(list(after.tensor.shape[1:]))}}}"
            )
            node.error("repeat-shapes", node.span_of("from", name), message, help)
            return False
    return True
