"""Columns as people write them to the inputs of a model, as its encoders do it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import numpy as np
from onnx import helper

from graphspec.data.encoders import Encoders
from graphspec.data.encoders.base import Encoder
from graphspec.data.encoders.categories import CategoryEncoder, HashEncoder, SetEncoder
from graphspec.data.encoders.images import ImageEncoder
from graphspec.data.encoders.lists import ListEncoder, TextEncoder, TokensEncoder
from graphspec.data.encoders.numbers import DateEncoder, NumberEncoder
from graphspec.data.encoders.plain import PlainEncoder
from graphspec.data.features.settings import UNSEEN
from graphspec.data.features.windows import Steps
from graphspec.data.fields import Field, fields
from graphspec.diagnostics.packages import EXTRAS
from graphspec.elaborated import BaseProgram
from graphspec.export.columns import numbers, texts
from graphspec.export.columns.date_formats import unreadable
from graphspec.export.columns.graph import FLOAT, NUMBER, TEXT, WHOLE, GraphWriter
from graphspec.export.columns.traced import Traced, functions
from graphspec.tensor import unit_of

Reason = str
EXTENSIONS_MODULE = "onnxruntime_extensions"

WRITTEN = (NumberEncoder, DateEncoder, PlainEncoder, CategoryEncoder, SetEncoder, ListEncoder)
"""The encoders whose columns a file of ONNX may read; those of others it takes encoded."""


@dataclass(slots=True)
class Inside:
    """What of the inputs of a model is made inside the file."""

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
    writer = ColumnEncoding(g, program, na_values, free, inside)
    reasons = {name: writer.misfit(encoders.encoders.get(name)) for name in program.inputs}
    made = {name: encoders.encoders[name] for name, reason in reasons.items() if reason is None}
    g.spans = _spans(made.values())
    for name in scales_read(program, encoders):
        g.column(name, TEXT)
    for name in program.inputs:
        reason = reasons[name] or _clash(g, made[name])
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


def _clash(g: GraphWriter, encoder: Encoder) -> Reason | None:
    """A column that another feature reads as another type."""
    kind, (_, *shape) = kind_of(encoder)
    read = {name: (kind, g.shape_of(name, *shape)) for name in encoder.columns}
    read |= {name: (TEXT, g.shape_of(name)) for name in encoder.beside}
    for name, column in read.items():
        if g.inputs.get(name, column) != column:
            return f"another feature reads `{name}` as another type"
    return None


def kind_of(encoder: Encoder) -> tuple[int, tuple[int | str, ...]]:
    """The type of its columns, and their shape."""
    name = encoder.columns[0]
    if isinstance(encoder, NumberEncoder):
        return NUMBER, ("batch",)
    if isinstance(encoder, PlainEncoder):
        kind = NUMBER if encoder.fill.tensor.is_float else WHOLE
        if len(encoder.columns) > 1 or encoder.sizes in ((), (1,)):
            return kind, ("batch",)
        return kind, ("batch", *(size if isinstance(size, int) else str(size) for size in encoder.sizes))
    if _lists(encoder):
        return TEXT, ("batch", f"{name} elements")
    return TEXT, ("batch",)


def _lists(encoder: Encoder) -> bool:
    """Whether its column holds lists of texts."""
    if isinstance(encoder, SetEncoder):
        return encoder.feature.separator is None
    return isinstance(encoder, TokensEncoder) or (
        isinstance(encoder, CategoryEncoder) and encoder.per_element
    )


def bounds(field: Field) -> tuple[np.ndarray, np.ndarray]:
    """The least and the greatest numbers of a field, as `Checker` has them: one, or one for each position."""
    least, most = -np.inf, np.inf
    if field.tensor.dtype == "bool":
        least, most = 0, 1
    elif not field.tensor.is_float and field.tensor.dtype != "int64":
        info = np.iinfo(field.tensor.dtype)
        least, most = info.min, info.max
    highs = field.high if isinstance(field.high, tuple) else (field.high,)
    low = [least if high is None or field.low is None else max(least, field.low) for high in highs]
    return np.array(low), np.array([most if high is None else min(most, high) for high in highs])


@dataclass(frozen=True, slots=True)
class ColumnEncoding:
    g: GraphWriter
    program: BaseProgram
    na_values: Sequence[str]
    free: Mapping[str, Any]
    inside: Inside

    def misfit(self, encoder: Encoder | None) -> Reason | None:
        """Why an encoder stays outside the file; None where it does not."""
        if encoder is None:
            return "it has a default"
        tensor = encoder.fill.tensor
        if encoder.fill.steps is not None and encoder.beside and not self._of_series(encoder.beside):
            return "its scale may be another one at each step"
        if encoder.fill.steps is not None and len(kind_of(encoder)[1]) > 1:
            return "each step is a list"
        if isinstance(encoder, HashEncoder):
            return "ONNX has no such hash"
        if isinstance(encoder, ImageEncoder):
            return "ONNX decodes no images, and onnxruntime-extensions makes other pixels of a JPEG"
        if not isinstance(encoder, WRITTEN):
            return "nothing writes its encoder in the operators of ONNX"
        if isinstance(encoder, TextEncoder) and (encoder.feature.exact or encoder.feature.goes_on):
            return "it is a text as it is, or one that goes on"
        if isinstance(encoder, TextEncoder) and (reason := _foreign(encoder)) is not None:
            return reason
        if isinstance(encoder, TextEncoder) and (len(encoder.columns) > 1 or encoder.feature.part != "ids"):
            return "it is of a pair of texts"
        if isinstance(encoder, DateEncoder) and (format := encoder.feature.format) is not None:
            return unreadable(format)
        if isinstance(encoder, PlainEncoder) and (tensor.rank > 2 or tensor.dtype == "bfloat16"):
            return "it is an array already"
        unknown = [size for size in tensor.shape[1:] if not isinstance(size, int)]
        units = [unit_of(size) for size in unknown]
        if any(unit is None or unit[1] != 1 or unit[0] not in self.free for unit in units):
            return "its length is not free in the file"
        if _lists(encoder) and "" in _vocabulary(encoder):
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
        raw = self._encoded(encoder)
        g.steps = None
        if fill.tensor.rank == 1:
            raw = g.op("Squeeze", raw, g.constant([1], np.int64))
        if fill.field_tensor is not fill.tensor:
            raw = g.op("Reshape", raw, g.constant([-1, *fill.field_tensor.shape[1:]], np.int64))
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(fill.field_tensor.dtype))
        value = g.cast(raw, kind)
        if not isinstance(encoder, NumberEncoder | DateEncoder | PlainEncoder) or not fill.tensor.is_float:
            return value
        reason = f"column {', '.join(encoder.columns)}: a number that is too large for {fill.tensor.dtype}"
        return g.guarded(value, kind, g.op("Not", g.op("IsInf", value)), reason)

    def _encoded(self, encoder: Encoder) -> str:
        g = self.g
        if isinstance(encoder, NumberEncoder):
            return numbers.numbers(g, encoder, self.na_values)
        if isinstance(encoder, DateEncoder):
            return numbers.dates(g, encoder, self.na_values)
        if isinstance(encoder, PlainEncoder):
            return self._number(encoder)
        if isinstance(encoder, SetEncoder):
            return self._set(encoder)
        if isinstance(encoder, CategoryEncoder):
            return self._elements(encoder) if encoder.per_element else self._categories(encoder)
        assert isinstance(encoder, ListEncoder)
        return self._list(encoder)

    # --- categories

    def _filled(self, name: str, fill: str | None) -> str:
        """A column of texts, filled or refused where a value is missing."""
        g, text = self.g, self.g.column(name, TEXT)
        missing = g.is_text(text, list(self.na_values))
        if fill is not None:
            return g.where(missing, g.constant(np.array([fill], object)), text)
        zeros = g.refuse(g.op("Not", missing), f"column {name}: a value is missing")
        return g.where(g.op("Equal", zeros, g.constant([0], np.int64)), text, text)

    def _categories(self, encoder: CategoryEncoder) -> str:
        g, columns, first = self.g, [], 0
        for name, vocabulary, size in zip(encoder.columns, encoder.vocabularies, encoder.sizes, strict=True):
            text = self._filled(name, encoder.feature.fill)
            ids = g.look_up(text, vocabulary.values, self._ids(vocabulary), -1)
            columns.append(
                g.expanded(g.op("Add", self._seen(encoder, name, ids), g.constant([first], np.int64)))
            )
            first += size
        return g.joined(columns)

    @staticmethod
    def _ids(vocabulary: Any) -> list[int]:
        return [vocabulary.start + index for index in range(len(vocabulary.values))]

    def _seen(self, encoder: CategoryEncoder, name: str, ids: str) -> str:
        """Ids, 0 or refused where a value is unseen."""
        g, zero = self.g, self.g.constant([0], np.int64)
        if encoder.strict:
            known = g.op("GreaterOrEqual", ids, zero)
            ids = g.guarded(ids, WHOLE, known, f"column {name}: a value that no training row has")
        return str(g.op("Max", ids, zero))

    def _elements(self, encoder: CategoryEncoder) -> str:
        g, (name,), (vocabulary,) = self.g, encoder.columns, encoder.vocabularies
        texts_ = g.column(name, TEXT, f"{name} elements")
        there = g.op("Not", g.is_text(texts_, [""]))
        ids = g.look_up(texts_, vocabulary.values, self._ids(vocabulary), -1)
        zero = g.constant([0], np.int64)
        ids = g.where(there, self._seen(encoder, name, g.where(there, ids, zero)), zero)
        return self._to_length(encoder, ids, self._ending(name, there), None, True)

    # --- sets and lists

    def _set(self, encoder: SetEncoder) -> str:
        g, (name,) = self.g, encoder.columns
        if _lists(encoder):
            pieces = g.column(name, TEXT, f"{name} elements")
        else:
            text = self._filled(name, encoder.feature.fill)
            pieces = g.op("StringSplit", text, outputs=2, delimiter=encoder.feature.separator)[0]
        values = encoder.vocabulary.values
        ids = g.look_up(pieces, values, list(range(len(values))), -1)
        has = g.op("Equal", g.expanded(ids, 2), g.constant(np.arange(encoder.width)))
        none = g.op("Less", g.op("Shape", ids, start=0, end=1), g.constant([0], np.int64))
        rows = g.op("Concat", g.op("Shape", ids, start=0, end=1), g.constant([1, encoder.width]), axis=0)
        has = g.joined([has, g.op("Expand", none, rows)])
        return str(g.op("ReduceMax", g.cast(has, FLOAT), g.constant([1], np.int64), keepdims=0))

    def _list(self, encoder: ListEncoder) -> str:
        g, (name,) = self.g, encoder.columns
        if isinstance(encoder, TextEncoder):
            text = g.column(name, TEXT)
            if texts.merges_bytes(encoder):
                ids, there = texts.byte_tokens(g, encoder, text)
            else:
                ids, there = texts.tokens(g, encoder, name, text)
        else:
            assert isinstance(encoder, TokensEncoder)
            elements, values = g.column(name, TEXT, f"{name} elements"), encoder.vocabulary
            keys = {"": 0, **dict(zip(values.values, self._ids(values), strict=True))}
            ids = g.look_up(elements, list(keys), list(keys.values()), UNSEEN)
            there = g.op("Not", g.is_text(elements, [""]))
            count = self._ending(name, there)
        if isinstance(encoder, TextEncoder):
            gone = g.is_text(text, list(self.na_values))
            ids = g.where(g.expanded(gone), g.constant([0], np.int64), ids)
            count = self._count(g.op("And", there, g.op("Not", g.expanded(gone))))
        ids, count = self._never_empty(encoder, name, ids, count)
        return self._to_length(encoder, ids, count, encoder.feature.length, encoder.feature.cut == "end")

    def _count(self, there: str) -> str:
        g = self.g
        return str(g.op("ReduceSum", g.cast(there, WHOLE), g.constant([1], np.int64), keepdims=0))

    def _ending(self, name: str, there: str) -> str:
        """How many elements each list has, refused where an empty text is before one of them."""
        g, one = self.g, self.g.constant([1], np.int64)
        wide = g.op("Shape", there, start=1)
        before, after = g.sliced(there, 0, g.op("Sub", wide, one)), g.sliced(there, 1, wide)
        fits = g.op("Or", before, g.op("Not", after))
        zeros = g.refuse(fits, f"column {name}: an empty text before other elements")
        return str(g.op("Add", self._count(there), g.op("ReduceSum", zeros, one, keepdims=0)))

    def _never_empty(self, encoder: ListEncoder, name: str, ids: str, count: str) -> tuple[str, str]:
        """Rows without an element, filled or refused."""
        g, zero = self.g, self.g.constant([0], np.int64)
        some = g.op("Greater", count, zero)
        if encoder.feature.fill is None:
            return ids, g.guarded(count, WHOLE, some, f"column {name}: a value is missing or empty")
        filling = np.array([encoder.filling()], np.int64)
        ids = self._padded(ids, filling.shape[1])
        width = g.op("Shape", ids, start=1, end=2)
        fill = g.sliced(self._padded(g.constant(filling), g.constant([2**16])), 0, width)
        filled = g.where(g.expanded(some), ids, fill)
        return filled, g.where(some, count, g.constant([filling.shape[1]], np.int64))

    def _padded(self, ids: str, more: int | str) -> str:
        """Zeros after each row."""
        g = self.g
        count = g.constant([more], np.int64) if isinstance(more, int) else more
        rows = g.op("Concat", g.op("Shape", ids, start=0, end=1), count, axis=0)
        zeros = g.op("ConstantOfShape", rows, value=helper.make_tensor("zero", WHOLE, [1], [0]))
        return g.joined([ids, zeros])

    def _to_length(self, encoder: Encoder, ids: str, count: str, most: int | None, end: bool) -> str:
        """Rows cut and padded: to the length of the input, or, where that is free, to the longest row."""
        g, size = self.g, encoder.fill.tensor.shape[1]
        length = size if isinstance(size, int) else most
        if length is not None:
            limit = g.constant([length], np.int64)
            if not end:
                start = g.op("Max", g.op("Sub", count, limit), g.constant([0], np.int64))
                ids = self._moved(ids, start)
            ids, count = g.sliced(ids, 0, length), g.op("Min", count, limit)
        if isinstance(size, int):
            return g.sliced(self._padded(ids, size), 0, size)
        (unit, _) = unit_of(size) or ("", 1)
        count = self._agreeing(encoder, unit, count)
        least = g.constant([max(1, self.free[unit].least)], np.int64)
        longest = g.op("ReduceMax", count, g.constant([0], np.int64), keepdims=1)
        stop = g.op("Max", longest, least)
        return g.sliced(self._padded(ids, max(1, self.free[unit].least)), 0, stop)

    def _moved(self, ids: str, start: str) -> str:
        """Each row from its own `start` on, zeros after it."""
        g = self.g
        width = g.op("Shape", ids, start=1, end=2)
        zero, one = g.constant(0, np.int64), g.constant(1, np.int64)
        places = g.op("Range", zero, g.op("Squeeze", width), one)
        places = g.op("Add", g.expanded(start), places)
        inside = g.op("Less", places, width)
        last = g.op("Sub", width, g.constant([1], np.int64))
        taken = g.op("GatherElements", ids, g.op("Min", places, last), axis=1)
        return g.where(inside, taken, g.constant([0], np.int64))

    def _agreeing(self, encoder: Encoder, unit: str, count: str) -> str:
        """The lengths of rows, refused where another column says others, or where the model takes fewer."""
        g, name = self.g, encoder.columns[0]
        known = self.inside.lengths.setdefault(unit, count)
        if known != count:
            count = g.guarded(count, WHOLE, g.op("Equal", known, count), f"column {name}: another length")
        most = self.program.maximum_sizes.get(unit)
        if most is not None:
            fits = g.op("LessOrEqual", count, g.constant([most], np.int64))
            count = g.guarded(count, WHOLE, fits, f"column {name}: longer than {most}")
        return count

    # --- columns without an encoder

    def _number(self, encoder: PlainEncoder) -> str:
        g, (kind, (_, *shape)) = self.g, kind_of(encoder)
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
        x, made, xp = Traced(g, g.cast(value, NUMBER)), Traced(g, value, kind), functions(name)
        listed = len(kind_of(encoder)[1]) > 1
        read = x if listed else numbers.with_nan(x, self.na_values)
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


def _foreign(encoder: TextEncoder) -> Reason | None:
    """Why the tokenizer of a file stays outside; None of one that does not."""
    if texts.readable(encoder):
        none = "each of its tokens has a letter that is written as several characters"
        return None if texts.words_of(encoder) else none
    if not texts.merges_bytes(encoder):
        return "its tokenizer comes from a file, and is neither like those trained here nor like GPT-2's"
    if find_spec(EXTENSIONS_MODULE) is None:
        (package,) = EXTRAS["extensions"]
        return f"its tokenizer takes {package}, which is not installed: pip install {package}"
    return None


def _vocabulary(encoder: Encoder) -> Sequence[str]:
    if isinstance(encoder, CategoryEncoder):
        return encoder.vocabularies[0].values
    assert isinstance(encoder, SetEncoder | TokensEncoder)
    return encoder.vocabulary.values
