"""A graph as people would write it: activations in layers, nested joins, attention as one layer, ties."""

from __future__ import annotations

from typing import Any

from graphspec.contract import REGISTRY
from graphspec.convert.nodes import ConvertedNode, ConvertedValue
from graphspec.convert.pytorch.rewiring import NodeGraph
from graphspec.convert.pytorch.tying import states, ties
from graphspec.convert.pytorch.whole_attention import attentions, by_hand, drops
from graphspec.convert.pytorch.writer import CallOrigin, NodeWriter


def tidy(w: NodeWriter, outputs: dict[str, ConvertedValue]) -> list[ConvertedNode]:
    """All passes; returns the nodes that are left."""
    graph = NodeGraph(w.nodes, outputs)
    graph.prune()
    for change in (seen, by_hand, attentions, drops, activations, joins, picks, states, ties):
        change(w, graph)
        graph.prune()
    return graph.nodes


def seen(w: NodeWriter, graph: NodeGraph) -> None:
    """Attention without a mask that hides nothing, as places are compared with 0 in it."""
    for node in graph.nodes:
        if node.what == "dot_product_attention":
            node.reads = [read for read in node.reads if read[0] != "mask" or not _hides_nothing(read[1])]


def _hides_nothing(mask: Any) -> bool:
    node = mask.maker
    while _is(node, "Reshape", "expand_dims"):
        node = node.reads[0][1].maker
    if not _is(node, "greater_equal") or node.arguments != {"x2": 0}:
        return False
    places = node.reads[0][1].maker
    return _is(places, "arange") and places.arguments.keys() <= {"axis"}


def _is(maker: Any, *names: str) -> bool:
    return isinstance(maker, ConvertedNode) and maker.what in names


def activations(w: NodeWriter, graph: NodeGraph) -> None:
    """`{layer: Dense}` and the `Activation` after it as one node."""
    read = graph.readers()
    changes: dict[ConvertedValue, ConvertedValue] = {}
    for node in graph.nodes:
        if node.what != "Activation" or node.form != "layer":
            continue
        before = node.reads[0][1]
        assert isinstance(before, ConvertedValue)
        layer = before.maker
        if (
            isinstance(layer, ConvertedNode)
            and layer.form == "layer"
            and "activation" in REGISTRY["layer"][layer.what].model_fields
            and not (layer.outputs or "activation" in layer.arguments)
            and len(read[before]) == 1
            and not (node.arguments["activation"] == "softmax" and layer.what != "Dense")
            and _related(w.origins[node], w.origins[layer])
        ):
            layer.arguments["activation"] = node.arguments["activation"]
            changes[ConvertedValue(node)] = before
    graph.replace(changes)


def _related(a: CallOrigin, b: CallOrigin) -> bool:
    """Whether two calls are in one module of the user's: only their innermost modules differ."""
    first, second = ([key for key, _, _ in origin.modules] for origin in (a, b))
    return first[:-1] == second[:-1] or first == second[:-1] or first[:-1] == second


def joins(w: NodeWriter, graph: NodeGraph) -> None:
    """`cat(a, b, c)` as `cat(cat(a, b), c)` where the joined part is there: dense blocks become alike."""
    known: dict[tuple[Any, ...], ConvertedNode] = {}
    for node in graph.nodes:
        if node.form != "merge" or node.what != "concatenate":
            continue
        parts = [read for _, read in node.reads]
        axis = node.arguments.get("axis", -1)
        for count in range(len(parts) - 1, 1, -1):
            before = known.get((axis, *parts[:count]))
            if before is not None:
                node.reads = [("", ConvertedValue(before)), *node.reads[count:]]
                break
        known[(axis, *parts)] = node


def picks(w: NodeWriter, graph: NodeGraph) -> None:
    """A slice of a slice as one, where the second picks along an axis that the first leaves whole."""
    read = graph.readers()
    for node in graph.nodes:
        if node.what != "get_item":
            continue
        before = node.reads[0][1]
        assert isinstance(before, ConvertedValue)
        first = before.maker
        if not isinstance(first, ConvertedNode) or first.what != "get_item" or len(read[before]) != 1:
            continue
        keys = first.arguments["key"].split(", ")
        places = [k for k, word in enumerate(keys) if ":" in word]
        for k, word in enumerate(node.arguments["key"].split(", ")):
            while len(places) <= k:
                keys.append(":")
                places.append(len(keys) - 1)
            if word != ":":
                if keys[places[k]] != ":":
                    break
                keys[places[k]] = word
        else:
            node.arguments["key"] = ", ".join(keys)
            node.reads = list(first.reads)
