"""A graph as people would write it: activations in layers, nested joins, attention as one layer."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any

import torch

from graphspec.convert.arguments import shortest
from graphspec.convert.nodes import ConvertedNode, ConvertedValue, Stored
from graphspec.convert.pytorch.writer import UNSEEN, AttentionDropout, CallOrigin, Known, NodeWriter

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
    readers_by_value: Readers = defaultdict(list)
    for node in nodes:
        for value in node.sources():
            readers_by_value[value].append(node)
    for value in outputs.values():
        readers_by_value[value].append(None)  # type: ignore[arg-type]
    return readers_by_value


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


@dataclass(frozen=True, slots=True)
class HeadProjection:
    """A projection to heads: what is projected, its weights, and the sizes [heads, size]."""

    source: ConvertedValue
    weight: Known
    bias: Known | None
    shape: list[int]
    linear: ConvertedNode


def attention_heads(w: NodeWriter, value: ConvertedValue, read: Readers) -> HeadProjection | None:
    """The projection after the heads of attention: a `Dense` of its own, or a third of a common one."""
    node = value.maker
    if not isinstance(node, ConvertedNode) or len(read[value]) != 1:
        return None
    if node.what == "get_item":  # of [length, 3, heads, size]
        place = re.fullmatch(r":, :, (\d+)", node.arguments["key"])
        reshape = _value_of(node, "Reshape")
        if place is None or reshape is None or len(reshape.arguments["target_shape"]) != 4:
            return None
        count, *shape = reshape.arguments["target_shape"][1:]
        return _third(w, reshape, int(place[1]), count, shape, read)
    if node.what != "Reshape" or len(node.arguments["target_shape"]) != 3:
        return None
    shape = node.arguments["target_shape"][1:]
    before = node.reads[0][1]
    maker = before.maker if isinstance(before, ConvertedValue) else None
    if (
        not isinstance(before, ConvertedValue)
        or not isinstance(maker, ConvertedNode)
        or len(read[before]) != 1
    ):
        return None
    if maker.what == "split":
        count = maker.arguments["indices_or_sections"]
        return _third(w, maker, before.output, count, shape, read) if isinstance(count, int) else None
    if maker.what != "Dense" or "activation" in maker.arguments or maker.stored is None:
        return None
    held = w.weights[maker.stored.path]
    return _projected(maker, held["weight"], held.get("bias"), shape)


def _projected(linear: ConvertedNode, weight: Known, bias: Known | None, shape: list[int]) -> HeadProjection:
    source = linear.reads[0][1]
    assert isinstance(source, ConvertedValue)
    return HeadProjection(source, weight, bias, shape, linear)


def _value_of(node: ConvertedNode, what: str) -> ConvertedNode | None:
    """The node that a node reads, if it is such a one."""
    before = node.reads[0][1]
    maker = before.maker if isinstance(before, ConvertedValue) else None
    return maker if isinstance(maker, ConvertedNode) and maker.what == what else None


def _third(
    w: NodeWriter, parted: ConvertedNode, place: int, count: int, shape: list[int], read: Readers
) -> HeadProjection | None:
    """One of the projections that a `Dense` makes at once."""
    linear = _value_of(parted, "Dense")
    if linear is None or "activation" in linear.arguments or linear.stored is None:
        return None
    if len(read[ConvertedValue(linear)]) != 1 or linear.arguments["units"] != count * shape[0] * shape[1]:
        return None

    def cut(known: Known | None) -> Known | None:
        return None if known is None else known.map(lambda t: t.unflatten(0, (count, -1))[place])

    held = w.weights[linear.stored.path]
    weight = cut(held["weight"])
    assert weight is not None
    return _projected(linear, weight, cut(held.get("bias")), shape)


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
    projections = [attention_heads(w, value, read) for value in slots.values()]  # type: ignore[arg-type]
    joined = _reader(ConvertedValue(node), read, "Reshape")
    last = _reader(ConvertedValue(joined), read, "Dense") if joined is not None else None
    if None in projections or last is None or joined is None or len(joined.arguments["target_shape"]) != 2:
        return
    query, key, value = (each for each in projections if each is not None)
    biases = {each.bias is not None for each in (query, key, value)} | {last.arguments.get("use_bias", True)}
    if key.shape != query.shape or value.shape[0] != query.shape[0] or len(biases) > 1 or last.stored is None:
        return
    words: dict[str, Any] = {"num_heads": query.shape[0], "key_dim": query.shape[1]}
    if value.shape[1] != query.shape[1]:
        words["value_dim"] = value.shape[1]
    if w.rates.get(node):
        words["dropout"] = shortest(w.rates.pop(node).rate)
    if False in biases:
        words["use_bias"] = False
    if last.arguments["units"] != query.weight.tensor.shape[1]:
        words["output_shape"] = last.arguments["units"]
    if node.arguments.get("is_causal"):
        words["use_causal_mask"] = True
    held = {f"output.{name}": known for name, known in w.weights[last.stored.path].items()}
    for name, each in (("query", query), ("key", key), ("value", value)):
        held[f"{name}.weight"] = each.weight
        if each.bias is not None:
            held[f"{name}.bias"] = each.bias
    reads = [("query", query.source), ("value", value.source)]
    if value.source != key.source:
        reads.append(("key", key.source))
    path = (f"attention{len(w.weights)}",)
    w.weights[path] = held
    attention = ConvertedNode(
        "attention", "layer", "MultiHeadAttention", words, reads, "named", stored=Stored(path, ())
    )
    linears = [each.linear for each in (query, key, value)] + [last]
    attention.trainable = any(linear.trainable for linear in linears)
    attention.automatic = True
    w.origins[attention] = CallOrigin(_common([w.origins[linear] for linear in linears]), "whole", True)
    nodes[nodes.index(last)] = attention
    replaced(nodes, outputs, {ConvertedValue(last): ConvertedValue(attention)})
    read[ConvertedValue(attention)] = read[ConvertedValue(last)]


def drops(w: NodeWriter, nodes: list[ConvertedNode], outputs: dict[str, ConvertedValue]) -> None:
    """Attention with dropout that is no `MultiHeadAttention`: as products, with a dropout between them."""
    for node in list(nodes):
        if node in w.rates and (last := _by_products(w, node)) is not None:
            products = w.nodes[w.nodes.index(last[0]) :]
            place = nodes.index(node)
            nodes[place : place + 1] = products
            replaced(nodes, outputs, {ConvertedValue(node): last[1]})
            del w.rates[node]


def _by_products(w: NodeWriter, node: ConvertedNode) -> tuple[ConvertedNode, ConvertedValue] | None:
    """The first of the nodes that compute an attention with its dropout, and what they compute; None where a
    causal mask has as many rows as a size that stays open.
    """
    rate, reads = w.rates[node], dict(node.reads)
    scale = node.arguments.get("scale", rate.size and shortest(rate.size**-0.5))
    causal = node.arguments.get("is_causal")
    if scale is None or (causal and not all(isinstance(size, int) for size in rate.lengths)):
        return None
    w.origin = replace(w.origins[node], main=False)
    first = w.node(
        "op", "einsum", {"subscripts": "bqhd,bkhd->bhqk"}, [("", reads["query"]), ("", reads["key"])]
    )
    scores = ConvertedValue(w.node("op", "multiply", {"x2": scale}, [("x1", ConvertedValue(first))]))
    mask = reads.get("mask")
    if causal:
        mask = w.held(Known(torch.ones(1, *rate.lengths, dtype=torch.bool).tril()))
    if "bias" in reads:
        scores = ConvertedValue(w.node("merge", "add", {}, [("", scores), ("", reads["bias"])]))
        if _hides(reads["bias"]):
            mask = ConvertedValue(w.node("op", "greater", {"x2": UNSEEN}, [("x1", reads["bias"])]))
    if mask is not None:
        choices = [("condition", mask), ("x1", scores)]
        scores = ConvertedValue(w.node("op", "where", {"x2": UNSEEN}, choices))
    scores = ConvertedValue(w.node("layer", "Activation", {"activation": "softmax"}, [("x", scores)]))
    if mask is not None and not causal:  # of a query that sees no key
        choices = [("condition", mask), ("x1", scores)]
        scores = ConvertedValue(w.node("op", "where", {"x2": 0.0}, choices))
    scores = ConvertedValue(w.node("layer", "Dropout", {"rate": shortest(rate.rate)}, [("x", scores)]))
    last = w.node("op", "einsum", {"subscripts": "bhqk,bkhd->bqhd"}, [("", scores), ("", reads["value"])])
    return first, ConvertedValue(last)


def _hides(bias: Any) -> bool:
    """Whether it is made with infinities, as masks are that are added."""
    left, seen = [bias], set[Any]()
    while left:
        node = left.pop().maker
        if isinstance(node, ConvertedNode) and node not in seen:
            seen.add(node)
            left += node.sources()
            if any(value == -math.inf for value in node.arguments.values()):
                return True
    return False


def _common(origins: list[CallOrigin]) -> tuple[tuple[str, str, str], ...]:
    prefix = []
    for steps in zip(*(origin.modules for origin in origins), strict=False):
        if len(set(steps)) > 1:
            break
        prefix.append(steps[0])
    return tuple(prefix)


def _reader(value: ConvertedValue, read: Readers, what: str) -> ConvertedNode | None:
    nodes = read[value]
    if len(nodes) != 1 or nodes[0] is None or nodes[0].form != "layer" or nodes[0].what != what:
        return None
    return nodes[0]


def by_hand(w: NodeWriter, nodes: list[ConvertedNode], outputs: dict[str, ConvertedValue]) -> None:
    """`softmax(q @ k * scale) @ v`, written by hand, as the op that PyTorch computes in one piece."""
    read = readers(nodes, outputs)
    for node in list(nodes):
        if node.what != "Activation" or node.arguments["activation"] != "softmax":
            continue
        match = _handmade(node, read)
        if match is not None:
            second, reads, words, rate = match
            attention = ConvertedNode("attention", "op", "dot_product_attention", words, reads, "named")
            attention.automatic = True
            w.origins[attention] = w.origins[second]
            if rate:
                w.rates[attention] = AttentionDropout(rate, _size_of(reads[0][1]), ("", ""))
            nodes[nodes.index(second)] = attention
            replaced(nodes, outputs, {ConvertedValue(second): ConvertedValue(attention)})


def _handmade(node: ConvertedNode, read: Readers) -> Any:
    """The last product of attention around a softmax, what it reads, its scale and its dropout."""
    scale, rate = 1.0, 0.0
    first = _value_of(node, "einsum") or _value_of(node, "multiply") or _value_of(node, "divide")
    if first is not None and first.what in ("multiply", "divide"):
        if first.form != "op" or "x2" not in first.arguments or len(first.reads) != 1:
            return None
        scale = first.arguments["x2"] if first.what == "multiply" else 1 / first.arguments["x2"]
        first = _value_of(first, "einsum")
    after = read[ConvertedValue(node)]
    if len(after) == 1 and after[0] is not None and after[0].what == "Dropout":
        if "noise_shape" in after[0].arguments:
            return None
        rate = after[0].arguments["rate"]
        after = read[ConvertedValue(after[0])]
    if first is None or len(after) != 1 or after[0] is None or after[0].what != "einsum":
        return None
    second = after[0]
    (_, query), (_, key), (_, weights), (_, value) = *first.reads, *second.reads
    around = [node, *(each for each in read[ConvertedValue(node)] if each is not None)]
    if not isinstance(weights, ConvertedValue) or weights.maker not in around:
        return None
    if not _are_attention(first.arguments["subscripts"], second.arguments["subscripts"]):
        return None
    maker = query.maker  # type: ignore[union-attr]
    if (
        isinstance(maker, ConvertedNode)
        and maker.form == "op"
        and maker.what == "multiply"
        and "x2" in maker.arguments
    ):
        scale, query = scale * maker.arguments["x2"], maker.reads[0][1]
    reads = [("query", query), ("key", key), ("value", value)]
    width = _size_of(query)
    usual = width is not None and abs(scale - width**-0.5) < 1e-7
    return second, reads, {} if usual else {"scale": shortest(float(scale))}, rate


def _are_attention(scores: str, context: str) -> bool:
    """Whether two equations are `q @ k` and `weights @ v` of heads: `blhd,bmhd->bhlm`, `bhlm,bmhd->blhd`."""
    letters = [part.split(",") for equation in (scores, context) for part in equation.split("->")]
    if [[len(word) for word in words] for words in letters] != [[4, 4], [4]] * 2:
        return False
    (query, key), (products,), (weights, value), (out,) = letters
    batch, length, heads, size = list(query)
    if products[:3] != batch + heads + length or key != batch + products[3] + heads + size:
        return False
    batch, heads, length, keys = list(weights)
    return value[:3] == batch + keys + heads and out == batch + length + heads + value[3]


def _size_of(value: Any) -> int | None:
    """The size of a head, where a reshape says it."""
    node = value.maker
    if isinstance(node, ConvertedNode) and node.what == "get_item":
        node = _value_of(node, "Reshape")
    shaped = isinstance(node, ConvertedNode) and node.what == "Reshape"
    return node.arguments["target_shape"][-1] if shaped else None


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
