"""What holds weights: the unit of an instance, with the keys of its node that speak of them."""

from __future__ import annotations

from graphspec.elaborate.body import Instance, failed
from graphspec.elaborate.context import FAILED
from graphspec.elaborate.use import NodeInstance
from graphspec.graph import Op, Unit
from graphspec.objectives.settings import show


def register_op(use: NodeInstance, instance: Instance | Op | None) -> Instance:
    """Adds the op of a new instance to the graph, with its unit."""
    if instance is None:
        return failed()
    if isinstance(instance, Op):
        instance = Instance(dict(instance.outputs), instance)
    op = instance.op
    if op is None:
        return instance
    graph = use.run.graph
    graph.ops.append(op)
    if use.node.form == "call":
        op.unit = use.unit
    elif op.layer is None or op.kind == "layer" or op.weights():
        trainable = use.flag("trainable", use.node.trainable)
        weights = weights_path(use)
        op.unit = Unit(use.name, use.index, use.span, False, trainable is not False, weights)
        graph.units.append(op.unit)
    if op.unit is not None:
        op.unit.calls.append(op)
    return instance


def weights_path(use: NodeInstance) -> str | None:
    weights = use.run.evaluate(use.node.weights, (*use.path, "weights"), use.index)
    if weights is None or isinstance(weights, str):
        return weights
    if weights is FAILED:
        return None
    use.error(
        "wrong-type",
        use.span_of("weights"),
        f"`weights` is the path of a .safetensors file, not {show(weights)}",
    )
    return None
