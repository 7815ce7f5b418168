"""What a training minimises, for those who train in a loop of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from graphspec.data.batches import Batch
from graphspec.diagnostics import Diagnostic, SpecError, nearest
from graphspec.train.judge import Judge
from graphspec.train.own import bound


def objective(
    program: Any, outputs: Tensor | Mapping[str, Tensor], targets: Tensor | Mapping[str, Tensor], logits: bool
) -> dict[str, Tensor]:
    """`loss`, the weighted sum of the outputs' losses, to differentiate; then each output's own, detached.

    `outputs` are what the module returned, with `logits=True` or without; `targets` are by output or by the
    target's name, or one tensor where there is one output. Weights that are `learned` are 1. Regularizers of
    weights and activities are the module's, and are left out. Raises `SpecError` (data-column).
    """
    found = dict(outputs) if isinstance(outputs, Mapping) else {next(iter(program.outputs)): outputs}
    device = next(iter(found.values())).device
    specs = {
        name: spec if logits else replace(spec, activation=None, mask=None)
        for name, spec in bound(program, device).items()
    }
    judge = Judge([], specs, device)
    arrays = {"": next(iter(found.values()))} | _arrays(program, judge.judged, targets)
    judgement = judge(lambda **options: found, Batch(arrays))  # type: ignore[arg-type]
    parts = {f"{name}_loss": judgement.terms[name].value for name in judge.judged}
    return {"loss": judgement.loss, **parts}


def _arrays(program: Any, judged: list[str], targets: Tensor | Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The targets that the losses read, by their own names."""
    wanted = {
        name: program.outputs[name].target for name in judged if program.outputs[name].loss.takes_target
    }
    if not isinstance(targets, Mapping):
        return dict.fromkeys(list(wanted.values())[:1], targets)
    arrays = {}
    for name, target in wanted.items():
        key = target if target in targets else name
        if key not in targets:
            near = nearest(target, targets)
            help = f"did you mean `{near}`?" if near else f"targets here: {', '.join(targets) or 'none'}"
            message = f"output `{name}` is compared with `{target}`, which is not among the targets"
            raise SpecError([Diagnostic("data-column", message, None, help=help)])
        arrays[target] = targets[key]
    return arrays
