"""A learned tensor, the same for every example."""

from __future__ import annotations

from typing import Any, ClassVar

from graphspec.contract.initializers import Initializer
from graphspec.contract.layer import Weight
from graphspec.contract.variance_scaling import GlorotUniform
from graphspec.diagnostics import by_word
from graphspec.elaborate.body import NodeResult, failed
from graphspec.elaborate.instance import NodeInstance
from graphspec.elaborate.scope import expressions_in
from graphspec.elaborate.values import FAILED
from graphspec.graph import Op, Value
from graphspec.settings import Setting, SettingError, show, validate
from graphspec.tensor import Tensor, is_size
from graphspec.traced import attached, plain


def build(node: NodeInstance) -> NodeResult:
    """A parameter of the shape that the node names, with a batch axis of 1 before it."""
    shape, arguments = node.target(), node.arguments()
    if shape is FAILED or arguments is None:
        return failed()
    if not (isinstance(shape, list) and all(is_size(size) for size in shape)):
        message = f"the shape of a parameter is a list of positive integers, not {show(shape)}"
        sizes = [shape] if is_size(shape) else [1, 768]
        return node.failure("wrong-type", node.span_of("parameter"), message, f"write parameter: {sizes}")
    said = _read(node, arguments)
    fill = fill_of(node, said.initializer, len(shape)) if said is not None else None
    if fill is None:
        return failed()
    trainable = node.evaluate(node.declared.trainable, "trainable")
    weight = Weight("", (1, *shape), node.name, initializer=fill, trainable=trainable is not False)
    op = Op(node.name, node.index, node.span, "parameter", parameter=weight, title="Parameter")
    op.outputs = {"": Value(Tensor((1, *shape)), node.name, op)}
    op.expressions = tuple(expressions_in(node.declared.target, shape, ("parameter",)))
    return NodeResult(dict(op.outputs), op)


class _Parameter(Setting):
    """The settings of a parameter besides its shape."""

    synonyms: ClassVar = by_word(initializer="init kernel_initializer weight_init fill value")
    initializer: Initializer = GlorotUniform()


def _read(node: NodeInstance, arguments: dict[str, Any]) -> _Parameter | None:
    try:
        said: _Parameter = attached(arguments, validate(_Parameter, plain(arguments), "a parameter"))
        return said
    except SettingError as error:
        node.setting_error(error)
        return None


def fill_of(node: NodeInstance, initializer: Initializer, rank: int) -> str | None:
    """The statement that fills a parameter, of its shape without the batch axis; None after an error. A
    number is filled as one element, in the place of the batch.
    """
    least, most = initializer.ranks
    if rank == 0 and least == 1:
        return initializer.unturned(1)
    if not least <= rank <= most:
        axes = {0: "no axes", 1: "one axis"}.get(rank, f"{rank} axes")
        message = f"the initializer `{initializer.word}` cannot fill a parameter of {axes}"
        help = "it takes exactly two axes" if most == 2 else "it takes two axes or more"
        node.error("out-of-range", node.span_of("initializer"), message, help)
        return None
    if not initializer.uses_fans and least == 1:
        return initializer.statement()  # each element for itself
    return initializer.unturned(rank).replace("{w}", "{w}.detach()[0]")
