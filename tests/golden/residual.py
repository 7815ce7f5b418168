# Made by graphspec 0.1.0 from the spec residual. It needs torch 2.10 or later.
"""residual: image float32[N, 32, 32, 3] -> probs float32[N, 10]."""

from torch import Tensor, nn
from torch.nn import functional as F


def init_weights(module: nn.Module) -> None:
    """Fills a module's own weights by Keras' initializers."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Identity(nn.Module):
    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(in_channels, in_channels, 3, padding="same") for _ in range(3)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for conv in self.convs:
            y = F.relu(conv(y), inplace=True)
        return y + x


class Projection(nn.Module):
    def __init__(self, filters: int, width: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            [
                nn.Conv2d(width, filters, 3, padding="same"),
                nn.Conv2d(filters, filters, 3, padding="same"),
            ]
        )
        self.shortcut = nn.Conv2d(width, filters, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for conv in self.convs:
            y = F.relu(conv(y), inplace=True)
        return F.max_pool2d(y, 2, ceil_mode=True) + self.shortcut(x)


class Residual(nn.Module):
    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding="same")
        self.first = Identity(width)
        self.down = Projection(2 * width, width)
        self.last = Identity(2 * width)
        self.probs = nn.Linear(2 * width, 10)
        self.apply(init_weights)

    def forward(self, image: Tensor, *, logits: bool = False) -> Tensor:
        x = F.relu(self.stem(image.permute(0, 3, 1, 2)), inplace=True)
        x = self.first(x)  # [N, width, 32, 32]
        x = self.down(x)  # [N, 2 * width, 16, 16]
        x = self.last(x).mean((2, 3))  # [N, 2 * width]
        x = self.probs(x)  # [N, 10]
        return x if logits else x.softmax(-1)
