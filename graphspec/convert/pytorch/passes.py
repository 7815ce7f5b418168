"""A graph as people would write it: activations in layers, nested joins, attention as one layer, ties."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

import torch

from graphspec.convert.nodes import ConvertedNode, ConvertedValue
from graphspec.convert.pytorch.rewiring import needed, readers, replaced
from graphspec.convert.pytorch.whole_attention import attentions, by_hand, drops
from graphspec.convert.pytorch.writer import CallOrigin, NodeWriter

TAKES = (
    "Dense",
    "Conv1D",
    "Conv2D",
    "Conv3D",
    "DepthwiseConv1D",
    "DepthwiseConv2D",
    "Conv1DTranspose",
    "Conv2DTranspose",
    "Conv3DTranspose",
)
"""Layers with an argument `activation`."""


def tidy(w: NodeWriter, outputs: dict[str, ConvertedValue]) -> list[ConvertedNode]:
    """All passes; returns the nodes that are left."""
    nodes = needed(w.nodes, outputs)
    for change in (by_hand, attentions, drops, activations, joins, picks, states, ties):
        change(w, nodes, outputs)
        nodes = needed(nodes, outputs)
    return nodes


def activations(w: NodeWriter, nodes: list[ConvertedNode], outputs: dict[str, ConvertedValue]) -> None:
    """`{layer: Dense}` and the `Activation` after it as one node."""
    read = readers(nodes, outputs)
    changes: dict[ConvertedValue, ConvertedValue] = {}
    for node in nodes:
        if node.what != "Activation" or node.form != "layer":
            continue
        before = node.reads[0][1]
        assert isinstance(before, ConvertedValue)
        layer = before.maker
        if (
            isinstance(layer, ConvertedNode)
            and layer.form == "layer"
            and layer.what in TAKES
            and "activation" not in layer.arguments
            and len(read[before]) == 1
            and not (node.arguments["activation"] == "softmax" and layer.what != "Dense")
            and _related(w.origins[node], w.origins[layer])
        ):
            layer.arguments["activation"] = node.arguments["activation"]
            changes[ConvertedValue(node)] = before
    replaced(nodes, outputs, changes)


def _related(a: CallOrigin, b: CallOrigin) -> bool:
    """Whether two calls are in one module of the user's: only their innermost modules differ."""
    first, second = ([key for key, _, _ in origin.modules] for origin in (a, b))
    return first[:-1] == second[:-1] or first == second[:-1] or first[:-1] == second


def joins(w: NodeWriter, nodes: list[ConvertedNode], outputs: dict[str, ConvertedValue]) -> None:
    """`cat(a, b, c)` as `cat(cat(a, b), c)` where the joined part is there: dense blocks become alike."""
    known: dict[tuple[Any, ...], ConvertedNode] = {}
    for node in nodes:
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


def picks(w: NodeWriter, nodes: list[ConvertedNode], outputs: dict[str, ConvertedValue]) -> None:
    """A slice of a slice as one, where the second picks along an axis that the first leaves whole."""
    read = readers(nodes, outputs)
    for node in nodes:
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


def states(w: NodeWriter, nodes: list[ConvertedNode], outputs: dict[str, ConvertedValue]) -> None:
    """Recurrent layers whose sequence nothing reads give their last step; states that are read are named."""
    read = readers(nodes, outputs)
    changes: dict[ConvertedValue, ConvertedValue] = {}
    for node in nodes:
        words = node.arguments.get("wraps", node.arguments)
        if node.form != "layer" or not words.get("return_sequences"):
            continue
        names = node.outputs
        first, state = ConvertedValue(node), ConvertedValue(node, 1)
        if node.what != "Bidirectional":
            for reader in list(read[first]):
                last = reader is not None and reader.what == "get_item" and reader.arguments["key"] == ":, -1"
                if last:
                    changes[ConvertedValue(reader)] = state
                    read[state] += read[ConvertedValue(reader)]
                    read[first].remove(reader)
            if not read[first]:
                del words["return_sequences"]
                changes[state] = first
                read[first], read[state] = read[state], []
        if any(read[ConvertedValue(node, k + 1)] for k in range(len(names))):
            words["return_state"] = True
    replaced(nodes, outputs, changes)


def ties(w: NodeWriter, nodes: list[ConvertedNode], outputs: dict[str, ConvertedValue]) -> None:
    """Layers that have the same parameters are calls of one entry."""
    from graphspec.convert.nodes import CalledEntry

    groups: dict[tuple[Any, ...], list[ConvertedNode]] = defaultdict(list)
    for node in nodes:
        if node.form == "layer" and node.stored is not None:
            held = w.weights[node.stored.path]
            main = held.get("weight") or next(iter(held.values()), None)
            elements = None if main is None else w.elements(main)
            if main is not None and elements is not None and elements.numel():
                ends = elements.flatten()[0].item(), elements.flatten()[-1].item()
                groups[tuple(sorted(main.names)), tuple(elements.shape), ends].append(node)
    for group in groups.values():
        if len(group) < 2 or not all(_same(w, group[0], other) for other in group[1:]):
            continue
        first = group[0]
        kinds = {node.what for node in group}
        reversed_ = kinds == {"Embedding", "Dense"}
        if reversed_:
            first = next(node for node in group if node.what == "Embedding")
            if any(node.arguments.get("use_bias", True) for node in group if node.what == "Dense"):
                continue
        elif len(kinds) > 1 or any(_unactivated(node) != _unactivated(first) or node.body for node in group):
            continue
        what = "ReversibleEmbedding" if reversed_ else first.what
        alike = not reversed_ and all(node.arguments == first.arguments for node in group)
        words = dict(first.arguments) if alike else _unactivated(first)
        entry = CalledEntry("shared", "layer", what, words, None, first.stored, first.trainable, True)
        w.entries[entry] = w.origins[first]
        for node in group:
            after = None if alike else node.arguments.get("activation")
            reverse = reversed_ and node.what == "Dense"
            node.form, node.what, node.entry, node.stored = "call", "shared", entry, None
            node.arguments = {"reverse": True} if reverse else {}
            node.trainable = True
            if after is not None:
                _activated(w, node, after, nodes, outputs)


def _activated(
    w: NodeWriter,
    node: ConvertedNode,
    activation: Any,
    nodes: list[ConvertedNode],
    outputs: dict[str, ConvertedValue],
) -> None:
    """Puts an activation after a call, which takes none."""
    activation_node = ConvertedNode("act", "layer", "Activation", {"activation": activation}, automatic=True)
    replaced(nodes, outputs, {ConvertedValue(node): ConvertedValue(activation_node)})
    activation_node.reads = [("x", ConvertedValue(node))]
    w.origins[activation_node] = replace(w.origins[node], main=False)
    nodes.insert(nodes.index(node) + 1, activation_node)


def _unactivated(node: ConvertedNode) -> dict[str, Any]:
    return {key: value for key, value in node.arguments.items() if key != "activation"}


def _same(w: NodeWriter, a: ConvertedNode, b: ConvertedNode) -> bool:
    assert a.stored is not None and b.stored is not None
    x, y = (w.weights[stored.path].get("weight") for stored in (a.stored, b.stored))
    if x is None or y is None:
        return True
    mine, its = w.elements(x), w.elements(y)
    return mine is not None and its is not None and mine.shape == its.shape and torch.equal(mine, its)
