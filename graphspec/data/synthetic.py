"""Data for a program that has none: random inputs, and targets from a frozen copy of the network.

The copy has weights of its own, so there is something to learn, and everything a run needs can be tried.
"""

from __future__ import annotations

import torch

from graphspec.data.batches import InMemory
from graphspec.data.fields import Field
from graphspec.elaborated import BaseProgram, OutputSpec
from graphspec.objectives.custom import CustomLoss
from graphspec.objectives.formulas import activate
from graphspec.tensor import Tensor

BATCHES = 10
"""How many batches of examples there are."""
TEACHER = 1
"""The number that is added to the seed for the copy's weights."""


def synthetic(program: BaseProgram, wanted: list[Field], count: int, seed: int) -> InMemory:
    """`count` examples for the fields of a program."""
    arrays = program.example_inputs(count, seed=seed)
    arrays = {name: array for name, array in arrays.items() if name not in program.defaults}
    teacher = program.module(device="cpu", seed=seed + TEACHER).eval()
    program.adapt(teacher, lambda: [arrays])
    asked = {"logits": True} if program.takes_logits else {}
    raw: dict[str, list[torch.Tensor]] = {name: [] for name in program.outputs}
    step = max(1, min(count, program.training.batch_size))
    with torch.no_grad():
        for start in range(0, count, step):
            values = teacher(*(array[start : start + step] for array in arrays.values()), **asked)
            outputs = values if isinstance(values, dict) else {next(iter(raw)): values}
            for name, parts in raw.items():
                parts.append(outputs[name])
    types = {field.name: field.tensor for field in wanted}
    for name, output in program.outputs.items():
        if output.target in types and output.target not in arrays:
            arrays[output.target] = _target(torch.cat(raw[name]), output, types[output.target])
    return InMemory(arrays, {name: array.dtype for name, array in arrays.items()})


def _target(value: torch.Tensor, output: OutputSpec, wanted: Tensor) -> torch.Tensor:
    """A legal target from what the copy said before its activation.

    Choices are taken relative to the mean over all examples: a network that has learned nothing prefers one
    class.
    """
    loss = output.loss
    relative = value - value.mean(0, keepdim=True)
    value = activate(value, output.activation)
    legal = None if loss is None else loss.legal_target(value, relative)
    if legal is not None:
        return legal
    if not wanted.is_float:
        return (relative > 0).long() if wanted.rank == value.dim() else relative.argmax(-1)
    if isinstance(loss, CustomLoss):
        choice = torch.nn.functional.one_hot(relative.argmax(-1), value.shape[-1])
        values = {"softmax": choice, "sigmoid": relative > 0}.get(output.activation or "", value)
        return values.to(value.dtype)
    return value
