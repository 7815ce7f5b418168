"""Fourier transforms."""

from typing import Any

import torch
from torch import Tensor


def sliding_fft(x: Tensor, width: int, stride: int, length: int, window, center=True):
    """The real and imaginary parts, [batch, frames, frequencies], of windows of x."""
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
