"""A network of a paper for series of numbers, which the gallery does not have."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn


def init_weights(module: nn.Module) -> None:
    """Keras' initializers."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Trend(nn.Module):
    def __init__(self, size: int, steps: int) -> None:
        super().__init__()
        powers = torch.arange(size, dtype=torch.float32)
        self.curves = nn.Buffer(torch.linspace(0, 1, steps) ** powers[:, None], persistent=False)

    def forward(self, theta: Tensor) -> Tensor:
        return theta @ self.curves


class Season(nn.Module):
    def __init__(self, size: int, steps: int) -> None:
        super().__init__()
        waves = torch.arange(1, size // 2 + 1)
        angles = torch.linspace(0, 2 * math.pi, steps) * waves[:, None]
        self.curves = nn.Buffer(torch.cat([angles.cos(), angles.sin()]), persistent=False)

    def forward(self, theta: Tensor) -> Tensor:
        return theta @ self.curves


class Block(nn.Module):
    def __init__(self, basis: Callable[[int, int], nn.Module], size: int) -> None:
        super().__init__()
        self.code = nn.Sequential()
        for width in (60, 128, 128, 128):
            self.code.extend([nn.Linear(width, 128), nn.ReLU(inplace=True)])
        self.behind = nn.Linear(128, size, bias=False)
        self.explained = basis(size, 60)
        self.ahead = nn.Linear(128, size, bias=False)
        self.forecast = basis(size, 12)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        code = self.code(x)
        return x - self.explained(self.behind(code)), self.forecast(self.ahead(code))


class NBeats(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        stacks: tuple[tuple[Callable[[int, int], nn.Module], int], ...]
        stacks = ((Trend, 4), (Season, 12), (nn.Linear, 32))
        self.blocks = nn.ModuleList(Block(basis, size) for basis, size in stacks for _ in range(3))
        self.apply(init_weights)

    def forward(self, past: Tensor) -> Tensor:
        forecasts = []
        for block in self.blocks:
            past, forecast = block(past)
            forecasts.append(forecast)
        return torch.stack(forecasts).sum(0)
