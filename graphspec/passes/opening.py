"""Attention to what does not go on, as the layers that it is made of: its keys and values are values.

So a step can keep them, as any value of inputs that do not go on. The weights have the same keys.
"""

from __future__ import annotations

from typing import Any

from graphspec.contract import REGISTRY
from graphspec.contract.layer import Opened
from graphspec.graph import Definition, Graph, Op, Unit, Value, types
from graphspec.passes.copying import Copy
from graphspec.tensor import show_size

TITLE = "attention"


def open_attention(root: Graph) -> Graph:
    """The graph with attention to other values than its queries opened, where nothing but a mask of these
    values changes it. Its outputs are the same, for inference.
    """
    if not any(_opened(op) for op in root.walk()):
        return root
    copy = Copy(root)
    for graph in list(copy.graph.graphs()):
        for op in graph.ops:
            if (made := _opened(op)) is not None:
                _open(graph, op, made)
    return copy.graph


def _opened(op: Op) -> Opened | None:
    once = op.unit is not None and len(op.unit.calls) == 1
    if op.layer is None or op.wrapper is not None or not op.present or not once:
        return None
    return op.layer.opened(*op.arguments)


def _open(outer: Graph, op: Op, made: Opened) -> None:
    """Makes a block of an op; its weights are those of its inner layers."""
    assert op.layer is not None
    pairs = zip(op.layer.arguments, op.arguments, strict=False)
    given = {argument.name: value for argument, value in pairs if value is not None}
    own, sizes = outer.definition, [value.tensor.shape[-1] for value in (op.output, *given.values())]
    block = ".".join(
        [own.block or "", op.node, *given, *map(str, [*op.options.values(), *map(show_size, sizes)])]
    )
    inner = Graph(Definition(own.file, block, TITLE), visible=outer.visible)
    inner.inputs = {name: Value(each.tensor, name) for name, each in given.items()}
    result: Value = made(_Builder(inner, op).add, inner.inputs)
    inner.outputs = {"": result}
    op.kind, op.layer, op.graph, op.arguments = "block", None, inner, tuple(given.values())
    op.results = dict.fromkeys(op.outputs, result)
    op.options, op.expressions, op.title = {}, (), TITLE


class _Builder:
    """Adds ops to a graph of its own, at the place of one op."""

    def __init__(self, graph: Graph, of: Op):
        self.graph, self.of = graph, of

    def add(self, kind: Any, title: str, name: str, *arguments: Value | None, **settings: Any) -> Value:
        layer = REGISTRY[kind][title](**settings)
        op = Op(name, None, self.of.span, kind, arguments, layer=layer, title=title)
        tensor: Any = layer.infer(*(types(each) for each in arguments))
        op.outputs[""] = Value(tensor, name, op)
        if layer.weights(*op.site().inputs):
            op.unit = Unit(name, None, self.of.span, calls=[op])
            self.graph.units.append(op.unit)
        self.graph.ops.append(op)
        return op.output
