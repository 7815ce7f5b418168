"""The update of each optimizer: what a step makes of weights, gradients and what is remembered of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from graphspec.train import config

Tensors = list[Tensor]


@dataclass(slots=True)
class Group:
    """Weights that are updated alike.

    `kind` names the update and `state` has, for each slot of it, one tensor a weight. `factor` multiplies the
    learning rate, `decay` is the weight decay. `product` is Nadam's, of its momenta.
    """

    kind: str
    config: Any
    factor: float
    decay: float
    names: list[str]
    weights: Tensors
    state: dict[str, Tensors] = field(default_factory=dict)
    product: float = 1.0
    iterations: int = 0
    learning_rate: float = 0.0

    def step(self, gradients: Tensors, rate: float, step: int) -> None:
        """The update of step number `step`, from 1, at a learning rate."""
        self.iterations, self.learning_rate = step, rate * self.factor
        if self.decay and self.kind not in FUSED_DECAY:
            torch._foreach_mul_(self.weights, 1 - rate * self.factor * self.decay)
        UPDATES[self.kind](self, self.weights, gradients)


def groups_of(
    config: config.Optimizer, factor: float, weights: Mapping[str, Tensor], matrices: frozenset[str] | None
) -> Iterable[Group]:
    """The groups of weights that have one configuration; none without weights."""
    if weights:
        decay = config.weight_decay or 0.0
        yield _group(config.canonical, config, factor, decay, weights)


def _group(
    kind: str, config: config.Optimizer, factor: float, decay: float, weights: Mapping[str, Tensor]
) -> Group:
    group = Group(kind, config, factor, decay, list(weights), list(weights.values()))
    for slot, value in SLOTS[kind](config).items():
        group.state[slot] = [torch.full_like(weight, value) for weight in group.weights]
    return group


def _sgd(self: Any, weights: Tensors, gradients: Tensors) -> None:
    momentum, rate = self.config.momentum, self.learning_rate
    if not momentum:
        torch._foreach_add_(weights, gradients, alpha=-rate)
        return
    velocity = self.state["momentum"]
    torch._foreach_mul_(velocity, momentum)
    torch._foreach_add_(velocity, gradients, alpha=-rate)
    if self.config.nesterov:
        torch._foreach_add_(weights, velocity, alpha=momentum)
        torch._foreach_add_(weights, gradients, alpha=-rate)
    else:
        torch._foreach_add_(weights, velocity)


def _rmsprop(self: Any, weights: Tensors, gradients: Tensors) -> None:
    config, state = self.config, self.state
    _track(state["velocity"], gradients, config.rho, squared=True)
    if config.centered:
        mean = state["average_gradient"]
        _track(mean, gradients, config.rho)
        below = torch._foreach_addcmul(state["velocity"], mean, mean, value=-1)
        torch._foreach_add_(below, config.epsilon)
    else:
        below = torch._foreach_add(state["velocity"], config.epsilon)
    torch._foreach_sqrt_(below)
    if config.momentum:
        torch._foreach_mul_(state["momentum"], config.momentum)
        torch._foreach_addcdiv_(state["momentum"], gradients, below, value=self.learning_rate)
        torch._foreach_sub_(weights, state["momentum"])
    else:
        torch._foreach_addcdiv_(weights, gradients, below, value=-self.learning_rate)


def _adam(self: Any, weights: Tensors, gradients: Tensors) -> None:
    """Keras adds epsilon to the uncorrected root: torch's epsilon, divided by the correction."""
    config, state = self.config, self.state
    correction = math.sqrt(1 - config.beta_2**self.iterations)
    step = torch.full((), float(self.iterations), device=weights[0].device)
    torch._fused_adamw_(
        weights,
        gradients,
        state["momentum"],
        state["velocity"],
        state["velocity_hat"] if config.amsgrad else [],
        [step] * len(weights),
        lr=self.learning_rate,
        beta1=config.beta_1,
        beta2=config.beta_2,
        weight_decay=self.decay,
        eps=config.epsilon / correction,
        amsgrad=config.amsgrad,
        maximize=False,
    )


def _adagrad(self: Any, weights: Tensors, gradients: Tensors) -> None:
    accumulator = self.state["accumulator"]
    torch._foreach_addcmul_(accumulator, gradients, gradients)
    below = torch._foreach_add(accumulator, self.config.epsilon)
    torch._foreach_sqrt_(below)
    torch._foreach_addcdiv_(weights, gradients, below, value=-self.learning_rate)


def _adadelta(self: Any, weights: Tensors, gradients: Tensors) -> None:
    rho, epsilon = self.config.rho, self.config.epsilon
    squares, deltas = self.state["accumulated_grad"], self.state["accumulated_delta_var"]
    _track(squares, gradients, rho, squared=True)
    step = torch._foreach_add(deltas, epsilon)
    torch._foreach_div_(step, torch._foreach_add(squares, epsilon))
    torch._foreach_sqrt_(step)
    torch._foreach_mul_(step, gradients)
    _track(deltas, list(step), rho, squared=True)
    torch._foreach_add_(weights, step, alpha=-self.learning_rate)


def _adamax(self: Any, weights: Tensors, gradients: Tensors) -> None:
    config, norm = self.config, self.state["norm"]
    _track(self.state["momentum"], gradients, config.beta_1)
    torch._foreach_mul_(norm, config.beta_2)
    torch._foreach_maximum_(norm, torch._foreach_abs(gradients))
    below = torch._foreach_add(norm, config.epsilon)
    rate = self.learning_rate / (1 - config.beta_1**self.iterations)
    torch._foreach_addcdiv_(weights, self.state["momentum"], below, value=-rate)


def _nadam(self: Any, weights: Tensors, gradients: Tensors) -> None:
    config, step = self.config, self.iterations
    now, after = (config.beta_1 * (1 - 0.5 * 0.96**t) for t in (step, step + 1))
    self.product *= now
    product = self.product
    _track(self.state["momentum"], gradients, config.beta_1)
    _track(self.state["velocity"], gradients, config.beta_2, squared=True)
    mean = torch._foreach_mul(self.state["momentum"], after / (1 - product * after))
    torch._foreach_add_(mean, gradients, alpha=(1 - now) / (1 - product))
    below = torch._foreach_sqrt(self.state["velocity"])
    torch._foreach_div_(below, math.sqrt(1 - config.beta_2**step))
    torch._foreach_add_(below, config.epsilon)
    torch._foreach_addcdiv_(weights, mean, below, value=-self.learning_rate)


def _track(mean: Tensors, values: Tensors, factor: float, squared: bool = False) -> None:
    """Move a moving mean of the values, or of their squares."""
    torch._foreach_mul_(mean, factor)
    if squared:
        torch._foreach_addcmul_(mean, values, values, value=1 - factor)
    else:
        torch._foreach_add_(mean, values, alpha=1 - factor)


UPDATES: dict[str, Callable[[Any, Tensors, Tensors], None]] = {
    "sgd": _sgd,
    "rmsprop": _rmsprop,
    "adam": _adam,
    "adamw": _adam,
    "adagrad": _adagrad,
    "adadelta": _adadelta,
    "adamax": _adamax,
    "nadam": _nadam,
}
FUSED_DECAY = frozenset({"adam", "adamw"})
"""The updates that decay weights themselves."""

SLOTS: dict[str, Callable[[Any], dict[str, float]]] = {
    "sgd": lambda c: {"momentum": 0.0} if c.momentum else {},
    "rmsprop": lambda c: {
        "velocity": 0.0,
        **({"momentum": 0.0} if c.momentum else {}),
        **({"average_gradient": 0.0} if c.centered else {}),
    },
    "adam": lambda c: {"momentum": 0.0, "velocity": 0.0, **({"velocity_hat": 0.0} if c.amsgrad else {})},
    "adamw": lambda c: {"momentum": 0.0, "velocity": 0.0, **({"velocity_hat": 0.0} if c.amsgrad else {})},
    "adagrad": lambda c: {"accumulator": c.initial_accumulator_value},
    "adadelta": lambda c: {"accumulated_grad": 0.0, "accumulated_delta_var": 0.0},
    "adamax": lambda c: {"momentum": 0.0, "norm": 0.0},
    "nadam": lambda c: {"momentum": 0.0, "velocity": 0.0},
}
"""What each optimizer remembers for a weight, and where it starts."""
