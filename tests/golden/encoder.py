# Made by graphspec 0.1.0 from the spec encoder. It needs torch 2.10 or later.
"""encoder: image uint8[N, 8, 8, 1] -> code float32[N, 8]."""

from torch import Tensor, nn
from torch.nn import functional as F


def init_weights(module: nn.Module) -> None:
    """Fills a module's own weights by Keras' initializers."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Encoder(nn.Module):
    def __init__(self, code_size: int = 8) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            [nn.Conv2d(1, 16, 3, stride=2), nn.Conv2d(16, 32, 3, stride=2)]
        )
        self.code = nn.Linear(128, code_size)
        self.apply(init_weights)

    def forward(self, image: Tensor) -> Tensor:
        x = (image.to(self.code.weight.dtype) / 16).permute(0, 3, 1, 2)
        for conv in self.convs:
            x = F.relu(conv(F.pad(x, (0, 1, 0, 1))), inplace=True)
        return self.code(x.permute(0, 2, 3, 1).flatten(1))  # [N, code_size]
