"""Whether new rows are like those that a run learned from: each column, and what the model answers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from graphspec.data import reading
from graphspec.data.columns import PLAIN, TablePart, missing_in, numbers, texts
from graphspec.data.config import DataConfig
from graphspec.data.encoders import Encoders
from graphspec.data.encoders.base import Encoder
from graphspec.data.encoders.categories import CategoryEncoder
from graphspec.data.encoders.numbers import Floats
from graphspec.data.features.settings import Date
from graphspec.data.folders import find
from graphspec.data.in_memory_source import Given
from graphspec.data.opening import Opening, given_file, opening, spec_file
from graphspec.data.tables import open_table
from graphspec.data.tables.between import rows_of_time
from graphspec.diagnostics import SpecError, fail
from graphspec.runs.repeats import holm
from graphspec.runs.run import Run

ROWS, ANSWERED = 200_000, 10_000
"""Rows whose columns are compared, and whose answers, at most: the first ones."""
LEVEL, SIZE = 0.01, 0.05
"""How often chance may be taken for a change, of all columns together; and the least change that matters."""
VALUES = 50
"""Values of a column that are told apart, the most frequent ones; others are one."""
MANY = 1000
"""Values from which on texts name rows, and are not compared."""
Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class ColumnDrift:
    """How a column differs from what the run learned from. `change` is the largest difference of the shares
    below a number, or the share of values that would have to be others, 0 to 1; `p` how often chance alone
    makes a change so large, corrected for all columns. `missing` and `unseen` are shares of the new rows.
    """

    column: str
    role: str
    """input, target or answer."""
    change: float
    p: float
    missing: float
    missing_before: float
    missing_p: float
    unseen: float
    shown: str
    """The largest change, in words."""

    @property
    def drifted(self) -> bool:
        """Whether it differs by more than chance, and by enough to matter."""
        gone = self.missing_p < LEVEL and abs(self.missing - self.missing_before) >= SIZE
        return gone or (self.p < LEVEL and self.change >= SIZE)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "drifted": self.drifted}


@dataclass(frozen=True, slots=True)
class Drift:
    """The columns of new rows beside those of training, and what is not compared."""

    rows: int
    before: int
    columns: list[ColumnDrift]
    left_out: list[str]

    @property
    def drifted(self) -> list[ColumnDrift]:
        return [each for each in self.columns if each.drifted]


@dataclass(frozen=True, slots=True)
class SampledColumn:
    """A column: numbers, or texts; and which rows lack it."""

    values: Array | None
    cells: pa.Array
    missing: Array


def drift(run: Run, data: Any, device: str = "auto") -> Drift:
    """Compares the rows of `data` with those that a run learned from. Raises `SpecError`."""
    encoders, config = run.encoders(), run.program.data
    if encoders is None or config is None or (run.files.synthetic and config.train is None):
        message = f"`{run.path}` learned from no table, and drift compares columns"
        raise fail("not-supported", message, "train it on a table: a file with named columns")
    learned = _learned(run, config)
    new = given_file(run.program, data)
    new = replace(new, options=new.options.model_copy(update={"since": None, "until": None}))
    before, after = [_rows(run, encoders, each) for each in learned], _rows(run, encoders, new)
    known = [
        Given(table=part.table) if each.options.bounds else each.path
        for each, part in zip(learned, before, strict=True)
    ]
    unanswered = encoders.names_files and any(each.options.bounds for each in learned)
    answers = [] if config.windows is not None or unanswered else list(_answers(run, known, data, device))
    found, left_out = [*answers], []
    targets = {fill.field for fill in encoders.plan.fills if fill.target}
    reading: dict[tuple[str, str], Encoder] = {}
    for name, encoder in encoders.encoders.items():
        for column in encoder.columns:
            place = ("target" if name in targets else "input", column)
            if place not in reading or isinstance(encoder, Floats):  # of numbers that are values, too
                reading[place] = encoder
    for (role, column), encoder in reading.items():
        holding = [part for part in before if column in part.table.column_names]
        if not holding or column not in after.table.column_names:
            continue
        one = _joined([_sample(part, column, encoder) for part in holding])
        two = _sample(after, column, encoder)
        if one is None or two is None:
            left_out.append(column)
            continue
        found.append(_compared(column, role, one, two, encoder))
    return Drift(len(after.rows), sum(len(part.rows) for part in before), _corrected(found), left_out)


def _learned(run: Run, config: DataConfig) -> list[Opening]:
    """The tables that a run learned from. Raises `SpecError` (data-missing)."""
    root, known = run.files.places(run.program)
    opened: list[Opening | None] = [
        spec_file(run.program, f"train.{name}", file, root) for name, file in config.sources.items()
    ]
    found = [each for each in opened or [opening(run.program, root, known)] if each is not None]
    if not found:
        message = "the run learned from arrays in memory, which it does not keep"
        raise fail("data-missing", message, "train it from a file")
    return found


def _joined(samples: Sequence[SampledColumn | None]) -> SampledColumn | None:
    """The samples of one column of several tables as one; None where a table's is none."""
    there = [each for each in samples if each is not None]
    if len(there) < len(samples) or len(there) == 1:
        return there[0] if len(there) == len(samples) else None
    values = [each.values for each in there if each.values is not None]
    cells = pa.chunked_array([each.cells.cast(pa.string()) for each in there]).combine_chunks()
    whole = np.concatenate(values) if len(values) == len(there) else None
    return SampledColumn(whole, cells, np.concatenate([each.missing for each in there]))


def _corrected(found: Sequence[ColumnDrift]) -> list[ColumnDrift]:
    """The same, with each p corrected for all tests."""
    chances = [p or 0.0 for p in holm([p for each in found for p in (each.p, each.missing_p)])]
    corrected = (
        ColumnDrift(**{**asdict(each), "p": chances[2 * i], "missing_p": chances[2 * i + 1]})
        for i, each in enumerate(found)
    )
    return sorted(corrected, key=lambda each: (not each.drifted, -each.change))


def _rows(run: Run, encoders: Encoders, opened: Opening) -> TablePart:
    """The first rows of a table, of the time that its file says: what features read, and the key."""
    config = run.program.data
    assert config is not None
    table = rows_of_time(
        open_table(find(opened.path, opened.within), opened.options, config), opened.options, config
    )
    names = [name for name in dict.fromkeys([*encoders.columns, *config.key]) if name in table.columns]
    chunks = [part for _, part in reading.sliced(table.chunks(names), ROWS, 1)]
    if not chunks:
        raise fail("data-empty", f"`{table.file}` holds no examples", table.empty_help)
    whole = pa.concat_tables(chunks, promote_options="permissive").combine_chunks()
    return reading.part_of(table, np.arange(whole.num_rows), whole)


def _answers(run: Run, before: Sequence[Any], data: Any, device: str) -> Iterator[ColumnDrift]:
    """Compares the model's answers for the rows of training, in one table or several, with those for the new
    ones.
    """
    key = run.program.data.key if run.program.data is not None else None
    tables = [
        pa.concat_tables(
            part for path in paths for part in run.predictions(path, device=device, limit=ANSWERED)
        ).combine_chunks()
        for paths in (before, [data])
    ]
    for name in tables[0].column_names:
        samples = []
        for table in tables:
            column = table.column(name).combine_chunks() if name in table.column_names else pa.nulls(0)
            part = TablePart(table, np.arange(table.num_rows), "predictions", str)
            samples.append(None if pa.types.is_nested(column.type) else _sample(part, name, None))
        one, two = samples
        if one is not None and two is not None and name not in (key or ()):
            yield _compared(name, "answer", one, two, None)


def _sample(part: TablePart, name: str, encoder: Encoder | None) -> SampledColumn | None:
    """A column as what can be compared; None of dates, which go on, of lists, pictures and names of rows."""
    column = part.column(name)
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    kind = column.type
    feature = encoder.feature if encoder is not None else None
    if isinstance(feature, Date) or pa.types.is_nested(kind) or pa.types.is_temporal(kind):
        return None
    missing = missing_in(column)
    if encoder is None or isinstance(encoder, Floats) or feature is None:
        try:
            return SampledColumn(numbers(part, name, getattr(encoder, "writing", PLAIN)), column, missing)
        except SpecError:  # texts
            pass
    try:
        cells = texts(part, name)
    except SpecError:
        return None
    return None if len(pc.unique(cells)) > max(MANY, len(cells) // 2) else SampledColumn(None, cells, missing)


def _compared(
    name: str, role: str, one: SampledColumn, two: SampledColumn, encoder: Encoder | None
) -> ColumnDrift:
    gone = [float(each.missing.mean()) if len(each.missing) else 0.0 for each in (one, two)]
    counts = [[each.missing.sum(), (~each.missing).sum()] for each in (one, two)]
    unseen = 0.0
    if one.values is not None and two.values is not None:
        known = [np.sort(each[np.isfinite(each)]) for each in (one.values, two.values)]
        change, p = numbers_apart(*known)
        shown = " -> ".join(f"{np.median(each):.4g}" if len(each) else "-" for each in known)
        shown = f"median {shown}"
    else:
        shares, tallies, names = _shares(one.cells, two.cells)
        change, p = float(np.abs(shares[0] - shares[1]).sum() / 2), chi_squared(np.stack(tallies))
        largest = int(np.abs(shares[0] - shares[1]).argmax()) if names else 0
        shown = f"{names[largest]} {shares[0][largest]:.1%} -> {shares[1][largest]:.1%}" if names else ""
        if encoder is None or isinstance(encoder, CategoryEncoder):
            new = pc.drop_null(two.cells)
            there = np.asarray(pc.is_in(new, pc.drop_null(pc.unique(one.cells))))
            unseen = float(1 - there.mean()) if len(there) else 0.0
    return ColumnDrift(name, role, change, p, gone[1], gone[0], chi_squared(np.array(counts)), unseen, shown)


def numbers_apart(one: Array, two: Array) -> tuple[float, float]:
    """The statistic of Kolmogorov and Smirnov of sorted numbers, and its p."""
    if not len(one) or not len(two):
        return 0.0, 1.0
    points = np.concatenate((one, two))
    below = [np.searchsorted(each, points, side="right") / len(each) for each in (one, two)]
    apart = float(np.abs(below[0] - below[1]).max())
    size = math.sqrt(len(one) * len(two) / (len(one) + len(two)))
    scaled = (size + 0.12 + 0.11 / size) * apart
    terms = (2 * (-1) ** (k - 1) * math.exp(-2 * (k * scaled) ** 2) for k in range(1, 101))
    return apart, min(1.0, max(0.0, sum(terms))) if scaled > 0.2 else 1.0


def _shares(one: pa.Array, two: pa.Array) -> tuple[list[Array], list[Array], list[str]]:
    """The shares and counts of the most frequent values, and of all others together."""
    found: list[Mapping[str, int]] = []
    for cells in (one, two):
        counted = pc.value_counts(pc.drop_null(cells)).to_pylist()
        found.append({each["values"]: each["counts"] for each in counted})
    total = {name: found[0].get(name, 0) + found[1].get(name, 0) for name in {**found[0], **found[1]}}
    frequent = sorted(total, key=lambda name: (-total[name], name))[:VALUES]
    tallies = []
    for counts in found:
        row = [counts.get(name, 0) for name in frequent]
        tallies.append(np.array([*row, sum(counts.values()) - sum(row)], float))
    return [row / max(1.0, row.sum()) for row in tallies], tallies, [*frequent, "others"] if frequent else []


def chi_squared(counts: Array) -> float:
    """The p of Pearson's test that rows of counts have the same shares."""
    counts = counts[:, counts.sum(0) > 0].astype(float)
    rows, columns = counts.sum(1, keepdims=True), counts.sum(0, keepdims=True)
    if counts.shape[1] < 2 or (rows == 0).any():
        return 1.0
    expected = rows * columns / counts.sum()
    statistic = float(((counts - expected) ** 2 / expected).sum())
    halves = torch.tensor([(counts.shape[1] - 1) / 2, statistic / 2], dtype=torch.float64)
    return float(torch.special.gammaincc(halves[0], halves[1]))
