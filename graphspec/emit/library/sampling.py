"""Images and other arrays read at other places."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from graphspec.emit.library.augmentation import warp
from graphspec.emit.library.filtering import gaussian_blur


def affine_transform(
    x: Tensor,
    transform: Tensor,
    read: Callable[..., Tensor],
    mode: str,
    fill: float,
) -> Tensor:
    """Applies an affine map to each image of [N, C, H, W].

    A row of `transform` [N, 8] begins with a, b, c, d, e, f: the pixel (x, y) of the
    output shows (a x + b y + c, d x + e y + f) of the input.
    """
    height, width = x.shape[2:]
    a, b, c, d, e, f = transform[:, :6].expand(x.shape[0], 6).unbind(1)
    right = (a * (width - 1) + b * (height - 1) + 2 * c + 1) / width - 1
    down = (d * (width - 1) + e * (height - 1) + 2 * f + 1) / height - 1
    theta = [a, b * height / width, right, d * width / height, e, down]
    return warp(x, torch.stack(theta, 1), read, mode, fill)


def elastic_transform(
    x: Tensor,
    alpha: float,
    sigma: float,
    read: Callable[..., Tensor],
    mode: str,
    fill: float,
) -> Tensor:
    """Moves the pixels of [N, C, H, W] by `alpha` times blurred noise."""
    height, width = x.shape[2:]
    noise = sigma * torch.randn(
        x.shape[0], 2, height, width, dtype=x.dtype, device=x.device
    )
    moved = alpha * gaussian_blur(noise, int(6 * sigma) | 1, (sigma, sigma))
    identity = torch.eye(2, 3, dtype=x.dtype, device=x.device).expand(x.shape[0], 2, 3)
    grid = F.affine_grid(identity, [*x.shape], align_corners=False)
    shift = torch.stack((moved[:, 0] / width, moved[:, 1] / height), -1)
    grid = grid + 2 * shift
    return read(x, grid, mode, fill)


def map_coordinates(
    x: Tensor, coordinates: Tensor, order: int, fill_mode: str, fill: float
) -> Tensor:
    """Reads each example of [N, ...] at its coordinates [N, axes, ...].

    Between elements it interpolates (`order` 1), or takes the nearest (0).
    """
    places = coordinates.expand(x.shape[0], *coordinates.shape[1:]).unbind(1)
    lower = [place.floor() if order else place.round() for place in places]
    example = torch.arange(x.shape[0], device=x.device)
    example = example.view(-1, *[1] * (coordinates.dim() - 2))
    sampled = x.new_zeros(())
    for corner in range((order + 1) ** len(places)):  # a bit for each axis
        ends = [low + (corner >> axis & 1) for axis, low in enumerate(lower)]
        sides = list(zip(ends, x.shape[1:], strict=True))
        index = [inside(end.long(), size, fill_mode) for end, size in sides]
        value = x[(example, *index)]
        if fill_mode == "constant":
            for end, size in sides:
                value = torch.where((end >= 0) & (end < size), value, fill)
        if order:
            for axis, (place, low) in enumerate(zip(places, lower, strict=True)):
                share = place - low
                value = value * (share if corner >> axis & 1 else 1 - share)
        sampled = sampled + value
    return sampled


def inside(index: Tensor, size: int, fill_mode: str) -> Tensor:
    """The indices of an axis that stand for those outside of it."""
    if fill_mode == "wrap":
        return index % size
    if fill_mode == "mirror":
        return ((index + size - 1) % (2 * (size - 1)) - size + 1).abs()
    if fill_mode == "reflect":
        index = (index + size) % (2 * size) - size
        return torch.where(index < 0, -1 - index, index)
    return index.clamp(0, size - 1)


def resample(
    x: Tensor,
    dim: int,
    size: int,
    scale: float,
    shift: float,
    kernel: Callable[[Tensor], Tensor],
    antialias: bool = True,
) -> Tensor:
    """Scales `x` along `dim`, moves it by `shift`, and gives it `size` elements there.

    `kernel` weighs elements of the input by their distance.
    """
    length = x.shape[dim]
    places = torch.arange(size, dtype=x.dtype, device=x.device)
    places = (places + 0.5 - shift) / scale - 0.5
    own = torch.arange(length, dtype=x.dtype, device=x.device)
    apart = (places - own[:, None]).abs()
    if antialias:
        apart = apart / max(1 / scale, 1)
    weight = kernel(apart)
    total = weight.sum(0)
    weight = torch.where(total.abs() > 1e-4, weight / total, 0)
    weight = weight * ((places >= -0.5) & (places <= length - 0.5))
    return torch.tensordot(x, weight, ([dim], [0])).movedim(-1, dim)


def triangle(distance: Tensor) -> Tensor:
    """Weights that fall in a line, to 0 at distance 1."""
    return (1 - distance).clamp(min=0)


def keys_cubic(distance: Tensor) -> Tensor:
    """Keys' cubic weights, which end at distance 2."""
    near = ((1.5 * distance - 2.5) * distance) * distance + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return torch.where(distance < 1, near, torch.where(distance < 2, far, 0))


def lanczos3(distance: Tensor) -> Tensor:
    """Lanczos' weights, which end at distance 3."""
    weight = distance.sinc() * (distance / 3).sinc()
    return torch.where(distance > 3, 0, weight)


def lanczos5(distance: Tensor) -> Tensor:
    """Lanczos' weights, which end at distance 5."""
    weight = distance.sinc() * (distance / 5).sinc()
    return torch.where(distance > 5, 0, weight)
