"""Changes of the tones of images."""

import torch
from torch import Tensor, nn


class RandomPosterization(nn.Module):
    """Reduces images in training to a random number of bits per value.

    The number is at least the first of `bits`, and below the second.
    """

    def __init__(self, bits: tuple[int, int], value_range: tuple[float, float]):
        super().__init__()
        self.bits, self.value_range = bits, value_range

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        low, high = self.value_range
        least, end = self.bits
        bits = torch.randint(
            least, max(end, least + 1), (x.shape[0], 1, 1, 1), device=x.device
        )
        step = (2 ** (8 - bits)).to(x.dtype)
        x = ((x - low) / (high - low) * 255).clamp(0, 255).floor()
        return (x / step).floor() * step / 255 * (high - low) + low


class Solarization(nn.Module):
    """Adds a number from `addition` to images in training, then inverts large values.

    Values above a number drawn from `threshold` are inverted, on a scale of 0 to 255.
    """

    def __init__(
        self,
        addition: tuple[float, float],
        threshold: tuple[float, float],
        value_range: tuple[float, float],
    ):
        super().__init__()
        self.addition, self.threshold = addition, threshold
        self.value_range = value_range

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        low, high = self.value_range
        addition = x.new_empty(x.shape[0], 1, 1, 1).uniform_(*self.addition)
        threshold = torch.empty_like(addition).uniform_(*self.threshold)
        x = ((x - low) / (high - low) * 255 + addition).clamp(0, 255)
        return torch.where(x < threshold, x, 255 - x) / 255 * (high - low) + low


def auto_contrast(x: Tensor, low: float, high: float) -> Tensor:
    """Stretches each channel of images [N, C, H, W] to the range `low` to `high`."""
    least, most = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    span = torch.where(most > least, most - least, 1)
    return torch.where(most > least, (x - least) / span * (high - low) + low, x)
