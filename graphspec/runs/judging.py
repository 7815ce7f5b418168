"""Judges a module on examples: losses and metrics, and of forecasts their errors by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from graphspec.data.batches import Examples
from graphspec.data.candidates import Candidates, with_shares
from graphspec.data.encoders import Encoders
from graphspec.data.windows import naive
from graphspec.data.windows.examples import InTime
from graphspec.elaborated import BaseProgram
from graphspec.runs.forecasting import StepErrors
from graphspec.train.custom import bound
from graphspec.train.loop import evaluate
from graphspec.train.objective import Objective
from graphspec.train.penalties import Penalties


class Judge:
    """Computes the outputs of a program on a device, with its losses and metrics."""

    def __init__(
        self,
        program: BaseProgram,
        encoders: Encoders | None,
        module: nn.Module,
        penalties: Penalties,
        place: torch.device,
        batch_size: int,
        candidates: Mapping[str, Candidates] | None = None,
    ):
        self.program, self.encoders, self.module, self.size = program, encoders, module, batch_size
        self.notes: Sequence[str] = ()
        """Messages about the last examples."""
        units = encoders.units() if encoders is not None else {}
        self.objective = Objective(
            program.inputs, bound(program, place), place, penalties, units, candidates=candidates
        )

    def __call__(self, examples: Examples, progress: Callable[[int], None] | None = None) -> dict[str, Any]:
        """The values of `Run.evaluate` on examples."""
        examples = with_shares(self.program, examples, self.objective.candidates)
        errors = self._step_errors(examples)
        seen = errors.add if errors is not None else None
        values = evaluate(self.objective, self.module, examples, self.size, "", progress=progress, seen=seen)
        if errors is None:
            return {**values, "examples": len(examples)}
        self.notes = errors.notes
        beside, steps = errors.result()
        return {**values, **beside, "examples": len(examples), "by_step": steps}

    def _step_errors(self, examples: Examples) -> StepErrors | None:
        """Sums the errors of forecasts step by step; None where windows forecast no numbers."""
        if self.encoders is None or self.program.data is None or self.program.data.windows is None:
            return None
        if not isinstance(examples, InTime) or not naive.forecasts(self.encoders):
            return None
        return StepErrors(self.program, self.encoders, examples)
