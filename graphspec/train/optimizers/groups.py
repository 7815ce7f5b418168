"""Weights that are updated by the same settings: their state, and the kernels that updates are written in.

Of optimizers that are `traceable` torch.compile takes the updates into the graph of a whole step. Learning
rates are tensors there, so that no step compiles again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from graphspec.contract.layer import Weight
from graphspec.train.penalties import from_keras, to_keras

Tensors = list[Tensor]
Several = Tensors | tuple[Tensor, ...]
Number = float | Tensor
"""In a graph a float64 tensor of no axes."""


@dataclass(slots=True)
class Group:
    """Weights with the same settings.

    `state` has, for each slot of the optimizer, one tensor a weight. `factor` multiplies the learning rate,
    `decay` is the weight decay; `layouts` say how Keras stores each weight, where it is known. `product` is
    Nadam's, of its momenta.
    """

    config: Any
    factor: float
    decay: float
    names: list[str]
    weights: Tensors
    layouts: list[Weight | None]
    state: dict[str, Tensors] = field(default_factory=dict)
    product: float = 1.0
    variables: list[tuple[int, ...]] = field(init=False)
    """The weights of each variable of Keras: one, or those that are its rows."""

    def __post_init__(self) -> None:
        by_variable: dict[Any, list[int]] = {}
        for index, (name, layout) in enumerate(zip(self.names, self.layouts, strict=True)):
            row = layout is not None and layout.row is not None
            key = (name.rpartition(".")[0], layout.keras) if layout is not None and row else index
            by_variable.setdefault(key, []).append(index)
        self.variables = [tuple(indices) for indices in by_variable.values()]

    def as_keras(self, tensors: Tensors) -> Tensors:
        """Tensors, one for each weight, as Keras has them: one for each variable."""
        return [
            self._as_keras(indices[0], tensors)
            if len(indices) == 1
            else torch.stack([self._as_keras(index, tensors) for index in indices])
            for indices in self.variables
        ]

    def _as_keras(self, index: int, tensors: Tensors) -> Tensor:
        layout = self.layouts[index]
        return tensors[index] if layout is None else to_keras(layout, tensors[index])

    def of_weights(self, values: Tensors) -> Iterable[tuple[int, Tensor]]:
        """The same the other way: from a value for each variable one for each weight, with its index."""
        for indices, value in zip(self.variables, values, strict=True):
            for index, part in zip(indices, [value] if len(indices) == 1 else value, strict=True):
                layout = self.layouts[index]
                yield index, part if layout is None else from_keras(replace(layout, row=None), part)

    def together(self, norms: Iterable[Tensor]) -> Tensors:
        """For each weight the norm of the variable that it is or is a row of, from those of the weights."""
        combined = list(norms)
        for indices in self.variables:
            if len(indices) > 1:
                norm = torch.stack([combined[index] for index in indices]).norm()
                for index in indices:
                    combined[index] = norm
        return combined

    def rates(self, rate: float, step: int) -> tuple[float, float]:
        """The group's own learning rate in step number `step`, from 1, and that which its update takes."""
        own = rate * self.factor
        return own, self.config.corrected(own, step)

    def step(self, gradients: Tensors, rates: tuple[Number, Number], step: int) -> None:
        """The update of a step, by its number from 1; in a graph `rates` are tensors, and the number is 0."""
        self.config.step(self, gradients, *rates, step)

    def shrink(self, rate: Number) -> None:
        """Weight decay, at a learning rate."""
        kept = 1 - rate * self.decay
        torch._foreach_mul_(self.weights, kept.float() if isinstance(kept, Tensor) else kept)

    @staticmethod
    def track(mean: Tensors, values: Tensors, factor: float, squared: bool = False) -> None:
        """Updates a moving mean of the values, or of their squares."""
        torch._foreach_mul_(mean, factor)
        if squared:
            torch._foreach_addcmul_(mean, values, values, value=1 - factor)
        else:
            torch._foreach_add_(mean, values, alpha=1 - factor)

    @staticmethod
    def move(tensors: Tensors, by: Several, rate: Number, below: Several | None = None) -> None:
        """Adds `by`, divided by `below`, at a rate; kernels of one pass take no tensor for it."""
        if isinstance(rate, Tensor):
            moves = by if below is None else torch._foreach_div(by, below)
            torch._foreach_add_(tensors, torch._foreach_mul(moves, rate.float()))
        elif below is None:
            torch._foreach_add_(tensors, by, alpha=rate)
        else:
            torch._foreach_addcdiv_(tensors, by, below, value=rate)
