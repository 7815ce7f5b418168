"""The examples of windows: encoded rows in the order of time, as views."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphspec.data import reading
from graphspec.data.batches import InMemory
from graphspec.data.encoders import Encoders
from graphspec.data.features.plan import Fill, FillPlan
from graphspec.data.fields import UNIT, Field
from graphspec.data.padding import Padding, Rows
from graphspec.data.ragged import Ragged
from graphspec.data.store import Array, Filed, FiledRows, InFiles, Store, folder, on_disk
from graphspec.data.streamed import Streamed
from graphspec.data.windows.timeline import Timeline
from graphspec.data.windows.views import RowsView, Runs, View, ViewsInFiles

COPIED = 2**16
"""Rows that are brought into the order of time at once, where they are in files."""


class InTime:
    """Windows of the rows of a timeline."""

    __slots__ = ()
    line: Timeline | None

    @property
    @abstractmethod
    def positions(self) -> NDArray[np.int64]:
        """The origin of each example, in the order of the examples."""

    @abstractmethod
    def values_of(self, group: str, name: str) -> Tensor | None:
        """All rows of an array, in the order of time; None where there is no such."""

    @abstractmethod
    def part(self, group: str, name: str, start: int, stop: int) -> Array | Ragged:
        """Some of these rows."""

    def named(self, example: int) -> dict[str, str]:
        """The series of an example, and the time of its origin, as people read them."""
        assert self.line is not None
        position = self.positions[example : example + 1]
        (series,) = self.line.series_of(position).tolist()
        (names,) = self.line.names.slice(series, 1).to_pylist()
        series_names = names if len(self.line.starts) > 2 else {}
        (time,) = self.line.stamps.column(self.line.ticks[position]).to_pylist()
        return {**series_names, "origin": str(time)}


@dataclass(frozen=True, slots=True)
class Windowed(InTime, InMemory):
    """Windows in memory; `origins` are the positions of all."""

    line: Timeline | None = field(default=None, kw_only=True)
    origins: Tensor | None = field(default=None, kw_only=True)

    @property
    def positions(self) -> NDArray[np.int64]:
        assert self.origins is not None
        origins = self.origins if self.index is None else self.origins[self.index]
        array: NDArray[np.int64] = origins.cpu().numpy()
        return array

    def values_of(self, group: str, name: str) -> Tensor | None:
        view = getattr(self, group).get(name)
        return None if view is None else view.values

    def part(self, group: str, name: str, start: int, stop: int) -> Array | Ragged:
        view = getattr(self, group)[name]
        if not isinstance(view, Rows):
            return view.values[start:stop].numpy()  # type: ignore[no-any-return]
        rows = Rows(view.values, view.offsets).part(start, stop)
        return Ragged(rows.values.numpy(), rows.offsets.numpy())


@dataclass(frozen=True, slots=True)
class StreamedWindows(InTime, Streamed):
    """Windows whose rows lie in files in the order of time."""

    line: Timeline | None = field(default=None, kw_only=True)

    @property
    def runs(self) -> Runs:
        runs: Runs = next(iter(self.arrays.values())).runs  # type: ignore[attr-defined]
        return runs

    @property
    def positions(self) -> NDArray[np.int64]:
        return self.runs.all

    def values_of(self, group: str, name: str) -> Tensor | None:
        view = getattr(self, group).get(name)
        return None if view is None else torch.from_numpy(view.source.read([(0, view.source.length)]))

    def part(self, group: str, name: str, start: int, stop: int) -> Array | Ragged:
        return getattr(self, group)[name].source.read([(start, stop)])  # type: ignore[no-any-return]

    def select(self, index: Tensor) -> StreamedWindows:
        """The windows with these numbers, which rise."""
        runs = Runs.of(self.runs.at(index.numpy()), self.runs.stride)
        groups: list[dict[str, Any]] = [
            {name: replace(view, runs=runs) for name, view in group.items()}  # type: ignore[type-var]
            for group in (self.arrays, self.weights, self.masks)
        ]
        return replace(self, arrays=groups[0], weights=groups[1], masks=groups[2])


def row_fields(wanted: Iterable[Field], plan: FillPlan) -> list[Field]:
    """The fields of windows as rows of the table fill them."""
    known = {fill.field: fill for fill in plan.fills}
    return [replace(each, tensor=known[each.name].tensor) for each in wanted]


def windowed(
    groups: Mapping[str, Mapping[str, Any]],
    wanted: Iterable[Field],
    encoders: Encoders,
    line: Timeline,
    origins: NDArray[np.int64],
    stride: int,
    padding: Padding,
) -> Windowed | StreamedWindows:
    """Encoded rows in the order of time, arrays or files of them by name in their groups, as windows that end
    their past at `origins`, which rise, `stride` apart in a run; on the CPU.
    """
    fills = {fill.field: fill for fill in encoders.plan.fills}
    outputs = {name: fills.get(output.target) for name, output in encoders.outputs.items()}
    filed = not any(isinstance(each, np.ndarray | Ragged) for each in groups["arrays"].values())
    runs, at = Runs.of(origins, stride), torch.from_numpy(origins)
    views: dict[str, dict[str, Any]] = {name: {} for name in reading.GROUPS}
    for group in reading.GROUPS:
        for name, array in groups[group].items():
            fill = fills.get(name.removesuffix(UNIT)) if group == "arrays" else outputs.get(name)
            if group == "weights" or name.endswith(UNIT):
                fill = None  # those of the last step of the past
            if filed:
                views[group][name] = ViewsInFiles(array, runs, *_steps(fill))
            else:
                views[group][name] = view(reading.tensors({name: array})[name], fill, at)
    dtypes = {each.name: getattr(torch, each.tensor.dtype) for each in wanted}
    dtypes |= {name: torch.float32 for name in views["arrays"] if name not in dtypes}
    line = replace(line, inserted=None)  # those rows are among the others now
    arrays, weights, masks = views.values()
    if filed:
        return StreamedWindows(arrays, dtypes, weights, masks, padding=padding, line=line)
    return Windowed(arrays, dtypes, None, weights, masks, padding=padding, line=line, origins=at)


def _steps(fill: Fill | None, origin: int = 0) -> tuple[Tensor | None, bool]:
    """The rows that a field has of each window, from its origin, and whether it has no axis for them."""
    steps = fill.steps if fill is not None else None
    if fill is None or steps is None:
        return None, False
    offsets = torch.arange(steps.first, steps.first + steps.count) - origin
    return offsets, fill.field_tensor.rank == fill.tensor.rank


def view(array: Any, fill: Fill | None, origins: Tensor, origin: int = 0) -> View | RowsView:
    """The windows of an array of rows, as a field has them. `origins` are the places of the step `origin` of
    each window, of which 0 is the last of the past.
    """
    if isinstance(array, Rows):
        return RowsView(array.values, array.offsets, origins)
    return View(array, origins, *_steps(fill, origin))


def in_order(store: Store, line: Timeline) -> dict[str, dict[str, Any]]:
    """The arrays of a store by group and name, in the order of time: in memory, or in files."""
    groups: dict[str, dict[str, Any]] = {}
    for group in reading.GROUPS:
        if store.filed:
            names = [name for kind, name in store.files if kind == group]
            groups[group] = {name: _moved(store.files[group, name], line) for name in names}
        else:
            arrays = store.group(group)
            # one at a time: its copy in order, and then the array is given up
            groups[group] = {name: _ordered(arrays.pop(name), line) for name in list(arrays)}
    groups["masks"] = {name: mask for name, mask in groups["masks"].items() if not _whole(mask)}
    return groups


def _whole(mask: Any) -> bool:
    """Whether all values of a mask are true."""
    if isinstance(mask, InFiles):
        return all(bool(part.all()) for part in mask.blocks())
    return bool((mask.values if isinstance(mask, Ragged) else mask).all())


def _ordered(array: Any, line: Timeline) -> Any:
    if line.order is None:
        return array
    return array.select(line.order) if isinstance(array, Ragged) else array[line.order]


def _moved(array: Filed | FiledRows, line: Timeline) -> Filed | FiledRows:
    """An array in a file of its own, in the order of time: rows that neighbouring windows read are near."""
    if line.order is None:
        return array
    with on_disk(folder(), array.row * len(line)):
        if isinstance(array, FiledRows):  # texts of single rows, which are few
            rows = FiledRows(Filed(array.values.read([]), folder()))
            rows.append(_ordered(array.read([(0, array.length)]), line))
            return rows
        place = np.empty(len(line), np.int64)
        place[line.order] = np.arange(len(line))
        moved = Filed(array.read([]), folder())
        for first in range(0, len(line), COPIED):
            stop = min(first + COPIED, len(line))
            moved.scatter(array.read([(first, stop)]), place[first:stop], len(line))
    return moved
