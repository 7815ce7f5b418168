"""Converts the outputs of a model to the columns that people read: classes by name, numbers in their own
unit, lists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from graphspec.data.ragged import offsets_of
from graphspec.data.rows.cells import Cells, CellType, Columns
from graphspec.data.rows.numbers import NumberCurve, in_units
from graphspec.tensor import Dim, value_of

Array = NDArray[Any]
Arrays = Mapping[str, Array]
Activation = Literal["softmax", "sigmoid"]
"""The function from logits to probabilities."""


@dataclass(frozen=True, slots=True)
class ModelOutputs:
    """The results of a model for some rows by its names, batch axis first; `sizes` are the lengths of rows by
    the size's name. With `probabilities` classes and sets have one column more for each value.
    """

    values: Arrays
    sizes: Arrays
    probabilities: bool = True


class OutputColumns(Protocol):
    """One output as columns, by name: its value under its own and, of classes and sets, the probability of
    each beside it. `unit` are the scales that rows have of their own.
    """

    def __call__(self, outputs: ModelOutputs, unit: Array | None = None) -> Columns: ...

    def types(self, sizes: tuple[Dim, ...]) -> dict[str, CellType | None]:
        """The type of each column, None where it is not known; `sizes` are those of a row of the output."""
        ...


NUMBER = CellType("number")


@dataclass(eq=False, repr=False)
class StepCount:
    """How many steps a row has: `size`, which follows from the named size `unit`."""

    unit: str
    size: Dim

    def of(self, sizes: Arrays) -> Array | None:
        """The length of each row; None where nothing says it, and all have full length."""
        if self.unit not in sizes:
            return None
        return np.array([value_of(self.size, {self.unit: int(n)}) for n in sizes[self.unit]], np.int64)


@dataclass(eq=False, repr=False)
class TensorsWritten:
    """Several tensors as they are: a column of each, such as `match.query` and `match.key`."""

    columns: tuple[str, ...]
    keys: tuple[str, ...]
    steps: tuple[StepCount | None, ...]

    def __call__(self, outputs: ModelOutputs, unit: Array | None = None) -> Columns:
        values, sizes = (outputs.values[key] for key in self.keys), outputs.sizes
        written = zip(self.columns, values, self.steps, strict=True)
        return {column: as_they_are(value, steps, sizes) for column, value, steps in written}

    def types(self, sizes: tuple[Dim, ...]) -> dict[str, CellType | None]:
        return dict.fromkeys(self.columns)


@dataclass(eq=False, repr=False)
class SingleWritten:
    """The base of outputs of one tensor, whose logits become probabilities by `activation`."""

    name: str
    activation: Activation | None

    def scores(self, outputs: ModelOutputs) -> Array:
        """The values of the model, as probabilities where they are logits."""
        return activated(self.activation, outputs.values[self.name])

    def types(self, sizes: tuple[Dim, ...]) -> dict[str, CellType | None]:
        return {self.name: NUMBER if sizes == (1,) else None}


@dataclass(eq=False, repr=False)
class ClassesWritten(SingleWritten):
    """The most probable label; `labels` are None where classes have their numbers alone."""

    steps: StepCount | None
    labels: tuple[Any, ...] | None

    def __call__(self, outputs: ModelOutputs, unit: Array | None = None) -> Columns:
        scores = self.scores(outputs)
        chosen = scores.argmax(-1)
        cells = Cells.of(chosen, None if self.steps is None else self.steps.of(outputs.sizes))
        columns: Columns = {self.name: cells if self.labels is None else cells.named(self.labels)}
        if outputs.probabilities and chosen.ndim == 1:
            labels = range(scores.shape[-1]) if self.labels is None else self.labels
            columns |= _each(self.name, labels, scores)
        return columns

    def types(self, sizes: tuple[Dim, ...]) -> dict[str, CellType | None]:
        labels = self.labels or ()
        known = {self.name: CellType("integer", values=labels), **_numbers(self.name, labels)}
        return known if len(sizes) == 1 else super().types(sizes)


@dataclass(eq=False, repr=False)
class MaskWritten(SingleWritten):
    """The pixel value of the class of each pixel, as `run_lengths`; beside it the share of the pixels that
    each has.
    """

    values: tuple[int, ...]
    threshold: float

    def __call__(self, outputs: ModelOutputs, unit: Array | None = None) -> Columns:
        chosen = called(self.scores(outputs), self.threshold)
        runs = [run_lengths(np.array(self.values)[each]) for each in chosen]
        columns: Columns = {self.name: Cells(np.concatenate(runs), offsets_of([len(run) for run in runs]))}
        if outputs.probabilities:
            shares = [(chosen == index).mean((1, 2)) for index in range(len(self.values))]
            columns |= _each(self.name, self.values, np.stack(shares, -1))
        return columns

    def types(self, sizes: tuple[Dim, ...]) -> dict[str, CellType | None]:
        return {self.name: CellType("integer", (None,)), **_numbers(self.name, self.values)}


def called(scores: Array, threshold: float = 0.5) -> Array:
    """The number of the class of each pixel: where the last axis is largest, or of one whether it reaches the
    threshold.
    """
    return (scores[..., 0] >= threshold).astype(np.int64) if scores.shape[-1] == 1 else scores.argmax(-1)


def run_lengths(pixels: Array) -> NDArray[np.int64]:
    """A value and for how many pixels it goes on, in turn: row after row of the image, from the top."""
    flat = pixels.reshape(-1)
    starts = np.flatnonzero(np.concatenate(([True], flat[1:] != flat[:-1])))
    lengths = np.diff(np.append(starts, len(flat)))
    return np.stack((flat[starts], lengths), 1).reshape(-1).astype(np.int64)


def unrolled(runs: Sequence[int], width: int) -> NDArray[np.uint8]:
    """The pixels, [height, width], of run lengths."""
    pairs = np.array(runs, np.int64).reshape(-1, 2)
    return np.repeat(pairs[:, 0].astype(np.uint8), pairs[:, 1]).reshape(-1, width)


@dataclass(eq=False, repr=False)
class BoxesWritten:
    """Boxes in pixels of each picture, best first: left, top, right and bottom; beside them the class of
    each, and its score. `unit`, [n, 6], makes these of pixels of the input: what is added to x and y once
    they are multiplied, by what, and the width and height of the picture.
    """

    name: str
    labels: tuple[str, ...]

    def __call__(self, outputs: ModelOutputs, unit: Array | None = None) -> Columns:
        answers = outputs.values[self.name]
        order = np.argsort(np.where(answers[..., 5] < 0, np.inf, -answers[..., 4]), 1, kind="stable")
        answers = np.take_along_axis(answers, order[..., None], 1)
        there, corners = answers[..., 5] >= 0, answers[..., :4]
        if unit is not None:
            shift, scale, size = (np.tile(part, 2)[:, None] for part in np.split(unit, 3, 1))
            corners = np.clip(corners * scale + shift, 0, np.where(size > 0, size, np.inf))
        offsets = offsets_of(there.sum(1))
        numbers = answers[there][:, 5].astype(np.int64).tolist()
        names = [self.labels[n] if n < len(self.labels) else str(n) for n in numbers]
        return {
            self.name: Cells(corners[there].astype(np.float32).reshape(-1), offsets, (4,)),
            f"{self.name}.class": Cells(names, offsets),
            f"{self.name}.score": Cells(answers[there][:, 4].astype(np.float32), offsets),
        }

    def types(self, sizes: tuple[Dim, ...]) -> dict[str, CellType | None]:
        return {
            self.name: CellType("number", (None, 4)),
            f"{self.name}.class": CellType("text", (None,), self.labels),
            f"{self.name}.score": CellType("number", (None,)),
        }


@dataclass(eq=False, repr=False)
class SetWritten(SingleWritten):
    """The labels whose probability is at least the threshold, a list for each row."""

    labels: tuple[str, ...]
    threshold: float

    def __call__(self, outputs: ModelOutputs, unit: Array | None = None) -> Columns:
        scores = self.scores(outputs)
        has = scores[:, : len(self.labels)] >= self.threshold
        names = [self.labels[index] for index in has.nonzero()[1].tolist()]
        columns: Columns = {self.name: Cells(names, offsets_of(has.sum(1)))}
        return columns | (_each(self.name, self.labels, scores) if outputs.probabilities else {})

    def types(self, sizes: tuple[Dim, ...]) -> dict[str, CellType | None]:
        return {self.name: CellType("text", (None,), self.labels), **_numbers(self.name, self.labels)}


@dataclass(eq=False, repr=False)
class QuantilesWritten(SingleWritten):
    """The level in the middle under the output's name, then each level, as `load.0.9`."""

    curve: NumberCurve
    middle: int
    levels: tuple[float, ...]

    def __call__(self, outputs: ModelOutputs, unit: Array | None = None) -> Columns:
        unscaled = in_units([self.curve], self.scores(outputs), unit)
        columns: Columns = {self.name: as_they_are(unscaled[..., self.middle])}
        for index, level in enumerate(self.levels if outputs.probabilities else ()):
            columns[f"{self.name}.{level:g}"] = as_they_are(unscaled[..., index])
        return columns

    def types(self, sizes: tuple[Dim, ...]) -> dict[str, CellType | None]:
        kind = NUMBER if len(sizes) == 1 else None
        return dict.fromkeys([self.name, *(f"{self.name}.{level:g}" for level in self.levels)], kind)


@dataclass(eq=False, repr=False)
class NumbersWritten(SingleWritten):
    """Numbers in the units of their columns."""

    steps: StepCount | None
    curves: tuple[NumberCurve, ...]
    columns: tuple[str, ...]
    ahead: bool = False
    """Whether they are of steps to come: a forecast that repeats the past has its digits."""

    def __call__(self, outputs: ModelOutputs, unit: Array | None = None) -> Columns:
        way = NumberCurve.cells if self.ahead else NumberCurve.undo
        unscaled = in_units(self.curves, self.scores(outputs), unit, way)
        several = len(self.curves) > 1 and unscaled.ndim == 2 and unscaled.shape[-1] >= len(self.curves)
        if not several:
            return {self.name: as_they_are(unscaled, self.steps, outputs.sizes)}
        return _each(self.name, self.columns, unscaled)

    def types(self, sizes: tuple[Dim, ...]) -> dict[str, CellType | None]:
        several = len(self.columns) > 1 and len(sizes) == 1
        return _numbers(self.name, self.columns) if several else super().types(sizes)


@dataclass(eq=False, repr=False)
class ValuesWritten(SingleWritten):
    """Numbers as the model returns them."""

    steps: StepCount | None

    def __call__(self, outputs: ModelOutputs, unit: Array | None = None) -> Columns:
        return {self.name: as_they_are(self.scores(outputs), self.steps, outputs.sizes)}


def activated(activation: Activation | None, values: Array) -> Array:
    """Probabilities of logits; what they are where there is nothing to do."""
    if activation is None:
        return values
    if activation == "sigmoid":
        return np.asarray(1 / (1 + np.exp(-values)))
    raised = np.exp(values - values.max(-1, keepdims=True))
    return np.asarray(raised / raised.sum(-1, keepdims=True))


def as_they_are(values: Array, steps: StepCount | None = None, sizes: Arrays | None = None) -> Cells:
    """Numbers, a list where a row has several; an axis of 1 at the end is none."""
    if values.ndim > 1 and values.shape[-1] == 1:
        values = values[..., 0]
    return Cells.of(values, None if steps is None else steps.of(sizes or {}))


def _each(name: str, labels: Sequence[Any], values: Array) -> Columns:
    """The numbers of each label, a column."""
    return {tuple([f"{name}.{label}" for label in labels]): Cells(values[:, : len(labels)])}


def _numbers(name: str, labels: Sequence[Any]) -> dict[str, CellType | None]:
    """A number for each label, the types of `_each`."""
    return {f"{name}.{label}": NUMBER for label in labels}
