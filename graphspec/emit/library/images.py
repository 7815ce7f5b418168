"""Conversions between color spaces."""

import torch
from torch import Tensor


def hsv_to_rgb(x: Tensor, axis: int) -> Tensor:
    """Red, green and blue, from 0 to 1, of hue, saturation and value from 0 to 1."""
    hue, saturation, value = x.unbind(axis)
    angle = hue.remainder(1) * 6
    red = ((angle - 3).abs() - 1).clamp(0, 1)
    green = (2 - (angle - 2).abs()).clamp(0, 1)
    blue = (2 - (angle - 4).abs()).clamp(0, 1)
    rest = 1 - saturation
    colours = [value * (rest + saturation * c) for c in (red, green, blue)]
    return torch.stack(colours, axis)


def rgb_to_hsv(x: Tensor, axis: int) -> Tensor:
    """Hue, saturation and value, from 0 to 1, of red, green and blue from 0 to 1."""
    x = torch.where(x.abs() < torch.finfo(x.dtype).eps, 0, x)
    red, green, blue = x.unbind(axis)
    value = x.amax(axis)
    span = value - x.amin(axis)
    # what is not chosen has a gradient, too
    saturation = torch.where(value > 0, span / torch.where(value > 0, value, 1), 0)
    sixth = 1 / (6 * torch.where(span > 0, span, 1))
    hue = torch.where(
        value == green, sixth * (blue - red) + 1 / 3, sixth * (red - green) + 2 / 3
    )
    hue = torch.where(value == red, sixth * (green - blue), hue)
    hue = torch.where(span > 0, hue, 0) + (hue < 0)
    return torch.stack((hue, saturation, value), axis)
