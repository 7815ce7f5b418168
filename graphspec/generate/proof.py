"""The step of a program against the whole of it, run on the same draw."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn

from graphspec.diagnostics import fail
from graphspec.generate.stepper import Stepper
from graphspec.program import Program
from graphspec.tensor import unit_of

TOLERANCE = 1e-4
"""The largest difference, as a share of the largest output, that rounding explains."""


def prove(
    program: Program, step: Program, module: nn.Module, whole: nn.Module, encoder: nn.Module | None = None
) -> float:
    """The largest difference of outputs between steps in three chunks, and the whole at once.

    Raises `SpecError` (export-differs) if rounding does not explain it.
    """
    stepping = step.stepping
    assert stepping is not None
    tensor = program.inputs[stepping.inputs[0]]
    unit = unit_of(tensor.shape[1])
    name = unit[0] if unit is not None else ""
    length = min(max(7, program.minimum_sizes.get(name, 1)), program.maximum_sizes.get(name, 7))
    inputs: Mapping[str, Tensor] = program.example_inputs(2, {name: length}, seed=1, least=1)
    stepper, cuts = Stepper(step, module, length, encoder), sorted({0, length // 2, length - 1, length})
    parts = []
    with torch.no_grad():
        made = whole(*inputs.values())
        expected = made if isinstance(made, Mapping) else {next(iter(program.outputs)): made}
        stepper.begin(2)
        if encoder is not None:
            stepper.encode(inputs)
        for first, last in pairwise(cuts):
            read = {key: value for key, value in inputs.items() if key in step.inputs}
            fresh = {k: v[:, first:last] if k in stepping.inputs else v for k, v in read.items()}
            parts.append(stepper.step(fresh))
    difference = 0.0
    for key, axis in stepper.axes.items():
        found, wanted = torch.cat([part[key] for part in parts], axis).float(), expected[key].float()
        scale = max(1.0, wanted.abs().max().item())
        difference = max(difference, (found - wanted).abs().max().item() / scale)
    if not difference <= TOLERANCE:
        message = f"steps differ from the whole by {difference:.1e}"
        raise fail("export-differs", message, "report it with the spec: this is a fault of graphspec")
    return difference
