"""Position encodings: sines and cosines, and rotations."""

import torch
from torch import Tensor


def sine_positions(x: Tensor, max_wavelength: float) -> Tensor:
    """Sines and cosines of positions, in the shape of x [..., length, features]."""
    length, features = x.shape[-2:]
    index = torch.arange(features, device=x.device)
    rates = max_wavelength ** (-2 * (index // 2) / features)
    angles = torch.arange(length, device=x.device).unsqueeze(1) * rates
    waves = torch.where(index % 2 == 0, angles.sin(), angles.cos())
    return waves.to(x.dtype).expand(x.shape)


def rotate_positions(
    x: Tensor, axis: int, max_wavelength: float, scale: float = 1.0
) -> Tensor:
    """Rotary embedding: rotates feature i and feature i + half by their position."""
    half = x.shape[-1] // 2
    rates = max_wavelength ** (-torch.arange(half, device=x.device) / half) / scale
    angles = torch.arange(x.shape[axis], device=x.device).unsqueeze(1) * rates
    angles = angles.view(-1, *[1] * (x.dim() - 2 - axis), half)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)
