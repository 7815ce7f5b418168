"""Fourier transforms."""

import torch
from torch import Tensor


def sliding_fft(x: Tensor, width: int, stride: int, length: int, window, center=True):
    """The real and imaginary parts, [batch, frames, frequencies], of windows of x."""
    weights = window(length, dtype=x.dtype, device=x.device)
    frames = torch.stft(
        x, width, stride, length, weights, center=center, return_complex=True
    )
    return torch.view_as_real(frames.mT).unbind(-1)
