"""Byte-pair encoding with ONNX: the letters of words, merged pair by pair as a tokenizer does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper

from graphspec.export.columns.graph import MICROSOFT, ML, WHOLE, GraphWriter

NEVER = 2**31
"""The rank of a pair that is not merged."""
UNKNOWN = 1


def merged(g: GraphWriter, pieces: str, model: Mapping[str, Any]) -> str:
    """[batch, any] ids of [batch, any] words, zeros among them. Of all pairs of neighbours in a word the one
    of the lowest rank is merged, the first of equal ones, until there is none.
    """
    vocabulary = model["vocab"]
    cut: dict[str, Any] = {"mark": 0, "pad_value": "", "mincharnum": 1, "separators": [""]}
    letters = g.op("Tokenizer", pieces, domain=MICROSOFT, **cut)
    known = {word: index for word, index in vocabulary.items() if len(word) == 1}
    ids = g.look_up(letters, ["", *known], [0, *known.values()], UNKNOWN)
    batch, words = g.op("Shape", ids, start=0, end=1), g.op("Shape", ids, start=1, end=2)
    rows = g.op("Concat", g.op("Mul", batch, words), g.op("Shape", ids, start=2), axis=0)
    ids = g.op("Reshape", ids, rows, allowzero=1)
    ends = g.op("Expand", g.constant([[0, 0]], np.int64), _shape(g, ids, 2))
    ids = _until_none(g, g.joined([ids, ends]), model)
    width = g.op("Mul", words, g.op("Shape", ids, start=1))
    return str(g.op("Reshape", ids, g.op("Concat", batch, width, axis=0)))


def _shape(g: GraphWriter, value: str, width: int) -> str:
    """As many rows as a value has, so many columns."""
    rows = g.op("Shape", value, start=0, end=1)
    return str(g.op("Concat", rows, g.constant([width], np.int64), axis=0))


def _until_none(g: GraphWriter, ids: str, model: Mapping[str, Any]) -> str:
    """A loop that ends when nothing was merged."""
    before, g.nodes = g.nodes, []
    step, goes_on, word_ids = map(g.name, ("step", "goes_on", "word_ids"))
    merges, some = _merge(g, word_ids, model)
    value, truth = helper.make_tensor_value_info, onnx.TensorProto.BOOL
    given = [value(step, WHOLE, []), value(goes_on, truth, []), value(word_ids, WHOLE, None)]
    returned = [value(some, truth, []), value(merges, WHOLE, None)]
    body = helper.make_graph(g.nodes, "merge", given, returned)
    g.nodes = before
    return str(g.op("Loop", "", g.constant(True), ids, body=body))


def _merge(g: GraphWriter, ids: str, model: Mapping[str, Any]) -> tuple[str, str]:
    """Ids of words, [words, letters], after the next merge of each, and whether there was any."""
    vocabulary, size = model["vocab"], len(model["vocab"])
    pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
    keys = [vocabulary[first] * size + vocabulary[second] for first, second in pairs]
    wide = g.op("Shape", ids, start=1)
    last = g.op("Sub", wide, g.constant([1], np.int64))
    left, right = g.sliced(ids, 0, last), g.sliced(ids, 1, wide)
    key = g.op("Add", g.op("Mul", left, g.constant([size], np.int64)), right)
    ranks: dict[str, Any] = {"keys_int64s": keys, "values_int64s": list(range(len(keys)))}
    rank = g.op("LabelEncoder", key, domain=ML, default_int64=NEVER, **ranks)
    place = g.op("ArgMin", rank, axis=1, keepdims=1)
    lowest = g.op("GatherElements", rank, place, axis=1)
    found = g.op("Less", lowest, g.constant([NEVER], np.int64))
    made = g.constant([vocabulary[first + second] for first, second in pairs], np.int64)
    new = g.op("Gather", made, g.op("Min", lowest, g.constant([len(pairs) - 1], np.int64)))
    zero, one = g.constant(0, np.int64), g.constant(1, np.int64)
    places = g.op("Range", zero, g.op("Squeeze", wide), one)
    end = g.op("Expand", g.constant([[0]], np.int64), _shape(g, ids, 1))
    moved = g.where(g.op("Greater", places, place), g.joined([right, end]), ids)
    after = g.where(g.op("Equal", places, place), new, moved)
    some = g.op("ReduceMax", g.cast(found, WHOLE), g.constant([0, 1], np.int64), keepdims=0)
    return g.where(found, after, ids), str(g.op("Greater", some, zero))


def compacted(g: GraphWriter, ids: str) -> str:
    """The ids that are not 0 at the start of each row, zeros after them."""
    there = g.op("Greater", ids, g.constant([0], np.int64))
    width = g.op("Shape", ids, start=1)
    place = g.op("CumSum", g.cast(there, WHOLE), g.constant(1, np.int64))
    place = g.where(there, g.op("Sub", place, g.constant([1], np.int64)), width)
    room = g.op("Add", g.op("Shape", ids), g.constant([0, 1], np.int64))
    zeros = g.op("Expand", g.constant([[0]], np.int64), room)
    return str(g.op("ScatterElements", zeros, place, ids, axis=1))
