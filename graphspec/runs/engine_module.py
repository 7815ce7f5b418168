"""An engine in the place of the module that an evaluation calls."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from graphspec.runs.engines import Engine


class EngineModule(nn.Module):
    """Takes the arguments of a program's module, and returns what that returns, from an engine."""

    def __init__(self, engine: Engine, inputs: Sequence[str]):
        super().__init__()
        self.engine, self.inputs = engine, inputs

    def forward(self, *inputs: Tensor | None, logits: bool = False) -> dict[str, Tensor]:
        arrays = {
            n: value.numpy() for n, value in zip(self.inputs, inputs, strict=False) if value is not None
        }
        outputs = self.engine.logits(arrays) if logits else self.engine(arrays)
        return {name: torch.from_numpy(value) for name, value in outputs.items()}
