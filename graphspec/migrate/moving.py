"""The channels after ops that move elements, found by running them on the numbers of elements."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from graphspec.compiler import compile
from graphspec.graph import Op, Value
from graphspec.migrate.tracking import Indices
from graphspec.reference.resolution import as_written

LARGEST = 2**24
"""Elements that float32 counts exactly."""
UNKNOWN = 3
"""The value for a size without a number."""


def moved(op: Op, old: Op, maps: list[Indices | None]) -> Indices | None:
    """The channels of the output of an op, for each the old one. None where they are not known.

    The inputs of the old op hold the numbers 1, 2, ... of their elements; those of the new op the number of
    the old element that each is, or 0. What comes out tells where each number went.
    """
    shapes = [[_sizes(value) for value in each.inputs] for each in (old, op)]
    count = sum(torch.Size(shape).numel() for shape in shapes[0])
    if len(shapes[0]) != len(shapes[1]) or count >= LARGEST:
        return None
    before, numbers = [], 1
    for shape in shapes[0]:
        size = torch.Size(shape).numel()
        before.append(torch.arange(numbers, numbers + size, dtype=torch.float32).reshape(shape))
        numbers += size
    after = []
    for known, values, shape in zip(before, maps, shapes[1], strict=True):
        indices = torch.tensor(values if values is not None else tuple(range(shape[-1])))
        if known.shape[:-1] != torch.Size(shape[:-1]) or len(indices) != shape[-1]:
            return None
        selected = known.index_select(-1, indices.clamp(0, known.shape[-1] - 1))
        after.append(torch.where((indices >= 0) & (indices < known.shape[-1]), selected, torch.zeros(())))
    results = [_run(each, inputs) for each, inputs in ((old, before), (op, after))]
    return _channels(*results)


def _channels(old: Tensor | None, new: Tensor | None) -> Indices | None:
    """For each channel of the new output the channel of the old one with the same numbers."""
    if old is None or new is None:
        return None
    place = {int(number): index for index, column in enumerate(_columns(old)) for number in column}
    channels = []
    for column in _columns(new):
        origins = {place.get(int(number), -1) for number in column if number}
        if len(origins) > 1:
            return None
        channels.append(origins.pop() if origins else -1)
    return tuple(channels)


def _columns(value: Tensor) -> list[list[float]]:
    columns: list[list[float]] = value.reshape(-1, value.shape[-1]).T.tolist()
    return columns


def _sizes(value: Value) -> list[int]:
    return [1, *(size if isinstance(size, int) else UNKNOWN for size in value.tensor.shape[1:])]


def _run(op: Op, inputs: list[Tensor]) -> Tensor | None:
    """The first output of an op, as a program of its own."""
    layer = op.layer
    assert layer is not None
    names = [f"x{number}" for number in range(len(inputs))]
    fields = type(layer).model_fields
    written = {
        each.alias or name: as_written(getattr(layer, name))
        for name, each in fields.items()
        if getattr(layer, name) is not None and (each.is_required() or getattr(layer, name) != each.default)
    }
    node: dict[str, Any] = {layer.kind: layer.spec_name, **written}
    node["from"] = names if len(names) > 1 else names[0]
    spec = {
        "inputs": {name: {"shape": list(x.shape[1:])} for name, x in zip(names, inputs, strict=True)},
        "nodes": {"moved": node},
        "outputs": {"moved": {}},
    }
    result = compile(spec).module().eval()(*inputs)
    return result if isinstance(result, Tensor) else next(iter(result.values()))
