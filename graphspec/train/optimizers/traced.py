"""Updates as torch.compile takes them into the graph of a whole step.

Rate and number of the step are tensors, so that no step compiles anew, and no kernel is one that a graph
cannot hold. The formulas are those of `updates`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from graphspec.train.optimizers.updates import Group, Tensors


def traceable(groups: Sequence[Group]) -> bool:
    """Whether the updates of all groups are here."""
    return bool(groups) and all(group.kind in TRACED for group in groups)


def update(groups: Sequence[Group], gradients: Tensors, rate: Tensor, step: Tensor) -> None:
    """The update of step number `step`, from 1, at a learning rate; both are of no axes, float64."""
    start = 0
    for group in groups:
        own = gradients[start : start + len(group.weights)]
        factor = rate * group.factor
        if group.decay:
            torch._foreach_mul_(group.weights, (1 - factor * group.decay).float())
        TRACED[group.kind](group, own, factor, step)
        start += len(group.weights)


def _sgd(group: Group, gradients: Tensors, rate: Tensor, step: Tensor) -> None:
    momentum, moves = group.config.momentum, torch._foreach_mul(gradients, (-rate).float())
    if not momentum:
        torch._foreach_add_(group.weights, moves)
        return
    velocity = group.state["momentum"]
    torch._foreach_mul_(velocity, momentum)
    torch._foreach_add_(velocity, moves)
    if group.config.nesterov:
        torch._foreach_add_(group.weights, velocity, alpha=momentum)
        torch._foreach_add_(group.weights, moves)
    else:
        torch._foreach_add_(group.weights, velocity)


def _rmsprop(group: Group, gradients: Tensors, rate: Tensor, step: Tensor) -> None:
    config, velocity = group.config, group.state["velocity"]
    _track_squares(velocity, gradients, config.rho)
    if config.centered:
        mean = group.state["average_gradient"]
        torch._foreach_lerp_(mean, gradients, 1 - config.rho)
        below = torch._foreach_addcmul(velocity, mean, mean, value=-1)
        below = torch._foreach_add(below, config.epsilon)
    else:
        below = torch._foreach_add(velocity, config.epsilon)
    moves = torch._foreach_div(gradients, torch._foreach_sqrt(below))
    moves = torch._foreach_mul(moves, rate.float())
    if config.momentum:
        held = group.state["momentum"]
        torch._foreach_mul_(held, config.momentum)
        torch._foreach_add_(held, moves)
        moves = tuple(held)
    torch._foreach_sub_(group.weights, moves)


def _adam(group: Group, gradients: Tensors, rate: Tensor, step: Tensor) -> None:
    config, momentum, velocity = group.config, group.state["momentum"], group.state["velocity"]
    torch._foreach_lerp_(momentum, gradients, 1 - config.beta_1)
    _track_squares(velocity, gradients, config.beta_2)
    above = velocity
    if config.amsgrad:
        above = group.state["velocity_hat"]
        torch._foreach_maximum_(above, velocity)
    below = torch._foreach_add(torch._foreach_sqrt(above), config.epsilon)
    factor = rate * (1 - config.beta_2**step).sqrt() / (1 - config.beta_1**step)
    moves = torch._foreach_mul(torch._foreach_div(momentum, below), factor.float())
    torch._foreach_sub_(group.weights, moves)


def _track_squares(means: Tensors, values: Tensors, keep: float) -> None:
    torch._foreach_mul_(means, keep)
    torch._foreach_addcmul_(means, values, values, value=1 - keep)


TRACED: dict[str, Callable[[Group, Tensors, Tensor, Tensor], None]] = {
    "adam": _adam,
    "adamw": _adam,
    "rmsprop": _rmsprop,
    "sgd": _sgd,
}
