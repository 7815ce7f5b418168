"""Columns as people write them to the inputs of a model, as its encoders do it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import numpy as np
from onnx import helper

from graphspec.data.encoders import Encoders
from graphspec.data.encoders.base import Encoder
from graphspec.data.encoders.categories import CategoryEncoder, SetEncoder
from graphspec.data.encoders.lists import ListEncoder, TextEncoder
from graphspec.data.encoders.numbers import NumberEncoder
from graphspec.data.encoders.plain import PlainEncoder
from graphspec.data.features.settings import text_of
from graphspec.data.features.windows import Steps
from graphspec.data.fields import Field, fields
from graphspec.data.lookalikes import is_number
from graphspec.data.rows.fields import (
    BinsInRow,
    DatesInRow,
    ElementsInRow,
    IdCut,
    IdsInRow,
    NumbersInRow,
    PlainInRow,
    SetInRow,
    TextInRow,
)
from graphspec.diagnostics.packages import EXTRAS
from graphspec.elaborated import BaseProgram
from graphspec.export.columns import numbers, texts
from graphspec.export.columns.date_formats import unreadable
from graphspec.export.columns.graph import FLOAT, NUMBER, TEXT, WHOLE, GraphWriter
from graphspec.export.columns.traced import BOOL, GraphValue, functions, how_many, where
from graphspec.tensor import unit_of

Reason = str
EXTENSIONS_MODULE = "onnxruntime_extensions"

KINDS = {"number": NUMBER, "integer": WHOLE}
"""The type of a column by the kind of its cells; of all others the cells are texts."""


@dataclass(slots=True)
class Inside:
    """The inputs of a model that the file computes from columns."""

    values: dict[str, str] = field(default_factory=dict)
    """By input, its value in the graph."""
    outside: dict[str, Reason] = field(default_factory=dict)
    """The inputs that stay arrays, and why."""
    lengths: dict[str, str] = field(default_factory=dict)
    """By the name of a size, the length of each row."""


def encoded(g: GraphWriter, program: BaseProgram, encoders: Encoders, free: Mapping[str, Any]) -> Inside:
    """The inputs of a program from columns; `free` are the sizes that its file leaves dynamic, with their
    ranges.
    """
    inside = Inside()
    na_values = na_values_of(program)
    writer = ColumnEncoding(g, program, na_values, free, inside, _numbers_too(encoders))
    reasons = {name: writer.misfit(encoders.encoders.get(name)) for name in program.inputs}
    made = {name: encoders.encoders[name] for name, reason in reasons.items() if reason is None}
    g.spans = _spans(made.values())
    for name in scales_read(program, encoders):
        g.column(name, TEXT)
    for name in program.inputs:
        reason = reasons[name] or writer.clash(made[name])
        if reason is not None:
            inside.outside[name] = reason
        else:
            inside.values[name] = writer.value(made[name])
    return inside


def na_values_of(program: BaseProgram) -> Sequence[str]:
    return program.data.na_values if program.data is not None else ("",)


def scales_read(program: BaseProgram, encoders: Encoders) -> list[str]:
    """The columns that say how the targets of outputs are scaled."""
    read = [encoders.encoders.get(output.target) for output in program.outputs.values()]
    return [name for encoder in read if encoder is not None for name in encoder.beside]


def _spans(made: Iterable[Encoder]) -> dict[str, Steps]:
    """The columns of which several steps are read, and from the first to the last one."""
    read: dict[str, list[Steps]] = {}
    several: set[str] = set()
    for encoder in made:
        for name in encoder.columns:
            read.setdefault(name, []).append(encoder.fill.steps or Steps(0, 1))
            several |= {name} if encoder.fill.steps is not None else set()
    spans = {}
    for name in several:
        first = min(steps.first for steps in read[name])
        spans[name] = Steps(first, max(steps.first + steps.count for steps in read[name]) - first)
    return spans


def _numbers_too(encoders: Encoders) -> frozenset[str]:
    """The columns of numbers that are categories, too, whose values are numbers."""
    read: dict[type, set[str]] = {NumberEncoder: set(), CategoryEncoder: set()}
    for encoder in encoders.encoders.values():
        if isinstance(encoder, NumberEncoder) and encoder.cell().kind == "number":
            read[NumberEncoder] |= {*encoder.columns}
        elif isinstance(encoder, CategoryEncoder) and not (encoder.strict or encoder.per_element):
            pairs = zip(encoder.columns, encoder.vocabularies, strict=True)
            read[CategoryEncoder] |= {name for name, known in pairs if known.are_numbers}
    return frozenset(read[NumberEncoder] & read[CategoryEncoder])


def kind_of(encoder: Encoder) -> tuple[int, tuple[int | str, ...]]:
    """The type of its columns, and the shape of a cell."""
    cell = encoder.cell()
    sizes = (f"{encoder.columns[0]} elements" if size is None else size for size in cell.sizes)
    return KINDS.get(cell.kind, TEXT), tuple(n if isinstance(n, int) else str(n) for n in sizes)


def bounds(field: Field) -> tuple[np.ndarray, np.ndarray]:
    """The bounds of a field, and of its type."""
    low, high = field.bounds
    if field.tensor.dtype == "bool":
        return np.maximum(low, 0), np.minimum(high, 1)
    if not field.tensor.is_float and field.tensor.dtype != "int64":
        info = np.iinfo(field.tensor.dtype)
        return np.maximum(low, info.min), np.minimum(high, info.max)
    return low, high


@dataclass(frozen=True, slots=True)
class ColumnEncoding:
    g: GraphWriter
    program: BaseProgram
    na_values: Sequence[str]
    free: Mapping[str, Any]
    inside: Inside
    numbers: frozenset[str] = frozenset()
    """The columns of numbers that are categories, too."""

    def clash(self, encoder: Encoder) -> Reason | None:
        """A column that another feature reads as another type."""
        g, (kind, shape) = self.g, kind_of(encoder)
        kinds = {name: NUMBER if name in self.numbers else kind for name in encoder.columns}
        read = {name: (kinds[name], g.shape_of(name, *shape)) for name in encoder.columns}
        read |= {name: (TEXT, g.shape_of(name)) for name in encoder.beside}
        for name, column in read.items():
            if g.inputs.get(name, column) != column:
                return f"another feature reads `{name}` as another type"
        return None

    def misfit(self, encoder: Encoder | None) -> Reason | None:
        """Why an encoder stays outside the file; None where it does not."""
        if encoder is None:
            return "it has a default"
        tensor, cell, record = encoder.fill.tensor, encoder.cell(), encoder.in_row()
        if encoder.fill.steps is not None and encoder.beside and not self._of_series(encoder.beside):
            return "its scale may be another one at each step"
        if encoder.fill.steps is not None and cell.sizes:
            return "each step is a list"
        if cell.kind == "picture":
            return "ONNX decodes no images, and onnxruntime-extensions makes other pixels of a JPEG"
        if (reason := OUTSIDE.get(type(record), lambda encoder: None)(encoder)) is not None:
            return reason
        if type(record) not in WRITTEN:
            return "nothing writes its encoder in the operators of ONNX"
        units = [unit_of(size) for size in tensor.shape[1:] if not isinstance(size, int)]
        if any(unit is None or unit[1] != 1 or unit[0] not in self.free for unit in units):
            return "its length is not free in the file"
        if isinstance(record, ElementsInRow | SetInRow) and cell.sizes and "" in record.ids:
            return "the empty text is one of its values"
        return None

    def _of_series(self, columns: Sequence[str]) -> bool:
        """Whether columns have one value in a window."""
        windows = self.program.data.windows if self.program.data is not None else None
        return windows is not None and {*columns} <= {*windows.by}

    def value(self, encoder: Encoder) -> str:
        """The input in its own type."""
        g, fill = self.g, encoder.fill
        g.steps = fill.steps
        record = encoder.in_row()
        raw = WRITTEN[type(record)](self, encoder, record)
        g.steps = None
        if fill.tensor.rank == 1:
            raw = g.op("Squeeze", raw, g.constant([1], np.int64))
        if fill.field_tensor is not fill.tensor:
            raw = g.op("Reshape", raw, g.constant([-1, *fill.field_tensor.shape[1:]], np.int64))
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(fill.field_tensor.dtype))
        value = GraphValue(g, g.cast(raw, kind), kind)
        if encoder.cell().kind in ("number", "date") and fill.tensor.is_float:
            reason = f"a number that is too large for {fill.tensor.dtype}"
            refuse = functions(", ".join(encoder.columns)).refuse
            value = refuse(value, value.made("IsInf", value.name, kind=BOOL), reason)
        return value.name

    # --- categories

    def _filled(self, name: str, fill: str | None) -> str:
        """A column of texts, filled or refused where a value is missing."""
        g, numbers_too = self.g, name in self.numbers
        text = g.column(name, NUMBER if numbers_too else TEXT)
        text = str(g.op("Cast", text, to=TEXT)) if numbers_too else text
        missing = g.is_text(text, [*self.na_values, *(["NaN", "nan"] if numbers_too else [])])
        if fill is not None:
            return g.where(missing, g.constant(np.array([fill], object)), text)
        zeros = g.refuse(g.op("Not", missing), f"column {name}: a value is missing")
        return g.where(g.op("Equal", zeros, g.constant([0], np.int64)), text, text)

    def ids(self, encoder: CategoryEncoder, record: IdsInRow) -> str:
        g, columns = self.g, []
        for name, ids, unseen in zip(record.columns, record.ids, record.unseen, strict=True):
            text = self._filled(name, encoder.feature.fill)
            if name in self.numbers:  # as the operator writes them: 17 of 17.0, too
                ids = {**ids} | {
                    text_of(float(known)): index for known, index in ids.items() if is_number(known)
                }
            columns.append(g.expanded(self._known(name, text, ids, unseen).name))
        return g.joined(columns)

    def _known(self, name: str, text: str, ids: Mapping[str, int], unseen: int | None) -> GraphValue:
        """The ids of texts; one that is not known has `unseen`, or is refused."""
        found = self.g.look_up(text, list(ids), list(ids.values()), -1 if unseen is None else unseen)
        known, reason = GraphValue(self.g, found, WHOLE), "a value that no training row has"
        return known if unseen is not None else functions(name).refuse(known, known < 0, reason)

    # --- sets and lists

    def set(self, encoder: SetEncoder, record: SetInRow) -> str:
        g, name = self.g, record.column
        if record.separator is None:
            pieces = g.column(name, TEXT, f"{name} elements")
        else:
            text = self._filled(name, encoder.feature.fill)
            pieces = g.op("StringSplit", text, outputs=2, delimiter=record.separator)[0]
        ids = self._known(name, pieces, record.ids, -1)
        has, rows = ids.expanded() == np.arange(record.width), ids.made("Shape", ids.name, start=0, end=1)
        shape = g.op("Concat", rows.name, g.constant([1, record.width]), axis=0)
        every = g.joined([has.name, g.op("Expand", (rows < 0).name, shape)])
        return str(g.op("ReduceMax", g.cast(every, FLOAT), g.constant([1], np.int64), keepdims=0))

    def elements(self, encoder: Encoder, record: ElementsInRow) -> str:
        g, name = self.g, record.column
        elements = g.column(name, TEXT, f"{name} elements")
        ids = self._known(name, elements, {"": 0, **record.ids}, record.unseen)
        count = self._ending(name, ~GraphValue(g, g.is_text(elements, [""]), BOOL))
        if not record.empty:
            assert isinstance(encoder, ListEncoder)
            ids, count = self._never_empty(encoder, name, ids, count)
        return self._to_length(encoder, ids, count, record.cut)

    def text(self, encoder: TextEncoder, record: TextInRow) -> str:
        g, (name,) = self.g, record.columns
        text = g.column(name, TEXT)
        merges = texts.merges_bytes(encoder)
        found = texts.byte_tokens(g, encoder, text) if merges else texts.tokens(g, encoder, name, text)
        ids, there = GraphValue(g, found[0], WHOLE), GraphValue(g, found[1], BOOL)
        gone = GraphValue(g, g.is_text(text, list(self.na_values)), BOOL).expanded()
        ids, count = self._never_empty(encoder, name, where(gone, 0, ids), how_many(there & ~gone))
        return self._to_length(encoder, ids, count, record.cut)

    def _ending(self, name: str, there: GraphValue) -> GraphValue:
        """How many elements each list has, refused where an empty text is before one of them."""
        g = self.g
        wide = there.made("Shape", there.name, start=1, kind=WHOLE)
        before = GraphValue(g, g.sliced(there.name, 0, (wide - 1).name), BOOL)
        after = GraphValue(g, g.sliced(there.name, 1, wide.name), BOOL)
        zeros = g.refuse((before | ~after).name, f"column {name}: an empty text before other elements")
        return how_many(there) + how_many(GraphValue(g, zeros, WHOLE))

    def _never_empty(
        self, encoder: ListEncoder, name: str, ids: GraphValue, count: GraphValue
    ) -> tuple[GraphValue, GraphValue]:
        """Rows without an element, filled or refused."""
        g, none = self.g, count == 0
        if encoder.feature.fill is None:
            return ids, functions(name).refuse(count, none, "a value is missing or empty")
        filling = np.array([encoder.filling()], np.int64)
        ids = self._padded(ids, filling.shape[1])
        width = g.op("Shape", ids.name, start=1, end=2)
        wide = self._padded(GraphValue(g, g.constant(filling), WHOLE), 2**16)
        fill = GraphValue(g, g.sliced(wide.name, 0, width), WHOLE)
        return where(none.expanded(), fill, ids), where(none, filling.shape[1], count)

    def _padded(self, ids: GraphValue, more: int) -> GraphValue:
        """Zeros after each row."""
        g = self.g
        rows = g.op("Concat", g.op("Shape", ids.name, start=0, end=1), g.constant([more], np.int64), axis=0)
        zeros = g.op("ConstantOfShape", rows, value=helper.make_tensor("zero", WHOLE, [1], [0]))
        return GraphValue(g, g.joined([ids.name, zeros]), WHOLE)

    def _to_length(self, encoder: Encoder, ids: GraphValue, count: GraphValue, cut: IdCut) -> str:
        """Rows cut and padded: to the length of the input, or, where that is free, to the longest row."""
        g, size = self.g, encoder.fill.tensor.shape[1]
        if cut.most is not None:
            if not cut.end:
                ids = self._moved(ids, where(count > cut.most, count - cut.most, 0))
            ids = GraphValue(g, g.sliced(ids.name, 0, cut.most), WHOLE)
            count = where(count > cut.most, cut.most, count)
        if cut.padded and cut.most is not None:
            return g.sliced(self._padded(ids, cut.most).name, 0, cut.most)
        (unit, _) = unit_of(size) or ("", 1)
        count, least = self._agreeing(encoder, unit, count), max(1, self.free[unit].least)
        longest = g.op("ReduceMax", count.name, g.constant([0], np.int64), keepdims=1)
        stop = g.op("Max", longest, g.constant([least], np.int64))
        return g.sliced(self._padded(ids, least).name, 0, stop)

    def _moved(self, ids: GraphValue, start: GraphValue) -> GraphValue:
        """Each row from its own `start` on, zeros after it."""
        g, width = self.g, ids.made("Shape", ids.name, start=1, end=2)
        zero, one = g.constant(0, np.int64), g.constant(1, np.int64)
        places = ids.made("Range", zero, g.op("Squeeze", width.name), one)
        places = start.expanded() + places
        last = places.made("Min", places.name, (width - 1).name)
        return where(places < width, ids.made("GatherElements", ids.name, last.name, axis=1), 0)

    def _agreeing(self, encoder: Encoder, unit: str, count: GraphValue) -> GraphValue:
        """The lengths of rows, refused where another column says others, or where the model takes fewer."""
        xp, known = functions(encoder.columns[0]), self.inside.lengths.setdefault(unit, count.name)
        if known != count.name:
            count = xp.refuse(count, ~(count == GraphValue(self.g, known, WHOLE)), "another length")
        most = self.program.maximum_sizes.get(unit)
        return count if most is None else xp.refuse(count, count > most, f"longer than {most}")

    # --- columns without an encoder

    def plain(self, encoder: PlainEncoder, record: PlainInRow) -> str:
        g, (kind, shape) = self.g, kind_of(encoder)
        columns = [g.column(name, kind, *shape) for name in encoder.columns]
        columns = [self._legal(encoder, position, x, kind) for position, x in enumerate(columns)]
        if shape:
            return self._free(encoder, columns[0])
        tensor = g.joined([g.expanded(x) for x in columns])
        if len(encoder.sizes) > 1:
            tensor = g.op("Reshape", tensor, g.constant([-1, *encoder.known], np.int64))
        return tensor

    def _free(self, encoder: PlainEncoder, value: str) -> str:
        if encoder.free and (unit := unit_of(encoder.sizes[0])) is not None:
            length = self.g.op("Shape", value, start=1, end=2)
            rows = self.g.op("Expand", length, self.g.op("Shape", value, start=0, end=1))
            self.inside.lengths.setdefault(unit[0], rows)
        return value

    def _legal(self, encoder: PlainEncoder, position: int, value: str, kind: int) -> str:
        """A column whose numbers are refused that the field cannot have, as those of a table are."""
        g, name, field = self.g, encoder.columns[position], self._field(encoder.name)
        x, made, xp = GraphValue(g, g.cast(value, NUMBER)), GraphValue(g, value, kind), functions(name)
        read = x if encoder.cell().sizes else numbers.with_nan(x, self.na_values)
        if kind == NUMBER or read is not x:
            wrong = xp.isnan(read) | read.made("IsInf", read.name)
            made = xp.refuse(made, wrong, "missing, or not a finite number")
        low, high = bounds(field)
        if len(encoder.columns) > 1:
            low, high = low[position % len(low)], high[position % len(high)]
        if np.isinf(low).all() and np.isinf(high).all():
            return made.name
        fits = (x >= low) & (x <= high)
        return str(xp.refuse(made, ~fits, "a number outside of its range").name)

    def _field(self, name: str) -> Field:
        return next(field for field in fields(self.program) if field.name == name)


WRITTEN: Mapping[type, Callable[..., str]] = {
    NumbersInRow: lambda one, encoder, record: numbers.numbers(one.g, encoder, one.na_values),
    DatesInRow: lambda one, encoder, record: numbers.dates(one.g, encoder, one.na_values),
    IdsInRow: ColumnEncoding.ids,
    ElementsInRow: ColumnEncoding.elements,
    SetInRow: ColumnEncoding.set,
    TextInRow: ColumnEncoding.text,
    PlainInRow: ColumnEncoding.plain,
}
"""Writes an encoder, by its record of one row; the inputs of others a file takes encoded."""


def _foreign(encoder: TextEncoder) -> Reason | None:
    """Why texts stay outside; None of those that do not."""
    if encoder.feature.exact:
        return "it is a text as it is"
    if texts.readable(encoder):
        if not texts.words_of(encoder):
            return "each of its tokens has a letter that is written as several characters"
    elif not texts.merges_bytes(encoder):
        return "its tokenizer comes from a file, and is neither like those trained here nor like GPT-2's"
    elif find_spec(EXTENSIONS_MODULE) is None:
        (package,) = EXTRAS["extensions"]
        return f"its tokenizer takes {package}, which is not installed: pip install {package}"
    pair = len(encoder.columns) > 1 or encoder.feature.part != "ids"
    return "it is of a pair of texts" if pair else None


OUTSIDE: Mapping[type, Callable[[Any], Reason | None]] = {
    type(None): lambda encoder: "it is an array already" if encoder.feature is None else None,
    BinsInRow: lambda encoder: "ONNX has no such hash",
    TextInRow: _foreign,
    DatesInRow: lambda encoder: encoder.feature.format and unreadable(encoder.feature.format),
    PlainInRow: lambda encoder: "it is an array already" if encoder.fill.tensor.dtype == "bfloat16" else None,
}
"""Explains why an encoder stays outside, by its record of one row."""
