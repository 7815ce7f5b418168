"""A layer around another node: the inner one is built on the types that the wrapper lets it see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphspec.contract.layer import LayerError
from graphspec.contract.moving import Moving
from graphspec.contract.scanning import Scanning
from graphspec.contract.wrapper import NestedWrapper, Wrapper
from graphspec.declarations import read_wrapped
from graphspec.elaborate.body import NodeResult, failed
from graphspec.elaborate.forms.arguments import read_layer
from graphspec.elaborate.forms.binding import bind, one_tensor, report
from graphspec.elaborate.instance import Build, NodeInputs, NodeInstance
from graphspec.elaborate.values import Bound
from graphspec.graph import Op, Value, types
from graphspec.language.schema import MISSING, Node
from graphspec.tensor import Tensor

OF_LAYERS = ["x"]
"""The name of the input of a wrapped layer."""
WRAPPED = ("layer", "block", "model", "call", "module")


def wrap(node: NodeInstance, cls: type[Wrapper], arguments: dict[str, Any], build_inner: Build) -> NodeResult:
    """The result of a wrapper; `build_inner` builds what it wraps."""
    wrapper = read_layer(node, cls, arguments)
    if node.declared.wraps is MISSING:
        if wrapper is None:  # `wraps` may be the key that it was told of
            return failed()
        return node.failure(
            "missing-key", node.span, f"`{cls.spec_name}` needs `wraps`", f"write {cls.inside_it}"
        )
    wrapped = wrapped_node(node)
    if wrapped is not None and wrapped.form not in WRAPPED:
        message = f"`{cls.spec_name}` wraps a layer, a block, a model or a call"
        return node.failure("wrong-type", node.span_of("wraps", wrapped.form), message)
    if issubclass(cls, Scanning):
        from graphspec.elaborate.forms.scan import scan

        if not isinstance(wrapper, Scanning) or wrapped is None:
            return failed()
        return scan(node, wrapper, wrapped, build_inner)
    if issubclass(cls, Moving):
        from graphspec.elaborate.forms.moving import move

        if not isinstance(wrapper, Moving) or wrapped is None or node.inputs.broken:
            return failed()
        return move(node, wrapper, wrapped, build_inner)
    if cls.several and wrapped is not None and wrapped.form != "layer" and not node.inputs.broken:
        return _around_several(node, wrapper, wrapped, build_inner) if isinstance(wrapper, cls) else failed()
    bound = bind(node, cls.spec_name, cls) if not node.inputs.broken else None
    if wrapped is None or wrapper is None or bound is None:
        return failed()
    assert isinstance(wrapper, Wrapper)
    try:
        wrapper.place(OF_LAYERS)
        inside = wrapper.enter(*map(types, bound))
        result = _built_inside(node, wrapped, inside, build_inner)
        if result.op is None or not one_tensor(node, cls, result.op):
            return failed()
        result.op.arguments, result.op.span = bound, node.span
        together = wrapper.around(result.op.layer, *inside)
    except LayerError as error:
        report(node, error)
        return failed()
    if together is None:
        _surround(result.op, wrapper, inside)
        return NodeResult(dict(result.op.outputs), result.op, result.body, result.inner_paths)
    if wrapped.form == "call":
        message = f"`{cls.spec_name}` has its own weights, and cannot wrap a call"
        help = "wrap the layer under `shared`, and call the wrapper"
        return node.failure("not-supported", node.span_of("wraps"), message, help)
    result.op.layer, result.op.title = together, f"{cls.spec_name}({result.op.title})"
    return NodeResult(dict(result.op.outputs), result.op)


def _around_several(node: NodeInstance, wrapper: Wrapper, wrapped: Node, build_inner: Build) -> NodeResult:
    """The result of a wrapper that sees one input of a block or model, which may have others."""
    inner = NodeInstance(node.body, node.name, wrapped, (*node.path, "wraps"), node.index, inputs=node.inputs)
    inner.inner_paths = node.inner_paths
    if node.refuses_nothing(node.inputs.all()):
        return failed()
    result = build_inner(inner)
    node.unit, op = inner.unit, result.op
    if op is None or not one_tensor(node, type(wrapper), op):
        return failed()
    try:
        place = wrapper.place(list(op.graph.inputs) if op.graph is not None else OF_LAYERS)
        wrapper.enter(types(op.arguments[place]))
        op.span, op.wrapper = node.span, wrapper
        op.inner = tuple(types(argument) for argument in op.arguments)
        op.inner_outputs = tuple(value.tensor for value in op.outputs.values())
        for value in op.outputs.values():
            value.tensor = wrapper.leave(value.tensor, types(op.arguments[place]))
    except LayerError as error:
        report(node, error)
        return failed()
    return NodeResult(dict(op.outputs), op, result.body, result.inner_paths)


def _built_inside(
    node: NodeInstance, wrapped: Node, inside: Sequence[Tensor], build_inner: Build
) -> NodeResult:
    """The result of what is wrapped, on the types that it sees."""
    text = node.inputs.all()[0].text
    inputs = NodeInputs([Bound(Value(tensor, node.name), text, node.span) for tensor in inside])
    inner = NodeInstance(node.body, node.name, wrapped, (*node.path, "wraps"), node.index, inputs=inputs)
    inner.inner_paths = node.inner_paths
    result = build_inner(inner)
    node.unit = inner.unit
    return result


def _surround(op: Op, wrapper: Wrapper, inside: Sequence[Tensor]) -> None:
    """Puts a wrapper around an op."""
    around = tuple(types(argument) for argument in op.arguments)
    if op.layer is not None:
        op.layer = op.layer.counting_back(op.output.tensor.rank)
    inner_layers = [op.layer] if op.graph is None else [each.layer for each in op.graph.walk()]
    wrapper = wrapper.wrapping(layer for layer in inner_layers if layer is not None)
    if op.wrapper is not None:
        op.title = f"{op.wrapper.title}({op.title})"
        op.wrapper = NestedWrapper(outer=wrapper, inner=op.wrapper)
    else:
        others = len(op.layer.arguments) - len(inside) if op.layer is not None else 0
        op.wrapper, op.inner = wrapper, (*inside, *(None,) * others)  # it gets no mask or state
        op.inner_outputs = tuple(value.tensor for value in op.outputs.values())
    for value in op.outputs.values():
        value.tensor = wrapper.leave(value.tensor, *around)


def wrapped_node(node: NodeInstance) -> Node | None:
    """The node under `wraps`."""
    document, diagnostics = node.body.declared.document, node.body.context.diagnostics
    return read_wrapped(document, node.name, node.declared.wraps, (*node.path, "wraps"), diagnostics)
