"""Weights that a module has once and uses several times: tensors are tied, and layers that have the same ones
are calls of one entry.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from graphspec.convert.nodes import CalledEntry, ConvertedNode, ConvertedValue
from graphspec.convert.pytorch.rewiring import NodeGraph
from graphspec.convert.pytorch.writer import Common, Known, NodeWriter
from graphspec.convert.refusals import Unsupported


def states(w: NodeWriter, graph: NodeGraph) -> None:
    """Recurrent layers whose sequence nothing reads give their last step; states that are read are named.
    Those with the same weights give the same.
    """
    layers = [
        node for node in graph.nodes if node.arguments.get("wraps", node.arguments).get("return_sequences")
    ]
    tied = alike(w, layers)
    alone = [[node] for node in layers if not any(node in group for group in tied)]
    for group in (*alone, *tied):
        _outputs(group, graph)


def _outputs(group: list[ConvertedNode], graph: NodeGraph) -> None:
    read = graph.readers()
    changes: dict[ConvertedValue, ConvertedValue] = {}
    for node in group:
        first, state = ConvertedValue(node), ConvertedValue(node, 1)
        for reader in list(read[first]) if node.what != "Bidirectional" else ():
            if reader is not None and reader.what == "get_item" and reader.arguments["key"] == ":, -1":
                changes[ConvertedValue(reader)] = state
                read[state] += read[ConvertedValue(reader)]
                read[first].remove(reader)
    if group[0].what != "Bidirectional" and not any(read[ConvertedValue(node)] for node in group):
        for node in group:
            del node.arguments["return_sequences"]
            first, state = ConvertedValue(node), ConvertedValue(node, 1)
            changes[state] = first
            read[first], read[state] = read[state], []
    if any(read[ConvertedValue(node, k + 1)] for node in group for k in range(len(node.outputs))):
        for node in group:
            node.arguments.get("wraps", node.arguments)["return_state"] = True
    graph.replace(changes)


def ties(w: NodeWriter, graph: NodeGraph) -> None:
    """Layers that have the same parameters are calls of one entry."""
    for group in alike(w, graph.nodes):
        first = group[0]
        kinds = {node.what for node in group}
        reversed_ = kinds == {"Embedding", "Dense"}
        if reversed_:
            first = next(node for node in group if node.what == "Embedding")
        elif len(kinds) > 1 or any(_unactivated(node) != _unactivated(first) or node.body for node in group):
            continue
        what = "ReversibleEmbedding" if reversed_ else first.what
        same = not reversed_ and all(node.arguments == first.arguments for node in group)
        words = dict(first.arguments) if same else _unactivated(first)
        entry = CalledEntry("shared", "layer", what, words, None, first.stored, first.trainable, True)
        w.entries[entry] = w.origins[first]
        for node in group:
            after = None if same else node.arguments.get("activation")
            reverse = reversed_ and node.what == "Dense"
            node.form, node.what, node.entry, node.stored = "call", "shared", entry, None
            node.arguments = {"reverse": True} if reverse else {}
            node.trainable = True
            if after is not None:
                _activated(w, node, after, graph)


def _activated(w: NodeWriter, node: ConvertedNode, activation: Any, graph: NodeGraph) -> None:
    """Puts an activation after a call, which takes none."""
    activation_node = ConvertedNode("act", "layer", "Activation", {"activation": activation}, automatic=True)
    graph.replace({ConvertedValue(node): ConvertedValue(activation_node)})
    activation_node.reads = [("x", ConvertedValue(node))]
    w.origins[activation_node] = replace(w.origins[node], main=False)
    graph.nodes.insert(graph.nodes.index(node) + 1, activation_node)


def _unactivated(node: ConvertedNode) -> dict[str, Any]:
    return {key: value for key, value in node.arguments.items() if key != "activation"}


def alike(w: NodeWriter, nodes: Iterable[ConvertedNode]) -> list[list[ConvertedNode]]:
    """The layers, two or more at a time, that have the same tensors."""
    layers = [node for node in nodes if node.form == "layer" and node.stored is not None]
    held = {node: w.weights[node.stored.path] for node in layers if node.stored is not None}
    count: dict[str, int] = defaultdict(int)
    for weights in held.values():
        for name in {name for known in weights.values() for name in known.names}:
            count[name] += 1
    groups: dict[Any, list[ConvertedNode]] = defaultdict(list)
    for node, weights in held.items():
        if any(count[name] > 1 for known in weights.values() for name in known.names):
            groups[frozenset((key, _identity(w, known)) for key, known in weights.items())].append(node)
    return [group for group in groups.values() if len(group) > 1]


def _identity(w: NodeWriter, known: Known) -> tuple[Any, ...]:
    """Equal for two weights that are one tensor."""
    elements = w.elements(known)
    tensor = known.tensor if elements is None else elements
    return known.names, tuple(tensor.shape), tensor.contiguous().numpy().tobytes()


# --- tensors that layers have in part


@dataclass(frozen=True, slots=True)
class WeightParts:
    """A parameter in the weights of a spec: those that hold some of it, and how often each element is in
    them.
    """

    keys: tuple[str, ...]
    times: Tensor


def coverage(w: NodeWriter, weights: Mapping[str, Known]) -> dict[str, WeightParts]:
    """Of each parameter that trains, where the spec has it; what is computed of parameters is not counted."""
    holders: dict[str, list[str]] = defaultdict(list)
    for key, known in weights.items():
        for name in sorted(known.names):
            if known.source is not None and w.trains.get(name):
                holders[name].append(key)
    found = {}
    for name, keys in holders.items():
        size = w.shapes[name].numel()
        times = torch.zeros(size, dtype=torch.int64)
        for key in keys:
            elements = w.elements(weights[key])
            assert elements is not None
            places = elements.flatten().long() - w.start(name)
            times += torch.bincount(places[(places >= 0) & (places < size)], minlength=size)
        found[name] = WeightParts(tuple(keys), times)
    return found


def unsettled(w: NodeWriter, nodes: list[ConvertedNode]) -> dict[str, Common]:
    """The parameters that the spec would train more than once, as layers have them in common that differ in
    other weights, and how these are written instead. Raises `Unsupported` where nothing is left to try.
    """
    stored = {str(k): pair for k, pair in enumerate(_stored(w, nodes))}
    changed: dict[str, Common] = {}
    for name, found in coverage(w, {key: known for key, (known, _) in stored.items()}).items():
        if not (found.times > 1).any():
            continue
        before, by_node = w.common.get(name), any(stored[key][1] for key in found.keys)
        if before == "node":
            message = f"`{name}` is a weight of parts of it that no layers of a spec have in common"
            raise Unsupported(message, "give each part its own, or write them as one module")
        changed[name] = "node" if before or by_node else "beside"
    return changed


def _stored(w: NodeWriter, nodes: list[ConvertedNode]) -> Iterator[tuple[Known, bool]]:
    """All weights, each once, and whether it is that of a node `parameter`."""
    items = dict.fromkeys(node.entry or node for node in nodes)
    for item in items:
        for known in w.weights[item.stored.path].values() if item.stored is not None else ():
            yield known, item.form == "parameter"
