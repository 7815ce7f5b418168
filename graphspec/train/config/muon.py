"""The optimizer Muon."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from graphspec.train.config.optimizers import Adam, Decay, OptimizerSettings, Positive, zeros

if TYPE_CHECKING:
    from torch import Tensor

    from graphspec.train.optimizers.groups import Group, Tensors


class Muon(OptimizerSettings):
    """Orthogonal steps for matrices, by Newton and Schulz; Adam for all other weights.

    Matrices are what Keras stores with two axes, except embeddings (`exclude_embeddings`) and weights whose
    path contains a word of `exclude_layers`, which should name the last layer.
    """

    traceable = False
    name: Literal["muon", "Muon"] = "muon"
    weight_decay: Annotated[float, Field(ge=0)] | None = 0.004
    adam_beta_1: Decay = 0.9
    """Decay of the mean of gradients where Adam is used."""
    adam_beta_2: Decay = 0.999
    """Decay of the mean of squares where Adam is used."""
    adam_weight_decay: Annotated[float, Field(ge=0)] | None = 0.004
    """Weight decay where Adam is used."""
    adam_lr_ratio: Positive = 1.0
    """Learning rate where Adam is used, relative to Muon's."""
    epsilon: Positive = 1e-7
    exclude_layers: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Layers that Adam updates."""
    exclude_embeddings: bool = True
    """Whether Adam updates embeddings."""
    muon_a: float = 3.4445
    """First coefficient of the iteration."""
    muon_b: float = -4.7750
    """Second coefficient of the iteration."""
    muon_c: float = 2.0315
    """Third coefficient of the iteration."""
    momentum: Annotated[float, Field(ge=0, le=1)] = 0.95
    ns_steps: Annotated[int, Field(ge=1)] = 5
    """Steps of the iteration."""
    nesterov: bool = True
    rms_rate: Positive | None = 0.2
    """Root mean square of an update."""

    @property
    def slots(self) -> dict[str, float]:
        return zeros("momentum")  # the weights that follow Adam have its own

    @property
    def adam(self) -> Adam:
        """The optimizer of the weights that are not matrices."""
        return Adam(
            learning_rate=self.learning_rate,
            beta_1=self.adam_beta_1,
            beta_2=self.adam_beta_2,
            epsilon=self.epsilon,
        )

    def parts(
        self, weights: Mapping[str, Tensor], layouts: Mapping[str, Any]
    ) -> Iterable[tuple[OptimizerSettings, float, float, Mapping[str, Tensor]]]:
        matrices = {name: weight for name, weight in weights.items() if self._takes(name, weight, layouts)}
        others = {name: weight for name, weight in weights.items() if name not in matrices}
        yield self, 1.0, self.weight_decay or 0.0, matrices
        ratio = self.adam_lr_ratio  # which the decay knows nothing of, in Keras
        yield self.adam, ratio, (self.adam_weight_decay or 0.0) / ratio, others

    def _takes(self, name: str, weight: Tensor, layouts: Mapping[str, Any]) -> bool:
        """Whether a weight is a matrix, by Keras' rule on the variable that Keras stores."""
        layout = layouts.get(name)
        rank = weight.dim()
        if layout is not None:
            rank = len(layout.unmerged or layout.shape) + (layout.row is not None)
            if self.exclude_embeddings and "embedding" in layout.keras:
                return False
        return rank == 2 and not any(word in name for word in self.exclude_layers)

    def _orthogonal(self, matrix: Tensor) -> Tensor:
        """The nearest orthogonal matrix, roughly: Newton and Schulz's iteration, on the smaller side."""
        tall = matrix.shape[0] > matrix.shape[1]
        x: Tensor = matrix.mT if tall else matrix
        x = x / (x.norm() + 1e-7)
        for _ in range(self.ns_steps):
            square = x @ x.mT
            x = self.muon_a * x + (self.muon_b * square + self.muon_c * square @ square) @ x
        return x.transpose(0, 1) if tall else x

    def update(self, group: Group, gradients: Tensors, rate: Any, step: int) -> None:
        import torch

        momentum = group.state["momentum"]
        torch._foreach_mul_(momentum, self.momentum)
        torch._foreach_add_(momentum, gradients)
        updates: Sequence[Tensor] = momentum
        if self.nesterov:
            updates = torch._foreach_add(gradients, momentum, alpha=self.momentum)
        moves = []
        for update in group.as_keras(list(updates)):
            # a row whose others train otherwise has one axis
            matrix = update if update.dim() == 2 else update.unsqueeze(0)
            scale = 1.0 if self.rms_rate is None else math.sqrt(max(matrix.shape)) * self.rms_rate
            moves.append(self._orthogonal(matrix).view_as(update) * (rate * scale))
        for index, move in group.of_weights(moves):
            group.weights[index].sub_(move)
