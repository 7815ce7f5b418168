"""What each form of node builds: a layer, merge or op called on values, a parameter, a block, a model, a
call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_core import PydanticCustomError

from graphspec.contract import REGISTRY
from graphspec.contract.initializers import Initializer
from graphspec.contract.layer import Layer, Weight
from graphspec.elaborate.bodies import body_inputs, build_body
from graphspec.elaborate.body import Instance, failed
from graphspec.elaborate.context import FAILED
from graphspec.elaborate.layers import called_layer
from graphspec.elaborate.shared import shared_call
from graphspec.elaborate.units import register_op
from graphspec.elaborate.use import NodeInstance, near_help
from graphspec.graph import Op, Value
from graphspec.objectives.settings import show
from graphspec.tensor import Tensor


def declared_inputs(use: NodeInstance) -> list[str]:
    """The names of the inputs of what a node names, in order; none where it cannot be told."""
    form, target = use.node.form, use.node.target
    if form == "call":
        entry = use.run.body.shared.get(target)
        if entry is None:
            return []
        form, target = entry.form, entry.target
    if form in ("block", "model"):
        return body_inputs(use, form, target)
    known: Mapping[str, type[Layer]] = REGISTRY.get(form, {})  # type: ignore[call-overload]
    cls = known.get(target) if isinstance(target, str) else None
    return [] if cls is None or cls.variadic else [argument.name for argument in cls.arguments]


def build(use: NodeInstance) -> Instance:
    """The instance that a use stands for, added to its graph."""
    form = use.node.form
    if form == "parameter":
        return _parameter(use)
    if form == "call":
        return shared_call(use)
    if form in ("block", "model"):
        return register_op(use, build_body(use, form))
    op = called_layer(use, form)  # type: ignore[arg-type]
    return register_op(use, op) if op is not None else failed()


def _parameter(use: NodeInstance) -> Instance:
    run = use.run
    shape = run.evaluate(use.node.parameter, (*use.path, "parameter"), use.index)
    arguments = use.arguments()
    if shape is FAILED or arguments is None:
        return failed()
    if not (
        isinstance(shape, list)
        and shape
        and all(isinstance(s, int) and not isinstance(s, bool) and s > 0 for s in shape)
    ):
        use.error(
            "wrong-type",
            use.span_of("parameter"),
            f"the shape of a parameter is a list of positive integers, not {show(shape)}",
            "write parameter: [1, 768]",
        )
        return failed()
    unknown = [key for key in arguments if key != "initializer"]
    for key in unknown:
        use.error(
            "unknown-key",
            run.body.document.key((*use.path, key)),
            f"a parameter takes no `{key}`",
            near_help(key, ["initializer", "trainable", "when"]),
        )
    initializer = _initializer(use, arguments.get("initializer", "glorot_uniform"))
    if unknown or initializer is None:
        return failed()
    trainable = run.evaluate(use.node.trainable, (*use.path, "trainable"), use.index)
    fill = (
        initializer.statement()
        if len(shape) > 1 or not initializer.uses_fans
        else initializer.statement().replace("{w}", "{w}[None]")
    )
    weight = Weight("", (1, *shape), use.name, initializer=fill, trainable=trainable is not False)
    op = Op(use.name, use.index, use.span, "parameter", parameter=weight, title="Parameter")
    op.outputs = {"": Value(Tensor((1, *shape)), use.name, op)}
    return register_op(use, op)


def _initializer(use: NodeInstance, value: Any) -> Initializer | None:
    try:
        return Initializer.parse(value)
    except (PydanticCustomError, ValueError):
        names = sorted(Initializer.members)
        use.error(
            "out-of-range",
            use.span_of("initializer"),
            f"unknown initializer {show(value)}",
            near_help(str(value), names),
        )
        return None
