"""The timeline of windows in prepared data: with the arrays of the rows one of their times, and a file of the
series and of the windows of each part of the data.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from graphspec.data.columns import ipc_of, is_text
from graphspec.data.features.windows import Windows
from graphspec.data.prepared import AGAIN, LINE, Index, KeptLine, Label, Mapped, rows_of
from graphspec.data.ragged import Ragged, offsets_of
from graphspec.data.store import Array, Name
from graphspec.data.windows.stamps import Stamps
from graphspec.data.windows.timeline import Timeline
from graphspec.data.windows.views import Runs
from graphspec.diagnostics import SpecError, fail

SERIES, LENGTHS = (LINE, "series"), (LINE, "lengths")
"""The arrays of the series: their names as JSON, and how many rows each has. Another array has for a part of
the data the runs of windows in each series: the first position, and how many there are.
"""
Positions = NDArray[np.int64]


def kept(line: Timeline, windows: Mapping[Label, Positions], stride: int) -> dict[Name, Array | Ragged]:
    """The arrays of a timeline's series, and of the windows of each part."""
    names = [json.dumps(row, ensure_ascii=False).encode() for row in line.names.to_pylist()]
    letters = np.frombuffer(b"".join(names), np.uint8)
    arrays: dict[Name, Array | Ragged] = {
        SERIES: Ragged(letters, offsets_of([len(name) for name in names])),
        LENGTHS: np.diff(line.starts),
    }
    for label, positions in windows.items():
        runs = Runs.of(positions, stride)
        counts = np.bincount(line.series_of(runs.firsts), minlength=len(names))
        arrays[LINE, label] = Ragged(np.stack((runs.firsts, np.diff(runs.starts)), 1), offsets_of(counts))
    return arrays


def sealed(stamps: Stamps) -> str:
    """A cell of the column of time, with its type, as text."""
    sample = stamps.sample if is_text(stamps.kind) else None
    return base64.b64encode(ipc_of(pa.table({stamps.name: pa.array([sample], stamps.kind)}))).decode()


def _opened(line: KeptLine, ticks: Array) -> Stamps:
    """Raises `ValueError` where `sealed` did not write it."""
    table = pa.ipc.open_stream(base64.b64decode(line.stamp)).read_all()
    (name,), (sample,) = table.column_names, table.column(0).to_pylist()
    stamps = Stamps(name, table.schema.types[0], sample, line.format)
    stamps.column(ticks[:1])
    return stamps


def restored(
    folder: Path, index: Index, label: Label, ticks: Array, windows: Windows
) -> tuple[Timeline, dict[Label, Positions]]:
    """The timeline of the table for a part of the data, whose rows have these times, and by part its windows.
    Raises `SpecError` (data-format).
    """
    line = index.lines[label]
    file = Mapped(folder, line.file, line.columns)
    found: dict[Name, list[Any]] = {}
    for number in range(len(line.file.blocks)):
        batch = file.batch(number)
        for place, column in enumerate(line.columns):
            values = rows_of(column, batch.column(place), 0, len(batch))
            found.setdefault((column.group, column.name), []).append(values)
    try:
        arrays = {name: _joined(parts) for name, parts in found.items()}
        starts = offsets_of(arrays.pop(LENGTHS))
        letters = arrays.pop(SERIES)
        ends = letters.offsets.tolist()
        text = letters.values.tobytes()
        names = [json.loads(text[first:stop]) for first, stop in pairwise(ends)]
        table = pa.table({name: pa.array([row[name] for row in names], pa.string()) for name in names[0]})
        stamps = _opened(line, ticks)
        if (np.diff(starts) <= 0).any() or starts[-1] != len(ticks):
            raise ValueError("other rows")
        timeline = Timeline(len(ticks), ticks, starts, starts, table, stamps)
        parts: dict[Label, Positions] = {}
        for (_, part), pairs in arrays.items():
            parts[part] = _positions(timeline, pairs.values, windows)
    except (
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
        OverflowError,
        pa.ArrowException,
    ) as error:
        raise _damaged(folder, line, error) from None
    return timeline, parts


def _joined(parts: list[Any]) -> Any:
    return Ragged.joined(parts) if isinstance(parts[0], Ragged) else np.concatenate(parts)


def _positions(line: Timeline, pairs: Array, windows: Windows) -> Positions:
    """The positions of runs. Raises `ValueError` where a window is not within the rows of a series."""
    firsts, counts = pairs[:, 0], pairs[:, 1]
    lasts = firsts + (counts - 1) * windows.stride
    begins, ends = firsts - windows.past + 1, lasts + windows.next
    within = (counts > 0) & (begins >= 0) & (ends < len(line)) & (lasts < len(line))
    if not within.all() or (firsts[1:] <= lasts[:-1]).any():
        raise ValueError("windows without rows")
    if (line.series_of(begins) != line.series_of(ends)).any():
        raise ValueError("windows across series")
    return Runs(firsts, offsets_of(counts), windows.stride).all


def _damaged(folder: Path, line: KeptLine, error: Exception) -> SpecError:
    return fail("data-format", f"`{folder / line.file.file}` is not what was written: {error}", AGAIN)
