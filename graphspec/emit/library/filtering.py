"""Filters of images, fixed ones and random ones in training."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def filtered(x: Tensor, kernel: Tensor) -> Tensor:
    """Convolves each channel of [N, C, H, W] with one kernel; it pads zeros."""
    channels = x.shape[1]
    weight = kernel.expand(channels, 1, *kernel.shape)
    return F.conv2d(x, weight, padding=len(kernel) // 2, groups=channels)


def gaussian(size: int, sigma: float, like: Tensor) -> Tensor:
    """A Gaussian window [size] whose sum is 1."""
    places = torch.arange(size, dtype=like.dtype, device=like.device)
    return (-0.5 * ((places - (size - 1) / 2) / sigma) ** 2).softmax(0)


def gaussian_blur(x: Tensor, size: int, sigma: tuple[float, float]) -> Tensor:
    """Blurs [N, C, H, W]. `sigma` has the standard deviations along W and along H."""
    columns, rows = (gaussian(size, each, x) for each in sigma)
    return filtered(x, torch.outer(rows, columns))


def sobel_edges(x: Tensor) -> Tensor:
    """The slopes of [N, C, H, W] along H and along W: [N, C, H, W, 2]."""
    rows = x.new_tensor([[-1, -2, -1], [0, 0, 0], [1, 2, 1]])
    return torch.stack((filtered(x, rows), filtered(x, rows.T)), -1)


def structural_similarity(
    x: Tensor, y: Tensor, size: int, sigma: float, c1: float, c2: float
) -> Tensor:
    """The structural similarity [N] of images [N, C, H, W]; `c1`, `c2` stabilize it."""
    row, channels = gaussian(size, sigma, x), x.shape[1]
    weight = torch.outer(row, row).expand(channels, 1, size, size)

    def mean(images: Tensor) -> Tensor:
        return F.conv2d(images, weight, groups=channels)

    a, b = mean(x), mean(y)
    spread = mean(x * x) - a * a + mean(y * y) - b * b
    together = mean(x * y) - a * b
    similar = (2 * a * b + c1) * (2 * together + c2)
    return (similar / ((a * a + b * b + c1) * (spread + c2))).mean((1, 2, 3))


class RandomSharpness(nn.Module):
    """Sharpens or blurs images in training; a `factor` of 0.5 changes nothing."""

    def __init__(self, factor: tuple[float, float], value_range: tuple[float, float]):
        super().__init__()
        self.factor, self.value_range = factor, value_range

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        factor = x.new_empty(x.shape[0], 1, 1, 1).uniform_(*self.factor)
        kernel = x.new_tensor([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
        smooth = filtered(x, kernel)
        return (x + (1 - 2 * factor) * (smooth - x)).clamp(*self.value_range)


class RandomGaussianBlur(nn.Module):
    """Blurs images in training, with a probability that is drawn from `factor`.

    The standard deviations are drawn from `sigma`, the same for all images of a batch.
    """

    def __init__(
        self,
        factor: tuple[float, float],
        sigma: tuple[float, float],
        value_range: tuple[float, float],
        kernel_size: int = 3,
    ):
        super().__init__()
        self.factor, self.sigma, self.value_range = factor, sigma, value_range
        self.kernel_size = kernel_size

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        chosen = x.new_empty(x.shape[0], 1, 1, 1).uniform_(*self.factor)
        chosen = torch.rand_like(chosen) < chosen
        sigma = x.new_empty(2, 1).uniform_(*self.sigma) + 1e-6
        places = torch.arange(self.kernel_size, dtype=x.dtype, device=x.device)
        places = places - self.kernel_size // 2
        rows, columns = (-0.5 * (places / sigma) ** 2).softmax(1)
        blurred = filtered(x, torch.outer(rows, columns))
        return torch.where(chosen, blurred, x).clamp(*self.value_range)
