"""Weights of each example's own: what gradient descent on a loss makes of them, and calls with them."""

from __future__ import annotations

from collections.abc import Iterator

from graphspec.contract.layer import LayerError
from graphspec.contract.moving import Moved, Moving, Stepped, Stepping
from graphspec.elaborate.body import NodeResult, failed
from graphspec.elaborate.forms.binding import one_tensor, report
from graphspec.elaborate.instance import Build, NodeInputs, NodeInstance, near_help
from graphspec.elaborate.values import Bound
from graphspec.graph import Graph, Op, Unit, Value, types
from graphspec.language.schema import Node

CHANGE = "change"
"""The input of `MovedWeights` that is added to the weights."""


def move(node: NodeInstance, wrapper: Moving, wrapped: Node, build_inner: Build) -> NodeResult:
    """The result of a wrapper of weights; `build_inner` builds what it wraps."""
    if node.refuses_nothing(node.inputs.all()):
        return failed()
    inputs, change = node.inputs, None
    if not isinstance(wrapper, Stepping):
        inputs, change = _without_change(node)
        if change is None:
            message = (
                f"`{node.declared.target}` takes the change of the weights last: `{node.name}` gives it none"
            )
            return node.failure("input-count", node.span, message, "write from: [x, steps]")
    inner = NodeInstance(node.body, node.name, wrapped, (*node.path, "wraps"), node.index, inputs=inputs)
    inner.inner_paths = node.inner_paths
    result = build_inner(inner)
    node.unit, op = inner.unit, result.op
    if op is None or not one_tensor(node, type(wrapper), op):
        return failed()
    op.span = node.span
    op.inner = tuple(types(argument) for argument in op.arguments)
    op.inner_outputs = tuple(value.tensor for value in op.outputs.values())
    try:
        if isinstance(wrapper, Stepping):
            _step(node, wrapper, op)
        elif change is not None:
            _changed(node, op, change)
    except LayerError as error:
        report(node, error)
        return failed()
    return NodeResult(dict(op.outputs), op, result.body, result.inner_paths)


def _without_change(node: NodeInstance) -> tuple[NodeInputs, Bound | None]:
    """The inputs of what is wrapped, and the change."""
    given = node.inputs
    named = {name: group for name, group in given.named.items() if name != CHANGE}
    if CHANGE in given.named:
        (bound, *_) = given.named[CHANGE]
        return NodeInputs(given.positional, named, given.listed), bound
    if given.named or len(given.positional) < 2:
        return given, None
    return NodeInputs(given.positional[:-1], {}, given.listed), given.positional[-1]


def _step(node: NodeInstance, wrapper: Stepping, op: Op) -> None:
    """Puts the steps around a loss. Raises `LayerError`."""
    lent = {unit.name: unit for unit in _borrowed(op)}
    own = op.unit if op.unit is not None and op.unit.name == wrapper.of else None
    if wrapper.of is None or own is not None:
        inside = op
        if not _count(op):
            help = (
                f"name what it calls: of: {next(iter(lent))}" if lent else "call a network with weights in it"
            )
            message = f"what `{node.name}` wraps has no weights of its own"
            raise LayerError("unknown-reference", message, help=help, argument="wraps")
    elif wrapper.of in lent:
        inside = lent[wrapper.of].first_call
    else:
        message = f"the loss of `{node.name}` does not depend on the weights of `{wrapper.of}`"
        help = (
            near_help(wrapper.of, list(lent))
            or "call it in the block that is the loss: {call: " + wrapper.of + "}"
        )
        raise LayerError("unknown-reference", message, help=help, argument="of")
    _need_trained(node, inside)
    for each in (*_walk(inside), *_walk(op)):
        _need_repeatable(node, each)
    op.wrapper = Stepped.model_construct(
        **dict(wrapper), lent=wrapper.of is not None and own is None, weight_count=_count(inside)
    )
    for value in op.outputs.values():
        value.tensor = op.wrapper.leave(value.tensor, *map(types, op.arguments))


def _changed(node: NodeInstance, op: Op, change: Bound) -> None:
    """Puts the change around a call. Raises `LayerError`."""
    assert isinstance(change.value, Value)
    given, count = change.value.tensor, _count(op)
    if not count:
        message = f"what `{node.name}` wraps has no weights"
        raise LayerError("not-supported", message, help="wrap a network with weights", argument="wraps")
    for each in _walk(op):
        _need_repeatable(node, each)
    if given.rank != 2 or given.shape[1] != count or not given.is_float:
        what = f"`{node.name}` wraps {count:,} weights, and {{input0}} is {given}"
        help = f"give the change of {count} that steps on the same network make, or `units: {count}`"
        node.inputs = NodeInputs([change])
        raise LayerError("shapes-differ", what, help=help, inputs=(0,))
    if given.dtype == "float64":
        node.inputs = NodeInputs([change])
        message, help = f"weights are float32, and {{input0}} is {given}", "write `dtype: float32` of it"
        raise LayerError("wrong-dtype", message, help=help, inputs=(0,))
    op.wrapper = Moved()
    op.arguments = (*op.arguments, change.value)
    for value in op.outputs.values():
        batch = given.shape[0] if value.tensor.shape[0] == 1 else value.tensor.shape[0]
        value.tensor = value.tensor.with_shape(batch, *value.tensor.shape[1:])


def _walk(op: Op) -> Iterator[Op]:
    yield op
    if op.graph is not None:
        yield from op.graph.walk()


def _borrowed(op: Op) -> Iterator[Unit]:
    """The shared entries of bodies around a block that it calls."""
    owned = {unit for graph in _graphs(op) for unit in graph.units}
    for each in _walk(op):
        if each is not op and each.unit is not None and each.unit.shared and each.unit not in owned:
            yield each.unit


def _graphs(op: Op) -> Iterator[Graph]:
    return op.graph.graphs() if op.graph is not None else iter(())


def _count(op: Op) -> int:
    """The number of weights of an op, each counted once; what is no weight but a statistic is not."""
    if op.graph is not None:
        return sum(_count(unit.first_call) for unit in op.graph.units)
    return sum(weight.size for weight in op.weights() if weight.trainable)


def _need_trained(node: NodeInstance, op: Op) -> None:
    """Refuses weights of which some are frozen."""
    frozen = op.unit is not None and not op.unit.trainable
    inner = (unit for graph in _graphs(op) for unit in graph.units)
    still = op.unit if frozen else next((unit for unit in inner if not unit.trainable), None)
    if still is not None:
        message = f"the weights of `{still.name}` are frozen, and `{node.name}` moves all weights"
        help = "keep what is frozen outside of the network whose weights move"
        raise LayerError("not-supported", message, help=help, argument="wraps")


def _need_repeatable(node: NodeInstance, op: Op) -> None:
    """Refuses a layer whose calls change it, or that has no call for weights of each example's own."""
    layer, why = op.layer, None
    if layer is None or not op.present:
        return
    if layer.learns_of_calls or not layer.rerunnable:
        why, help = "a call of it changes its statistics", "take a normalization of each example by itself"
    elif layer.recurrent:
        why, help = (
            "PyTorch's recurrent layers take one set of weights",
            "write its cell as a block, and run that over the steps",
        )
    elif layer.opaque:
        why, help = "what a module of your own does with other weights is not known", "write it as a block"
    if why is not None:
        message = f"`{op.node}` cannot run on weights of each example's own in `{node.name}`: {why}"
        raise LayerError("not-supported", message, help=help, argument="wraps")
