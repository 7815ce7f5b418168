"""What there is to see of each output of a model on some examples: errors, what columns matter, examples."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import isnan
from typing import Any

import numpy as np
import torch
from torch import nn

from graphspec.data.drafting.leakage import GIVEN_AWAY, gained, skill
from graphspec.data.encoders import Encoders
from graphspec.data.encoders.base import Array, ColumnCells, Encoder
from graphspec.data.encoders.boxes import BoxEncoder
from graphspec.data.encoders.categories import CategoryEncoder, SetEncoder
from graphspec.data.encoders.decoding import labels_of
from graphspec.data.encoders.images import library
from graphspec.data.encoders.masks import MaskEncoder
from graphspec.data.encoders.numbers import Floats
from graphspec.data.encoders.plain import plain_cells
from graphspec.data.fields import UNIT
from graphspec.data.rows.numbers import NumberCurve, in_units
from graphspec.data.rows.outputs import ModelOutputs
from graphspec.data.windows.examples import InTime
from graphspec.elaborated import BaseProgram, OutputSpec
from graphspec.files.png import png
from graphspec.objectives.confusion import by_class
from graphspec.objectives.detection_metrics import MeanAveragePrecision
from graphspec.objectives.losses import Binary, Categorical, QuantileLoss, SparseLoss
from graphspec.runs.boxes import drawn
from graphspec.runs.cell_texts import cell_text, grouped
from graphspec.runs.columns import outputs_written
from graphspec.runs.masks import compared, confusion

REPEATS = 3
"""Permutations of each column."""
SHOWN = 6
"""Best and worst examples that are shown, and points of a scatter by the hundred."""
STRONG = 0.9
"""The part of a target that one column must tell, at least, to be suspected."""
POINTS = 600
BINS = 10
CLASSES = 30
"""Of a confusion matrix, at most."""


@dataclass(frozen=True, slots=True)
class Importance:
    """How much the error rises when a column is shuffled: the mean over permutations, and their deviation."""

    column: str
    rise: float
    spread: float


@dataclass(frozen=True, slots=True)
class GroupReport:
    """The error of the examples with one value of a column, or with numbers in one range."""

    column: str
    value: str
    examples: int
    error: float


@dataclass(frozen=True, slots=True)
class ExampleReport:
    """One example as people read it; `pictures` are those of its inputs, as URLs that hold them."""

    error: float
    target: str
    predicted: str
    inputs: dict[str, str]
    pictures: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class OutputReport:
    """What is known of one output. Its error is the negative logarithm of the right class's probability, or
    the absolute difference in the column's own unit.
    """

    name: str
    measure: str
    error: float
    classes: list[str] = field(default_factory=list)
    confusion: list[list[int]] = field(default_factory=list)
    overlap: list[dict[str, Any]] = field(default_factory=list)
    """Of masks, by class: intersection over union and Dice's coefficient, None where no pixel is one."""
    detections: list[dict[str, Any]] = field(default_factory=list)
    """Of boxes, by class: how many targets, average precision at IoU 0.5 and over COCO's levels, and the
    precision at 101 recalls, 0 to 1, at IoU 0.5.
    """
    points: list[tuple[float, float]] = field(default_factory=list)
    """Targets and predictions, where these are numbers."""
    calibration: list[dict[str, float]] = field(default_factory=list)
    """By confidence (or by level of a quantile): what was said, what was the case, and how many."""
    best: list[ExampleReport] = field(default_factory=list)
    worst: list[ExampleReport] = field(default_factory=list)
    importance: list[Importance] = field(default_factory=list)
    alone: dict[str, float] = field(default_factory=dict)
    """Columns each of which alone reaches what the model does, and which part of the target they tell."""
    groups: list[GroupReport] = field(default_factory=list)


class Looker:
    """A model and some examples, looked at from all sides."""

    def __init__(
        self,
        program: BaseProgram,
        module: nn.Module,
        encoders: Encoders | None,
        arrays: Mapping[str, Array],
        masks: Mapping[str, Array],
        windows: InTime | None,
    ):
        self.program, self.module, self.encoders, self.arrays = program, module, encoders, arrays
        self.masks, self.windows = masks, windows
        self.device = next((each.device for each in module.parameters()), torch.device("cpu"))
        self.count = len(next(iter(arrays.values())))
        self.inputs = {name: arrays[name] for name in program.inputs if name in arrays}
        self.values = self._run(self.inputs)

    @property
    def names(self) -> list[str]:
        """The outputs with a target of classes or numbers."""
        return [
            name
            for name, output in self.program.outputs.items()
            if output.target in self.arrays and len(output.tensors) == 1 and output.loss is not None
        ]

    @torch.no_grad()
    def _run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        size = self.program.training.batch_size
        parts: dict[str, list[Array]] = {}
        for first in range(0, self.count, size):
            some = {n: torch.from_numpy(a[first : first + size]).to(self.device) for n, a in inputs.items()}
            outputs = self.module(*(some.get(name) for name in self.program.inputs))
            values = outputs if isinstance(outputs, dict) else {next(iter(self.program.outputs)): outputs}
            for name, value in values.items():
                parts.setdefault(name, []).append(value.float().cpu().numpy())
        return {name: np.concatenate(found) for name, found in parts.items()}

    # --- one output

    def look(self, name: str) -> OutputReport:
        """What there is to see of an output."""
        output = self.program.outputs[name]
        errors = self.errors(name, self.values[name])
        classes = self._is_class(output)
        entry = OutputReport(name, "negative log probability" if classes else "absolute error", _mean(errors))
        if self._is_boxes(output):
            entry = OutputReport(name, "loss of a picture", _mean(errors))
            self._detections(entry, output, self.values[name])
        elif classes:
            self._classes(entry, output, self.values[name])
        else:
            self._numbers(entry, output, self.values[name])
        order = np.argsort(errors, kind="stable")[: np.isfinite(errors).sum()]
        entry.best = [self._example(name, int(i), float(errors[i])) for i in order[:SHOWN]]
        entry.worst = [self._example(name, int(i), float(errors[i])) for i in order[::-1][:SHOWN]]
        entry.importance = sorted(self._importance(name, entry.error), key=lambda each: -each.rise)
        entry.groups = list(self._groups(errors))
        entry.alone = {} if self._is_boxes(output) else self._alone(output)
        return entry

    def _alone(self, output: OutputSpec) -> dict[str, float]:
        """The columns that tell a target of one class or number a row nearly as well as the model does."""
        classes, encoder = self._is_class(output), self._encoder(output.target)
        if classes:
            right, chances = self._right(output), self._probabilities(output, self.values[output.name])
            target, said = right.tolist(), chances.argmax(1).tolist()
        else:
            target, said = (
                each.reshape(-1).tolist() for each in self._in_units(output, self.values[output.name])
            )
        if len(target) != self.count or encoder is None or len(said) != self.count:
            return {}
        there = self._there(output, self.count)
        known = [value if is_there else None for value, is_there in zip(target, there, strict=True)]
        model = gained(np.array(said)[there], np.array(target)[there], classes)
        told = {
            column.name: skill(column.of(self.inputs[source]), known, classes)
            for source, column in self._columns()
        }
        return {name: part for name, part in told.items() if part >= max(GIVEN_AWAY * model, STRONG)}

    def _is_class(self, output: OutputSpec) -> bool:
        return isinstance(output.loss, Categorical | Binary) or self._is_mask(output)

    def _is_mask(self, output: OutputSpec) -> bool:
        return isinstance(self._encoder(output.target), MaskEncoder)

    def _there(self, output: OutputSpec, positions: int) -> Array:
        """Which of so many positions of all examples have a target: none that is missing or padded."""
        mask, ignored = self.masks.get(output.name), getattr(output.loss, "ignore_class", None)
        there = np.ones(positions, bool)
        if ignored is not None and positions == self.arrays[output.target].size:
            there = self.arrays[output.target].reshape(-1) != ignored
        return there if mask is None else there & np.repeat(mask.reshape(-1), positions // mask.size)

    def _of_examples(self, output: OutputSpec, errors: Array) -> Array:
        """The mean error of each example over its targets; NaN if it has none."""
        there = self._there(output, errors.size).reshape(self.count, -1)
        sums = np.where(there, errors.reshape(self.count, -1), 0).sum(1)
        return np.where(there.any(1), sums / np.maximum(there.sum(1), 1), np.nan)

    def _probabilities(self, output: OutputSpec, values: Array) -> Array:
        """[n, classes], of each position its own row."""
        single = isinstance(output.loss, Binary) or values.shape[-1] == 1
        if output.loss is not None and output.loss.takes_logits:
            tensor = torch.from_numpy(values)
            values = (tensor.sigmoid() if single else tensor.softmax(-1)).numpy()
        if single:
            flat = values.reshape(-1)
            return np.stack((1 - flat, flat), 1)
        return values.reshape(-1, values.shape[-1])

    def _right(self, output: OutputSpec) -> Array:
        """The class of each position."""
        target = self.arrays[output.target]
        if isinstance(output.loss, SparseLoss):
            return target.reshape(-1).astype(np.int64)
        if isinstance(output.loss, Binary) or target.shape[-1] == 1:
            return (target.reshape(-1) > 0.5).astype(np.int64)
        return np.asarray(target.reshape(-1, target.shape[-1]).argmax(-1))

    def errors(self, name: str, values: Array) -> Array:
        """The error of each example, NaN for one without a target."""
        output = self.program.outputs[name]
        if self._is_boxes(output) and output.loss is not None:
            boxes = torch.from_numpy(self.arrays[output.target])
            return output.loss.values(torch.from_numpy(values), boxes).numpy()
        if self._is_class(output):
            chances = self._probabilities(output, values)
            right = chances[np.arange(len(chances)), np.clip(self._right(output), 0, chances.shape[1] - 1)]
            return self._of_examples(output, -np.log(np.maximum(right, 1e-7)))
        target, value = self._in_units(output, values)
        return self._of_examples(output, np.abs(target - value))

    def _in_units(self, output: OutputSpec, values: Array) -> tuple[Array, Array]:
        target, value = self.arrays[output.target], values
        encoder = self._encoder(output.target)
        if isinstance(encoder, Floats):
            unit = self.arrays.get(output.target + UNIT)
            target, value = (
                in_units(encoder.curves, each, unit, NumberCurve.cells) for each in (target, value)
            )
        if isinstance(output.loss, QuantileLoss):
            value = value[..., output.loss.middle]
        if value.shape != target.shape and value.size == target.size:
            value = value.reshape(target.shape)
        return target.astype(np.float64), value.astype(np.float64)

    def _labels(self, output: OutputSpec, count: int) -> list[str]:
        labels = labels_of(self._encoder(output.target), count)
        return [str(label) for label in (*labels, *range(len(labels), count))]

    def _classes(self, made: OutputReport, output: OutputSpec, values: Array) -> None:
        there = self._there(output, len(self._right(output)))
        chances, right = self._probabilities(output, values)[there], self._right(output)[there]
        made.classes = self._labels(output, chances.shape[1])
        called, sure = chances.argmax(1), chances.max(1)
        if chances.shape[1] <= CLASSES:
            table = confusion(right, called, chances.shape[1])
            made.confusion = table.tolist()
            if self._is_mask(output):
                scores = (each.tolist() for each in by_class(torch.from_numpy(table).double()))
                made.overlap = [
                    {"class": label, "iou": _known(iou), "dice": _known(dice)}
                    for label, iou, dice in zip(made.classes, *scores, strict=True)
                ]
        bins = np.minimum((sure * BINS).astype(np.int64), BINS - 1)
        for index in np.unique(bins):
            there = bins == index
            said, was = float(sure[there].mean()), float((called == right)[there].mean())
            made.calibration.append({"said": said, "was": was, "count": int(there.sum())})

    def _numbers(self, made: OutputReport, output: OutputSpec, values: Array) -> None:
        target, value = self._in_units(output, values)
        pairs = np.stack((target.reshape(-1), value.reshape(-1)), 1) if target.shape == value.shape else None
        if pairs is not None:
            pairs = pairs[self._there(output, len(pairs))]
            chosen = np.linspace(0, len(pairs) - 1, min(POINTS, len(pairs))).astype(np.int64)
            made.points = [(float(t), float(v)) for t, v in pairs[chosen]]
        if isinstance(output.loss, QuantileLoss):
            below = (self.arrays[output.target][..., None] <= values).reshape(-1, values.shape[-1])
            below = below[self._there(output, len(below))]
            for index, level in enumerate(output.loss.levels):
                share = float(below[:, index].mean())
                made.calibration.append({"said": level, "was": share, "count": len(below)})

    # --- columns

    def _encoder(self, field: str) -> Encoder | None:
        return self.encoders.encoders.get(field) if self.encoders is not None else None

    def _columns(self) -> Iterator[tuple[str, ColumnCells]]:
        """The inputs, each with its columns."""
        for name in self.inputs:
            encoder = self._encoder(name)
            for column in [ColumnCells(name, None, plain_cells)] if encoder is None else encoder.cells():
                yield name, column

    def _importance(self, name: str, error: float) -> Iterator[Importance]:
        draw = np.random.default_rng(self.program.training.seed)
        for source, column in self._columns():
            rises = []
            for _ in range(REPEATS):
                shuffled = self.inputs[source].copy()
                order = draw.permutation(self.count)
                if column.places is None:
                    shuffled = shuffled[order]
                else:
                    places = list(column.places)
                    shuffled[..., places] = shuffled[order][..., places]
                values = self._run({**self.inputs, source: shuffled})
                rises.append(_mean(self.errors(name, values[name])) - error)
            yield Importance(column.name, float(np.mean(rises)), float(np.std(rises)))

    def _groups(self, errors: Array) -> Iterator[GroupReport]:
        for source, column in self._columns():
            encoder = self._encoder(source)
            if not isinstance(encoder, CategoryEncoder | Floats) or encoder.beside:
                continue
            texts, order = grouped(column.of(self.inputs[source]))
            for value in order:
                there = np.isfinite(errors) & (texts == value)
                if there.any():
                    yield GroupReport(column.name, value, int(there.sum()), _mean(errors[there]))

    # --- examples

    def _example(self, name: str, index: int, error: float) -> ExampleReport:
        inputs = self.windows.named(index) if self.windows is not None else {}
        pictures = {}
        for source, column in self._columns():
            array = self.inputs[source]
            if array.ndim == 4 and array.shape[-1] in (1, 3, 4):
                pictures[column.name] = picture(array[index])
            elif array.ndim <= 3:
                (cell,) = column.of(array[index : index + 1])
                inputs.setdefault(column.name, cell_text(cell, self._encoder(source)))
        if self._is_boxes(self.program.outputs[name]):
            return self._box_example(name, index, error, inputs, pictures)
        if self._is_mask(self.program.outputs[name]):
            return self._mask_example(name, index, error, inputs, pictures)
        return ExampleReport(error, *self._answer(name, index), inputs, pictures)

    def _is_boxes(self, output: OutputSpec) -> bool:
        return isinstance(self._encoder(output.target), BoxEncoder) and bool(
            output.loss and output.loss.answers
        )

    def _detections(self, made: OutputReport, output: OutputSpec, values: Array) -> None:
        """How boxes of each class are found."""
        encoder = self._encoder(output.target)
        assert isinstance(encoder, BoxEncoder) and output.loss is not None
        answers, targets = output.loss.answer(torch.from_numpy(values)), self.arrays[output.target]
        assert answers is not None
        metric = MeanAveragePrecision(average=None)  # whose first level is an IoU of 0.5
        sums = metric.sums(answers, torch.from_numpy(targets), None)
        scores = metric.value(sums).tolist()
        for kind, curve in metric.curves(sums).items():
            made.detections.append(
                {
                    "class": encoder.called(kind),
                    "targets": int((targets[..., 4] == kind).sum()),
                    "ap50": sum(curve) / len(curve),
                    "ap": scores[kind],
                    "precision": curve,
                }
            )

    def _box_example(
        self, name: str, index: int, error: float, inputs: dict[str, str], pictures: dict[str, str]
    ) -> ExampleReport:
        """An example of boxes: the picture with those of the target, and with the sure ones predicted."""
        output, encoder = self.program.outputs[name], self._encoder(self.program.outputs[name].target)
        assert isinstance(encoder, BoxEncoder) and output.loss is not None
        found = output.loss.answer(torch.from_numpy(self.values[name][index : index + 1]))
        assert found is not None
        answer, target = found[0].numpy(), self.arrays[output.target][index]
        answer = answer[(answer[:, 5] >= 0) & (answer[:, 4] >= output.rows.threshold)][::-1]
        pixels = next(array[index] for array in self.inputs.values() if array.ndim == 4)
        image = library().fromarray(np.clip(pixels, 0, 255).astype(np.uint8).squeeze()).convert("RGB")
        texts = []
        for key, rows in (("target", target[target[:, 4] >= 0]), ("predicted", answer)):
            labels = [encoder.called(int(row[-1])) for row in rows]
            made = drawn(image, rows[:, :4].tolist(), labels, encoder.names)
            pictures[key] = picture(np.asarray(made))
            texts.append(cell_text(labels))
        return ExampleReport(error, texts[0], texts[1], inputs, pictures)

    def _mask_example(
        self, name: str, index: int, error: float, inputs: dict[str, str], pictures: dict[str, str]
    ) -> ExampleReport:
        """An example of a mask: the target, the prediction, and where they differ, as pictures."""
        output, count = self.program.outputs[name], self.count
        right = self._right(output).reshape(count, -1)[index]
        there = self._there(output, count * right.size).reshape(count, -1)[index]
        chances = self._probabilities(output, self.values[name][index : index + 1])
        shape, labels = self.values[name].shape[1:3], self._labels(output, chances.shape[1])
        masks, (target, predicted), overlap = compared(right, chances.argmax(1), there, shape, labels)
        pictures |= {key: picture(each) for key, each in masks.items()}
        inputs["mean IoU"] = f"{overlap:.3f}"
        return ExampleReport(error, target, predicted, inputs, pictures)

    def _answer(self, name: str, index: int) -> tuple[str, str]:
        """The target of an example and what the model says, as people read them."""
        output = self.program.outputs[name]
        encoder, values, one = self._encoder(output.target), self.values[name], slice(index, index + 1)
        if not self._is_class(output):
            target, value = self._in_units(output, values)
            return cell_text(target[index].tolist()), cell_text(value[index].tolist())
        if isinstance(encoder, SetEncoder):
            (column,), columns = encoder.cells(), outputs_written(self.program, self.encoders)[name]
            said = columns(ModelOutputs({name: values[one]}, {}, probabilities=False))[name]
            return cell_text(*column.of(self.arrays[output.target][one])), cell_text(*said.python())
        chances, right = self._probabilities(output, values), self._right(output)
        each, labels = len(chances) // self.count, self._labels(output, chances.shape[1])
        there = index * each + np.flatnonzero(self._there(output, len(chances))[index * each :][:each])
        called = chances[there].argmax(1)
        names = (np.clip(right[there], 0, len(labels) - 1), called)
        target_text, said_text = (cell_text([labels[place] for place in some]) for some in names)
        return target_text, f"{said_text} ({chances[there, called][0]:.0%})" if each == 1 else said_text


def _known(score: float) -> float | None:
    return None if isnan(score) else score


def _mean(errors: Array) -> float:
    """The mean error of the examples that have a target."""
    known = errors[np.isfinite(errors)]
    return float(np.mean(known)) if len(known) else 0.0


def picture(pixels: Array) -> str:
    """An image [height, width, channels] as a PNG in a URL; values are brought to 0 to 255."""
    values = pixels.astype(np.float64)
    low, high = float(values.min()), float(values.max())
    if low < 0 or high <= 1 or high > 255 or pixels.dtype != np.uint8:
        values = (values - low) / (high - low or 1) * 255
    body = png(values.round().astype(np.uint8))
    return "data:image/png;base64," + base64.b64encode(body).decode()
