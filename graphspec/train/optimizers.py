"""Keras' optimizers on torch tensors: the same formulas, so the same trajectories.

They are not `torch.optim`: its formulas place epsilon elsewhere, and its first optimizer imports
torch._dynamo, which takes longer than many a small training. The kernels are torch's own: the fused Adam
where it serves, else `_foreach_`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from graphspec.train import config

Tensors = list[Tensor]


class Optimizer:
    """Weights, and what is remembered of their gradients.

    `learning_rate` may be changed between steps. `state` maps a name to one tensor for each weight;
    `iterations` counts steps, `momentum_product` is Nadam's product of their momenta.
    """

    def __init__(self, config: config.Optimizer, weights: Iterable[Tensor]):
        self.config = config
        self.learning_rate = config.learning_rate
        self.weights = list(weights)
        self.iterations = 0
        self.momentum_product = 1.0
        self.state: dict[str, Tensors] = {}
        self._update: Callable[[Optimizer, Tensors, Tensors], None] = UPDATES[config.canonical]

    @torch.no_grad()
    def step(self) -> None:
        """One update from the weights' gradients; a weight without one stays as it is.

        Clears the gradients.
        """
        moved = [weight for weight in self.weights if weight.grad is not None]
        gradients: Tensors = [weight.grad for weight in moved]  # type: ignore[misc]
        if not self.state or len(moved) != len(self.state["weight"]):
            self._begin(moved)
        self.iterations += 1
        gradients = self._clip(gradients)
        decay = self.config.weight_decay
        if decay and self.config.canonical not in FUSED_DECAY:
            torch._foreach_mul_(moved, 1 - self.learning_rate * decay)
        self._update(self, moved, gradients)
        for weight in moved:
            weight.grad = None

    def _begin(self, moved: Tensors) -> None:
        """State for the weights that the loss reaches; the graph is static, so they stay the same."""
        if self.state:
            raise RuntimeError("the weights that the loss reaches changed between two steps")
        self.state["weight"] = moved
        for name, value in SLOTS[self.config.canonical](self.config).items():
            self.state[name] = [torch.full_like(weight, value) for weight in moved]

    def _clip(self, gradients: Tensors) -> Tensors:
        config = self.config
        if config.clipnorm is not None:
            norms = torch._foreach_norm(gradients)
            scale = [config.clipnorm / norm.clamp(min=config.clipnorm) for norm in norms]
            return list(torch._foreach_mul(gradients, scale))
        if config.global_clipnorm is not None:
            norm = torch.stack(torch._foreach_norm(gradients)).norm()
            return list(
                torch._foreach_mul(gradients, config.global_clipnorm / norm.clamp(min=config.global_clipnorm))
            )
        if config.clipvalue is not None:
            lower = torch._foreach_clamp_min(gradients, -config.clipvalue)
            return list(torch._foreach_clamp_max(lower, config.clipvalue))
        return gradients


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
        weight_decay=config.weight_decay or 0.0,
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
    self.momentum_product *= now
    product = self.momentum_product
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
