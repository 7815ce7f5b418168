# Made by graphspec 0.1.0 from the spec decoder. It needs torch 2.10 or later.
"""decoder: code float32[N, 8] -> image float32[N, 8, 8, 1]."""

from torch import Tensor, nn
from torch.nn import functional as F


def init_weights(module: nn.Module) -> None:
    """Fills a module's own weights by Keras' initializers."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Decoder(nn.Module):
    def __init__(self, code_size: int = 8) -> None:
        super().__init__()
        self.wide = nn.Linear(code_size, 128)
        self.conv = nn.Conv2d(32, 16, 3, padding="same")
        self.pixels = nn.Conv2d(16, 1, 3, padding="same")
        self.apply(init_weights)

    def forward(self, code: Tensor) -> Tensor:
        x = F.relu(self.wide(code), inplace=True)  # [N, 128]
        x = x.unflatten(1, (2, 2, 32))  # [N, 2, 2, 32]
        x = F.interpolate(x.permute(0, 3, 1, 2), scale_factor=2)  # [N, 32, 4, 4]
        x = F.relu(self.conv(x), inplace=True)  # [N, 16, 4, 4]
        x = F.interpolate(x, scale_factor=2)  # [N, 16, 8, 8]
        return (self.pixels(x).sigmoid() * 16).permute(0, 2, 3, 1)
