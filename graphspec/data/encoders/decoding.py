"""Predictions as columns: classes by name, numbers in their own unit, sets and sequences as lists."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphspec.data.encoders.base import Array, Encoder
from graphspec.data.encoders.categories import CategoryEncoder, SetEncoder
from graphspec.data.encoders.cells import Cells
from graphspec.data.encoders.lists import TextEncoder, TokensEncoder
from graphspec.data.encoders.numbers import Floats, rows_of
from graphspec.data.ragged import offsets_of
from graphspec.objectives.custom import CustomLoss
from graphspec.objectives.losses import Binary, Categorical, QuantileLoss
from graphspec.program import OutputSpec
from graphspec.tensor import Dim, Tensor, names_of, value_of

WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")
"""Texts of whole numbers: classes that are such numbers are predicted as numbers, in every format."""
THRESHOLD = 0.5
"""From which probability on a set has a value, unless the output says another."""


def decode(
    name: str,
    output: OutputSpec,
    encoder: Encoder | None,
    values: Mapping[str, Array],
    sizes: Mapping[str, NDArray[np.int64]],
    probabilities: bool = True,
    unit: Array | None = None,
) -> dict[str, Cells]:
    """The columns of one output: its value under its name and, of classes and sets, the probability of each
    beside it. An output of several tensors has a column for each, such as `match.query` and `match.key`.

    `values` are what the model returns by its names, batch axis first; `sizes` are the lengths of rows by the
    size's name; `unit` are the scales that rows have of their own.
    """
    if len(output.tensors) > 1:
        parts = zip(output.columns, output.keys, output.tensors, strict=True)
        return {
            column: _plain(values[key], _lengths(tensor, sizes, len(values[key])))
            for column, key, tensor in parts
        }
    return _decode_tensor(name, output, encoder, values[name], sizes, probabilities, unit)


def _decode_tensor(
    name: str,
    output: OutputSpec,
    encoder: Encoder | None,
    values: Array,
    sizes: Mapping[str, NDArray[np.int64]],
    probabilities: bool,
    unit: Array | None,
) -> dict[str, Cells]:
    tensor, loss = output.tensors[0], output.loss
    if loss is not None and loss.takes_logits:
        values = _softmax(values) if has_classes(output, encoder) else 1 / (1 + np.exp(-values))
    lengths = _lengths(tensor, sizes, len(values))
    if isinstance(encoder, SetEncoder):
        names = encoder.vocabulary.values
        found = {name: _set(names, values, output.rows.threshold)}
        return found | (_each(name, names, values) if probabilities else {})
    if has_classes(output, encoder):
        return _classes(name, encoder, values, lengths, probabilities)
    if isinstance(encoder, Floats):
        if isinstance(loss, QuantileLoss):
            return _quantiles(name, encoder, values, loss, probabilities, unit)
        return _numbers(name, encoder, values, lengths, unit)
    return {name: _plain(values, lengths)}


def has_classes(output: OutputSpec, encoder: Encoder | None) -> bool:
    """Whether the last axis has a probability for each of several classes."""
    if isinstance(output.loss, Binary):
        return False
    units = output.tensors[0].shape[-1]
    if isinstance(output.loss, CustomLoss) and isinstance(encoder, CategoryEncoder):
        return units == len(encoder.vocabularies[0].values)
    named = isinstance(encoder, CategoryEncoder | TokensEncoder | TextEncoder)
    return isinstance(output.loss, Categorical) or (named and units != 1)


def _softmax(values: Array) -> Array:
    raised = np.exp(values - values.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


def _lengths(tensor: Tensor, sizes: Mapping[str, Array], count: int) -> Array | None:
    """The length of each row; None if rows have no steps, or all have full length."""
    if tensor.rank < 3:
        return None
    size = tensor.shape[1]
    unit = next(iter(names_of(size)), None)
    if unit is None or unit not in sizes or len(names_of(size)) > 1:
        return None
    return np.array([value_of(size, {unit: int(length)}) for length in sizes[unit]], np.int64)


def _classes(
    name: str, encoder: Encoder | None, values: Array, lengths: Array | None, probabilities: bool
) -> dict[str, Cells]:
    chosen, labels = values.argmax(-1), labels_of(encoder, values.shape[-1])
    found = {name: Cells.of(chosen, lengths).named(labels)}
    return found | (_each(name, labels, values) if probabilities and chosen.ndim == 1 else {})


def _each(name: str, labels: list[Any], values: Array) -> dict[str, Cells]:
    """The probability of each label, a column."""
    return {f"{name}.{label}": Cells(values[:, index]) for index, label in enumerate(labels)}


def labels_of(encoder: Encoder | None, count: Dim) -> list[Any]:
    """The name of each class: its value, or its number where it has none."""
    if isinstance(encoder, CategoryEncoder):
        texts = encoder.vocabularies[0].values
        whole = texts and all(WHOLE.fullmatch(text) for text in texts)
        return [int(text) for text in texts] if whole else list(texts)
    assert isinstance(count, int)
    if isinstance(encoder, TokensEncoder):
        return [*([""] * encoder.vocabulary.start), *encoder.vocabulary.values][:count]
    if isinstance(encoder, TextEncoder):
        return [encoder.tokenizer.id_to_token(index) or "" for index in range(count)]
    return list(range(count))


def _set(names: list[str], values: Array, threshold: float | None) -> Cells:
    """The names of the values whose probability is high enough, a list for each row."""
    has = values[:, : len(names)] >= (THRESHOLD if threshold is None else threshold)
    return Cells([names[index] for index in has.nonzero()[1].tolist()], offsets_of(has.sum(1)))


def _quantiles(
    name: str, encoder: Floats, values: Array, loss: QuantileLoss, all_levels: bool, unit: Array | None
) -> dict[str, Cells]:
    """The level in the middle under the output's name, then each level, as `load.0.9`."""
    own = encoder.curves[0].undo(values.astype(np.float64), *_spread(unit, 0, values))
    columns = {name: _plain(own[..., loss.middle], None)}
    for index, level in enumerate(loss.levels if all_levels else ()):
        columns[f"{name}.{level:g}"] = _plain(own[..., index], None)
    return columns


def _spread(unit: Array | None, column: int, values: Array) -> tuple[Array | None, Array | None]:
    """The shift and the scale of each row, as wide as its values."""
    shift, scale = rows_of(unit, column)
    wide = (-1, *[1] * (values.ndim - 1))
    return (None, None) if shift is None or scale is None else (shift.reshape(wide), scale.reshape(wide))


def _numbers(
    name: str, encoder: Floats, values: Array, lengths: Array | None, unit: Array | None
) -> dict[str, Cells]:
    own = values.astype(np.float64)
    if len(encoder.curves) == 1:
        return {name: _plain(encoder.curves[0].undo(own, *_spread(unit, 0, own)), lengths)}
    if own.ndim == 1 or own.shape[-1] < len(
        encoder.curves
    ):  # of a loss of one's own, in no unit of the columns
        return {name: _plain(values, lengths)}
    for position, curve in enumerate(encoder.curves):
        part = own[..., position]
        own[..., position] = curve.undo(part, *_spread(unit, position, part))
    if own.ndim > 2:
        return {name: _plain(own, lengths)}
    return {f"{name}.{column}": Cells(own[:, position]) for position, column in enumerate(encoder.columns)}


def _plain(values: Array, lengths: Array | None) -> Cells:
    """Numbers, a list where a row has several; an axis of 1 at the end is none."""
    if values.ndim > 1 and values.shape[-1] == 1:
        values = values[..., 0]
    return Cells.of(values, lengths)
