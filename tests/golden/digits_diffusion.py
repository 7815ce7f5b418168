# Made by graphspec 0.1.0 from the spec digits_diffusion. It needs torch 2.10 or later.
"""digits_diffusion: image uint8[N, 8, 8, 1], time float32[N, 1, 1, 1],
    noise float32[N, 8, 8, 1]
-> error float32[N, 8, 8, 1].
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def for_group_norm(x: Tensor) -> Tensor:
    """Copies what needs no gradient to memory with its channels first.

    On a CPU, where they come last, the backward pass of F.group_norm writes a
    gradient of its input even if there is none, and ends the process.
    """
    needed = x.requires_grad or not torch.is_grad_enabled()
    return x if needed else x.contiguous()


def init_weights(module: nn.Module) -> None:
    """Fills a module's own weights by Keras' initializers."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Conv(nn.Module):
    def __init__(self, x_channels: int, units: int, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, x_channels, eps=0.001)
        self.conv1 = nn.Conv2d(x_channels, units, 3, padding="same")
        self.shift = nn.Linear(width, units)
        self.norm2 = nn.GroupNorm(8, units, eps=0.001)
        self.conv2 = nn.Conv2d(units, units, 3, padding="same")
        self.skip = nn.Conv2d(x_channels, units, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        y = F.silu(self.norm(for_group_norm(x.permute(0, 3, 1, 2))))
        y = self.conv1(y).permute(0, 2, 3, 1) + self.shift(time)
        y = F.silu(self.norm2(for_group_norm(y.permute(0, 3, 1, 2))))
        return (self.conv2(y) + self.skip(x.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)


class DigitsDiffusion(nn.Module):
    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.waves_arange = nn.Buffer(torch.arange(16)[None], persistent=False)
        self.when = nn.Linear(16, width)
        self.begin = nn.Conv2d(1, width, 3, padding="same")
        self.high = Conv(width, units=width, width=width)
        self.low = nn.ModuleList(
            [
                Conv(width, units=2 * width, width=width),
                Conv(2 * width, units=2 * width, width=width),
            ]
        )
        self.last = Conv(3 * width, units=width, width=width)
        self.norm = nn.GroupNorm(8, width, eps=0.001)
        self.way = nn.Conv2d(width, 1, 3, padding="same")
        self.apply(init_weights)

    def forward(
        self, image: Tensor, time: Tensor | None = None, noise: Tensor | None = None
    ) -> Tensor:
        if time is None:
            time = torch.rand(
                image.shape[0],
                1,
                1,
                1,
                dtype=self.when.weight.dtype,
                device=image.device,
            )
        if noise is None:
            noise = torch.randn(
                image.shape[0],
                8,
                8,
                1,
                dtype=self.when.weight.dtype,
                device=image.device,
            )
        clean = image.to(self.when.weight.dtype) / 8 - 1.0  # [N, 8, 8, 1]
        angle = 1.5708 * time  # [N, 1, 1, 1]
        noisy = angle.cos() * clean + angle.sin() * noise  # [N, 8, 8, 1]
        x = (angle * (self.waves_arange / 4.0).exp()).sin()  # [N, 1, 1, 16]
        when = F.silu(self.when(x))  # [N, 1, 1, width]
        x = self.begin(noisy.permute(0, 3, 1, 2))  # [N, width, 8, 8]
        high = self.high(x.permute(0, 2, 3, 1), when)  # [N, 8, 8, width]
        x = F.avg_pool2d(high.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
        for block in self.low:
            x = block(x, when)  # [N, 4, 4, 2 * width]
        x = F.interpolate(x.permute(0, 3, 1, 2), scale_factor=2)  # [N, 2 * width, 8, 8]
        x = torch.cat([x.permute(0, 2, 3, 1), high], -1)  # [N, 8, 8, 3 * width]
        x = self.last(x, when)  # [N, 8, 8, width]
        x = self.norm(for_group_norm(x.permute(0, 3, 1, 2)))  # [N, width, 8, 8]
        x = self.way(F.silu(x))  # [N, 1, 8, 8]
        x = x - (angle.cos() * noise).permute(0, 3, 1, 2)  # [N, 1, 8, 8]
        x = x + (angle.sin() * clean).permute(0, 3, 1, 2)  # [N, 1, 8, 8]
        return x.square().permute(0, 2, 3, 1)
