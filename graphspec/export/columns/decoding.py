"""What a model returns as people read it: labels with their probabilities, numbers in their own units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphspec.data.encoders import Encoders
from graphspec.data.encoders.categories import SetEncoder
from graphspec.data.encoders.decoding import has_classes, known_labels
from graphspec.data.encoders.numbers import Floats
from graphspec.export.columns.graph import FLOAT, NUMBER, TEXT, WHOLE, GraphWriter
from graphspec.export.columns.numbers import undone
from graphspec.objectives.losses import QuantileLoss
from graphspec.program import BaseProgram, OutputSpec
from graphspec.tensor import Tensor, unit_of


@dataclass(slots=True)
class Answers:
    """The outputs of a file."""

    values: dict[str, tuple[str, int]] = field(default_factory=dict)
    """By name, the value in the graph and its type."""
    classes: dict[str, list[Any]] = field(default_factory=dict)
    """By output, the label of each probability."""


def decoded(
    g: GraphWriter,
    program: BaseProgram,
    encoders: Encoders,
    outputs: Mapping[str, str],
    lengths: Mapping[str, str],
) -> Answers:
    """The outputs of a program as columns; `outputs` are its own values, float32, and `lengths` those of rows
    by the name of a size.
    """
    answers = Answers()
    for name, output in program.outputs.items():
        if len(output.tensors) > 1:
            for column, key in zip(output.columns, output.keys, strict=True):
                answers.values[column] = outputs[key], FLOAT
            continue
        ColumnDecoding(g, answers, lengths).write(
            name, output, encoders.encoders.get(output.target), outputs[name]
        )
    return answers


@dataclass(frozen=True, slots=True)
class ColumnDecoding:
    g: GraphWriter
    answers: Answers
    lengths: Mapping[str, str]

    def write(self, name: str, output: OutputSpec, encoder: Any, value: str) -> None:
        g, tensor = self.g, output.tensors[0]
        classes = has_classes(output, encoder)
        if output.loss is not None and output.loss.takes_logits:
            value = g.op("Softmax", value, axis=-1) if classes else g.op("Sigmoid", value)
        if isinstance(encoder, SetEncoder):
            self._set(name, encoder, value, output.rows.threshold)
        elif classes:
            self._classes(name, tensor, known_labels(encoder, tensor.shape[-1]), value)
        elif isinstance(encoder, Floats) and isinstance(output.loss, QuantileLoss):
            self._quantiles(name, tensor, encoder, output.loss, g.cast(value, NUMBER))
        elif isinstance(encoder, Floats) and self._fits(encoder, tensor):
            self._numbers(name, tensor, encoder, g.cast(value, NUMBER))
        else:
            self.answers.values[name] = self._squeezed(tensor, value), FLOAT

    def _classes(self, name: str, tensor: Tensor, labels: list[Any] | None, value: str) -> None:
        chosen = self.g.op("ArgMax", value, axis=-1, keepdims=0)
        answers = self.answers
        answers.values[name] = (chosen, WHOLE) if labels is None else self._named(tensor, labels, chosen)
        answers.values[f"{name}.probabilities"] = value, FLOAT
        if labels is not None:
            answers.classes[name] = labels

    def _named(self, tensor: Tensor, labels: list[Any], chosen: str) -> tuple[str, int]:
        g = self.g
        kind = TEXT if labels and isinstance(labels[0], str) else WHOLE
        words = g.constant(np.array(labels, object if kind == TEXT else np.int64))
        predicted = g.op("Gather", words, chosen)
        there = self._there(tensor)
        if there is not None and kind == TEXT:
            predicted = g.where(there, predicted, g.constant(np.array([""], object)))
        return predicted, kind

    def _there(self, tensor: Tensor) -> str | None:
        """[batch, steps]: which steps are the row's own; None where all are."""
        g, unit = self.g, unit_of(tensor.shape[1]) if tensor.rank == 3 else None
        if unit is None or unit[0] not in self.lengths:
            return None
        length = g.op("Mul", self.lengths[unit[0]], g.constant([unit[1]], np.int64))
        most = g.op("Squeeze", g.op("ReduceMax", length, g.constant([0], np.int64), keepdims=1))
        places = g.op("Range", g.constant(0, np.int64), most, g.constant(1, np.int64))
        return str(g.op("Less", places, g.expanded(length)))

    def _set(self, name: str, encoder: SetEncoder, value: str, threshold: float) -> None:
        """[batch, values]: the value where the row has it, else the empty text."""
        g, values = self.g, encoder.vocabulary.values
        value = g.sliced(value, 0, len(values))
        limit = g.constant([threshold], np.float32)
        has, names = g.op("GreaterOrEqual", value, limit), g.constant(np.array(values, object))
        self.answers.values[name] = g.where(has, names, g.constant(np.array([""], object))), TEXT
        self.answers.values[f"{name}.probabilities"] = value, FLOAT
        self.answers.classes[name] = list(values)

    @staticmethod
    def _fits(encoder: Floats, tensor: Tensor) -> bool:
        """Whether the output is in the units of the columns, as `decode` has it."""
        count = len(encoder.curves)
        if count == 1:
            return True
        units = tensor.shape[-1]
        return tensor.rank > 1 and isinstance(units, int) and units >= count

    def _numbers(self, name: str, tensor: Tensor, encoder: Floats, value: str) -> None:
        g = self.g
        if len(encoder.curves) == 1:
            self.answers.values[name] = self._squeezed(tensor, undone(g, encoder.curves[0], value)), NUMBER
            return
        last, units = tensor.rank - 1, tensor.shape[-1]
        assert isinstance(units, int)  # see `_fits`
        columns = [g.op("Gather", value, g.constant(i, np.int64), axis=last) for i in range(units)]
        own = [undone(g, curve, x) for curve, x in zip(encoder.curves, columns, strict=False)]
        if tensor.rank == 2:
            for column, x in zip(encoder.columns, own, strict=False):
                self.answers.values[f"{name}.{column}"] = x, NUMBER
        else:
            parts = [g.expanded(x, last) for x in [*own, *columns[len(own) :]]]
            self.answers.values[name] = g.joined(parts, last), NUMBER

    def _quantiles(self, name: str, tensor: Tensor, encoder: Floats, loss: QuantileLoss, value: str) -> None:
        """The level in the middle, then each level."""
        g = self.g
        own = undone(g, encoder.curves[0], value)
        columns = [g.op("Gather", own, g.constant(i, np.int64), axis=-1) for i in range(len(loss.levels))]
        self.answers.values[name] = columns[loss.middle], NUMBER
        for level, column in zip(loss.levels, columns, strict=True):
            self.answers.values[f"{name}.{level:g}"] = column, NUMBER

    def _squeezed(self, tensor: Tensor, value: str) -> str:
        if tensor.rank > 1 and tensor.shape[-1] == 1:
            return str(self.g.op("Squeeze", value, self.g.constant([tensor.rank - 1], np.int64)))
        return value
