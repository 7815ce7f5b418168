"""Decodes the outputs of a model for people: labels with their probabilities, numbers in their own units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphspec.data.encoders import Encoders
from graphspec.data.encoders.base import Encoder
from graphspec.data.encoders.decoding import written
from graphspec.data.encoders.numbers import Floats
from graphspec.data.rows.numbers import NumberCurve
from graphspec.data.rows.outputs import (
    ClassesWritten,
    MaskWritten,
    NumbersWritten,
    QuantilesWritten,
    SetWritten,
)
from graphspec.data.windows.forecasts import forecast
from graphspec.elaborated import BaseProgram, OutputSpec
from graphspec.export.columns.encoding import na_values_of
from graphspec.export.columns.graph import FLOAT, NUMBER, TEXT, WHOLE, GraphWriter
from graphspec.export.columns.numbers import RowScale, repeated, scales
from graphspec.export.columns.traced import GraphValue, functions
from graphspec.tensor import Tensor, unit_of

UNDONE = ("transform", "shift", "scale")
"""The steps of a curve that an answer undoes."""


@dataclass(slots=True)
class Answers:
    """The outputs of a file."""

    values: dict[str, tuple[str, int]] = field(default_factory=dict)
    """By name, the value in the graph and its type."""
    classes: dict[str, list[Any]] = field(default_factory=dict)
    """By output, the label of each probability."""
    forecasts: dict[str, int] = field(default_factory=dict)
    """By name, how many steps a forecast has."""
    numbers: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """By name, the columns in whose units its numbers are, and what was undone for that."""


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
        encoder, fill = encoders.encoders.get(output.target), forecast(encoders, output.target)
        steps = (
            fill.steps.count if fill and fill.steps and fill.field_tensor.rank > fill.tensor.rank else None
        )
        one = ColumnDecoding(g, Answers(), lengths, na_values_of(program), steps)
        one.write(name, output, encoder, outputs[name])
        answers.values |= one.answers.values
        answers.classes |= one.answers.classes
        answers.forecasts |= one.answers.forecasts
        answers.numbers |= one.answers.numbers
    return answers


@dataclass(frozen=True, slots=True)
class ColumnDecoding:
    g: GraphWriter
    answers: Answers
    lengths: Mapping[str, str]
    na_values: Sequence[str]
    steps: int | None
    """How many a forecast has: they are read as rows."""

    def write(self, name: str, output: OutputSpec, encoder: Encoder | None, value: str) -> None:
        if self.steps is None:
            self._write(name, output, output.tensors[0], encoder, value)
            return
        g, tensor = self.g, output.tensors[0]
        rest = g.op("Shape", value, start=2)
        flat = g.op("Reshape", value, g.joined([g.constant([-1], np.int64), rest], 0))
        row = Tensor((tensor.shape[0], *tensor.shape[2:]), tensor.dtype)
        self._write(name, output, row, encoder, flat)
        for key, (rows, kind) in self.answers.values.items():
            shape = g.joined([g.constant([-1, self.steps], np.int64), g.op("Shape", rows, start=1)], 0)
            self.answers.values[key] = g.op("Reshape", rows, shape), kind
            self.answers.forecasts[key] = self.steps

    def _write(self, name: str, output: OutputSpec, tensor: Tensor, encoder: Any, value: str) -> None:
        record: Any = written(name, output, encoder)
        if (activation := getattr(record, "activation", None)) is not None:
            value = self.g.op(activation.capitalize(), value)
        match record:
            case SetWritten():
                self._set(record, value)
            case MaskWritten():
                self._mask(record, record.threshold if tensor.shape[-1] == 1 else None, value)
            case ClassesWritten():
                self._classes(record, tensor, value)
            case QuantilesWritten():
                self._quantiles(record, tensor, encoder, self.g.cast(value, NUMBER))
            case NumbersWritten() if self._fits(record, tensor):
                self._numbers(name, tensor, encoder, self.g.cast(value, NUMBER))
            case _:
                self.answers.values[name] = self._squeezed(tensor, value), FLOAT

    def _classes(self, record: ClassesWritten, tensor: Tensor, value: str) -> None:
        name, labels, answers = record.name, record.labels, self.answers
        chosen = self.g.op("ArgMax", value, axis=-1, keepdims=0)
        answers.values[name] = (chosen, WHOLE) if labels is None else self._named(tensor, labels, chosen)
        answers.values[f"{name}.probabilities"] = value, FLOAT
        if labels is not None:
            answers.classes[name] = list(labels)

    def _mask(self, record: MaskWritten, threshold: float | None, value: str) -> None:
        """[batch, height, width]: the pixel value of each class; `predict` has these as run lengths."""
        g = self.g
        if threshold is None:
            chosen = g.op("ArgMax", value, axis=-1, keepdims=0)
        else:
            reached = g.op("GreaterOrEqual", value, g.constant([threshold], np.float32))
            chosen = g.op("Squeeze", g.cast(reached, WHOLE), g.constant([-1], np.int64))
        values = g.constant(np.array(record.values, np.int64))
        self.answers.values[record.name] = g.op("Gather", values, chosen), WHOLE

    def _named(self, tensor: Tensor, labels: Sequence[Any], chosen: str) -> tuple[str, int]:
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

    def _set(self, record: SetWritten, value: str) -> None:
        """[batch, values]: the value where the row has it, else the empty text."""
        g, labels = self.g, record.labels
        value = g.sliced(value, 0, len(labels))
        has = g.op("GreaterOrEqual", value, g.constant([record.threshold], np.float32))
        names, none = g.constant(np.array(labels, object)), g.constant(np.array([""], object))
        self.answers.values[record.name] = g.where(has, names, none), TEXT
        self.answers.values[f"{record.name}.probabilities"] = value, FLOAT
        self.answers.classes[record.name] = list(labels)

    @staticmethod
    def _fits(record: NumbersWritten, tensor: Tensor) -> bool:
        """Whether the output is in the units of the columns, as `decode` has it."""
        count = len(record.curves)
        if count == 1:
            return True
        units = tensor.shape[-1]
        return tensor.rank > 1 and isinstance(units, int) and units >= count

    def _numbers(self, name: str, tensor: Tensor, encoder: Floats, value: str) -> None:
        g, scaled = self.g, self._scales(encoder)
        if len(encoder.curves) == 1:
            unscaled = self._undone(encoder.curves[0], value, scaled[0], tensor.rank)
            self._number(name, self._squeezed(tensor, unscaled), encoder, 0)
            return
        last, units = tensor.rank - 1, tensor.shape[-1]
        assert isinstance(units, int)  # see `_fits`
        columns = [g.op("Gather", value, g.constant(i, np.int64), axis=last) for i in range(units)]
        made = [
            self._undone(curve, x, row_scale, last)
            for curve, x, row_scale in zip(encoder.curves, columns, scaled, strict=False)
        ]
        if tensor.rank == 2:
            for position, x in enumerate(made):
                self._number(f"{name}.{encoder.column_of(position)}", x, encoder, position)
        else:
            parts = [g.expanded(x, last) for x in [*made, *columns[len(made) :]]]
            self._number(name, g.joined(parts, last), encoder, *range(len(made)))

    def _number(self, name: str, value: str, encoder: Floats, *positions: int) -> None:
        """An answer in the units of columns."""
        self.answers.values[name] = value, NUMBER
        self.answers.numbers[name] = [_undone(encoder, position) for position in positions]

    def _quantiles(self, record: QuantilesWritten, tensor: Tensor, encoder: Floats, value: str) -> None:
        """The level in the middle, then each level."""
        g, name = self.g, record.name
        (scaled,) = self._scales(encoder)
        unscaled = self._undone(record.curve, value, scaled, tensor.rank)
        columns = [
            g.op("Gather", unscaled, g.constant(i, np.int64), axis=-1) for i in range(len(record.levels))
        ]
        self._number(name, columns[record.middle], encoder, 0)
        for level, column in zip(record.levels, columns, strict=True):
            self._number(f"{name}.{level:g}", column, encoder, 0)

    def _scales(self, encoder: Floats) -> list[RowScale]:
        """The scales of rows, of a forecast those of its steps."""
        found, steps = scales(self.g, encoder, self.na_values, rounded=True), self.steps
        return [[x and repeated(x, steps) for x in each] for each in found] if steps else found

    def _undone(self, curve: NumberCurve, value: str, row_scale: RowScale, rank: int) -> str:
        """Doubles of so many axes in the units of their column."""
        axes = self.g.constant([*range(1, rank)], np.int64)
        wide = [x and x.made("Unsqueeze", x.name, axes) for x in row_scale] if rank > 1 else row_scale
        made: GraphValue = curve.undo(GraphValue(self.g, value), *wide, xp=functions())
        return made.name

    def _squeezed(self, tensor: Tensor, value: str) -> str:
        if tensor.rank > 1 and tensor.shape[-1] == 1:
            return str(self.g.op("Squeeze", value, self.g.constant([tensor.rank - 1], np.int64)))
        return value


def _undone(encoder: Floats, position: int) -> dict[str, Any]:
    """A column, and what made its numbers those of the model."""
    curve = encoder.curves[position].to_json()
    by = {"scale_by": encoder.beside[0]} if encoder.beside else {}
    undone = {name: setting for name, setting in curve.items() if name in UNDONE}
    return {"column": encoder.column_of(position), **undone, **by}
