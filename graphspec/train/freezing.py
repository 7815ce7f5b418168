"""`train.freeze`: weights that stay as they are, all the time or for some epochs."""

from __future__ import annotations

from torch import nn

from graphspec.diagnostics import fail
from graphspec.graph import Op
from graphspec.program import BaseProgram
from graphspec.train.optimizers import Optimizer
from graphspec.train.optimizers.setup import set_trainable
from graphspec.weights import layers


class Freezing:
    """Freezes weights until an epoch. A normalization whose weights are frozen runs as in inference: its
    statistics are those of what it learned from.

    What comes before the first weight that trains needs no gradients, and PyTorch keeps nothing of it.
    """

    def __init__(self, program: BaseProgram, module: nn.Module, alone: bool = True):
        self.program, self.module = program, module
        config = program.training
        if config.unfreeze_at is not None and not alone:
            message = "`unfreeze_at` changes what several processes exchange, and is for one process"
            raise fail("not-supported", message, "train with one process, or in two runs: `--from RUN`")
        known = dict(module.named_modules())
        self.still = [known[path] for path, op in layers(program.graph) if self._rests(path, op)]

    def _rests(self, path: str, op: Op) -> bool:
        layer = op.layer
        if layer is None or not layer.learns_of_calls:
            return False
        return all(self.program.training.freezes(f"{path}.{weight.name}") for weight in op.weights())

    def frozen(self, epoch: int) -> bool:
        """Whether weights are frozen in an epoch, counted from 0."""
        config = self.program.training
        return bool(config.adapters) or (
            bool(config.freeze) and (config.unfreeze_at is None or epoch < config.unfreeze_at)
        )

    def begin(self, epoch: int, optimizer: Optimizer) -> None:
        """Sets what trains in an epoch; the module is in training mode."""
        if not (self.program.training.freeze or self.program.training.adapters):
            return
        frozen = self.frozen(epoch)
        if self.program.training.unfreeze_at is not None:
            set_trainable(self.program, self.module, frozen)
            if not frozen:
                optimizer.grows()
        if frozen:
            for module in self.still:
                module.eval()
