"""Forecasts of windows: their errors by step, beside the seasonal naive forecast, and as long rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from graphspec.data import reading
from graphspec.data.batches import Batch, InMemory
from graphspec.data.columns import TablePart
from graphspec.data.encoders import Encoders
from graphspec.data.features.plan import Fill
from graphspec.data.features.windows import Windows
from graphspec.data.fields import UNIT, Checker, Field
from graphspec.data.windows import naive
from graphspec.data.windows.examples import InTime, row_fields, view
from graphspec.data.windows.stamps import after
from graphspec.data.windows.timeline import Rows, timeline
from graphspec.diagnostics import fail
from graphspec.elaborated import BaseProgram
from graphspec.objectives.formulas import activate
from graphspec.objectives.losses import QuantileLoss
from graphspec.train.batch_result import BatchResult


def windows_of(program: BaseProgram) -> Windows:
    """The windows of a program that forecasts."""
    assert program.data is not None and program.data.windows is not None
    return program.data.windows


class StepErrors:
    """Absolute errors of forecasts in the units of their column: by step, and beside the naive forecast."""

    def __init__(self, program: BaseProgram, encoders: Encoders, examples: InTime):
        self.windows = windows_of(program)
        self.outputs = {name: program.outputs[name] for name in naive.forecasts(encoders)}
        self.units, self.encoders = encoders.units(), encoders
        self.first = 0
        steps = self.windows.next
        self.sums = {name: np.zeros((5, steps)) for name in self.outputs}
        """By output: errors, those of the naive forecast, how many, errors by the scale of their series, and
        how many of these: a series whose seasons are all equal in training has none.
        """
        self.scales = {
            name: naive.scales_of(examples, encoders.seasonal.get(name, {})) for name in self.outputs
        }
        self.views = {
            name: naive.view_of(examples, output.target, self.windows)
            for name, output in self.outputs.items()
        }

    @torch.no_grad()
    def add(self, result: BatchResult, batch: Batch) -> None:
        """Adds a batch, in the order of the examples."""
        rows = slice(self.first, self.first + len(batch))
        self.first += len(batch)
        for name, output in self.outputs.items():
            value = activate(result.outputs[name], output.activation)
            unit = batch.arrays.get(output.target + UNIT)
            target, before = result.targets[name], self.views[name][rows].to(value.device)
            if name in self.units:
                value, target, before = (self.units[name](each, unit) for each in (value, target, before))
            if isinstance(output.loss, QuantileLoss):
                value = value[..., output.loss.middle]
            mask = result.masks.get(name)
            flat = (self._flat(value), self._flat(target), self._flat(before))
            self._sum(name, rows, *flat, mask)

    def _flat(self, values: Tensor) -> NDArray[np.float64]:
        flat: NDArray[np.float64] = values.double().reshape(len(values), -1).cpu().numpy()
        return flat

    def _sum(
        self,
        name: str,
        rows: slice,
        value: NDArray[np.float64],
        target: NDArray[np.float64],
        before: NDArray[np.float64],
        mask: Tensor | None,
    ) -> None:
        there = np.ones(target.shape) if mask is None else self._flat(mask)
        wrong, other = np.abs(value - target) * there, np.abs(before - target) * there
        scales = self.scales[name][rows][:, None]
        has = scales > 0
        scaled = np.where(has, wrong, 0) / np.where(has, scales, 1)
        self.sums[name] += np.stack([each.sum(0) for each in (wrong, other, there, scaled, there * has)])

    @property
    def notes(self) -> list[str]:
        """How much of the examples `mase` is not of."""
        shares = {name: 1 - sums[4].sum() / max(1.0, sums[2].sum()) for name, sums in self.sums.items()}
        return [
            f"{name}: mase is without {share:.1%} of the steps: in training, the seasons of their series are "
            "equal"
            for name, share in shares.items()
            if share > 0
        ]

    def result(self) -> tuple[dict[str, float], dict[str, dict[str, list[float]]]]:
        """Numbers over all steps, shown with the metrics, and by output the errors of each step."""
        metrics: dict[str, float] = {}
        steps: dict[str, dict[str, list[float]]] = {}
        for name, sums in self.sums.items():
            prefix = f"{name}_" if len(self.encoders.outputs) > 1 else ""
            wrong, other, count, scaled, with_scale = sums
            total = max(1.0, float(count.sum()))
            metrics[f"{prefix}naive_mae"] = float(other.sum()) / total
            if with_scale.any():
                metrics[f"{prefix}mase"] = float(scaled.sum() / with_scale.sum())
            each = np.maximum(count, 1)
            steps[name] = {"mae": (wrong / each).tolist(), "naive_mae": (other / each).tolist()}
        return metrics, steps


class Forecaster:
    """Reads the windows of a table that forecasts start from, without what they predict."""

    def __init__(self, program: BaseProgram, encoders: Encoders, table: Any, every_window: bool, limit: int):
        self.program, self.encoders, self.table, self.every, self.limit = (
            program,
            encoders,
            table,
            every_window,
            limit,
        )
        self.windows = windows_of(program)
        self.inputs = [fill for fill in encoders.plan.fills if not fill.target]
        self.known = [f.field for f in self.inputs if f.steps is not None and f.steps.first > 0]
        self.ahead = self.windows.next if self.known else 0
        self.line = timeline(table, self.windows, self._format(), limit)
        self.origins = self._origins(self.ahead)
        spacing = self.windows.spacing
        self.anchors = self.line.anchors(spacing) if spacing is not None else np.zeros(0, np.int64)

    def _format(self) -> str | None:
        from graphspec.data.features.settings import Date

        assert self.program.data is not None
        formats = [
            each.format
            for name, each in self.program.data.features.items()
            if isinstance(each, Date) and self.windows.order in each.read(name)
        ]
        return formats[0] if formats else None

    def _origins(self, behind: int) -> Rows:
        line, past = self.line, self.windows.past
        origins = line.origins(past, behind)
        if not len(origins):
            steps = f"{past} steps of the past" + (f" and {behind} that come next" if behind else "")
            message = f"`{self.table.file}` has no series with {steps}"
            raise fail("data-empty", message, "give the rows before what is to be predicted, too")
        if self.every:
            return origins
        series = line.series_of(origins)
        last: Rows = origins[np.append(series[1:] != series[:-1], True)]
        return last

    @property
    def notes(self) -> list[str]:
        left_out = self.line.left_out(self.origins, self.windows.past + self.ahead)
        late = None if self.every else self.line.late(self.origins, self.ahead)
        return [note for note in (*left_out, late, self._of_known()) if note]

    def _of_known(self) -> str | None:
        """The note about forecasts that begin before the last row, as it holds what is known in advance."""
        if not self.known or self.every:
            return None
        names = " and ".join(f"`{name}`" for name in self.known)
        verb = "reads" if len(self.known) == 1 else "read"
        steps = "row" if self.ahead == 1 else f"{self.ahead:,} rows"
        return f"forecasts are of the last {steps} of each series, of which {names} {verb} what is known"

    def examples(self, wanted: list[Field], dtypes: Mapping[str, torch.dtype]) -> InMemory:
        """The inputs of all windows. Raises `SpecError` with every mistake in them."""
        names = {field.name for field in wanted}
        needed = {fill.field: self._rows_of(fill) for fill in self.inputs if fill.field in names}
        rows = self._gathered(np.unique(np.concatenate([self.origins, *needed.values()])))
        fields = row_fields(wanted, self.encoders.plan)
        checker = Checker(self.table.file, self.table.place, fields, span=self.table.span)
        arrays: dict[str, Any] = {}
        for name, positions in needed.items():
            array = checker.check(name, self.encoders.encode_field(name, rows(positions)))
            if array is None:
                continue
            fill, place = self.encoders.plan.of(name), np.zeros(len(self.line), np.int64)
            place[positions] = np.arange(len(positions))
            first = fill.steps.first if fill.steps is not None else 0
            at = torch.from_numpy(place[self.origins + first])
            arrays[name] = view(reading.tensors({name: array})[name], fill, at, first)
        checker.finish({})
        for name, encoder in self.encoders.encoders.items():
            unit = encoder.unit(rows(self.origins)) if self.encoders.plan.of(name).target else None
            if unit is not None:
                arrays[name + UNIT] = torch.from_numpy(unit)
        known = dict(dtypes) | {name: torch.float32 for name in arrays if name.endswith(UNIT)}
        return InMemory(arrays, known)

    def _rows_of(self, fill: Fill) -> Rows:
        """The positions that a field reads, of all windows."""
        if fill.steps is None:
            return np.unique(self.origins)
        marks = np.zeros(len(self.line) + 1, np.int64)
        np.add.at(marks, self.origins + fill.steps.first, 1)
        np.add.at(marks, self.origins + fill.steps.first + fill.steps.count, -1)
        return np.flatnonzero(np.cumsum(marks[:-1]) > 0)

    def _gathered(self, positions: Rows) -> Callable[[Rows], TablePart]:
        """Reads the rows at some positions, and gives those at any of these."""
        wanted = self.line.row_at(positions)
        chosen = np.zeros(self.line.rows, bool)
        chosen[wanted[wanted < self.line.rows]] = True
        parts = []
        for first, part in reading.sliced(self.table.chunks(self.encoders.columns), self.limit, 1):
            parts.append(part.filter(pa.array(chosen[first : first + part.num_rows])))
        there = np.flatnonzero(chosen)
        if self.line.inserted is not None:
            parts.append(self.line.inserted.table.select(self.encoders.columns))
            there = np.concatenate((there, self.line.inserted.rows))
        gathered = pa.concat_tables(parts, promote_options="permissive")

        def rows(at: Rows) -> TablePart:
            numbers = self.line.row_at(at)
            selected = gathered.take(pa.array(np.searchsorted(there, numbers)))
            return replace(reading.part_of(self.table, numbers, selected), predicted=True)

        return rows

    # --- rows

    def table_of(self, first: int, decoded: pa.Table) -> pa.Table:
        """Long rows of some windows, from number `first` on; `decoded` has all of each."""
        steps = self.windows.rows
        count = decoded.num_rows // steps
        origins = self.origins[first : first + count]
        series = np.repeat(self.line.series_of(origins), steps)
        columns: dict[str, Any] = {}
        if self.windows.by:
            for name in self.windows.by:
                columns[name] = self.line.names.column(name).combine_chunks().take(pa.array(series))
        if self.every:
            starts = self.line.ticks[np.repeat(origins, steps)]
            columns["origin"] = self.line.stamps.column(starts)
        ticks = np.concatenate([self._ahead(int(origin)) for origin in origins.tolist()])
        columns[self.windows.order] = self.line.stamps.column(ticks)
        return pa.table(columns | {name: decoded[name] for name in decoded.column_names})

    def _ahead(self, origin: int) -> Any:
        """The times of the steps after an origin, those of the file where it has them; with none its own."""
        line, spacing, steps = self.line, self.windows.spacing, self.windows.next
        if not steps:
            return line.ticks[[origin]]
        if spacing is not None:
            (series,) = line.series_of(np.array([origin]))
            return after(line.ticks[origin], steps, spacing, int(self.anchors[series]))
        run = line.begins[np.searchsorted(line.begins, origin, side="right")]
        known = line.ticks[origin + 1 : min(origin + 1 + steps, run)]
        apart = line.ticks[origin] - line.ticks[origin - 1] if self.windows.past > 1 else 1
        last = known[-1] if len(known) else line.ticks[origin]
        return np.concatenate((known, last + apart * np.arange(1, steps - len(known) + 1)))
