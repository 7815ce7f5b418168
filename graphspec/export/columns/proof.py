"""Whether a file that reads columns returns what the encoders and the module make of them, row by row."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from graphspec.data.columns import TablePart
from graphspec.data.encoders import Encoders
from graphspec.data.encoders.base import Encoder
from graphspec.data.encoders.boxes import BoxEncoder
from graphspec.data.encoders.categories import CategoryEncoder, SetEncoder
from graphspec.data.encoders.group_scales import NULL
from graphspec.data.encoders.lists import TextEncoder, TokensEncoder
from graphspec.data.encoders.masks import MaskEncoder
from graphspec.data.encoders.numbers import DateEncoder, Floats, NumberEncoder
from graphspec.data.features.windows import Steps
from graphspec.data.fields import UNIT
from graphspec.data.mistakes import row_in_words
from graphspec.data.ragged import Ragged
from graphspec.data.rows.outputs import unrolled
from graphspec.data.rows.values import numbers_among
from graphspec.data.windows.forecasts import long
from graphspec.diagnostics import fail
from graphspec.elaborated import BaseProgram
from graphspec.export.columns import ColumnForm
from graphspec.export.columns.texts import words_of
from graphspec.export.proof import ABSOLUTE, RELATIVE, outputs_of
from graphspec.export.tracing import Traced, inputs_at
from graphspec.tensor import BATCH

Row = Mapping[str, Any]
ROWS = 6
"""Rows that are compared: values that the encoders know, and where they may be, unseen and missing ones."""
MOMENTS = (0, 951_782_399, 1_709_210_096, -86_400 * 365, 1_230_768_000, 4_102_444_799)
"""Seconds since 1970 of dates that are compared: a leap day, the last second of a day, before 1970."""


def prove_columns(
    program: BaseProgram,
    module: nn.Module,
    encoders: Encoders,
    form: ColumnForm,
    run: Callable[[dict[str, Any]], dict[str, Any]],
    traced: Traced,
) -> None:
    """Compares rows of values that the encoders know. Raises `SpecError` (export-differs)."""
    sizes = {name: least.least for name, least in traced.free.items()}
    example = inputs_at(program, {**traced.example, **sizes, BATCH: 1} if BATCH in sizes else traced.example)
    if BATCH not in sizes:
        return
    for number in range(ROWS):
        row = example_row(encoders, form, number)
        arrays = {
            name: _array(encoders.encoders[name], form, row, sizes, example[name]) for name in form.inside
        }
        inputs = {n: example[n] if n in form.outside else torch.from_numpy(arrays[n]) for n in program.inputs}
        typed = [value.to(example[name].dtype) for name, value in inputs.items()]
        with torch.no_grad():
            values = {name: v.float().numpy() for name, v in outputs_of(program, module(*typed)).items()}
        lengths = {
            str(program.inputs[name].shape[1]): np.array([array.shape[1]])
            for name, array in arrays.items()
            if program.inputs[name].rank > 1
        }
        fed = {**feed(form.columns, [row]), **{name: example[name].numpy() for name in form.outside}}
        answer = {name: value[0] for name, value in run(fed).items()}
        for step, expected in enumerate(_predicted(program, encoders, form, values, lengths, row)):
            step_answer = {
                name: value[step] if name in form.forecasts else value for name, value in answer.items()
            }
            _compare(form, step_answer, expected, row)


def _predicted(
    program: BaseProgram,
    encoders: Encoders,
    form: ColumnForm,
    values: Mapping[str, Any],
    lengths: Mapping[str, Any],
    row: Row,
) -> list[Row]:
    """The prediction from the outputs for a row: of a window a row for each step."""
    windows = program.data.windows if program.data is not None else None
    steps = windows.rows if windows is not None else 1
    units = {}
    for output in program.outputs.values():
        encoder = encoders.encoders.get(output.target)
        if encoder is None or isinstance(encoder, BoxEncoder):  # a file has boxes in pixels of its input
            continue
        unit = encoder.unit(_table(encoder.beside, form, row, Steps(0, 1)))
        if unit is not None:
            units[output.target + UNIT] = np.repeat(unit, steps, 0)
    values = long(values, steps, encoders) if windows is not None else values
    rows: list[Row] = encoders.decode(values, lengths, True, units).to_pylist()
    known = {name: encoders.encoders.get(output.target) for name, output in program.outputs.items()}
    masks = {name: each.size[0] for name, each in known.items() if isinstance(each, MaskEncoder)}
    boxes = {name for name, each in known.items() if isinstance(each, BoxEncoder)}  # compared as tensors
    return [
        {name: value for name, value in row.items() if name not in boxes}
        | {name: unrolled(row[name], width) for name, width in masks.items()}
        for row in rows
    ]


def example_row(encoders: Encoders, form: ColumnForm, number: int = 0) -> dict[str, Any]:
    """Values that the encoders know, by column; another row for each number from 0 to `ROWS`. Several may
    read a column: its value is that of the one that takes fewest, and missing only where all fill it.
    """
    inside = sorted((encoders.encoders[name] for name in form.inside), key=_is_choosy)
    inside.sort(
        key=lambda encoder: isinstance(encoder, NumberEncoder)
    )  # whose columns may be categories, too
    unfilled = {
        column for each in inside if getattr(each.feature, "fill", None) is None for column in each.columns
    }
    row: dict[str, Any] = {}
    for encoder in inside:
        known = [_values(encoder, each % ROWS, unfilled) for each in range(number, number + ROWS)]
        for name in known[0]:
            values = [some[name] for some in known if not _is_missing(form, some[name])]
            first, last = form.steps.get(name, (0, -1))
            row[name] = [values[step % len(values)] for step in range(last + 1 - first)] or values[0]
    for encoder in encoders.encoders.values():
        for name in encoder.beside:
            groups = (
                [*encoder.groups.known, "never seen"]
                if isinstance(encoder, Floats) and encoder.groups
                else []
            )
            row.setdefault(name, _turned([group for group in groups if group != NULL], number))
    return row


def _is_missing(form: ColumnForm, value: Any) -> bool:
    """Whether a value that an encoder knows means a missing one to a table."""
    if isinstance(value, int | float):
        return value in numbers_among(form.missing)
    return isinstance(value, str) and value in form.missing


def _is_choosy(encoder: Encoder) -> bool:
    """Whether it refuses values that others of its kind take."""
    if isinstance(encoder, NumberEncoder):
        return any(curve.transform is not None for curve in encoder.curves)
    return isinstance(encoder, CategoryEncoder) and encoder.strict


def feed(columns: Mapping[str, str], rows: Sequence[Row]) -> dict[str, Any]:
    """Rows as the arrays that a file of columns takes: missing texts are empty, missing numbers NaN, lists as
    long as the longest.
    """
    arrays: dict[str, Any] = {}
    for name, kind in columns.items():
        values = [row[name] for row in rows]
        if kind.startswith("list of text"):
            longest = max(len(value) for value in values)
            padded = [[*(each or "" for each in v), *[""] * (longest - len(v))] for v in values]
            arrays[name] = np.array(padded, object)
            arrays[name] = arrays[name].reshape(len(rows), longest)
        elif kind == "text":
            arrays[name] = np.array(["" if value is None else value for value in values], object)
        else:
            dtype = np.float64 if "number" in kind else np.int64
            arrays[name] = np.array(_with_nan(values), dtype)
    return arrays


def _with_nan(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_nan(each) for each in value]
    return np.nan if value is None else value


def _compare(form: ColumnForm, answer: Mapping[str, Any], expected: Row, row: Row) -> None:
    for name, key in form.outputs.items():
        actual = answer[name]
        base = key.removesuffix(".probabilities")
        if base != key and key not in expected:
            labels = form.classes.get(base, range(len(actual)))
            wanted = [expected.get(f"{base}.{label}") for label in labels]
            if wanted[0] is None:
                continue  # of a sequence, `predict` writes none
        elif key not in expected:
            continue
        else:
            wanted = expected[key]
        if not _equal(actual, wanted):
            message = (
                f"`{name}` of the file of columns is {actual!s}, and `predict` says {wanted} for {dict(row)}"
            )
            raise fail("export-differs", message, "`--inputs tensors` writes the model without its encoders")


def _equal(actual: Any, wanted: Any) -> bool:
    if isinstance(wanted, str) or (isinstance(wanted, int) and not isinstance(wanted, bool)):
        return bool(actual == wanted)
    if isinstance(wanted, list) and (not wanted or isinstance(wanted[0], str)):
        return [text for text in np.asarray(actual).reshape(-1).tolist() if text] == wanted
    a, b = np.asarray(actual, np.float64), np.asarray(wanted, np.float64)
    scale = max(1.0, float(np.abs(b).max(initial=0)))
    return a.shape == b.shape and bool(np.allclose(a, b, RELATIVE, ABSOLUTE * scale, equal_nan=True))


def _table(columns: Sequence[str], form: ColumnForm, row: Row, steps: Steps) -> TablePart:
    """A row of columns as a table, of a window one of some steps."""
    values = {}
    for name in columns:
        first, _ = form.steps.get(name, (None, 0))
        start = steps.first - first if first is not None else 0
        values[name] = (
            row[name][start : start + steps.count] if first is not None else [row[name]] * steps.count
        )
    table = pa.table({name: pa.array(cells) for name, cells in values.items()})
    return TablePart(table, np.arange(steps.count), "data", row_in_words)


def _array(
    encoder: Encoder, form: ColumnForm, row: Row, least: Mapping[str, int], example: torch.Tensor
) -> np.ndarray:
    """The encoding of a row, with a batch axis of 1."""
    steps = encoder.fill.steps or Steps(0, 1)
    values = encoder.encode(_table([*encoder.columns, *encoder.beside], form, row, steps)).values
    if encoder.fill.field_tensor is not encoder.fill.tensor:
        return np.asarray(values).reshape(example.shape)
    if isinstance(values, Ragged):
        size = str(encoder.fill.tensor.shape[1])
        return np.asarray(values.padded(max(int(values.lengths[0]), least.get(size, 1))))
    if values.ndim < encoder.fill.tensor.rank:
        values = values.reshape(1, *(size for size in encoder.fill.tensor.shape[1:] if isinstance(size, int)))
    return np.ascontiguousarray(values)


def _values(encoder: Encoder, number: int, unfilled: Collection[str]) -> dict[str, Any]:
    """A value of each of its columns; none is missing in those that are `unfilled`."""
    if isinstance(encoder, NumberEncoder):
        place = np.array([0.7 * number - 1.5])
        return {
            n: None if number == ROWS - 1 and n not in unfilled else float(c.undo(place)[0])
            for n, c in zip(encoder.columns, encoder.curves, strict=True)
        }
    if isinstance(encoder, DateEncoder):
        moment = datetime.fromtimestamp(MOMENTS[number], UTC)
        text = moment.strftime(encoder.feature.format or "%Y-%m-%d %H:%M:%S")
        return dict.fromkeys(encoder.columns, text)
    if isinstance(encoder, CategoryEncoder):
        known = [_turned(vocabulary.values, number) for vocabulary in encoder.vocabularies]
        if encoder.per_element:
            return {encoder.columns[0]: known * (1 + number)}
        unseen = number == ROWS - 1 and not encoder.strict
        return {n: "never seen" if unseen else v for n, v in zip(encoder.columns, known, strict=True)}
    if isinstance(encoder, SetEncoder):
        some = list(dict.fromkeys(_turned(encoder.vocabulary.values, i) for i in range(number % 3)))
        separator = encoder.feature.separator
        if separator is not None and not some and encoder.feature.fill is None:
            some = ["never seen"]
        return {encoder.columns[0]: some if separator is None else separator.join(some) or None}
    length = encoder.fill.tensor.shape[1] if encoder.fill.tensor.rank > 1 else 1
    count = length if isinstance(length, int) else 2 + number
    if isinstance(encoder, TextEncoder):
        words = words_of(encoder)
        text = _between(encoder).join(_turned(words, number + i) for i in range(count))
        return {encoder.columns[0]: text.upper() if number % 2 and text.upper().lower() == text else text}
    if isinstance(encoder, TokensEncoder):
        return {encoder.columns[0]: [_turned(encoder.vocabulary.values, number + i) for i in range(count)]}
    return {encoder.columns[0]: _plain(encoder, number, count)}


def _between(encoder: TextEncoder) -> str:
    return "" if encoder.feature.tokenizer == "char" else " "


def _turned(values: list[str], number: int) -> str:
    return values[number % len(values)]


def _plain(encoder: Encoder, number: int, count: int) -> Any:
    tensor = encoder.fill.tensor
    kind = float if tensor.is_float else int
    sizes = [count if i == 0 else int(size) for i, size in enumerate(tensor.shape[1:])]  # type: ignore[arg-type]
    total = math.prod(sizes)
    most = encoder.fill.limit or 2
    flat = [kind((number + i) % most) for i in range(total)]
    if not sizes or sizes == [1]:
        return flat[0]
    return flat
