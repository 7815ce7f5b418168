"""Weights of each example's own."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap


def gradient_steps(
    module: nn.Module,
    loss: Callable[..., Tensor],
    learning_rate: float,
    steps: int,
    *inputs: Tensor,
) -> Tensor:
    """How far steps of gradient descent on a loss move weights, [N, weights].

    The loss is called with the module and the inputs of one example; its mean counts.
    """
    weights = dict(module.named_parameters())

    def error(change: dict[str, Tensor], *rows: Tensor) -> Tensor:
        network = moved(module, weights, change)
        return loss(network, *(row.unsqueeze(0) for row in rows)).mean()

    def move(*rows: Tensor) -> Tensor:
        change = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        for _ in range(steps):
            slopes = grad(error)(change, *rows)
            change = {
                name: change[name] - learning_rate * slopes[name] for name in weights
            }
        return torch.cat([change[name].flatten() for name in weights])

    return by_example(move, inputs)


def with_weights_moved(
    module: nn.Module, function: Callable[..., Tensor], change: Tensor, *inputs: Tensor
) -> Tensor:
    """What a function gives of a module with moved weights, [N, weights]."""
    weights = dict(module.named_parameters())
    sizes = [weight.numel() for weight in weights.values()]

    def run(row: Tensor, *rows: Tensor) -> Tensor:
        pairs = zip(weights.items(), row.split(sizes), strict=True)
        parts = {name: part.view_as(weight) for (name, weight), part in pairs}
        network = moved(module, weights, parts)
        return function(network, *(each.unsqueeze(0) for each in rows)).squeeze(0)

    return by_example(run, (change, *inputs))


def moved(
    module: nn.Module, weights: Mapping[str, Tensor], change: Mapping[str, Tensor]
) -> Callable[..., Any]:
    """A module with a change of its weights."""
    there = {name: weight + change[name] for name, weight in weights.items()}
    return lambda *given, **others: functional_call(module, there, given, others)


def by_example(function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> Tensor:
    """The results of a function for each example; what is given once is for all."""
    compiling = torch.compiler.is_compiling()  # which knows no inference mode
    if (
        not compiling and torch.is_inference_mode_enabled()
    ):  # no gradient passes its tensors
        with torch.inference_mode(False), torch.no_grad():
            return by_example(function, tuple(x.clone() for x in inputs))
    count = max(x.shape[0] for x in inputs)
    rows = (x.expand(count, *x.shape[1:]) for x in inputs)
    return vmap(function, randomness="different")(*rows)
