"""Images whose colours are changed at random in training."""

import torch
from torch import Tensor, nn


class RandomGrayscale(nn.Module):
    """Removes the colour of a share of images [batch, 3, height, width]."""

    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        weights = x.new_tensor([0.2989, 0.587, 0.114]).view(3, 1, 1)
        grey = (x * weights).sum(1, keepdim=True)
        chosen = x.new_empty(len(x), 1, 1, 1).uniform_() < self.factor
        return torch.where(chosen, grey, x)


class RandomInvert(nn.Module):
    """Inverts images, each with a probability between two."""

    def __init__(self, factor: tuple[float, float], white: float):
        super().__init__()
        self.factor, self.white = factor, white

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        chance = x.new_empty(len(x), 1, 1, 1).uniform_(*self.factor)
        return torch.where(torch.rand_like(chance) < chance, self.white - x, x)
