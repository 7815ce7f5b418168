"""The examples of windows: encoded rows in the order of time, as views."""

from __future__ import annotations

import tempfile
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
from graphspec.data.order import BLOCKS
from graphspec.data.padding import Padding, Rows
from graphspec.data.ragged import Ragged
from graphspec.data.store import FiledRows, InFiles, Store, folder, on_disk
from graphspec.data.streamed import WINDOW
from graphspec.data.windows.timeline import Timeline
from graphspec.data.windows.views import RowsView, View

COPIED = 2**16
"""Rows that are brought into the order of time at once, where they are in files."""


@dataclass(frozen=True, slots=True)
class Windowed(InMemory):
    """Examples that are windows of the rows of a timeline; `origins` are the positions of all."""

    line: Timeline | None = field(default=None, kw_only=True)
    origins: Tensor | None = field(default=None, kw_only=True)

    @property
    def positions(self) -> NDArray[np.int64]:
        """The origin of each example, in the order of the examples."""
        assert self.origins is not None
        origins = self.origins if self.index is None else self.origins[self.index]
        array: NDArray[np.int64] = origins.cpu().numpy()
        return array

    def named(self, example: int) -> dict[str, str]:
        """The series of an example, and the time of its origin, as people read them."""
        assert self.line is not None
        position = self.positions[example : example + 1]
        (series,) = self.line.series_of(position).tolist()
        (names,) = self.line.names.slice(series, 1).to_pylist()
        series_names = names if len(self.line.starts) > 2 else {}
        (time,) = self.line.stamps.column(self.line.ticks[position]).to_pylist()
        return {**series_names, "origin": str(time)}


def row_fields(wanted: Iterable[Field], plan: FillPlan) -> list[Field]:
    """The fields of windows as rows of the table fill them."""
    known = {fill.field: fill for fill in plan.fills}
    return [replace(each, tensor=known[each.name].tensor) for each in wanted]


def windowed(
    store: Store,
    wanted: Iterable[Field],
    encoders: Encoders,
    line: Timeline,
    origins: NDArray[np.int64],
    padding: Padding,
) -> Windowed:
    """Encoded rows as windows that end their past at `origins`, on the CPU."""
    at = torch.from_numpy(origins)
    fills = {fill.field: fill for fill in encoders.plan.fills}
    outputs = {name: fills.get(output.target) for name, output in encoders.outputs.items()}
    groups: dict[str, dict[str, Any]] = {name: {} for name in reading.GROUPS}
    for group in reading.GROUPS:
        for name, array in _arrays(store, group, line).items():
            fill = fills.get(name.removesuffix(UNIT)) if group == "arrays" else outputs.get(name)
            if group == "weights" or name.endswith(UNIT):
                fill = None  # those of the last step of the past
            if group == "masks" and array.all():
                continue
            groups[group][name] = view(array, fill, at)
    dtypes = {each.name: getattr(torch, each.tensor.dtype) for each in wanted}
    dtypes |= {name: torch.float32 for name in groups["arrays"] if name not in dtypes}
    return Windowed(
        groups["arrays"],
        dtypes,
        None,
        groups["weights"],
        groups["masks"],
        padding=padding,
        block=_block(groups["arrays"]) if store.filed else None,
        line=replace(line, inserted=None),  # those rows are among the others now
        origins=at,
    )


def view(array: Any, fill: Fill | None, origins: Tensor, origin: int = 0) -> View | RowsView:
    """The windows of an array of rows, as a field has them. `origins` are the places of the step `origin` of
    each window, of which 0 is the last of the past.
    """
    if isinstance(array, Rows):
        return RowsView(array.values, array.offsets, origins)
    steps = fill.steps if fill is not None else None
    if fill is None or steps is None:
        return View(array, origins)
    offsets = torch.arange(steps.first, steps.first + steps.count) - origin
    return View(array, origins, offsets, single=fill.field_tensor.rank == fill.tensor.rank)


def _block(arrays: Mapping[str, Any]) -> int:
    """Examples in a block of neighbours, whose rows are read together."""
    row: int = sum(each.values.nbytes // max(1, len(each.values)) for each in arrays.values())
    return max(1, WINDOW // (BLOCKS * max(1, row)))


def _arrays(store: Store, group: str, line: Timeline) -> dict[str, Any]:
    """The arrays of a group by name, in the order of time; those in files as memory that maps a file."""
    if not store.filed:
        arrays = store.group(group)
        tensors: dict[str, Any] = {}
        for name in list(arrays):  # one at a time: its copy in order, and then the array is given up
            tensors |= reading.tensors({name: _ordered(arrays.pop(name), line)})
        return tensors
    names = [name for kind, name in store.files if kind == group]
    return {name: _mapped(store.files[group, name], line) for name in names}


def _ordered(array: Any, line: Timeline) -> Any:
    if line.order is None:
        return array
    return array.select(line.order) if isinstance(array, Ragged) else array[line.order]


def _mapped(array: InFiles | FiledRows, line: Timeline) -> Tensor | Rows:
    """An array in a file of its own, in the order of time: rows that neighbouring windows read are near."""
    if isinstance(array, FiledRows):  # texts of single rows, which are few
        rows = array.read([(0, array.length)])
        return Rows.of(_ordered(rows, line))
    place = np.arange(len(line)) if line.order is None else np.empty(len(line), np.int64)
    if line.order is not None:
        place[line.order] = np.arange(len(line))
    shape = (len(line), *array.shape)
    with on_disk(folder(), array.row * len(line)), tempfile.TemporaryFile(dir=folder()) as file:
        file.truncate(max(1, array.row * len(line)))
        mapped = np.memmap(file, array.dtype, "r+", 0, shape)
        for first in range(0, len(line), COPIED):
            stop = min(first + COPIED, len(line))
            mapped[place[first:stop]] = array.read([(first, stop)])
    return torch.from_numpy(np.asarray(mapped))
