"""Attention to what does not go on, as the layers that it is made of: its keys and values are values.

So a step can keep them, as any value of inputs that do not go on. The weights have the same keys.
"""

from __future__ import annotations

from typing import Any

from graphspec.contract import REGISTRY
from graphspec.graph import Definition, Graph, Op, Unit, Value, types
from graphspec.passes.copying import Copy

TITLE = "attention"


def open_attention(root: Graph) -> Graph:
    """The graph with attention to other values than its queries opened, where nothing but a mask of these
    values changes it. Its outputs are the same, for inference.
    """
    if not any(_opens(op) for op in root.walk()):
        return root
    copy = Copy(root)
    for graph in list(copy.graph.graphs()):
        for op in graph.ops:
            if _opens(op):
                _open(graph, op)
    return copy.graph


def _opens(op: Op) -> bool:
    layer: Any = op.layer
    if layer is None or layer.spec_name != "MultiHeadAttention" or op.wrapper is not None or not op.present:
        return False
    query, value, key, _, *others = _arguments(op)
    alone = all(each is None for each in others) and key is not query
    plain = not (layer.use_causal_mask or layer.use_gate or layer.return_attention_scores)
    plain = plain and layer.sliding_window is None and op.output.tensor.rank == 3
    once = op.unit is not None and len(op.unit.calls) == 1
    return alone and plain and once and query is not value and value.tensor.rank == 3


def _arguments(op: Op) -> list[Any]:
    """Query, value, key and mask of values; then the masks of queries, of keys and of both."""
    query, value, key, of_queries, of_values, *others = (*op.arguments, *[None] * 7)[:7]
    return [query, value, key, of_values, of_queries, *others]


def _open(outer: Graph, op: Op) -> None:
    """Makes a block of an op; its weights are those of its inner layers."""
    layer: Any = op.layer
    query, value, key, mask, *_ = _arguments(op)
    found_in = {"query": query, "value": value, "key": key, "mask": mask}
    given = {name: each for name, each in found_in.items() if each is not None}
    own = outer.definition
    features, *inputs = (_channels(each) for each in (op.output, query, value, key or value))
    alike = layer.num_heads, *layer.sizes, features, *inputs, layer.use_bias, mask is None
    block = ".".join([own.block or "", op.node, *map(str, map(int, alike))])
    inner = Graph(Definition(own.file, block, TITLE), visible=outer.visible)
    inner.inputs = {name: Value(each.tensor, name) for name, each in given.items()}
    build = _Builder(inner, op)
    heads, (size, width) = layer.num_heads, layer.sizes
    parts = []
    for name, each in (("query", size), ("key", size), ("value", width)):
        source = inner.inputs.get(name) or inner.inputs["value"]
        projected = build.add("layer", "Dense", name, source, units=heads * each, use_bias=layer.use_bias)
        parts.append(
            build.add("layer", "Reshape", f"{name}_heads", projected, target_shape=(-1, heads, each))
        )
    hidden = (
        None if mask is None else build.add("op", "expand_dims", "seen", inner.inputs["mask"], axis=[1, 2])
    )
    found = build.add("op", "dot_product_attention", "found", *parts, None, hidden)
    joined = build.add("layer", "Reshape", "joined", found, target_shape=(-1, heads * width))
    result = build.add("layer", "Dense", "output", joined, units=features, use_bias=layer.use_bias)
    inner.outputs = {"": result}
    op.kind, op.layer, op.graph, op.arguments = "block", None, inner, tuple(given.values())
    op.results = dict.fromkeys(op.outputs, result)
    op.options, op.expressions, op.title = {}, (), TITLE


def _channels(value: Value) -> int:
    """The size of the last axis, which is a number where a layer has weights for it."""
    size: Any = value.tensor.shape[-1]
    return int(size)


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
