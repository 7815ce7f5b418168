"""Spectrograms of signals."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graphspec.emit.library.padding import same_padding


def mel_bands(bins: int, bands: int, rate: int, low: float, high: float) -> Tensor:
    """The weights [bands, bins] of frequencies from 0 to rate / 2 in mel bands.

    Each band is a triangle of height 1. Frequency 0 is in no band.
    """

    def mel(hertz: Any) -> Any:
        return 1127 * torch.log1p(torch.as_tensor(hertz, dtype=torch.float64) / 700)

    edges = torch.linspace(mel(low), mel(high), bands + 2, dtype=torch.float64)
    left, middle, right = (each[:, None] for each in edges.unfold(0, 3, 1).unbind(1))
    at = mel(torch.linspace(0, rate / 2, bins, dtype=torch.float64))
    rising, falling = (at - left) / (middle - left), (right - at) / (right - middle)
    weights = torch.minimum(rising, falling).clamp(min=0)
    weights[:, 0] = 0
    return weights.float()


class MelSpectrogram(nn.Module):
    """Mel spectrograms of signals [batch, samples]: [batch, n_mels, frames]."""

    mel: Tensor

    def __init__(
        self,
        n_fft: int,
        hop_length: int,
        n_mels: int,
        win_length: int | None = None,
        window: Callable[..., Tensor] = torch.hann_window,
        sampling_rate: int = 16000,
        min_freq: float = 20.0,
        max_freq: float | None = None,
        decibels: bool = True,
        top_db: float = 80.0,
        power: float = 2.0,
        min_power: float = 1e-10,
        ref_power: float = 1.0,
    ):
        super().__init__()
        self.n_fft, self.hop_length, self.window = n_fft, hop_length, window
        self.win_length = win_length
        high = sampling_rate // 2 if max_freq is None else max_freq
        bands = mel_bands(n_fft // 2 + 1, n_mels, sampling_rate, min_freq, high)
        self.register_buffer("mel", bands, persistent=False)
        self.decibels, self.top_db, self.power = decibels, top_db, power
        self.min_power, self.ref_power = min_power, ref_power

    def forward(self, x: Tensor) -> Tensor:
        length = self.win_length or self.n_fft
        weights = self.window(length, dtype=x.dtype, device=x.device)
        frames = torch.stft(
            x, self.n_fft, self.hop_length, length, weights, return_complex=True
        )
        y = self.mel.to(x.dtype) @ frames.abs() ** self.power
        if not self.decibels:
            return y
        y = 10 * y.clamp(min=self.min_power).log10()
        y = y - 10 * math.log10(max(self.ref_power, self.min_power))
        return torch.maximum(y, y.amax((1, 2), keepdim=True) - self.top_db)


class STFTSpectrogram(nn.Module):
    """Spectrograms of signals [batch, samples, channels].

    They are convolutions, whose kernels start as the waves of the Fourier transform.
    """

    def __init__(
        self,
        frame_length: int,
        stride: int,
        n_fft: int,
        mode: str = "log",
        window: Callable[..., Tensor] | None = torch.hann_window,
        periodic: bool = False,
        scaling: str | None = "density",
        padding: str = "valid",
        expand_dims: bool = False,
        channels_last: bool = True,
    ):
        super().__init__()
        self.mode, self.stride, self.padding = mode, stride, padding
        self.expand_dims, self.channels_last = expand_dims, channels_last
        self.window, self.periodic, self.scaling = window, periodic, scaling
        shape = (n_fft // 2 + 1, 1, frame_length)
        if mode != "imag":
            self.real_kernel = nn.Parameter(torch.empty(shape))
        if mode != "real":
            self.imag_kernel = nn.Parameter(torch.empty(shape))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for name, kernel in self.named_parameters():
            bins, _, length = kernel.shape
            time = torch.arange(length, dtype=torch.float64)
            frequency = torch.arange(bins, dtype=torch.float64) / (2 * bins - 2)
            angle = -2 * math.pi * frequency[:, None, None] * time
            wave = angle.cos() if name == "real_kernel" else angle.sin()
            if self.window is not None:
                weights = self.window(length, self.periodic, dtype=torch.float64)
                total = {
                    "density": weights.square().sum().sqrt(),
                    "spectrum": weights.abs().sum(),
                    None: weights.new_ones(()),
                }
                wave = wave * weights / total[self.scaling]
            kernel.data.copy_(wave)

    def part(self, x: Tensor, kernel: Tensor) -> Tensor:
        """One part of all transforms: [batch, channels, bins, frames]."""
        y = x.flatten(0, 1)[:, None]
        if self.padding == "same":
            y = F.pad(y, same_padding(y, kernel.shape[2:], (self.stride,), (1,)))
        return F.conv1d(y, kernel, stride=self.stride).unflatten(0, x.shape[:2])

    def forward(self, x: Tensor) -> Tensor:
        if self.channels_last:
            x = x.mT
        parts = [self.part(x, kernel) for kernel in self.parameters()]
        if len(parts) == 1:
            y = parts[0]
        elif self.mode == "stft":
            y = torch.cat(parts, 2)
        elif self.mode == "angle":
            y = torch.atan2(parts[1], parts[0])
        else:
            y = parts[0].square() + parts[1].square()
            if self.mode == "psd":
                y = y + F.pad(y[:, :, 1:-1], (0, 0, 1, 1))
            else:
                y = y.clamp(min=1e-7).sqrt()
                y = y.clamp(min=1e-7).log() if self.mode == "log" else y
        if self.expand_dims:
            return y.permute(0, 3, 2, 1) if self.channels_last else y.mT
        return y.flatten(1, 2).mT if self.channels_last else y.flatten(1, 2)
