"""Encoders: fitted on training rows, they turn tables into the arrays of a program, and predictions back.

    encoders = Encoders(plan, outputs)
    encoders.bind(table)
    encoders.fit(parts)                   # of training rows, part by part
    encoded = encoders.encode(part)       # of any rows
    table = encoders.decode(predictions)
    encoders.to_json()

Nothing is guessed: what does not fit raises `SpecError` with file, row, column, value and remedy, and what
was filled, cut or unseen is counted in `notes`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from hashlib import blake2b
from importlib import import_module
from pathlib import Path as FilePath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from graphspec.data.binding import ColumnSource, Place, bind, check_weights, nowhere
from graphspec.data.columns import Mask, TablePart
from graphspec.data.encoders.base import UNSEEN_TOKENS, Array, Column, Encoder, damaged, restored
from graphspec.data.encoders.decoding import written
from graphspec.data.encoders.plain import PlainEncoder
from graphspec.data.encoders.weights import RowWeights
from graphspec.data.features.plan import Fill, FillPlan, Outputs, pictured, reading_images, sees_padding
from graphspec.data.features.settings import Number
from graphspec.data.features.texts import DrawnValues, Shifted
from graphspec.data.features.vision import BoxesFeature
from graphspec.data.fields import UNIT
from graphspec.data.ragged import Ragged
from graphspec.data.rows.cells import Columns, as_table
from graphspec.data.rows.outputs import ModelOutputs, OutputColumns
from graphspec.diagnostics import SpecError, fail
from graphspec.tensor import names_of, value_of

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Encoded", "Encoders"]

MASKS = "masks:MaskEncoder"
"""The encoder of a target that is an image."""
PARTS = ("", "training", "validation", "test")
OF_BOXES = ("without boxes", "with crowds", "with boxes clipped", "with boxes left out")
TOLD = (*PARTS, "unseen", UNSEEN_TOKENS, "filled", "cut", "without a target", *OF_BOXES)
"""Parts of the data and reasons, in the order of their notes."""
VERSION = 1
"""Of the JSON state."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Encoded rows: inputs and targets by field, and by output which targets count, and their weights.

    `masks` is [n] or [n, steps], also of rows of different lengths. `sizes` are, by the name of a symbolic
    size, the length of each row.
    """

    arrays: dict[str, Array | Ragged]
    masks: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, Array] = field(default_factory=dict)
    sizes: dict[str, Array] = field(default_factory=dict)


class Encoders:
    """An encoder for each field of a plan, and the weights of each output.

    Bind them to the columns of a table; then fit or restore them; then encode.
    """

    def __init__(self, plan: FillPlan, outputs: Outputs, images: bool = False, root: FilePath | None = None):
        """`images` says that the plan is that of a folder of images, which needs no features; the files that
        features name are relative to `root`.
        """
        self.plan, self.outputs, self.images = plan, outputs, images
        self.root = root or FilePath()
        self.encoders = {fill.field: self._encoder(fill) for fill in plan.fills}
        self._follow()
        self.weights: dict[str, RowWeights] = {}
        self.counts: Counter[tuple[str, str, str]] = Counter()
        self.rows: Counter[str] = Counter()
        self.classes: dict[tuple[str, str], set[int]] = {}
        """Of targets that are classes, by name and part of the data: those that its rows have."""
        self.targets = True
        self.partial: frozenset[str] = frozenset()
        """The targets that some of several tables lack."""
        self.lacking: frozenset[str] = frozenset()
        """Those that the table lacks to which the columns are bound: its rows do not count for them."""
        self._legal: dict[str, Column] = {}
        """A row of each of the `partial` targets."""
        self.seasonal: dict[str, dict[str, float]] = {}
        """By output, the mean step from season to season of each series in training: see `windows.naive`."""
        self.until: float | None = None
        """The latest time of training rows, of windows, as `Stamps` counts it."""

    def bind(
        self,
        source: ColumnSource,
        place: Place = nowhere,
        targets: bool = True,
        lacking: frozenset[str] = frozenset(),
    ) -> None:
        """Binds the encoders to the columns of a table; without `targets`, only those of inputs, and never
        those of targets that are `lacking`.

        Raises `SpecError` with each column that is missing.
        """
        self.lacking = lacking
        bound = bind(self.plan, source, place, targets, lacking)
        for name, columns in bound.items():
            self.encoders[name].columns = columns
            feature = self.encoders[name].fill.feature
            if feature is not None and feature.reads_text:
                source.read_as_text(columns)
        self.targets = targets
        if targets:
            check_weights(self.outputs, source, lacking=lacking)
            self._bind_weights(bound)

    def need_legal(self, part: TablePart) -> None:
        """Keeps a legal value of the `partial` targets that this row has, for the rows of other tables."""
        for name in self.partial - self.lacking - self._legal.keys():
            self._legal[name] = self.encoders[name].encode(part)
            self.encoders[name].forget()

    def limit(self, rows: int) -> None:
        """Says that they learn from the first `rows` rows alone."""
        for encoder in self.encoders.values():
            encoder.limit = rows

    def read_images(self) -> None:
        """From now on the only input, if it holds images, is read from a folder of images."""
        before, self.plan = self.plan, reading_images(self.plan)
        for fill in self.plan.fills:
            if fill != before.of(fill.field):  # images, of which nothing is learned
                self.encoders[fill.field] = self._encoder(fill)
        self._follow()

    def sized(self, size: tuple[int, int]) -> Encoders:
        """The same encoders, with pictures and masks of this width and height."""
        found = copy(self)
        found.encoders = {name: each.sized(size) for name, each in self.encoders.items()}
        return found

    def _follow(self) -> None:
        """Says of encoders that depend on another one which it is."""
        for encoder in self.encoders.values():
            if isinstance(encoder.feature, Shifted | DrawnValues):
                encoder.follow(self.encoders[encoder.feature.of])
            elif isinstance(encoder.feature, BoxesFeature) and (
                picture := pictured(self.plan, encoder.feature)
            ):
                encoder.follow(self.encoders[picture.field])

    def _encoder(self, fill: Fill) -> Encoder:
        ignore = fill.output is not None and self.outputs[fill.output].rows.missing == "ignore"
        if fill.feature is None:
            return PlainEncoder(fill, ignore)
        file, name = (MASKS if fill.mask else fill.feature.made_by).split(":")
        encoder: Encoder = getattr(import_module(f"{__name__}.{file}"), name)(fill, ignore)
        encoder.root = self.root
        return encoder

    def _bind_weights(self, bound: Mapping[str, Sequence[str]]) -> None:
        for name, output in self.outputs.items():
            rows, target = output.rows, None
            if not rows.weighted or output.target in self.lacking:
                continue
            if rows.class_weight is not None:
                columns = bound.get(output.target, ())
                if len(columns) != 1:
                    what = f"`class_weight` of output `{name}` is by the values of one column"
                    raise fail("data-shape", what, "leave `class_weight` out")
                target = columns[0]
            if name not in self.weights:
                self.weights[name] = RowWeights(name, rows, target)
            self.weights[name].target = target
            if target is not None:
                self.weights[name].encoder = self.encoders[output.target]
                self.weights[name].ignored = getattr(output.loss, "ignore_class", None)

    @property
    def used(self) -> dict[str, Encoder]:
        """The encoders of the fields that are read."""
        read = {n: e for n, e in self.encoders.items() if self.targets or not self.plan.of(n).target}
        return {name: encoder for name, encoder in read.items() if name not in self.lacking}

    @property
    def names_files(self) -> bool:
        """Whether cells may name files."""
        return any(encoder.names_files for encoder in self.used.values())

    def contents(self, part: TablePart) -> str:
        """The digest of the files that some rows name; nothing where they name none."""
        digests = [each for encoder in self.used.values() for each in encoder.contents(part)]
        return blake2b(b"".join(digests), digest_size=16).hexdigest() if digests else ""

    @property
    def columns(self) -> list[str]:
        """The columns that are read."""
        read = [column for encoder in self.used.values() for column in encoder.columns]
        beside = (encoder for name, encoder in self.encoders.items() if name not in self.lacking)
        read += [column for encoder in beside for column in encoder.beside]
        weights = [column for weigher in self.weighers.values() for column in weigher.columns]
        return list(dict.fromkeys([*read, *weights]))

    @property
    def weighers(self) -> dict[str, RowWeights]:
        """The weights that are read."""
        read = self.weights if self.targets else {}
        return {n: w for n, w in read.items() if self.outputs[n].target not in self.lacking}

    # --- learning

    def fit(self, parts: Iterable[TablePart]) -> int:
        """Fits the encoders to training rows, part by part, and returns their number.

        Raises `SpecError` with the first mistake of each field.
        """
        learners: dict[str, Encoder | RowWeights] = {
            **self.encoders,
            **{f"weights of {name}": w for name, w in self.weights.items()},
        }
        problems: dict[str, SpecError] = {}
        rows = 0
        for part in parts:
            rows += len(part)
            gone = self.lacking | {
                f"weights of {name}" for name in self.weights.keys() - self.weighers.keys()
            }
            for name, learner in learners.items():
                if name not in gone:
                    _try(problems, name, learner.learn, part)
        for name, learner in learners.items() if rows else ():
            _try(problems, name, learner.finish)
        _raise({name: problems[name] for name in learners if name in problems})
        return rows

    # --- encoding

    def encode(self, part: TablePart, labels: Mapping[str, Mask] | None = None) -> Encoded:
        """The arrays of some rows. `labels` are the rows of each set (training, validation), for the counts.

        Raises `SpecError` with each field's first mistake.
        """
        problems: dict[str, SpecError] = {}
        columns: dict[str, Column] = {}
        for name, encoder in self.used.items():
            column = _try(problems, name, encoder.encode, part)
            if column is not None:
                columns[name] = column
        weights = {}
        for name, weigher in self.weighers.items():
            weighed = _try(problems, name, weigher.weigh, part)
            if weighed is not None:
                weights[name] = weighed
        _raise(problems)
        if self.targets:
            for name in sorted(self.lacking):
                columns[name] = _repeated(self._legal[name], len(part))
            gone = self.weights.keys() - weights.keys()
            weights |= {name: np.ones(len(part), np.float32) for name in sorted(gone)}
        sizes = self._sizes(part, columns)
        self._count(columns, labels or {"": np.ones(len(part), bool)})
        arrays = {name: column.values for name, column in columns.items()} | self._units(part, columns)
        for encoder in self.used.values():
            encoder.forget()
        return Encoded(arrays, self._masks(columns), weights, sizes)

    def encode_field(self, name: str, part: TablePart) -> Array | Ragged:
        """The array of one field, for some rows. Raises `SpecError`."""
        column = self.encoders[name].encode(part)
        self.rows[""] = max(self.rows[""], len(part))
        for word, mask in column.marks.items():
            self.counts[name, word, ""] += int(mask.sum())
        return column.values

    def _units(self, part: TablePart, columns: Mapping[str, Column]) -> dict[str, Array]:
        """The scales that rows have of their own, of targets, by their names followed by `UNIT`."""
        units: dict[str, Array] = {}
        for name, encoder in self.encoders.items():
            if self.plan.of(name).target and encoder.scales_rows:
                unit = columns[name].unit if name in columns else encoder.unit(part)
                if unit is not None:
                    units[name + UNIT] = unit
        return units

    def _masks(self, columns: Mapping[str, Column]) -> dict[str, Any]:
        """By output, which targets exist: a value for each row, or for each of its steps. Whether an output
        has such a mask, and its rank, are the same for any rows: the parts of a table are joined.
        """
        masks: dict[str, Any] = {}
        for name, output in self.outputs.items():
            column = columns.get(output.target)
            if column is None or self.plan.of(output.target).output is None:
                continue
            if column.counted is not None:
                masks[name] = column.counted
                continue
            if column.mask is not None and output.mask is None and not sees_padding(output):
                masks[name] = column.mask
            if self.encoders[output.target].ignore and not isinstance(column.values, Ragged):
                there = np.ones(len(column.values), bool) if column.missing is None else ~column.missing
                masks[name] = there if name not in masks else masks[name] & there[:, None]
            elif output.target in self.partial:
                there = np.full(len(column.values), output.target not in self.lacking)
                masks[name] = there if name not in masks else masks[name] & there[:, None]
        return masks

    def _sizes(self, part: TablePart, columns: Mapping[str, Column]) -> dict[str, Array]:
        """The length of each row by the size's name. Raises `SpecError` where two columns disagree."""
        known: dict[str, tuple[Array, str]] = {}
        for name, column in columns.items():
            if not isinstance(column.values, Ragged):
                continue
            size, lengths = self.plan.of(name).tensor.shape[1], column.values.lengths
            if isinstance(size, int):
                continue
            if str(size) in names_of(size):
                before, other = known.setdefault(str(size), (lengths, name))
            elif names_of(size) <= known.keys():
                unit = next(iter(names_of(size)))
                before = np.array([value_of(size, {unit: int(n)}) for n in known[unit][0]])
                other = known[unit][1]
            else:
                continue
            if column.missing is not None:
                before = np.where(column.missing, lengths, before)
            if (before != lengths).any():
                index = int((before != lengths).argmax())
                both = f"{lengths[index]} elements, and `{other}` {before[index]}"
                what = f"`{name}` has {both}; both are `{size}` long"
                raise part.fail("data-shape", self.encoders[name].columns[0], index, what)
        return {name: lengths for name, (lengths, _) in known.items()}

    # --- the way back

    def decode(
        self,
        values: Mapping[str, Array],
        sizes: Mapping[str, Array] = MappingProxyType({}),
        probabilities: bool = True,
        units: Mapping[str, Array] = MappingProxyType({}),
    ) -> pa.Table:
        """Predictions as columns: the value of each output; for classes also the probability of each; a
        number in the units of its column; a sequence as a list of the row's length.

        `values` are what the model returns, by its names, batch axis first; `sizes` those of `Encoded`, and
        `units` by target the scales that its rows have of their own.
        """
        return as_table(self.cells(values, sizes, probabilities, units))

    def cells(
        self,
        values: Mapping[str, Array],
        sizes: Mapping[str, Array],
        probabilities: bool,
        units: Mapping[str, Array] = MappingProxyType({}),
    ) -> Columns:
        """The columns of `decode`, before they are a table."""
        columns, outputs = Columns(), ModelOutputs(values, sizes, probabilities)
        for name, one in self.written().items():
            if name in values:
                columns |= one(outputs, units.get(self.outputs[name].target + UNIT))
        return columns

    def written(self) -> dict[str, OutputColumns]:
        """How each output becomes columns."""
        return {name: written(name, o, self.encoders.get(o.target)) for name, o in self.outputs.items()}

    def units(self) -> Mapping[str, Any]:
        """By output, the conversion of its values and targets to the units of the column; none for outputs
        without a scale.
        """
        from graphspec.data.encoders.units import units

        return units(self.outputs, self.encoders)

    # --- what was done

    def _count(self, columns: Mapping[str, Column], labels: Mapping[str, Mask]) -> None:
        for label, rows in labels.items():
            self.rows[label] += int(rows.sum())
            for name, column in columns.items():
                for word, mask in column.marks.items():
                    self.counts[name, word, label] += int((mask & rows).sum())
                if column.missing is not None:
                    self.counts[name, "without a target", label] += int((column.missing & rows).sum())
                ids = self.encoders[name].classes_of(column)
                if ids is not None:
                    there = rows if column.missing is None else rows & ~column.missing
                    self.classes.setdefault((name, label), set()).update(np.unique(ids[there]).tolist())

    @property
    def notes(self) -> list[str]:
        """The notes of the encoders: a line for each feature."""
        lines = []
        for name, encoder in self.encoders.items():
            counts = self._counts_of(name)
            counts = "; ".join(filter(None, (counts, self._lone_class(name))))
            notes = [note for note in encoder.notes if not note.startswith("warning: ")]
            if counts and len(notes) == 1:
                notes = [f"{notes[0]}; {counts}"]
            elif counts:  # of several columns, each with a note of its own, together
                notes.append(f"{name}: {counts}")
            lines += notes
            lines += [note for note in encoder.notes if note.startswith("warning: ")]
        return lines

    def _lone_class(self, name: str) -> str:
        """Which part of the data has one class alone, where there are more: metrics say little of it."""
        classes = self.encoders[name].id_names() or []
        parts = ((label, ids) for (field, label), ids in self.classes.items() if field == name)
        lone = (f"{label}: only `{classes[min(ids)]}`" for label, ids in parts if label and len(ids) == 1)
        return "; ".join(lone) if len(classes) > 1 else ""

    def counted(self, part: str = "") -> list[str]:
        """Counts of unseen, filled and cut cells in the encoded rows of a part of the data: a line for each
        feature with such rows. Numbers that are read as values, too, are counted as numbers alone. Rows that
        were encoded without `labels` belong to the part "".
        """
        as_numbers = {
            column
            for encoder in self.encoders.values()
            if isinstance(encoder.feature, Number)
            for column in encoder.columns
        }
        return [
            f"{name}: {counts}"
            for name, encoder in self.encoders.items()
            if (isinstance(encoder.feature, Number) or not {*encoder.columns} <= as_numbers)
            and (counts := self._counts_of(name, part))
        ]

    def _counts_of(self, name: str, part: str | None = None) -> str:
        """The counts of a field: in one part, or in each with its name."""
        return "; ".join(
            f"{label + ': ' if label and part is None else ''}{count:,} of {self.rows[label]:,} rows {word}"
            for (field, word, label), count in sorted(self.counts.items(), key=_order)
            if field == name and count and part in (None, label)
        )

    # --- state

    def to_json(self) -> dict[str, Any]:
        """The learned state, as plain JSON data."""
        return {
            "version": VERSION,
            "images": self.images,
            "fields": {name: encoder.state() for name, encoder in self.encoders.items()},
            "weights": {name: weigher.state() for name, weigher in self.weights.items()},
            **({"seasonal": self.seasonal} if self.seasonal else {}),
            **({"until": self.until} if self.until is not None else {}),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restores the state that `to_json` of encoders with the same plan returned, bound or not. Raises
        `SpecError`.
        """
        if state.get("version") != VERSION:
            message = f"the encoders have version {state.get('version')}, and this graphspec reads {VERSION}"
            raise fail("data-format", message, "train again")
        try:
            for fill in self.plan.fills:
                encoder = self.encoders.setdefault(fill.field, self._encoder(fill))
                encoder.restore(state["fields"][fill.field])
            self.seasonal = restored(dict[str, dict[str, float]], state.get("seasonal", {}))
            self.until = restored(float | None, state.get("until"))
            for name, output in self.outputs.items():
                if output.rows.weighted:
                    weigher = self.weights.setdefault(name, RowWeights(name, output.rows, None))
                    if output.rows.class_weight is not None:
                        weigher.encoder = self.encoders[output.target]
                    weigher.restore(state["weights"][name])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            said = str(error).splitlines() or [""]
            raise damaged(f"{type(error).__name__} {said[0]}") from None


def _repeated(column: Column, count: int) -> Column:
    """`count` rows without a target: each has the legal value of the one row of a column."""

    def rows(array: Any) -> Any:
        if isinstance(array, Ragged):
            return Ragged(array.values[:0], np.zeros(count + 1, np.int64))
        return None if array is None else np.repeat(np.asarray(array)[:1], count, 0)

    return Column(
        rows(column.values),
        np.ones(count, bool),
        mask=rows(column.mask),
        counted=rows(column.counted),
        unit=rows(column.unit),
    )


def _try(problems: dict[str, SpecError], name: str, call: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a call, or None after recording its error; a name with an error is not called again."""
    if name in problems:
        return None
    try:
        return call(*arguments)
    except SpecError as error:
        problems[name] = error
        return None


def _order(counted: tuple[tuple[str, str, str], int]) -> tuple[int, int]:
    """The place of a count among those of its field."""
    (_, word, label), _ = counted
    return TOLD.index(label), TOLD.index(word)


def _raise(problems: Mapping[str, SpecError]) -> None:
    diagnostics = [diagnostic for error in problems.values() for diagnostic in error.diagnostics]
    unique = {(d.code, d.message): d for d in diagnostics}
    if unique:
        raise SpecError(unique.values())
