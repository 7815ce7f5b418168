# Made by graphspec 0.1.0 from the spec vae. It needs torch 2.10 or later.
"""vae: image uint8[N, 8, 8, 1] -> decoder float32[N, 8, 8, 1], kl float32[N, 4]."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def init_weights(module: nn.Module) -> None:
    """Fills a module's own weights by Keras' initializers."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Encoder(nn.Module):
    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            [nn.Conv2d(in_channels, 16, 3, stride=2), nn.Conv2d(16, 32, 3, stride=2)]
        )

    def forward(self, image: Tensor) -> Tensor:
        x = image.to(next(self.parameters()).dtype) / 16
        for conv in self.convs:
            x = F.relu(conv(F.pad(x, (0, 1, 0, 1))), inplace=True)
        return x.permute(0, 2, 3, 1).flatten(1)


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


class Vae(nn.Module):
    def __init__(self, code_size: int = 4) -> None:
        super().__init__()
        self.encoder = Encoder(1)
        self.mean = nn.Linear(128, code_size)
        self.log_var = nn.Linear(128, code_size)
        self.decoder = Decoder(code_size)
        self.apply(init_weights)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        encoder = self.encoder(image.permute(0, 3, 1, 2))  # [N, 128]
        mean = self.mean(encoder)  # [N, code_size]
        log_var = self.log_var(encoder)  # [N, code_size]
        x = mean + (0.5 * log_var).exp() * torch.randn_like(mean)  # [N, code_size]
        decoder = self.decoder(x)  # [N, 1, 8, 8]
        return {
            "decoder": decoder.permute(0, 2, 3, 1),
            "kl": 0.5 * (mean.square() + log_var.exp() - log_var - 1),
        }
