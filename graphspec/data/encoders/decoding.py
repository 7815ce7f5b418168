"""How each output becomes columns: what its loss and the encoder of its target say."""

from __future__ import annotations

import re
from typing import Any

from graphspec.data.encoders.base import Encoder
from graphspec.data.encoders.boxes import BoxEncoder
from graphspec.data.encoders.categories import CategoryEncoder, SetEncoder
from graphspec.data.encoders.lists import ListEncoder
from graphspec.data.encoders.masks import MaskEncoder
from graphspec.data.encoders.numbers import Floats
from graphspec.data.rows.outputs import (
    Activation,
    BoxesWritten,
    ClassesWritten,
    MaskWritten,
    NumbersWritten,
    OutputColumns,
    QuantilesWritten,
    SetWritten,
    StepCount,
    TensorsWritten,
    ValuesWritten,
)
from graphspec.elaborated import OutputSpec
from graphspec.objectives.custom import CustomLoss
from graphspec.objectives.losses import Binary, Categorical, QuantileLoss
from graphspec.tensor import Dim, Tensor, names_of

ANSWER = 6
"""Numbers of a box that a model answers: its sides, its score and its class."""
WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")
"""Texts of whole numbers: classes that are such numbers are predicted as numbers, in every format."""


def written(name: str, output: OutputSpec, encoder: Encoder | None) -> OutputColumns:
    """How an output becomes columns."""
    if len(output.tensors) > 1:
        steps = tuple(map(_steps, output.tensors))
        return TensorsWritten(tuple(output.columns), tuple(output.keys), steps)
    tensor, loss, classes = output.tensors[0], output.loss, _has_classes(output, encoder)
    activation: Activation | None = None
    if loss is not None and loss.takes_logits:
        activation = "softmax" if classes else "sigmoid"
    if isinstance(encoder, MaskEncoder):
        if loss is not None and loss.takes_logits:
            activation = "sigmoid" if tensor.shape[-1] == 1 else "softmax"
        return MaskWritten(name, activation, tuple(encoder.values), output.rows.threshold)
    if isinstance(encoder, BoxEncoder) and _gives_boxes(output):
        return BoxesWritten(name, tuple(encoder.names))
    if isinstance(encoder, SetEncoder):
        return SetWritten(name, activation, tuple(encoder.vocabulary.values), output.rows.threshold)
    if classes:
        labels = _known_labels(encoder, tensor.shape[-1])
        return ClassesWritten(name, activation, _steps(tensor), None if labels is None else tuple(labels))
    if isinstance(encoder, Floats):
        curves = tuple(encoder.curves)
        if isinstance(loss, QuantileLoss):
            return QuantilesWritten(name, activation, curves[0], loss.middle, tuple(loss.levels))
        ahead, columns = encoder.feature.steps == "next", tuple(encoder.columns)
        return NumbersWritten(name, activation, _steps(tensor), curves, columns, ahead)
    return ValuesWritten(name, activation, _steps(tensor))


def _gives_boxes(output: OutputSpec) -> bool:
    """Whether an output is boxes with scores and classes: the answers of a detector, or a graph's own."""
    answers = output.loss is not None and output.loss.answers
    return answers or output.tensors[0].shape[-1] == ANSWER


def _has_classes(output: OutputSpec, encoder: Encoder | None) -> bool:
    """Whether the last axis has a probability for each of several classes."""
    if isinstance(output.loss, Binary):
        return False
    units = output.tensors[0].shape[-1]
    if isinstance(output.loss, CustomLoss) and isinstance(encoder, CategoryEncoder):
        return units == len(encoder.vocabularies[0].values)
    named = isinstance(encoder, CategoryEncoder | ListEncoder)
    return isinstance(output.loss, Categorical) or (named and units != 1)


def _steps(tensor: Tensor) -> StepCount | None:
    """How many steps rows have; None if they have none, or all have full length."""
    if tensor.rank < 3 or len(names := names_of(tensor.shape[1])) != 1:
        return None
    return StepCount(next(iter(names)), tensor.shape[1])


def _known_labels(encoder: Encoder | None, size: Dim) -> list[Any] | None:
    """As `labels_of`, before there are values; None where how many classes there are depends on these."""
    if isinstance(encoder, CategoryEncoder):
        return _values(encoder)
    return labels_of(encoder, size) if isinstance(size, int) else None


def labels_of(encoder: Encoder | None, count: int) -> list[Any]:
    """The name of each class: its value, or its number where it has none."""
    if isinstance(encoder, CategoryEncoder):
        return _values(encoder)
    if isinstance(encoder, ListEncoder):
        return [name or "" for name in encoder.names(count)]
    if isinstance(encoder, MaskEncoder):
        return encoder.values
    if isinstance(encoder, BoxEncoder):
        return list(encoder.names)
    return list(range(count))


def _values(encoder: CategoryEncoder) -> list[Any]:
    texts = encoder.vocabularies[0].values
    numeric = texts and all(WHOLE.fullmatch(text) for text in texts)
    return [int(text) for text in texts] if numeric else list(texts)
