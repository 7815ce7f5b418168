"""The loss and metrics of a program, for custom training loops."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from graphspec.data.batches import Batch
from graphspec.diagnostics import did_you_mean, fail
from graphspec.train.judge import Judge
from graphspec.train.judgement import Judgement
from graphspec.train.meter import Meter, Values
from graphspec.train.own import bound

Tensors = Tensor | Mapping[str, Tensor]


def objective(program: Any, outputs: Tensors, targets: Tensors, logits: bool) -> dict[str, Tensor]:
    """`loss`, the weighted sum of the outputs' losses, to differentiate; then each output's own, detached.

    `outputs` are what the module returned, with `logits=True` or without; `targets` are by output or by the
    target's name, or one tensor where there is one output. Weights that are `learned` are 1. Regularizers of
    weights and activities are the module's, and are left out. Raises `SpecError` (data-column).
    """
    judge, judgement, _ = _judged(program, outputs, targets, logits)
    parts = {f"{name}_loss": judgement.terms[name].value for name in judge.judged}
    return {"loss": judgement.loss, **parts}


class Metrics:
    """The mean losses and the metrics of a program's outputs over all batches so far, named and
    computed as in a training. Nothing is read from the device before `compute`.
    """

    def __init__(self, program: Any, logits: bool = False):
        self._program, self._logits = program, logits
        self._meter: Meter | None = None

    @torch.no_grad()
    def update(self, outputs: Tensors, targets: Tensors) -> None:
        """Adds the outputs of the module for a batch, and the targets of the batch. Raises `SpecError`
        (data-column).
        """
        judge, judgement, batch = _judged(self._program, outputs, targets, self._logits, measured=True)
        if self._meter is None:
            self._meter = judge.meter()
        self._meter.add(judgement, batch)

    def compute(self) -> Values:
        """The values so far, `loss` first; empty before the first batch."""
        return self._meter.result() if self._meter is not None else {}

    def reset(self) -> None:
        """Resets to the state before the first batch."""
        self._meter = None


def _judged(
    program: Any, outputs: Tensors, targets: Tensors, logits: bool, measured: bool = False
) -> tuple[Judge, Judgement, Batch]:
    """The judgement of what a module returned; where it is `measured`, metrics want their targets, too."""
    found = dict(outputs) if isinstance(outputs, Mapping) else {next(iter(program.outputs)): outputs}
    device = next(iter(found.values())).device
    specs = {
        name: spec if logits else replace(spec, activation=None, mask=None)
        for name, spec in bound(program, device).items()
    }
    judge = Judge([], specs, device)
    wanted = [name for name, spec in specs.items() if spec.loss is not None or (measured and spec.metrics)]
    arrays = {"": next(iter(found.values()))} | _arrays(program, wanted, targets)
    batch = Batch(arrays)
    return judge, judge(lambda **options: found, batch), batch  # type: ignore[arg-type]


def _arrays(program: Any, judged: list[str], targets: Tensor | Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The targets that the losses read, by their own names."""
    wanted = {
        name: program.outputs[name].target
        for name in judged
        if program.outputs[name].loss is None or program.outputs[name].loss.takes_target
    }
    if not isinstance(targets, Mapping):
        return dict.fromkeys(list(wanted.values())[:1], targets)
    arrays = {}
    for name, target in wanted.items():
        key = target if target in targets else name
        if key not in targets:
            help = did_you_mean(target, targets, f"targets here: {', '.join(targets) or 'none'}")
            message = f"output `{name}` is compared with `{target}`, which is not among the targets"
            raise fail("data-column", message, help)
        arrays[target] = targets[key]
    return arrays
