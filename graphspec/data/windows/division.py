"""All windows, divided into training and validation by the time of what they predict, or by whole series. No
window of training reads a row of validation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphspec.data import reading, splits
from graphspec.data.features.windows import Windows
from graphspec.data.files import Marked, Split
from graphspec.data.windows.timeline import Rows, Timeline
from graphspec.diagnostics import fail

Parts = NDArray[np.uint8]
TOGETHER = 2**20
"""Windows that are looked at together."""


def row_parts(
    table: Any,
    division: Split | Marked,
    column: str | None,
    line: Timeline,
    seed: int,
    rows: int,
) -> Parts:
    """The part of each row of the file, and of each inserted one. `column` is that of the division."""
    if isinstance(division, Split) and division.last_by is not None:
        held = line.ticks >= _border(line, division.split)
        return line.by_row(np.where(held, np.uint8(splits.VALIDATION), np.uint8(splits.TRAINING)))
    values = reading.column(table, [column] if column else [], column, rows)
    if isinstance(division, Marked):
        assert values.whole is not None
        parts: Parts = splits.by_column(division, values.whole)
    else:
        parts = splits.by_split(division, values.whole, values.rows, seed)
    if line.inserted is None:
        return parts
    places = np.arange(len(line))  # an inserted step belongs to the part of the row before it
    known = np.maximum.accumulate(np.where(line.row_at(places) < line.rows, places, 0))
    all_parts = np.empty(len(line), np.uint8)
    all_parts[line.row_at(places)] = parts[line.row_at(known)]
    return all_parts


def _border(line: Timeline, share: float) -> Any:
    """The time from which on rows are of the last share."""
    count = len(line)
    first = min(count - 1, int(count * (1 - share)))
    return np.partition(line.ticks, first)[first]


def origins(line: Timeline, windows: Windows, file: str) -> Rows:
    """The positions at which the past of a window ends. Raises `SpecError` (data-empty)."""
    positions = line.origins(windows.past, windows.next, windows.stride)
    if len(positions):
        return positions
    longest = int(np.diff(line.begins).max())
    steps = windows.past + windows.next
    message = (
        f"`{file}` has no window of {windows.past} past and {windows.next} next steps: its longest run "
        f"without a gap has {longest:,} rows"
    )
    raise fail("data-empty", message, f"write a shorter `past`: all steps of a window together are {steps}")


def window_parts(line: Timeline, at: Rows, parts: Parts, windows: Windows) -> NDArray[np.int8]:
    """The part of each window: that of all the steps that it predicts, -1 where they belong to several. The
    past of a window for training lies in training, too. `parts` are those of rows.
    """
    of = line.in_order(parts)
    changes = np.zeros(len(of), np.int32)
    np.cumsum(of[1:] != of[:-1], dtype=np.int32, out=changes[1:])
    by_window = np.empty(len(at), np.int8)
    for start in range(0, len(at), TOGETHER):
        some = at[start : start + TOGETHER]
        begin = some + 1 - windows.past
        first, last = (some + 1, some + windows.next) if windows.next else (begin, some)
        part = np.where(changes[first] == changes[last], of[last], -1).astype(np.int8)
        part[(part == splits.TRAINING) & (changes[begin] != changes[last])] = -1
        by_window[start : start + TOGETHER] = part
    return by_window


def notes(line: Timeline, at: Rows, of: NDArray[np.int8] | None, windows: Windows) -> list[str]:
    """Describes the use of the rows, in lines."""
    series = len(line.starts) - 1
    said = f"{len(at):,} windows of {len(line):,} steps of {series:,} series" if series > 1 else ""
    lines = [said or f"{len(at):,} windows of {len(line):,} steps"]
    if of is not None:
        names = zip(reading.LABELS, range(3), strict=True)
        counts = [f"{name} {count:,}" for name, part in names if (count := int((of == part).sum()))]
        across = int((of < 0).sum())
        lines[0] += f": {', '.join(counts)}" + (f"; {across:,} cross the border" if across else "")
    if line.inserted is not None:
        lines.append(f"{len(line.inserted):,} steps that the file lacks were filled")
    elif len(line.begins) > len(line.starts):
        lines.append(f"{len(line.begins) - len(line.starts):,} gaps, which no window crosses")
    return [*lines, *line.left_out(at, windows.past + windows.next)]
