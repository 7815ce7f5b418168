# Made by graphspec 0.1.0 from the spec autoencoder. It needs torch 2.10 or later.
"""autoencoder: image uint8[N, 8, 8, 1] -> decoder float32[N, 8, 8, 1]."""

from torch import Tensor, nn
from torch.nn import functional as F


def init_weights(module: nn.Module) -> None:
    """Fills a module's own weights by Keras' initializers."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Encoder(nn.Module):
    def __init__(self, in_channels: int, code_size: int = 8) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            [nn.Conv2d(in_channels, 16, 3, stride=2), nn.Conv2d(16, 32, 3, stride=2)]
        )
        self.code = nn.Linear(128, code_size)

    def forward(self, image: Tensor) -> Tensor:
        x = image.to(self.code.weight.dtype) / 16
        for conv in self.convs:
            x = F.relu(conv(F.pad(x, (0, 1, 0, 1))), inplace=True)
        return self.code(x.permute(0, 2, 3, 1).flatten(1))


class Decoder(nn.Module):
    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.wide = nn.Linear(in_features, 128)
        self.conv = nn.Conv2d(32, 16, 3, padding="same")
        self.pixels = nn.Conv2d(16, 1, 3, padding="same")

    def forward(self, code: Tensor) -> Tensor:
        x = F.relu(self.wide(code), inplace=True).unflatten(1, (2, 2, 32))
        x = F.interpolate(x.permute(0, 3, 1, 2), scale_factor=2)
        x = F.interpolate(F.relu(self.conv(x), inplace=True), scale_factor=2)
        return self.pixels(x).sigmoid() * 16


class Autoencoder(nn.Module):
    def __init__(self, code_size: int = 8) -> None:
        super().__init__()
        self.encoder = Encoder(1, code_size=code_size)
        self.decoder = Decoder(code_size)
        self.apply(init_weights)

    def forward(self, image: Tensor) -> Tensor:
        x = self.encoder(image.permute(0, 3, 1, 2))  # [N, code_size]
        return self.decoder(x).permute(0, 2, 3, 1)
