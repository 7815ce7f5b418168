"""Freezes weights: all the time, in a phase or for some epochs."""

from __future__ import annotations

from torch import nn

from graphspec.elaborated import BaseProgram
from graphspec.graph import Graph, Op
from graphspec.train.adapters import is_adapter
from graphspec.train.config import TrainConfig
from graphspec.train.config.groups import particulars
from graphspec.weights import layers


class Freezing:
    """Freezes weights of a module, and unfreezes them.

    A normalization whose weights are frozen runs as in inference: its statistics stay. Layers before the
    first weight that trains need no gradients, and PyTorch keeps no activations of them.
    """

    def __init__(self, graph: Graph, module: nn.Module):
        self.graph, self.module = graph, module
        named = module.named_parameters()
        self._own = {name: weight.requires_grad for name, weight in named if not is_adapter(name)}

    def apply(self, config: TrainConfig, frozen: bool | None = None) -> None:
        """Freezes weights or makes them trainable, by `freeze` and then by `parameter_groups`.

        What unfreezes later is frozen only if `frozen` is true.
        """
        known = dict(self.module.named_parameters())
        for name, trainable in self._trainable(config, frozen).items():
            known[name].requires_grad_(trainable)

    def trained(self, config: TrainConfig) -> dict[str, nn.Parameter]:
        """The weights that train sooner or later, in one of the phases; adapters always do."""
        parts = [self._trainable(part) for part in config.parts]
        return {
            name: weight
            for name, weight in self.module.named_parameters()
            if name not in self._own or any(part[name] for part in parts)
        }

    def _trainable(self, config: TrainConfig, frozen: bool | None = None) -> dict[str, bool]:
        """Whether each weight trains that is no adapter's; see `apply`."""
        freezes = config.unfreeze_at is None if frozen is None else frozen
        trainable = {}
        for name, said in particulars(config.parameter_groups, self._own).items():
            trains = self._own[name] and not (freezes and config.freezes(name))
            trainable[name] = trains if said.trainable is None else said.trainable
        return trainable

    def still(self, config: TrainConfig) -> list[nn.Module]:
        """The normalizations whose weights are all frozen."""
        if not (config.freeze or config.adapters):
            return []
        known = dict(self.module.named_modules())
        return [known[path] for path, op in layers(self.graph) if _rests(config, path, op)]


def _rests(config: TrainConfig, path: str, op: Op) -> bool:
    if op.layer is None or not op.layer.learns_of_calls:
        return False
    return all(config.freezes(f"{path}.{weight.name}") for weight in op.weights())


def set_trainable(program: BaseProgram, module: nn.Module) -> None:
    """Freezes weights of a fresh module that are frozen all the time, or lets them train, as `train` says."""
    Freezing(program.graph, module).apply(program.training)
