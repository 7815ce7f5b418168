"""Means and variances of `Normalization`, which Keras stores as weights and a spec as numbers."""

from __future__ import annotations

from typing import Any

from graphspec.convert.arguments import as_integer, shortest
from graphspec.convert.nodes import ConvertedBody
from graphspec.files.hdf5 import Variables


def fill_statistics(body: ConvertedBody, variables: Variables | None, notes: list[str]) -> None:
    """Writes the statistics of adapted layers into their arguments; 0 and 1 where the file has none."""
    for item in body.with_weights():
        if item.body is not None:
            fill_statistics(item.body, variables, notes)
        if item.what != "Normalization" or item.form != "layer" or "mean" in item.arguments:
            continue
        arrays: list[Any] = []
        if variables is not None and item.stored is not None:
            arrays = variables.layer(item.stored.path, item.stored.groups)[:2]
        if len(arrays) == 2:
            mean, variance = (_numbers(array) for array in arrays)
        else:
            mean, variance = 0, 1
            notes.append(f"`{item.name}` normalizes with mean 0 and variance 1: the file has no statistics")
        item.arguments["mean"], item.arguments["variance"] = mean, variance


def _numbers(array: Any) -> Any:
    """The array's numbers: nested lists, or one number where all are the same."""
    same = array.size > 0 and bool((array == array.flat[0]).all())
    value = shortest(float(array.flat[0]) if same else array.astype("float64").tolist())
    return as_integer(value)
