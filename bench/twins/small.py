"""A stack of dense layers, and the networks for handwritten digits: 8x8 pixels of one byte."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def init_weights(module: nn.Module) -> None:
    """Keras' initializers."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)  # type: ignore[arg-type]


class Dense(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden1 = nn.Linear(64, 32)
        self.hidden2 = nn.Linear(32, 32)
        self.probs = nn.Linear(32, 10)
        self.apply(init_weights)

    def forward(self, features: Tensor, *, logits: bool = False) -> Tensor:
        x = F.relu(self.hidden1(features), inplace=True)
        x = F.relu(self.hidden2(x), inplace=True)
        x = self.probs(x)
        return x if logits else x.softmax(-1)


class Digits(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.drop = nn.Dropout(0.3)
        self.digit = nn.Linear(1024, 10)
        self.apply(init_weights)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, image: Tensor, *, logits: bool = False) -> Tensor:
        x = image.permute(0, 3, 1, 2) * 0.0625
        x = F.max_pool2d(F.relu(self.conv1(x), inplace=True), 2)
        x = F.relu(self.conv2(x), inplace=True).permute(0, 2, 3, 1)
        x = self.digit(self.drop(x.flatten(1)))
        return x if logits else x.softmax(-1)


class Ensemble(nn.Module):
    """Trained, frozen networks: there is nothing to train."""

    def __init__(self) -> None:
        super().__init__()
        self.members = nn.ModuleList(Digits() for _ in range(3)).requires_grad_(False)

    def forward(self, image: Tensor, *, logits: bool = False) -> Tensor:
        first, second, third = self.members
        return (first(image) + second(image) + third(image)) / 3


class Features(nn.Module):
    """Maps an image to 128 features. Keras pads an even image by one row and column at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, stride=2)
        self.conv2 = nn.Conv2d(16, 32, 3, stride=2)

    def forward(self, image: Tensor) -> Tensor:
        x = image.permute(0, 3, 1, 2) * 0.0625
        x = F.relu(self.conv1(F.pad(x, (0, 1, 0, 1))), inplace=True)
        x = F.relu(self.conv2(F.pad(x, (0, 1, 0, 1))), inplace=True)
        return x.permute(0, 2, 3, 1).flatten(1)


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = Features()
        self.code = nn.Linear(128, 8)
        self.apply(init_weights)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, image: Tensor, *, logits: bool = False) -> Tensor:
        return self.code(self.features(image))


class Decoder(nn.Module):
    def __init__(self, code_size: int = 8) -> None:
        super().__init__()
        self.wide = nn.Linear(code_size, 128)
        self.conv = nn.Conv2d(32, 16, 3, padding=1)
        self.pixels = nn.Conv2d(16, 1, 3, padding=1)
        self.apply(init_weights)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, code: Tensor, *, logits: bool = False) -> Tensor:
        x = F.relu(self.wide(code), inplace=True).view(-1, 2, 2, 32).permute(0, 3, 1, 2)
        x = F.relu(self.conv(F.interpolate(x, scale_factor=2)), inplace=True)
        x = self.pixels(F.interpolate(x, scale_factor=2)).sigmoid() * 16
        return x.permute(0, 2, 3, 1)


class Autoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.decoder = Decoder()

    def forward(self, image: Tensor, *, logits: bool = False) -> Tensor:
        return self.decoder(self.encoder(image))


class Vae(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = Features()
        self.mean = nn.Linear(128, 4)
        self.log_var = nn.Linear(128, 4)
        self.decoder = Decoder(4)
        self.apply(init_weights)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, image: Tensor, *, logits: bool = False) -> dict[str, Tensor]:
        features = self.features(image)
        mean, log_var = self.mean(features), self.log_var(features)
        code = mean + (0.5 * log_var).exp() * torch.randn_like(mean)
        divergence = 0.5 * (mean.square() + log_var.exp() - log_var - 1)
        return {"decoder": self.decoder(code), "kl": divergence}
