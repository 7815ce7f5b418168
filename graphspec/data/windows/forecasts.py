"""Converts the outputs of models of windows, to a row for each step that comes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from graphspec.data.encoders import Encoders
from graphspec.data.features.plan import Fill


def forecast(encoders: Encoders, target: str) -> Fill | None:
    """The fill of a target of steps that come; None of any other."""
    fill = next((each for each in encoders.plan.fills if each.field == target), None)
    return fill if fill is not None and fill.steps is not None and fill.steps.first > 0 else None


def long(values: Mapping[str, np.ndarray], steps: int, encoders: Encoders) -> dict[str, np.ndarray]:
    """The outputs of windows with a row for each step: those that forecast one, others repeated."""
    arrays = {}
    for name, output in encoders.outputs.items():
        for key in output.keys:
            if key not in values:
                continue
            array, fill = values[key], forecast(encoders, output.target) if name in values else None
            if fill is None:
                arrays[key] = np.repeat(array, steps, 0)
            elif fill.field_tensor.rank > fill.tensor.rank:
                arrays[key] = array.reshape(-1, *array.shape[2:])
            else:
                arrays[key] = array
    return arrays
