"""The seasonal naive forecast, which says for each step what was one season before, and the scale of errors
that belongs to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from graphspec.data.encoders import Encoders
from graphspec.data.encoders.numbers import Floats
from graphspec.data.features.windows import Windows
from graphspec.data.fields import UNIT
from graphspec.data.splits import TRAINING
from graphspec.data.windows.division import TOGETHER
from graphspec.data.windows.examples import InTime
from graphspec.data.windows.timeline import Timeline
from graphspec.data.windows.views import View

ALL = ""
"""Under this name, the mean over all series: for those that training had not."""


def offsets(windows: Windows) -> torch.Tensor:
    """Where the steps that come next have their value of the last known season."""
    ahead = torch.arange(1, windows.next + 1)
    return ahead - windows.season * ((ahead - 1) // windows.season + 1)


def forecasts(encoders: Encoders) -> list[str]:
    """The outputs that forecast the numbers of one column."""
    names = []
    for name, output in encoders.outputs.items():
        encoder = encoders.encoders.get(output.target)
        if isinstance(encoder, Floats) and len(encoder.curves) == 1 and encoder.fill.steps is not None:
            names.append(name)
    return names


def seasonal(
    whole: InTime, encoders: Encoders, windows: Windows, parts: NDArray[np.uint8] | None
) -> dict[str, dict[str, float]]:
    """By output and series, how far values of training rows are from those one season before, in the mean."""
    scales: dict[str, dict[str, float]] = {}
    line, units = whole.line, encoders.units()
    assert line is not None
    training = None if parts is None else line.in_order(parts) == TRAINING
    for name in forecasts(encoders):
        target = encoders.outputs[name].target
        values, unit = whole.values_of("arrays", target), whole.values_of("arrays", target + UNIT)
        assert values is not None
        if name in units:
            values = units[name](values.flatten(), unit)
        there, mask = training, whole.values_of("masks", name)
        if mask is not None:  # without targets that are missing
            known = mask.cpu().numpy()
            there = known if there is None else there & known
        scales[name] = _by_series(values.flatten().cpu().numpy(), line, windows.season, there)
    return scales


def _by_series(
    values: NDArray[Any], line: Timeline, season: int, there: NDArray[np.bool_] | None
) -> dict[str, float]:
    pairs = np.ones(max(0, len(values) - season), bool)
    if there is not None:
        pairs = there[season:] & there[:-season]
    for border in line.begins[1:-1].tolist():  # nothing is compared across a gap, or with another series
        pairs[max(0, border - season) : border] = False
    names = line.keys
    sums, counts = np.zeros(len(names)), np.zeros(len(names), np.int64)
    for first in range(0, len(pairs), TOGETHER):
        places = first + np.flatnonzero(pairs[first : first + TOGETHER])
        apart = np.abs(values[places + season] - values[places])
        series = line.series_of(places)
        sums += np.bincount(series, apart, len(names))
        counts += np.bincount(series, minlength=len(names))
    if not counts.any():
        return {}
    scales = {names[s]: float(sums[s] / counts[s]) for s in np.flatnonzero(counts).tolist()}
    return scales | {ALL: float(sums.sum() / counts.sum())}


def scales_of(whole: InTime, known: Mapping[str, float]) -> NDArray[np.float64]:
    """Of each example the scale of its series."""
    assert whole.line is not None
    other = known.get(ALL, np.nan)
    by = np.array([known.get(name, other) for name in whole.line.keys])
    return by[whole.line.series_of(whole.positions)]


def view_of(whole: InTime, target: str, windows: Windows) -> View:
    """The naive forecasts of a target for all examples in their order, encoded as it is."""
    values = whole.values_of("arrays", target)
    assert values is not None
    at = torch.from_numpy(whole.positions).to(values.device)
    return View(values, at, offsets(windows).to(values.device))
