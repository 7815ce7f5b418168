"""A block as the loss of an output: its inputs are what the output names, and the whole batch is one
example of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import replace
from typing import Any

from graphspec.contract.custom_module import CustomModule
from graphspec.declarations import read_wrapped
from graphspec.elaborate.body import BodyElaborator
from graphspec.elaborate.forms.block import build
from graphspec.elaborate.instance import NodeInputs, NodeInstance
from graphspec.elaborate.values import Bound
from graphspec.elaborated import Elaborated, OutputSpec
from graphspec.graph import Definition, Graph, Op, Unit, Value
from graphspec.language.schema import NODE_KEYS
from graphspec.objectives.custom import TARGET, CustomLoss, target_type
from graphspec.passes import run_passes
from graphspec.settings import SettingError
from graphspec.source import Path
from graphspec.tensor import BATCH, Tensor, symbol

OF_TARGET = ("shape", "dtype")
OF_NODES = ("name", "reduction", *NODE_KEYS)
NOTE = "in a loss the whole batch is one example: axis 1 counts what it has"


def block_loss(body: BodyElaborator, name: str, values: list[Value], path: Path) -> CustomLoss | None:
    """The loss `{block: ...}` of an output that returns these values; None after an error, or where they are
    not known.

    `shape` and `dtype` are the target's, which the block reads as its input `target`.
    """
    written = body.declared.document.value
    for key in path:
        written = written[key]
    declared = {key: item for key, item in written.items() if key not in OF_TARGET}
    if _refuses_keys(body, declared, path):
        return None
    node = read_wrapped(body.declared.document, name, declared, path, body.context.diagnostics)
    if node is None or not values:
        return None
    said = {key: body.scope.evaluate(written[key], (*path, key)) for key in OF_TARGET if key in written}
    try:
        of_target = target_type(said)
    except SettingError as error:
        body.scope.setting_error(error, path)
        return None
    loss = CustomLoss.model_construct(path=str(node.block), name=str(node.block), arguments={}, **of_target)
    instance = NodeInstance(body, name, node, path)
    instance.caller = copy(body)
    instance.caller.scope = replace(body.scope, notes=(*body.scope.notes, NOTE))
    located = body.block(instance.target())
    inputs = _inputs(instance, values)
    if inputs is None:
        return None
    reads = located is not None and TARGET in located[1].inputs
    if said and located is not None and not reads:
        message = f"`{node.block}` reads no target, whose type `{next(iter(said))}` says"
        help = f"give it an input `{TARGET}`, or leave that out"
        instance.error("unknown-key", instance.key(next(iter(said))), message, help)
        return None
    if reads:
        target = loss.target(values[0].tensor)
        inputs.named[TARGET] = [Bound(Value(_whole(target), TARGET), TARGET, instance.span)]
    program = _program(instance, inputs)
    return None if program is None else loss.model_copy(update={"program": program})


def _refuses_keys(body: BodyElaborator, written: Mapping[str, Any], path: Path) -> bool:
    """Reports what a node may have and a loss may not."""
    document, wrong = body.declared.document, [key for key in written if key in OF_NODES]
    for key in wrong:
        help = "name the loss or its block, not both" if key == "name" else "leave it out"
        message = f"a loss that is a block takes no `{key}`"
        body.error("two-forms" if key == "name" else "unknown-key", document.key((*path, key)), message, help)
    return bool(wrong)


def _whole(tensor: Tensor) -> Tensor:
    """The type of a batch as one example."""
    return Tensor((1, *tensor.shape), tensor.dtype)


def _inputs(node: NodeInstance, values: list[Value]) -> NodeInputs | None:
    """The values of an output, as the block reads them; None after an error."""
    inputs = NodeInputs()
    for value in values:
        if value.tensor.shape[0] != symbol(BATCH):
            message = f"`{value.name}` is the same for all examples, and a loss reads what each has"
            help = "compute in `nodes` what each example has of it"
            node.error("loss-misfit", node.span, message, help)
            return None
        inputs.positional.append(Bound(Value(_whole(value.tensor), value.name), value.name, node.span))
    return inputs


def _program(node: NodeInstance, inputs: NodeInputs) -> Elaborated | None:
    """The block of a loss as a program of its own, whose inputs are called as those of the block."""
    node.inputs = inputs
    op = build(node).op
    if op is None or op.graph is None or not _is_loss(node, op):
        return None
    graph = Graph(Definition(op.graph.definition.file, None, node.name))
    given = {name: value for name, value in zip(op.graph.inputs, op.arguments, strict=True) if value}
    for name, value in given.items():
        value.name = name
    op.unit = Unit(node.name, None, node.span, calls=[op])
    graph.inputs, graph.ops, graph.units = dict(given), [op], [op.unit]
    graph.outputs = {node.name: op.output}
    findings = run_passes(graph, (), node.body.context.diagnostics)
    if findings is None:
        return None
    types = {name: value.tensor for name, value in given.items()}
    returned: dict[str, Any] = {
        node.name: OutputSpec(node.name, (op.output.tensor,), None, 1.0, (), node.name)
    }
    return Elaborated(node.name, findings.graph, types, returned, None, None)


def _is_loss(node: NodeInstance, op: Op) -> bool:
    """Whether a block gives a loss, and nothing but its inputs decides what it is; else that is reported."""
    title, gives = op.title, [value.tensor for value in op.outputs.values()]
    if len(gives) > 1:
        help = "leave one of its `outputs`, their weighted sum"
        node.error("loss-misfit", node.span, f"`{title}` gives {len(gives)} tensors, and a loss is one", help)
        return False
    (found,) = gives
    if not found.is_float or found.shape not in ((1,), (1, symbol(BATCH))):
        message = f"`{title}` gives {found}, and a loss is one number, or one for each example"
        help = "axis 1 counts the examples: reduce all others, as `sum(x, axis=[1, 2])`"
        node.error("loss-misfit", node.span, message, help)
        return False
    assert op.graph is not None
    for inner in op.graph.walk():
        layer = inner.layer if inner.present else None
        drawn = layer is not None and layer.random
        if drawn or inner.weights() or isinstance(layer, CustomModule):
            what = "draws random numbers" if drawn else "has weights"
            message = f"`{inner.name}` of `{title}` {what}, and a loss only computes"
            node.error("not-supported", node.span, message, "move it to `nodes`, and read it in `from`")
            return False
    return True
