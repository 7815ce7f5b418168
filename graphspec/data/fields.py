"""The arrays that a program needs, and checks of given arrays. Needs numpy, not torch.

Everything is checked here, once, before the first step: shapes are never broadcast, types never silently cut,
and no label or token out of range reaches a kernel. One axis of size 1 at the end may be missing or too many;
it is reshaped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphspec.data.arrays import Arrays
from graphspec.data.binding import numbered
from graphspec.data.features.plan import target_type
from graphspec.data.mistakes import nowhere
from graphspec.data.ragged import Ragged
from graphspec.diagnostics import Diagnostic, Span, SpecError, fail, gain
from graphspec.elaborated import BaseProgram, OutputSpec
from graphspec.objectives import Loss
from graphspec.objectives.losses import Categorical, SparseLoss
from graphspec.objectives.sequence_losses import CTC
from graphspec.tensor import Dim, Tensor, names_of, unit_of, value_of

Array = NDArray[Any]
UNIT = ".unit"
"""The ending of the name of the array with the scales of each row, [n, 2 * columns], after that of a target.
"""


@dataclass(frozen=True, slots=True)
class Field:
    """One array that a program reads.

    `tensor` is its type, batch axis first. Values lie from `low` to `high`, both included, or are `ignored`;
    without a bound that side is free. A tuple has the `high` of each position of the last axis. `loss` is the
    loss whose target it is, `None` for an input.
    """

    name: str
    tensor: Tensor
    low: float | None = None
    high: float | tuple[float | None, ...] | None = None
    ignored: int | None = None
    loss: Loss | None = None
    role: str = "input"
    padded: bool = False  # lists are brought to a multiple of a factor; a feature's, whose 0 is padding

    @property
    def bounds(self) -> tuple[Array, Array]:
        """The least and the greatest legal values, one or one for each position of the last axis; infinite
        where a side is free.
        """
        highs = self.high if isinstance(self.high, tuple) else (self.high,)
        low = [-math.inf if high is None or self.low is None else self.low for high in highs]
        return np.array(low), np.array([math.inf if high is None else high for high in highs])


def fields(program: BaseProgram, absent: Collection[str] = ()) -> list[Field]:
    """The arrays of a program: its inputs but those that are `absent`, then the targets of its outputs, each
    name once.
    """
    inputs = {name: tensor for name, tensor in program.inputs.items() if name not in absent}
    fields_by_name = {name: _input(program, name, tensor) for name, tensor in inputs.items()}
    for name, output in program.outputs.items():
        _metrics_fit(name, output)
        wanted = target_type(output)
        if wanted is not None:
            known = fields_by_name.setdefault(output.target, _target(output.target, wanted, output))
            _same(name, known, wanted)
    features = program.data.features if program.data is not None else {}
    return [replace(field, padded=field.name in features) for field in fields_by_name.values()]


def absent_inputs(program: BaseProgram, there: Collection[str]) -> frozenset[str]:
    """The inputs that their default fills: no feature has their name, and nothing that is `there`."""
    features = program.data.features if program.data is not None else {}
    return frozenset(
        name
        for name in program.defaults
        if name not in features and name not in there and not numbered(name, there, "")
    )


def _metrics_fit(name: str, output: OutputSpec) -> None:
    """Every metric can judge the output, and all read one target."""
    tensor, wanted = output.tensors[0], target_type(output)
    for metric in output.metrics:
        misfit = metric.misfit(tensor, output.activation, output.loss)
        read = metric.resolve(tensor, output.loss).target(tensor)
        if misfit is None and wanted is not None and read.rank != wanted.rank:
            misfit = (
                f"`{metric.name}` and `{output.metrics[0].name}` need different targets",
                "keep one of them",
            )
        if misfit is not None:
            raise fail("loss-misfit", f"output `{name}`: {misfit[0]}", misfit[1])


def _same(name: str, known: Field, wanted: Tensor) -> None:
    """An array that is read twice, as an input or as two outputs' target, must do for both."""
    if known.tensor.shape != wanted.shape or (known.tensor.is_float and not wanted.is_float):
        message = (
            f"output `{name}` has the target `{known.name}`, which is {known.tensor}, and needs {wanted}"
        )
        raise fail("data-shape", message, "give the output another `target`")


def _input(program: BaseProgram, name: str, tensor: Tensor) -> Field:
    upper = program.ranges.get(name)
    if upper is None:
        return Field(name, tensor)
    if isinstance(upper, tuple):
        return Field(name, tensor, 0, tuple(None if each is None else each - 1 for each in upper))
    return Field(name, tensor, 0, upper - 1)


def _target(name: str, tensor: Tensor, output: OutputSpec) -> Field:
    loss, role = output.loss, "target"
    low, high = (None, None) if loss is None else loss.target_range(output.tensors[0].shape[-1])
    return Field(name, tensor, low, high, getattr(loss, "ignore_class", None), loss, role)


class Checker:
    """Arrays as they are read, part by part, in the types of their fields; every value legal.

    `typed` data have types of their own, which must be those of the fields, as arrays have; a table's column
    of whole numbers may be of any.
    """

    def __init__(
        self,
        file: str,
        place: Callable[[int], str],
        wanted: Iterable[Field],
        minimum_sizes: Mapping[str, int] = MappingProxyType({}),
        maximum_sizes: Mapping[str, int] = MappingProxyType({}),
        typed: bool = False,
        span: Callable[[int, str], Span | None] = nowhere,
    ):
        self.file, self.typed = file, typed
        self.wanted = {field.name: field for field in wanted}
        self.minimum, self.maximum = minimum_sizes, maximum_sizes
        self.sizes: dict[str, tuple[int, str]] = {}
        self.problems: list[Diagnostic] = []
        self._place, self._span, self._first = place, span, 0
        self._row: Callable[[int], int] = lambda row: row

    def place(self, row: int) -> str:
        return self._place(self._first + self._row(row))

    def span(self, row: int, name: str) -> Span | None:
        """The characters of the row, or of a column in it."""
        return self._span(self._first + self._row(row), name)

    def check(self, name: str, array: Array | Ragged, first: int = 0) -> Array | Ragged | None:
        """The array of a field, whose rows begin with `first`; None where there is a mistake in it, which
        `finish` raises.
        """
        self._first, field = first, self.wanted[name]
        try:
            if isinstance(array, Ragged):
                return self._rows(field, array)
            return _checked(self, field, _shaped(self, field, array, self.sizes))
        except SpecError as error:
            self.problems += error.diagnostics
            return None

    def check_header(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Raises `SpecError` where an array of this shape and type cannot be the field's."""
        field = self.wanted[name]
        array = np.broadcast_to(np.zeros((), dtype), shape)  # takes no memory, whatever the shape
        _shaped(self, field, array, self.sizes)
        _kind(self, field, array)
        if array.dtype.kind == "f" and not field.tensor.is_float:
            raise _not_whole(self, field, array)

    def _rows(self, field: Field, rows: Ragged) -> Ragged:
        """Rows of different lengths: their elements checked, none longer than the model takes."""
        size = field.tensor.shape[1]
        unit = unit_of(size)
        longest = self.maximum.get(unit[0]) if unit is not None else None
        longest = longest * unit[1] if longest is not None and unit is not None else None
        long = rows.lengths > longest if longest is not None else np.zeros(0, bool)
        if long.any():
            row = int(long.argmax())
            held = f"`{field.name}` of `{self.file}` is {rows.lengths[row]} long at {self.place(row)}"
            help = (
                "shorten it; or before training write `length: ...` at its feature, "
                "or raise the `sequence_length` of its positions"
            )
            raise fail("data-shape", f"{held}; the model takes at most {longest}", help)
        factor = unit[1] if unit is not None and not field.padded else 1
        odd = rows.lengths % factor != 0
        if odd.any():
            row = int(odd.argmax())
            held = f"`{field.name}` of `{self.file}` is {rows.lengths[row]} long at {self.place(row)}"
            help = (
                "fill or cut the list; those of a feature with `encode: tokens` or `text` are filled with 0"
            )
            message = f"{held}; `{size}` is a multiple of {factor}"
            raise fail("data-shape", message, help, span=self.span(row, field.name))
        if rows.values.shape[1:] != field.tensor.shape[2:]:
            raise _differs(self, field, rows.values, "each element of its lists must be of the inner shape")
        self._row = rows.row_of
        try:
            return Ragged(_checked(self, field, rows.values), rows.offsets)
        finally:
            self._row = lambda row: row

    def finish(self, lengths: Mapping[str, int]) -> None:
        """Raises `SpecError` with the first mistake of each field; `lengths` says how long each is."""
        self.problems += [*self._too_small(), *self._too_large(), *self._lengths(lengths)]
        if self.problems:
            raise SpecError(self.problems)

    def _lengths(self, lengths: Mapping[str, int]) -> Iterator[Diagnostic]:
        if len(set(lengths.values())) > 1:
            shown = ", ".join(f"`{name}` {length}" for name, length in lengths.items())
            message = f"the arrays of `{self.file}` hold different numbers of examples: {shown}"
            yield Diagnostic("data-shape", message, None)
        elif lengths and not any(lengths.values()):
            yield Diagnostic("data-empty", f"`{self.file}` holds no examples", None)

    def _too_small(self) -> Iterator[Diagnostic]:
        help = "shorter ones are too short for its windows and strides: use longer examples, or pad them"
        for name, (value, array) in self.sizes.items():
            if value < self.minimum.get(name, 1):
                held, factor = self._held(name, value, array)
                message = f"{held}; the model needs at least {self.minimum[name] * factor}"
                yield Diagnostic("data-shape", message, None, help=help)

    def _held(self, name: str, value: int, array: str) -> tuple[str, int]:
        """The size of an array with this name, in words, and the factor that the name has there."""
        units = [unit_of(size) for size in self.wanted[array].tensor.shape]
        factor = next((unit[1] for unit in units if unit is not None and unit[0] == name), 1)
        shown = f"{factor} * {name}" if factor > 1 else name
        return f"`{shown}` is {value * factor} in `{array}` of `{self.file}`", factor

    def _too_large(self) -> Iterator[Diagnostic]:
        help = "cut the examples, or raise the `sequence_length` of its positions"
        for name, (value, array) in self.sizes.items():
            if value > self.maximum.get(name, value):
                held, factor = self._held(name, value, array)
                message = f"{held}; the model takes at most {self.maximum[name] * factor}"
                yield Diagnostic("data-shape", message, None, help=help)


def read(
    source: Arrays,
    wanted: Iterable[Field],
    minimum_sizes: Mapping[str, int],
    maximum_sizes: Mapping[str, int] = MappingProxyType({}),
) -> tuple[dict[str, Array], dict[str, int]]:
    """The wanted arrays of a file of arrays, whole, and the values of the symbolic sizes.

    Raises `SpecError` with every array's first mistake.
    """
    checker = Checker(
        source.file, source.place, wanted, minimum_sizes, maximum_sizes, typed=True, span=source.span
    )
    arrays: dict[str, Array] = {}
    for name in checker.wanted:
        try:
            array: Array | Ragged | None = checker.check(name, source.read(name))
        except SpecError as error:
            checker.problems += error.diagnostics
            continue
        if isinstance(array, np.ndarray):
            arrays[name] = array
    checker.finish({name: len(array) for name, array in arrays.items()})
    return arrays, {name: value for name, (value, _) in checker.sizes.items()}


# --- shapes


def _shaped(source: Checker, field: Field, array: Array, sizes: dict[str, tuple[int, str]]) -> Array:
    """The array with the rank of its field, each size as declared; binds symbolic sizes on the way."""
    wanted, actual = field.tensor.shape, array.shape
    if array.ndim == 0:
        raise _differs(source, field, array, "a single value is not a list of examples")
    if len(actual) == len(wanted) - 1 and wanted[-1] == 1:
        array = array.reshape(*actual, 1)
    elif len(actual) == len(wanted) + 1 and actual[-1] == 1:
        array = array.reshape(actual[:-1])
    if array.ndim != len(wanted):
        raise _differs(source, field, array, _other_targets(field, array) or _other_input(field, array))
    for size, value in zip(wanted[1:], array.shape[1:], strict=True):
        expected = _expected(size, value, field, sizes)
        if expected != value:
            help = _multiple(size, value) or _bound(size, sizes) or _other_targets(field, array)
            raise _differs(source, field, array, help or _other_input(field, array))
    return array


def _expected(size: Dim, value: int, field: Field, sizes: dict[str, tuple[int, str]]) -> int:
    """The expected value of a size: itself, or the value of its names; a free name takes the value that makes
    the size `value`, -1 where none does.
    """
    unit = unit_of(size)
    if unit is not None:
        name, factor = unit
        if value % factor:
            return -1
        return sizes.setdefault(name, (value // factor, field.name))[0] * factor
    known = {name: bound for name, (bound, _) in sizes.items()}
    return value_of(size, known) if names_of(size) <= known.keys() else value


def _multiple(size: Dim, value: int) -> str | None:
    """The mistake of a size that is not the required multiple."""
    unit = unit_of(size)
    if unit is None or value % unit[1] == 0:
        return None
    return f"`{size}` must be a multiple of {unit[1]}, not {value}: crop, pad or resize the data"


def _bound(size: Dim, sizes: Mapping[str, tuple[int, str]]) -> str | None:
    """Which array gave a symbolic size its value."""
    bound = [
        f"`{name}` is {sizes[name][0]} in `{sizes[name][1]}`"
        for name in sorted(names_of(size))
        if name in sizes
    ]
    return "; ".join(bound) or None


def _differs(source: Checker, field: Field, array: Array, help: str | None) -> SpecError:
    sizes = ", ".join(str(size) for size in array.shape)
    what = f"{field.role} `{field.name}` of `{source.file}`"
    return fail("data-shape", f"{what} has shape [{sizes}], and the model needs {field.tensor}", help)


def _other_targets(field: Field, array: Array) -> str | None:
    """The loss for the other way to write classes, where that is what the data hold."""
    rank, ones = len(field.tensor.shape), [size for size in array.shape[1:] if size == 1]
    if array.ndim - len(ones) == rank and len(ones) > 0 and array.shape[-1] == 1 and array.ndim > rank + 1:
        return f"its axes of size 1 are too many: `{field.name}.reshape({len(array)}, -1)`, or without the -1"
    if isinstance(field.loss, SparseLoss) and array.ndim == len(field.tensor.shape) + 1:
        return "these look one-hot: use `categorical_crossentropy`, or class numbers"
    if isinstance(field.loss, Categorical) and (array.ndim < len(field.tensor.shape) or array.shape[-1] == 1):
        return "these look like class numbers: use `sparse_categorical_crossentropy`, or one-hot targets"
    return None


def _other_input(field: Field, array: Array) -> str | None:
    """How an input is declared that takes what the data hold."""
    if field.role != "input":
        return None
    wanted, actual = field.tensor.shape[1:], array.shape[1:]
    shown = f"`shape: {list(actual)}`"
    if len(wanted) == len(actual) == 3 and actual == (wanted[-1], *wanted[:-1]):
        return f"its channels come first: write {shown}, `data_format: channels_first` at the input"
    if array.shape[::-1][1:] == wanted:
        return f"the first axis is the batch: save it as `{field.name}.T`, or write {shown} at the input"
    if actual == wanted[:-1]:
        return f"write `shape: {[*actual, 1]}` at the input: the data get their last axis by themselves"
    known = [size for size in wanted if isinstance(size, int)]
    if len(known) == len(wanted) and math.prod(actual) == math.prod(known):
        below = f"{{layer: Reshape, target_shape: {list(wanted)}}}" if len(wanted) > 1 else "{layer: Flatten}"
        return f"write {shown} at the input, and {below} below it"
    return gain({"shape": list(actual)}, f"write {shown} at the input, or change the data", safe=False)


# --- types and values


def _checked(source: Checker, field: Field, array: Array) -> Array:
    """The array in its field's type, every value legal."""
    what = f"{field.role} `{field.name}` of `{source.file}`"
    _kind(source, field, array)
    if array.dtype.kind == "f":
        _all_finite(source, field.name, what, array)
    if field.tensor.is_float:
        converted = array
        if array.dtype != np.uint8:  # bytes stay bytes in memory; a batch turns into floats when it is used
            with np.errstate(over="ignore"):
                wanted = field.tensor.dtype if field.tensor.dtype != "bfloat16" else "float32"
                converted = array.astype(wanted, copy=False)
        if array.dtype.kind == "f":
            _all_finite(source, field.name, f"{what}, as {field.tensor.dtype},", converted)
    else:
        converted = _as_integers(source, what, field, array)
    _in_range(source, what, field, converted)
    return converted


def _kind(source: Checker, field: Field, array: Array) -> None:
    if array.dtype.kind not in "biuf":
        kind = "text" if array.dtype.kind in "US" else str(array.dtype)
        what = f"{field.role} `{field.name}` of `{source.file}` holds {kind}"
        numbers = f"`numpy.unique({field.name}, return_inverse=True)[1]` gives class numbers"
        help = f"save it as numbers: {numbers}" if kind == "text" else "save it as an array of numbers"
        raise fail("data-dtype", f"{what}, and the model needs {field.tensor.dtype}", help)


def _all_finite(source: Checker, name: str, what: str, array: Array) -> None:
    finite = np.isfinite(array)
    if not finite.all():
        row, value, _ = _first(~finite, array)
        held = "NaN" if np.isnan(value) else "infinity"
        message, help = f"{what} holds {held} at {source.place(row)}", "remove or fill such values"
        raise fail("data-nonfinite", message, help, span=source.span(row, name))


def _as_integers(source: Checker, what: str, field: Field, array: Array) -> Array:
    dtype = np.dtype(field.tensor.dtype)
    if array.dtype.kind == "f":
        broken = array != np.trunc(array)
        if broken.any():
            row, value, _ = _first(broken, array)
            message = f"{what} must be integers, and is {value:g} at {source.place(row)}"
            raise fail(
                "data-dtype",
                message,
                "to predict a number, write `units: 1` and `loss: mse`; classes are integers, counted from 0"
                if field.role == "target"
                else "tokens are integers: for other values write `dtype: float32` at the input",
                span=source.span(row, field.name),
            )
        if source.typed:
            raise _not_whole(source, field, array)
    if dtype.kind == "b":
        odd = (array != 0) & (array != 1)
    else:
        info = np.iinfo(dtype)
        odd = (array < info.min) | (array > info.max) if array.dtype != dtype else np.zeros(0, bool)
    if odd.any():
        row, value, _ = _first(odd, array)
        message = f"{what} is {value} at {source.place(row)}, which {dtype} cannot hold"
        raise fail("data-range", message, span=source.span(row, field.name))
    return array.astype(dtype, copy=False)


def _not_whole(source: Checker, field: Field, array: Array) -> SpecError:
    what = f"{field.role} `{field.name}` of `{source.file}` is {array.dtype}"
    help = f'save it as integers: `.astype("{field.tensor.dtype}")`'
    return fail("data-dtype", f"{what}, and the model needs {field.tensor.dtype}", help)


def _in_range(source: Checker, what: str, field: Field, array: Array) -> None:
    if field.low is None or field.high is None or not array.size:
        return
    low, highs = field.bounds
    if len(highs) == 1 and array.min() >= low[0] and array.max() <= highs[0]:
        return
    wrong = (array < low) | (array > highs)
    if field.ignored is not None:
        wrong &= array != field.ignored
    if wrong.any():
        row, value, place = _first(wrong, array)
        high = highs[place] if len(highs) > 1 else highs[0]
        what += f" at position {place} of the last axis" if len(highs) > 1 else ""
        message = f"{what} is {value:g} at {source.place(row)}, and must be from {field.low} to {high}"
        help = _range_help(field, array, int(high or 0))
        raise fail("data-range", message, help, span=source.span(row, field.name))


def _range_help(field: Field, array: Array, high: int) -> str | None:
    if field.role == "input":
        return f"the Embedding that reads it has `input_dim: {high + 1}`"
    if isinstance(field.high, tuple):
        known = f"the output has {high + 1} class{'es' * (high > 0)}, counted from 0"
        return f"{known}: give the head as many as there are, `$(vocabulary({field.name}))`; no box is -1"
    if isinstance(field.loss, SparseLoss | CTC):
        if array.min() == 1 and array.max() == high + 1:
            return "classes count from 0: subtract 1"
        return f"the output has {high + 1} classes, counted from 0{_masks(array)}"
    if field.loss is None:
        return None
    if set(np.unique(array[:10_000]).tolist()) <= {-1, 1}:
        return f"write 0 for -1, as `{field.loss.name}` has them, or `loss: hinge`, which takes -1 and 1"
    return f"the targets of `{field.loss.name}` are probabilities{_masks(array)}"


def _masks(array: Array) -> str:
    """Remedy where the classes are pixels of an image, with other numbers."""
    values = np.unique(array).tolist() if array.ndim > 2 else []
    return f"; of images, `values: {values}` at the feature names the classes" if 1 < len(values) < 20 else ""


def _first(mask: NDArray[np.bool_], array: Array) -> tuple[int, Any, int]:
    """The row of the first marked value, the value, and its position on the last axis."""
    index = np.unravel_index(int(mask.argmax()), mask.shape)
    return int(index[0]), array[index], int(index[-1])
