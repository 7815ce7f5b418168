"""The weights of a folded module, computed from those of the module that it was."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from graphspec.fold import Absorbed

TOLERANCE = 1e-4
"""How far outputs may differ, beside 1 or beside the largest of them."""


def fold_weights(state: Mapping[str, Tensor], steps: Iterable[Absorbed]) -> dict[str, Tensor]:
    """A state dict after the steps; the keys of what went into others stay, and nobody needs them.

    Products are taken in float64, so that only the result is rounded.
    """
    folded = dict(state)
    for step in steps:
        absorb(folded, step)
    return folded


def absorb(state: dict[str, Tensor], step: Absorbed) -> None:
    """Multiplies a kernel's output channels by a normalization's factors; its offsets go to the bias."""
    norm = {k.removeprefix(step.norm): v.double() for k, v in state.items() if k.startswith(step.norm)}
    factor, offset = step.layer.affine(norm)
    kernel, bias = step.into + step.linear.kernel, step.into + step.linear.bias
    weight = state[kernel]
    shape = [1] * weight.dim()
    shape[step.linear.axis] = -1
    state[kernel] = (weight.double() * factor.reshape(shape)).to(weight.dtype)
    if bias in state:
        offset = offset + state[bias].double() * factor
    state[bias] = offset.to(weight.dtype)


@torch.no_grad()
def difference(folded: nn.Module, module: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[float, float]:
    """The largest difference of two programs' outputs and logits in inference, and what it may be at most.

    Random layers draw the same in both.
    """
    results: list[list[Tensor]] = []
    for each in (folded, module):
        results.append([])
        for logits in (False, True):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                takes_logits = "logits" in inspect.signature(each.forward).parameters
                asked = {"logits": True} if logits and takes_logits else {}
                outputs: Any = each.eval()(*inputs.values(), **asked)
            tensors = list(outputs.values()) if isinstance(outputs, dict) else [outputs]
            count = len(results[-1]) if logits else len(tensors)  # masks come after the logits
            results[-1] += tensors[:count]
    worst, allowed = 0.0, TOLERANCE
    for ours, theirs in zip(*results, strict=True):
        if ours.numel():
            distance = float((ours.double() - theirs.double()).abs().max())
            worst = max(worst, distance if distance == distance else float("inf"))
            allowed = max(allowed, TOLERANCE * float(theirs.double().abs().max()))
    return worst, allowed
