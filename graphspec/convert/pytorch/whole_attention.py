"""Attention in one piece: a `MultiHeadAttention` with its projections; as products where it drops values."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Any

import torch

from graphspec.convert.arguments import shortest
from graphspec.convert.nodes import ConvertedNode, ConvertedValue, Stored
from graphspec.convert.pytorch.attention import causal
from graphspec.convert.pytorch.rewiring import NodeGraph, Readers
from graphspec.convert.pytorch.writer import UNSEEN, AttentionDropout, CallOrigin, Known, NodeWriter


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


def attentions(w: NodeWriter, graph: NodeGraph) -> None:
    """Projections to heads, attention, and the projection back, as one `MultiHeadAttention`."""
    read = graph.readers()
    for node in graph.nodes:
        if node.what == "dot_product_attention":
            _attention(w, node, read, graph)


def _attention(w: NodeWriter, node: ConvertedNode, read: Readers, graph: NodeGraph) -> None:
    slots = dict(node.reads)
    if set(slots) != {"query", "key", "value"} or "scale" in node.arguments:
        return
    projections = [attention_heads(w, value, read) for value in slots.values()]  # type: ignore[arg-type]
    joined = _reader(ConvertedValue(node), read, "Reshape")
    last = _reader(ConvertedValue(joined), read, "Dense") if joined is not None else None
    if None in projections or last is None or joined is None or len(joined.arguments["target_shape"]) != 2:
        return
    query, key, value = (each for each in projections if each is not None)
    linears = [each.linear for each in (query, key, value)] + [last]
    if len({linear.trainable for linear in linears}) > 1 or any(map(w.shares, linears)):
        return
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
    attention.trainable = last.trainable
    attention.automatic = True
    w.origins[attention] = CallOrigin(_common([w.origins[linear] for linear in linears]), "whole", True)
    graph.nodes[graph.nodes.index(last)] = attention
    graph.replace({ConvertedValue(last): ConvertedValue(attention)})
    read[ConvertedValue(attention)] = read[ConvertedValue(last)]


def drops(w: NodeWriter, graph: NodeGraph) -> None:
    """Attention with dropout that is no `MultiHeadAttention`: as products, with a dropout between them."""
    for node in list(graph.nodes):
        if node in w.rates and (last := _by_products(w, node)) is not None:
            products = w.nodes[w.nodes.index(last[0]) :]
            place = graph.nodes.index(node)
            graph.nodes[place : place + 1] = products
            graph.replace({ConvertedValue(node): last[1]})
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


@dataclass(frozen=True, slots=True)
class HandMade:
    """Attention around a softmax: its last product, what it reads, its arguments, and its dropout."""

    last: ConvertedNode
    reads: list[tuple[str, Any]]
    words: dict[str, Any]
    dropout: AttentionDropout


def by_hand(w: NodeWriter, graph: NodeGraph) -> None:
    """`softmax(q @ k * scale) @ v`, written by hand, perhaps causal, as the op that PyTorch has for it."""
    read = graph.readers()
    for node in list(graph.nodes):
        if node.what != "Activation" or node.arguments["activation"] != "softmax":
            continue
        made = _handmade(w, node, read)
        if made is not None:
            attention = ConvertedNode(
                "attention", "op", "dot_product_attention", made.words, made.reads, "named"
            )
            attention.automatic = True
            w.origins[attention] = w.origins[made.last]
            if made.dropout.rate:
                w.rates[attention] = made.dropout
            graph.nodes[graph.nodes.index(made.last)] = attention
            graph.replace({ConvertedValue(made.last): ConvertedValue(attention)})


def _handmade(w: NodeWriter, softmax: ConvertedNode, read: Readers) -> HandMade | None:
    """The attention that a softmax is a part of."""
    masked = w.masked.get(softmax.reads[0][1].maker)  # type: ignore[union-attr, arg-type]
    if masked is not None and not causal(masked.mask):
        return None
    scores, scale = _unscaled(softmax.reads[0][1] if masked is None else masked.scores)
    last, weights, rate = _weighing(softmax, read)
    first = scores.maker
    if not isinstance(first, ConvertedNode) or first.what != "einsum" or last is None:
        return None
    (_, query), (_, key), (_, weighing), (_, value) = *first.reads, *last.reads
    equations = first.arguments["subscripts"], last.arguments["subscripts"]
    if weighing != weights or not _are_attention(*equations):
        return None
    query, factor = _unscaled(query)
    reads, width = [("query", query), ("key", key), ("value", value)], _size_of(query)
    words: dict[str, Any] = {} if masked is None else {"is_causal": True}
    if width is None or abs(scale * factor - width**-0.5) >= 1e-7:
        words["scale"] = shortest(float(scale * factor))
    lengths = ("", "") if masked is None else masked.lengths
    is_open = masked is not None and not all(isinstance(length, int) for length in lengths)
    if rate and is_open and None in [attention_heads(w, each, read) for _, each in reads]:
        return None  # `drops` could not write the dropout
    return HandMade(last, reads, words, AttentionDropout(rate, width, lengths))


def _unscaled(value: Any) -> tuple[Any, float]:
    """The value before a product with or a division by a number, and the factor."""
    node = value.maker
    scaled = isinstance(node, ConvertedNode) and node.form == "op" and node.what in ("multiply", "divide")
    if not scaled or "x2" not in node.arguments or len(node.reads) != 1:
        return value, 1.0
    number = node.arguments["x2"]
    return node.reads[0][1], number if node.what == "multiply" else 1 / number


def _weighing(softmax: ConvertedNode, read: Readers) -> tuple[ConvertedNode | None, ConvertedValue, float]:
    """The only product that reads a softmax, what it reads of it, and the dropout between them."""
    weights, rate = ConvertedValue(softmax), 0.0
    if (dropout := _reader(weights, read, "Dropout")) is not None and "noise_shape" not in dropout.arguments:
        weights, rate = ConvertedValue(dropout), dropout.arguments["rate"]
    after = read[weights]
    last = after[0] if len(after) == 1 and after[0] is not None and after[0].what == "einsum" else None
    return last, weights, rate


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
