"""The optimizer Lion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from graphspec.train.config.optimizers import Decay, OptimizerSettings, zeros

if TYPE_CHECKING:
    from graphspec.train.optimizers.groups import Group, Number, Tensors


class Lion(OptimizerSettings):
    """The sign of a moving mean: learning rates are 3 to 10 times smaller than Adam's."""

    name: Literal["lion", "Lion"] = "lion"
    beta_1: Annotated[float, Field(gt=0, le=1)] = 0.9
    beta_2: Decay = 0.99

    @property
    def slots(self) -> dict[str, float]:
        return zeros("momentum")

    def update(self, group: Group, gradients: Tensors, rate: Number, step: int) -> None:
        import torch

        momentum = group.state["momentum"]
        move = torch._foreach_mul(momentum, self.beta_1)
        torch._foreach_add_(move, gradients, alpha=1 - self.beta_1)
        torch._foreach_sign_(move)
        group.move(group.weights, move, -rate)
        group.track(momentum, gradients, self.beta_2)
