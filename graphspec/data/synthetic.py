"""Data for a program that has none: random inputs, and targets from a frozen copy of the network.

The copy has weights of its own, so there is something to learn, and everything a run needs can be tried.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from graphspec import objectives
from graphspec.data.batches import Examples, generator
from graphspec.data.fields import Field
from graphspec.objectives.losses import Binary, CategoricalHinge, Hinge, SquaredHinge
from graphspec.tensor import Tensor, names_of, value_of

LENGTH = 16
"""The value of a symbolic size, unless the model needs more."""
BATCHES = 10
"""How many batches of examples there are."""
INPUTS, TARGETS = -2, 1
"""The stream of the random inputs, and what is added to the seed for the copy's weights."""


def example_inputs(
    inputs: Mapping[str, Tensor],
    ranges: Mapping[str, int],
    minimum_sizes: Mapping[str, int],
    batch_size: int = 2,
    sizes: Mapping[str, int] | None = None,
    seed: int = 0,
) -> dict[str, torch.Tensor]:
    """Random inputs that a graph accepts: normal floats, integers below `ranges`, booleans.

    A symbolic size that `sizes` leaves out is 16, or the smallest legal one above that.
    """
    names = {name for tensor in inputs.values() for size in tensor.shape[1:] for name in names_of(size)}
    known = {name: max(LENGTH, minimum_sizes.get(name, 1)) for name in names} | dict(sizes or {})
    source = generator(seed, INPUTS)
    made = {}
    for name, tensor in inputs.items():
        shape = (batch_size, *(value_of(size, known) for size in tensor.shape[1:]))
        dtype = getattr(torch, tensor.dtype)
        if tensor.is_float:
            made[name] = torch.randn(shape, generator=source).to(dtype)
        else:
            upper = 2 if tensor.dtype == "bool" else ranges.get(name, 2)
            made[name] = torch.randint(upper, shape, generator=source).to(dtype)
    return made


def synthetic(program: Any, wanted: list[Field], count: int, seed: int) -> Examples:
    """`count` examples for the fields of a program."""
    arrays = example_inputs(program.inputs, program.ranges, program.minimum_sizes, count, seed=seed)
    teacher = program.module(device="cpu", seed=seed + TARGETS).eval()
    raw: dict[str, list[torch.Tensor]] = {name: [] for name in program.outputs}
    step = max(1, min(count, program.training.batch_size))
    with torch.no_grad():
        for start in range(0, count, step):
            parts = [array[start : start + step] for array in arrays.values()]
            values = teacher(*parts, logits=True)
            for name, value in (values if isinstance(values, dict) else {next(iter(raw)): values}).items():
                raw[name].append(value)
    types = {field.name: field.tensor for field in wanted}
    for name, output in program.outputs.items():
        if output.target in types and output.target not in arrays:
            arrays[output.target] = _target(torch.cat(raw[name]), output.loss, types[output.target])
    return Examples(arrays, {name: array.dtype for name, array in arrays.items()})


def _target(value: torch.Tensor, loss: objectives.Loss | None, wanted: Tensor) -> torch.Tensor:
    """A legal target from what the copy said before its activation.

    Choices are taken relative to the mean over all examples: a network that has learned nothing prefers one
    class.
    """
    relative = value - value.mean(0, keepdim=True)
    if not wanted.is_float:
        return relative.argmax(-1)
    if isinstance(loss, objectives.losses.Categorical | CategoricalHinge | objectives.losses.KLDivergence):
        return torch.nn.functional.one_hot(relative.argmax(-1), value.shape[-1]).to(value.dtype)
    if isinstance(loss, Binary | Hinge | SquaredHinge):
        return (relative > 0).to(value.dtype)
    return value
