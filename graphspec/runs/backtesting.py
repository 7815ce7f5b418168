"""Forecasts from several times of the past, beside what came: as the model was trained, or trained anew on
what was known at each of them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from graphspec.data.in_memory_source import given
from graphspec.data.loading import load_file
from graphspec.data.mistakes import placed
from graphspec.data.opening import opening
from graphspec.data.windows.examples import StreamedWindows, Windowed
from graphspec.diagnostics import SpecError, fail
from graphspec.runs.judging import Judge
from graphspec.runs.run import Run
from graphspec.train import device as devices
from graphspec.train.loop import train


@dataclass(frozen=True, slots=True)
class OriginErrors:
    """The forecasts of all series from one time: `values` are those of `evaluate`."""

    time: str
    values: dict[str, Any]
    learned: bool
    """Whether the model had learned from rows that it forecasts."""

    def to_json(self) -> dict[str, Any]:
        return {"origin": self.time, "learned": self.learned, **self.values}


@dataclass(frozen=True)
class Backtest:
    """The origins in the order of time."""

    origins: tuple[OriginErrors, ...]

    @property
    def names(self) -> list[str]:
        """The values of each origin."""
        return [name for name in self.origins[0].values if name not in ("examples", "by_step")]

    @cached_property
    def mean(self) -> dict[str, float]:
        """Each value in the mean over all windows."""
        counts = [origin.values["examples"] for origin in self.origins]
        every = [name for name in self.names if all(name in origin.values for origin in self.origins)]
        columns = {name: np.array([origin.values[name] for origin in self.origins]) for name in every}
        return {name: float(np.average(values, weights=counts)) for name, values in columns.items()}

    @property
    def learned(self) -> int:
        """How many origins forecast rows that the model had learned from."""
        return sum(origin.learned for origin in self.origins)

    def to_json(self) -> dict[str, Any]:
        origins = [origin.to_json() for origin in self.origins]
        return {"origins": origins, "mean": self.mean, "learned": self.learned}


def backtest(
    run: Run,
    data: Any = None,
    count: int = 12,
    every: int | None = None,
    refit: bool = False,
    device: str = "auto",
    tell: Callable[[str], None] = lambda line: None,
) -> Backtest:
    """The errors of forecasts from the last `count` times of `data`, or of the training data, `every` steps
    apart, by default those that the model predicts. With `refit` a model is trained for each origin, on the
    rows before it; `tell` gets a line for each. Raises `SpecError` (not-supported) where the run forecasts
    nothing.
    """
    config = run.program.data
    if config is None or config.windows is None or not config.windows.next:
        message = f"`{run.path}` forecasts nothing: its data have no `windows` with `next`"
        raise fail("not-supported", message, "`graphspec evaluate` measures what other runs predict")
    root, known = run.files.places(run.program)
    if data is None:
        opened = opening(run.program, root, known)
        if opened is None:
            raise fail("data-missing", "the run does not know its data", "give data: `--data PATH`")
        data = opened.path
    tester = _Tester(run, given(data), devices.choose(device), root)
    with devices.computing(devices.threads(run.program)):
        times = tester.times(count, every or config.windows.next)
        if not refit:
            return Backtest(tuple(tester.origin(time) for time in times))
        origins = []
        for number, time in enumerate(times, 1):
            origins.append(tester.refitted(time))
            tell(f"trained {number} of {len(times)}: the rows before {origins[-1].time}")
    return Backtest(tuple(origins))


class _Tester:
    """A run, and all windows of a file as its encoders make them."""

    def __init__(self, run: Run, data: Any, place: torch.device, root: Path | None):
        self.run, self.data, self.place, self.root = run, data, place, root
        self.encoders = run.encoders()
        examples = load_file(run.program, data, place, self.encoders)
        assert isinstance(examples, Windowed | StreamedWindows) and examples.line is not None
        self.examples, self.line = examples, examples.line
        self.ticks = self.line.ticks[examples.positions]

    @cached_property
    def judge(self) -> Judge:
        return self.run.judge(self.encoders, self.place)[0]

    def times(self, count: int, every: int) -> list[Any]:
        """The last origins, so many steps apart, in the order of time."""
        there = np.unique(self.ticks)
        stride = self.run.program.data.windows.stride  # type: ignore[union-attr]
        return list(there[:: -max(1, every // stride)][:count][::-1])

    def origin(self, time: Any) -> OriginErrors:
        """The forecasts from a time."""
        index = torch.from_numpy(np.flatnonzero(self.ticks == time))
        values = self.judge(self.examples.select(index))
        until = self.encoders.until if self.encoders is not None else None
        return OriginErrors(self._said(time), values, until is not None and bool(until > time))

    def refitted(self, time: Any) -> OriginErrors:
        """The same of a model that is trained on the rows up to that time."""
        following = self.line.ticks[self.examples.positions[self.ticks == time] + 1].min()
        until = self._said(following)
        program = self.run.compiled({"data.train.until": until if self.line.stamps.dated else float(until)})
        with tempfile.TemporaryDirectory(prefix="graphspec-") as folder:
            options = {"data": self.data, "root": self.root, "device": str(self.place)}
            try:
                result = train(program, **options, run_dir=Path(folder) / "run", tell=lambda line: None)
            except SpecError as error:
                raise placed(error, None, f"when it is trained on the rows before {until}") from None
            fitted = _Tester(self.run.again(result.run_dir), self.data, self.place, None)
            return fitted.origin(time)

    def _said(self, time: Any) -> str:
        (value,) = self.line.stamps.column(np.array([time])).to_pylist()
        return value.isoformat() if hasattr(value, "isoformat") else str(value)
