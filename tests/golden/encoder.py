"""encoder: image uint8[N, 8, 8, 1] -> code float32[N, 8]."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def same_padding(x: Tensor, kernel_size, stride, dilation=(1, 1)) -> list[int]:
    """How far Keras' `same` pads, as F.pad takes it: an odd row or column goes last."""
    pads: list[int] = []
    for n, k, s, d in zip(x.shape[2:], kernel_size, stride, dilation, strict=True):
        total = d * (k - 1) + 1 - s + -n % s
        if d * (k - 1) + 1 < s:  # steps may leave gaps
            total = torch.sym_max(total, 0)
        pads = [total // 2, total - total // 2, *pads]
    return pads


class Conv2d(nn.Conv2d):
    """Pads as Keras' `same` does at any stride: the odd row and column go last."""

    def __init__(self, *args, padding="valid", **kwargs):
        super().__init__(*args, **kwargs)
        self.pads = 0 if padding == "valid" else padding

    def forward(self, x: Tensor) -> Tensor:
        padding = self.pads
        if padding == "same":
            pads = same_padding(x, self.kernel_size, self.stride, self.dilation)
            if torch.compiler.is_exporting() or pads[::2] != pads[1::2]:
                x, padding = F.pad(x, pads), 0
            else:
                padding = pads[::-2]
        return F.conv2d(
            x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups
        )


def init_weights(module: nn.Module) -> None:
    """Fills a module's own weights by Keras' initializers."""
    if isinstance(module, (Conv2d, nn.Linear)):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(
            [
                Conv2d(1, 16, 3, stride=2, padding="same"),
                Conv2d(16, 32, 3, stride=2, padding="same"),
            ]
        )
        self.code = nn.Linear(128, 8)
        self.apply(init_weights)
        self.to(memory_format=torch.channels_last)

    def forward(self, image: Tensor) -> Tensor:
        x = (image * 0.0625).permute(0, 3, 1, 2)
        for conv in self.convs:
            x = F.relu(conv(x), inplace=True)
        return self.code(x.permute(0, 2, 3, 1).flatten(1))  # [N, 8]
