"""Signals as images of their frequencies."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def mel_bands(bins: int, bands: int, rate: int, low: float, high: float) -> Tensor:
    """How much of each of the frequencies from 0 to rate / 2 is in each band of the mel
    scale: triangles of height 1, [bands, bins]. Frequency 0 is in none.
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
        self.win_length = n_fft if win_length is None else win_length
        high = sampling_rate // 2 if max_freq is None else max_freq
        bands = mel_bands(n_fft // 2 + 1, n_mels, sampling_rate, min_freq, high)
        self.register_buffer("mel", bands, persistent=False)
        self.decibels, self.top_db, self.power = decibels, top_db, power
        self.min_power, self.ref_power = min_power, ref_power

    def forward(self, x: Tensor) -> Tensor:
        weights = self.window(self.win_length, dtype=x.dtype, device=x.device)
        frames = torch.stft(
            x,
            self.n_fft,
            self.hop_length,
            self.win_length,
            weights,
            return_complex=True,
        )
        y = self.mel.to(x.dtype) @ frames.abs() ** self.power
        if not self.decibels:
            return y
        y = 10 * y.clamp(min=self.min_power).log10()
        y = y - 10 * math.log10(max(self.ref_power, self.min_power))
        return torch.maximum(y, y.amax((1, 2), keepdim=True) - self.top_db)
