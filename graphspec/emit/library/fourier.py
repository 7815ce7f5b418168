"""Fourier transforms."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def sliding_fft(
    x: Tensor,
    width: int,
    stride: int,
    length: int,
    window: Callable[..., Tensor],
    center: bool = True,
) -> tuple[Tensor, ...]:
    """The Fourier transform of windows of x: its real and its imaginary parts.

    Both are [batch, frames, frequencies].
    """
    weights = window(length, dtype=x.dtype, device=x.device)
    frames = torch.stft(
        x, width, stride, length, weights, center=center, return_complex=True
    )
    return torch.view_as_real(frames.mT).unbind(-1)


def joined_windows(
    real: Tensor,
    imag: Tensor,
    width: int,
    stride: int,
    window: Any,
    length: int | None = None,
) -> Tensor:
    """The signal of the windows [batch, frames, frequencies] of torch.stft."""
    weights = window(width, dtype=real.dtype, device=real.device)
    signal = torch.complex(real, imag).mT
    return torch.istft(signal, width, stride, window=weights, length=length)


def overlapped(
    real: Tensor,
    imag: Tensor,
    width: int,
    stride: int,
    window: Any = None,
    size: int = 0,
    length: int | None = None,
    center: bool = True,
) -> Tensor:
    """The signal of windows [batch, frames, frequencies]: their sum.

    Each window is weighted as in the middle of a signal; without `window`, by 1.
    """
    frames = torch.fft.irfft(torch.complex(real, imag), width)
    if window is not None:
        weights = window(size, dtype=real.dtype, device=real.device)
        left, steps = (width - size) // 2, -(-width // stride)
        weights = F.pad(weights, (left, width - size - left))
        power = (
            F.pad(weights**2, (0, steps * stride - width)).view(steps, stride).sum(0)
        )
        frames = frames * (weights / power.repeat(steps)[:width])
    samples = width + stride * (frames.shape[1] - 1)
    x = F.fold(frames.mT, (1, samples), (1, width), stride=(1, stride)).flatten(1)
    start = width // 2 if center else 0
    stop = samples - start if length is None else start + length
    return F.pad(x, (-start, stop - samples))
