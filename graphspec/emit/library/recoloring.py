"""Random changes of the colors of images in training."""

import torch
from torch import Tensor, nn

from graphspec.emit.library.augmentation import RandomBrightness, RandomContrast
from graphspec.emit.library.images import hsv_to_rgb, rgb_to_hsv


def grayscale(x: Tensor) -> Tensor:
    """Luminance of images [batch, 3, height, width]: [batch, 1, height, width]."""
    weights = x.new_tensor([0.2989, 0.587, 0.114]).view(3, 1, 1)
    return (x * weights).sum(1, keepdim=True)


class RandomColorDegeneration(nn.Module):
    """Blends images [batch, 3, height, width] with grayscale in training."""

    def __init__(self, factor: tuple[float, float], value_range: tuple[float, float]):
        super().__init__()
        self.factor, self.value_range = factor, value_range

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        factor = x.new_empty(x.shape[0], 1, 1, 1).uniform_(*self.factor)
        return x.lerp(grayscale(x).expand_as(x), factor).clamp(*self.value_range)


class RandomColorJitter(nn.Sequential):
    """Changes brightness, contrast, saturation and hue in training, where given."""

    def __init__(
        self,
        value_range: tuple[float, float],
        brightness: tuple[float, float] | None = None,
        contrast: tuple[float, float] | None = None,
        saturation: tuple[float, float] | None = None,
        hue: tuple[float, float] | None = None,
    ):
        factors = {
            RandomBrightness: brightness,
            RandomContrast: contrast,
            RandomSaturation: saturation,
            RandomHue: hue,
        }
        super().__init__(
            *(step(f, value_range) for step, f in factors.items() if f is not None)
        )


class RandomHue(nn.Module):
    """Shifts the hue of images [batch, 3, height, width] in training.

    The shift is half of a number drawn from `factor`, in either direction.
    """

    def __init__(self, factor: tuple[float, float], value_range: tuple[float, float]):
        super().__init__()
        self.factor, self.value_range = factor, value_range

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        low, high = self.value_range
        hue, saturation, value = rgb_to_hsv((x - low) / (high - low), 1).unbind(1)
        turn = x.new_empty(x.shape[0], 1, 1).uniform_(*self.factor) / 2
        turn = torch.where(torch.rand_like(turn) < 0.5, -turn, turn)
        x = hsv_to_rgb(torch.stack([hue + turn, saturation, value], 1), 1)
        return x.clamp(0, 1) * (high - low) + low


class RandomSaturation(nn.Module):
    """Scales the saturation of images [batch, 3, height, width] in training.

    The scale is f / (1 - f), with f drawn from `factor`.
    """

    def __init__(self, factor: tuple[float, float], value_range: tuple[float, float]):
        super().__init__()
        self.factor, self.value_range = factor, value_range

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        hue, saturation, value = rgb_to_hsv(x, 1).unbind(1)
        factor = x.new_empty(x.shape[0], 1, 1).uniform_(*self.factor)
        saturation = saturation * (factor / (1 - factor + 1e-7))
        saturation = saturation.clamp(*self.value_range)
        return hsv_to_rgb(torch.stack([hue, saturation, value], 1), 1)


class RandomGrayscale(nn.Module):
    """Removes the color of images [batch, 3, height, width] in training, at random."""

    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        chosen = x.new_empty(x.shape[0], 1, 1, 1).uniform_() < self.factor
        return torch.where(chosen, grayscale(x), x)


class RandomInvert(nn.Module):
    """Inverts images in training, with a probability that is drawn from `factor`."""

    def __init__(self, factor: tuple[float, float], white: float):
        super().__init__()
        self.factor, self.white = factor, white

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        chance = x.new_empty(x.shape[0], 1, 1, 1).uniform_(*self.factor)
        return torch.where(torch.rand_like(chance) < chance, self.white - x, x)
