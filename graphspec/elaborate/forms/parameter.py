"""A learned tensor, the same for every example."""

from __future__ import annotations

from typing import Any

from pydantic_core import PydanticCustomError

from graphspec.contract.initializers import Initializer
from graphspec.contract.layer import Weight
from graphspec.elaborate.body import NodeResult, failed
from graphspec.elaborate.instance import NodeInstance, near_help
from graphspec.elaborate.values import FAILED
from graphspec.graph import Op, Value
from graphspec.objectives.settings import show
from graphspec.tensor import Tensor


def build(node: NodeInstance) -> NodeResult:
    """A parameter of the shape that the node names, with a batch axis of 1 before it."""
    shape, arguments = node.target(), node.arguments()
    if shape is FAILED or arguments is None:
        return failed()
    if not (isinstance(shape, list) and shape and all(_is_size(size) for size in shape)):
        message = f"the shape of a parameter is a list of positive integers, not {show(shape)}"
        node.error("wrong-type", node.span_of("parameter"), message, "write parameter: [1, 768]")
        return failed()
    unknown = [key for key in arguments if key != "initializer"]
    for key in unknown:
        help = near_help(key, ["initializer", "trainable", "when"])
        node.error("unknown-key", node.key(key), f"a parameter takes no `{key}`", help)
    initializer = _initializer(node, arguments.get("initializer", "glorot_uniform"))
    if unknown or initializer is None:
        return failed()
    trainable = node.evaluate(node.declared.trainable, "trainable")
    fill = initializer.statement()
    if len(shape) == 1 and initializer.uses_fans:
        fill = fill.replace("{w}", "{w}[None]")
    weight = Weight("", (1, *shape), node.name, initializer=fill, trainable=trainable is not False)
    op = Op(node.name, node.index, node.span, "parameter", parameter=weight, title="Parameter")
    op.outputs = {"": Value(Tensor((1, *shape)), node.name, op)}
    return NodeResult(dict(op.outputs), op)


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _initializer(node: NodeInstance, value: Any) -> Initializer | None:
    try:
        return Initializer.parse(value)
    except (PydanticCustomError, ValueError):
        help = near_help(str(value), sorted(Initializer.members))
        message = f"unknown initializer {show(value)}"
        node.error("out-of-range", node.span_of("initializer"), message, help)
        return None
