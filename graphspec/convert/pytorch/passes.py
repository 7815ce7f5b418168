"""A graph as people would write it: activations in layers, nested joins, attention as one layer."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from graphspec.convert.arguments import plain
from graphspec.convert.nodes import ConvertedNode, ConvertedValue, Stored
from graphspec.convert.pytorch.writer import CallOrigin, Known, NodeWriter

Readers = dict[ConvertedValue, list[ConvertedNode]]
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


def needed(nodes: list[ConvertedNode], outputs: dict[str, ConvertedValue]) -> list[ConvertedNode]:
    """The nodes that outputs depend on, in their order."""
    waiting = [value.maker for value in outputs.values()]
    kept: set[Any] = set()
    while waiting:
        node = waiting.pop()
        if node in kept or not isinstance(node, ConvertedNode):
            continue
        kept.add(node)
        waiting += [value.maker for value in node.sources()]
    return [node for node in nodes if node in kept]


def readers(nodes: list[ConvertedNode], outputs: dict[str, ConvertedValue]) -> Readers:
    """The nodes that read each value; an output counts as one more."""
    found: Readers = defaultdict(list)
    for node in nodes:
        for value in node.sources():
            found[value].append(node)
    for value in outputs.values():
        found[value].append(None)  # type: ignore[arg-type]
    return found


def replaced(
    nodes: list[ConvertedNode],
    outputs: dict[str, ConvertedValue],
    changes: dict[ConvertedValue, ConvertedValue],
) -> None:
    """Makes everything read other values."""

    def final(value: ConvertedValue) -> ConvertedValue:
        while value in changes:
            value = changes[value]
        return value

    for node in nodes:
        node.reads = [
            (slot, final(read) if isinstance(read, ConvertedValue) else tuple(final(v) for v in read))
            for slot, read in node.reads
        ]
    for key, value in outputs.items():
        outputs[key] = final(value)


def tidy(w: NodeWriter, outputs: dict[str, ConvertedValue]) -> list[ConvertedNode]:
    """All passes; returns the nodes that are left."""
    nodes = needed(w.nodes, outputs)
    for change in (attentions, activations, joins, picks, states, ties):
        change(w, nodes, outputs)
        nodes = needed(nodes, outputs)
    return nodes


def activations(w: NodeWriter, nodes: list[ConvertedNode], outputs: dict[str, ConvertedValue]) -> None:
    """`{layer: Dense}` and the `Activation` behind it as one node."""
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
    """Whether two calls stand in one module of the user's: only their innermost modules differ."""
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


def attentions(w: NodeWriter, nodes: list[ConvertedNode], outputs: dict[str, ConvertedValue]) -> None:
    """Projections to heads, attention, and the projection back, as one `MultiHeadAttention`."""
    read = readers(nodes, outputs)
    for node in nodes:
        if node.what == "dot_product_attention":
            _attention(w, node, read, nodes, outputs)


def _attention(
    w: NodeWriter,
    node: ConvertedNode,
    read: Readers,
    nodes: list[ConvertedNode],
    outputs: dict[str, ConvertedValue],
) -> None:
    slots = dict(node.reads)
    if set(slots) != {"query", "key", "value"} or "scale" in node.arguments:
        return
    found = {}
    for name in ("query", "key", "value"):
        heads = _only(slots[name], read, "Reshape")
        linear = _only(heads.reads[0][1], read, "Dense") if heads is not None else None
        if heads is None or linear is None or len(heads.arguments["target_shape"]) != 3:
            return
        found[name] = (heads, linear)
    joined = _reader(ConvertedValue(node), read, "Reshape")
    last = _reader(ConvertedValue(joined), read, "Dense") if joined is not None else None
    if last is None or joined is None or len(joined.arguments["target_shape"]) != 2:
        return
    shapes = {name: heads.arguments["target_shape"] for name, (heads, _) in found.items()}
    heads, size = shapes["query"][1:]
    linears = [*(linear for _, linear in found.values()), last]
    biases = {linear.arguments.get("use_bias", True) for linear in linears}
    if shapes["key"][1:] != [heads, size] or shapes["value"][1] != heads or len(biases) > 1:
        return
    words: dict[str, Any] = {"num_heads": heads, "key_dim": size}
    if shapes["value"][2] != size:
        words["value_dim"] = shapes["value"][2]
    if w.rates.get(node):
        words["dropout"] = plain(w.rates.pop(node))
    if False in biases:
        words["use_bias"] = False
    features = w.weights[found["query"][1].stored.path]["weight"].tensor.shape[1]  # type: ignore[union-attr]
    if last.arguments["units"] != features:
        words["output_shape"] = last.arguments["units"]
    if node.arguments.get("is_causal"):
        words["use_causal_mask"] = True
    held: dict[str, Known] = {}
    for name, linear in zip(("query", "key", "value", "output"), linears, strict=True):
        assert linear.stored is not None
        for key, known in w.weights[linear.stored.path].items():
            held[f"{name}.{key}"] = known
    sources = {name: linear.reads[0][1] for name, (_, linear) in found.items()}
    reads = [("query", sources["query"]), ("value", sources["value"])]
    if sources["key"] != sources["value"]:
        reads.append(("key", sources["key"]))
    path = (f"attention{len(w.weights)}",)
    w.weights[path] = held
    made = ConvertedNode(
        "attention", "layer", "MultiHeadAttention", words, reads, "named", stored=Stored(path, ())
    )
    made.trainable = any(linear.trainable for linear in linears)
    made.automatic = True
    w.origins[made] = CallOrigin(_common([w.origins[linear] for linear in linears]), "whole", True)
    nodes[nodes.index(last)] = made
    replaced(nodes, outputs, {ConvertedValue(last): ConvertedValue(made)})
    read[ConvertedValue(made)] = read[ConvertedValue(last)]


def _common(origins: list[CallOrigin]) -> tuple[tuple[str, str, str], ...]:
    found = []
    for steps in zip(*(origin.modules for origin in origins), strict=False):
        if len(set(steps)) > 1:
            break
        found.append(steps[0])
    return tuple(found)


def _only(value: Any, read: Readers, what: str) -> ConvertedNode | None:
    """The node of a value, if it is such a layer and nothing else reads it."""
    node = value.maker
    fits = isinstance(node, ConvertedNode) and node.form == "layer" and node.what == what
    plain_layer = fits and "activation" not in node.arguments
    return node if plain_layer and len(read[value]) == 1 else None


def _reader(value: ConvertedValue, read: Readers, what: str) -> ConvertedNode | None:
    found = read[value]
    if len(found) != 1 or found[0] is None or found[0].form != "layer" or found[0].what != what:
        return None
    return found[0]


def ties(w: NodeWriter, nodes: list[ConvertedNode], outputs: dict[str, ConvertedValue]) -> None:
    """Layers that have the same parameters are calls of one entry."""
    from graphspec.convert.nodes import CalledEntry

    groups: dict[tuple[Any, ...], list[ConvertedNode]] = defaultdict(list)
    for node in nodes:
        if node.form == "layer" and node.stored is not None:
            held = w.weights[node.stored.path]
            main = held.get("weight") or next(iter(held.values()), None)
            if main is not None and main.names and main.source is not None:
                groups[
                    tuple(sorted(main.names)),
                    tuple(main.tensor.shape),
                    main.tensor.flatten()[:64].sum().item(),
                ].append(node)
    for group in groups.values():
        if len(group) < 2 or not all(_same(w, group[0], other) for other in group[1:]):
            continue
        first = group[0]
        kinds = {node.what for node in group}
        words = {k: v for k, v in first.arguments.items() if k not in ("activation",)}
        what = "ReversibleEmbedding" if kinds == {"Embedding", "Dense"} else first.what
        if kinds == {"Embedding", "Dense"}:
            table = next(node for node in group if node.what == "Embedding")
            words, first = dict(table.arguments), table
            if any(node.arguments.get("use_bias", True) for node in group if node.what == "Dense"):
                continue
        elif len(kinds) > 1 or any(node.arguments != first.arguments or node.body for node in group):
            continue
        else:
            words = dict(first.arguments)
        entry = CalledEntry("shared", "layer", what, words, None, first.stored, first.trainable, True)
        w.entries[entry] = w.origins[first]
        for node in group:
            reverse = what == "ReversibleEmbedding" and node.what == "Dense"
            after = node.arguments.get("activation") if reverse else None
            node.form, node.what, node.entry, node.stored = "call", "shared", entry, None
            node.arguments = {"reverse": True} if reverse else {}
            node.trainable = True
            if after is not None:
                node.arguments["activation"] = after


def _same(w: NodeWriter, a: ConvertedNode, b: ConvertedNode) -> bool:
    assert a.stored is not None and b.stored is not None
    mine, its = w.weights[a.stored.path], w.weights[b.stored.path]
    x, y = mine.get("weight"), its.get("weight")
    return x is None or y is None or (x.tensor.shape == y.tensor.shape and bool((x.tensor == y.tensor).all()))
