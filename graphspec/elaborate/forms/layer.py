"""A layer, merge or op called on values, its outputs inferred."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

from graphspec.contract.layer import Layer, LayerError, Weight
from graphspec.contract.registry import Kind
from graphspec.contract.state import StateTensor
from graphspec.contract.wrapper import Wrapper
from graphspec.elaborate.body import NodeResult, failed
from graphspec.elaborate.forms.arguments import layer_class, read_layer
from graphspec.elaborate.forms.binding import bind, report
from graphspec.elaborate.forms.wrapper import wrap
from graphspec.elaborate.instance import Build, NodeInstance
from graphspec.elaborate.sizes import declared_size
from graphspec.elaborate.values import FAILED
from graphspec.graph import Op, Value, types
from graphspec.language.schema import MISSING
from graphspec.tensor import Tensor
from graphspec.traced import Symbolic, formulas_in


def build(node: NodeInstance, build_inner: Build) -> NodeResult:
    """The result of a `layer`, `merge` or `op`; `build_inner` builds what a wrapper wraps."""
    kind, name = cast(Kind, node.form), node.target()
    cls, named = layer_class(node, kind, name) if name is not FAILED else (None, False)
    if cls is None:
        return failed()
    arguments, broken = node.legal_arguments()
    if issubclass(cls, Wrapper):
        result = failed() if broken or not named else wrap(node, cls, arguments, build_inner)
        inner = result.op.graph.walk() if result.op is not None and result.op.graph is not None else ()
        state = next((op for op in inner if isinstance(op.layer, StateTensor)), None)
        if state is None:
            return result
        message = f"`{state.name}` remembers batches, and `{cls.spec_name}` calls it with other ones"
        return node.failure("not-supported", node.span_of("wraps"), message, "move the state out of it")
    if node.declared.wraps is not MISSING:
        arguments["wraps"] = node.evaluate(node.declared.wraps, "wraps")
        if arguments["wraps"] is FAILED:
            return failed()
    if not _sized(node, cls, arguments):
        return failed()
    if not named and "(" in str(name):
        broken = [*broken, *cls.model_fields]  # they may be in the parentheses
    layer = read_layer(node, cls, arguments, broken)
    if layer is None or not named or node.inputs.broken:
        return failed()
    bound = bind(node, cls.spec_name, cls)
    op = _apply(node, kind, layer, bound, arguments) if bound is not None else None
    return failed() if op is None else NodeResult(dict(op.outputs), op)


def _sized(node: NodeInstance, cls: type[Layer], arguments: dict[str, Any]) -> bool:
    """Replaces names of sizes in arguments by the sizes; returns whether all of them are valid."""
    for word in cls.named_sizes:
        items = arguments.get(word)
        if isinstance(items, list):
            sizes = [
                declared_size(node, item, node.span_of(word, position)) if isinstance(item, str) else item
                for position, item in enumerate(items)
            ]
            if any(size is None and item is not None for size, item in zip(sizes, items, strict=True)):
                return False
            arguments[word] = sizes
    return True


def _apply(
    node: NodeInstance, kind: Kind, layer: Layer, bound: tuple[Any, ...], arguments: dict[str, Any]
) -> Op | None:
    """The op of a layer on values, its outputs inferred."""
    inputs = tuple([types(each) for each in bound])
    applied, key = node.body.context.applied, (id(layer), inputs, _formulas(inputs))
    try:
        outputs = applied[key] if key in applied else applied.setdefault(key, _inferred(layer, inputs))
    except LayerError as error:
        report(node, error)
        return None
    if layer.variadic and "*" in str(node.declared.source):
        runs = list(_runs(bound))
        outputs = layer.counted(outputs, [bound[start].tensor for start, _ in runs], [n for _, n in runs])
    op = Op(node.name, node.index, node.span, kind, bound, layer=layer, title=layer.spec_name)
    _name_outputs(op, layer, outputs)
    op.options = arguments
    op.expressions = node.expressions(arguments)
    return op


def _runs(values: Sequence[Value]) -> Iterator[tuple[int, int]]:
    """The first of each run of values that are an output of all instances of one node, and how many they are;
    other values are alone.
    """
    start = 0
    while start < len(values):
        op = values[start].op
        count = op.count if op is not None and op.repeated and op.index == 0 else 1
        run = values[start : start + count]
        nodes = {each.op.node for each in run if each.op is not None and each.op.repeated}
        sizes = {(each.tensor, formulas_in(each.tensor.shape)) for each in run}
        if len(nodes) != 1 or len(sizes) != 1 or len(run) != count:
            count = 1
        yield start, count
        start += count


def _inferred(layer: Layer, inputs: tuple[Any, ...]) -> Tensor | tuple[Tensor, ...]:
    """The types of the outputs for inputs of these types, which the layer accepts with its weights."""
    outputs, weights = layer.infer(*inputs), layer.weights(*inputs)
    _need_fitting(layer, weights)
    _need_floats(layer, bool(weights), _tensors(inputs))
    return outputs


def _formulas(inputs: tuple[Any, ...]) -> tuple[Symbolic, ...]:
    """The formulas of the sizes: equal types may have others."""
    return formulas_in([tensor.shape for tensor in _tensors(inputs)])


def _tensors(inputs: Any) -> list[Tensor]:
    """The tensors in nested tuples, in order."""
    if isinstance(inputs, tuple):
        return [tensor for each in inputs for tensor in _tensors(each)]
    return [inputs] if isinstance(inputs, Tensor) else []


def _need_floats(layer: Layer, weighted: bool, inputs: list[Tensor]) -> None:
    """Reports floats of another dtype than the weights, and half precision where it is not supported."""
    for position, x in enumerate(inputs):
        if x.dtype == "float32" or not x.is_float:
            continue
        if not weighted and (layer.halves or x.dtype == "float64"):
            continue
        what = "has weights of float32" if weighted else "computes on float32 and float64"
        raise LayerError(
            "wrong-dtype",
            f"`{layer.spec_name}` {what}, and {{input{position}}} is {x}",
            help=f"make it float32: {{op: cast, from: {{input{position}}}, dtype: float32}}",
            inputs=(position,),
        )


def _need_fitting(layer: Layer, weights: tuple[Weight, ...]) -> None:
    """Reports regularizers and constraints that do not fit a weight in Keras' layout."""
    for weight in weights:
        rank = len(weight.unmerged or weight.shape) + (weight.row is not None)
        for kind, penalty in (
            ("regularizer", layer.regularizer(weight)),
            ("constraint", layer.constraint(weight)),
        ):
            why = penalty.misfit(rank) if penalty is not None else None
            if why is not None:
                help = (
                    f"axes of the weight as Keras stores it: 0 to {rank - 1}"
                    if kind == "constraint"
                    else None
                )
                raise LayerError("out-of-range", why, help=help, argument=f"{weight.word}_{kind}")


def _name_outputs(op: Op, layer: Layer, outputs: Tensor | tuple[Tensor, ...]) -> None:
    if isinstance(outputs, Tensor):
        op.outputs[""] = Value(outputs, op.node, op)
        return
    names = ("", *layer.output_names())
    for name, tensor in zip(names, outputs, strict=True):
        op.outputs[name] = Value(tensor, f"{op.node}_{name}" if name else op.node, op)
