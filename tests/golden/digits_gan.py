# Made by graphspec 0.1.0 from the spec digits_gan. It needs torch 2.10 or later.
"""digits_gan: image uint8[N, 8, 8, 1], noise float32[N, 16]
-> gap float32[N, 1], penalty float32[N], fooled float32[N, 1],
    samples float32[N, 8, 8, 1].
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def input_gradient(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The gradient of the sum of a function's values by its input."""
    again = torch.is_grad_enabled()  # it has gradients itself
    with torch.inference_mode(False), torch.enable_grad():
        given = x.clone() if x.is_inference() else x.detach()
        watched = x if x.requires_grad else given.requires_grad_()
        total = function(watched).sum()
        (gradient,) = torch.autograd.grad(total, watched, create_graph=again)
    return gradient


def init_weights(module: nn.Module) -> None:
    """Fills a module's own weights by Keras' initializers."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


class Drawing(nn.Module):
    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.wide = nn.ModuleList([nn.Linear(in_features, 128), nn.Linear(128, 128)])
        self.drawn = nn.Linear(128, 64)

    def forward(self, noise: Tensor) -> Tensor:
        for layer in self.wide:
            noise = F.relu(layer(noise), inplace=True)
        return self.drawn(noise).tanh().unflatten(1, (8, 8, 1))


class Judging(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.ModuleList([nn.Linear(64, 128), nn.Linear(128, 128)])
        self.score = nn.Linear(128, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        x = pixels.flatten(1)
        for layer in self.wide:
            x = F.leaky_relu(layer(x), 0.2)
        return self.score(x)


class DigitsGan(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.generator = Drawing(16)
        self.critic = Judging()
        self.apply(init_weights)

    def forward(self, image: Tensor, noise: Tensor | None = None) -> dict[str, Tensor]:
        if noise is None:
            noise = torch.randn(
                image.shape[0],
                16,
                dtype=next(self.parameters()).dtype,
                device=image.device,
            )
        pixels = image.to(next(self.parameters()).dtype) / 8 - 1.0  # [N, 8, 8, 1]
        samples = self.generator(noise)  # [N, 8, 8, 1]
        real = self.critic(pixels)  # [N, 1]
        fake = self.critic(samples)  # [N, 1]
        x = torch.rand_like(real.unflatten(1, (1, 1, 1)))  # [N, 1, 1, 1]
        x = x * pixels + (1 - x) * samples  # [N, 8, 8, 1]
        slope = input_gradient(self.critic, x)  # [N, 8, 8, 1]
        return {
            "gap": fake - real,
            "penalty": ((slope.square().sum((1, 2, 3)) + 1e-08).sqrt() - 1).square(),
            "fooled": 0 - fake,
            "samples": samples,
        }
