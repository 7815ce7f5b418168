# Made by graphspec 0.1.0 from the spec few_shot. It needs torch 2.10 or later.
"""few_shot: seen_x float32[N, 10, 1], seen_y float32[N, 10, 1], x float32[N, points, 1]
-> after float32[N, points, 1], plain float32[N, points, 1].
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F


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


def moved(
    module: nn.Module, weights: Mapping[str, Tensor], change: Mapping[str, Tensor]
) -> Callable[..., Any]:
    """A module with a change of its weights."""
    there = {name: weight + change[name] for name, weight in weights.items()}
    return lambda *given, **others: functional_call(module, there, given, others)


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


def init_weights(module: nn.Module) -> None:
    """Fills a module's own weights by Keras' initializers."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


class Network(nn.Module):
    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.hidden = nn.ModuleList(
            [nn.Linear(in_channels, width), nn.Linear(width, width)]
        )
        self.out = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.hidden:
            x = F.relu(layer(x), inplace=True)
        return self.out(x)


def error(x: Tensor, y: Tensor, *, network: Network) -> Tensor:
    return (network(x) - y).square()


class FewShot(nn.Module):
    def __init__(self, width: int = 40, rate: float = 0.01, steps: int = 1) -> None:
        super().__init__()
        self.network = Network(1, width)
        self.other = Network(1, width)
        self.rate = rate
        self.steps = steps
        self.apply(init_weights)

    def forward(self, seen_x: Tensor, seen_y: Tensor, x: Tensor) -> dict[str, Tensor]:
        y = gradient_steps(
            self.network,
            lambda network, x, y: error(x, y, network=network),
            self.rate,
            self.steps,
            seen_x,
            seen_y,
        )
        after = with_weights_moved(self.network, lambda network, x: network(x), y, x)
        plain = self.other(x)  # [N, points, 1]
        return {"after": after, "plain": plain}
