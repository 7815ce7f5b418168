"""PyTorch modules as people write them: what `import torch` is tested on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Residual(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 2 * width)
        self.shrink = nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.shrink(F.gelu(self.expand(self.norm(x))))


class ResidualMLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(10, 16)
        self.blocks = nn.ModuleList(Residual(16) for _ in range(3))
        self.head = nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


class ConvNorm(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, dilation: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x)))


class Scaled(nn.Module):
    def __init__(self, kernel: int):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, kernel, 2, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class Branches(nn.Module):
    """A class whose instances pad by a number and not at all; a parameter that is read three times."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = Scaled(3), Scaled(1)
        self.scale = nn.Parameter(torch.ones(8))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.wide(x) + self.narrow(x)).mean((2, 3))
        return (y * self.scale.sum() + self.scale.exp()) * self.scale


class DenseLayer(nn.Module):
    def __init__(self, inputs: int):
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, 4, 3, padding=1)

    def forward(self, parts: list[Tensor]) -> Tensor:
        return self.conv(torch.relu(self.norm(torch.cat(parts, 1))))


class DenseStage(nn.Module):
    """A class whose instances differ in length; layers that join what those before them gave."""

    def __init__(self, inputs: int, count: int):
        super().__init__()
        self.layers = nn.ModuleList(DenseLayer(inputs + 4 * k) for k in range(count))

    def forward(self, x: Tensor) -> Tensor:
        parts = [x]
        for layer in self.layers:
            parts.append(layer(parts))
        return torch.cat(parts, 1)


class DenseNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = DenseStage(3, 3), DenseStage(15, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x)).mean((2, 3))


class Scaling(nn.Module):
    """Attention without heads, whose scale follows from its width."""

    def __init__(self, width: int, outputs: int):
        super().__init__()
        self.scale, self.query, self.key = width**-0.5, nn.Linear(width, width), nn.Linear(width, width)
        self.out = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        scores = self.query(x) * self.scale @ self.key(x).mT
        return self.out(scores.tanh() @ x)


class Scalings(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wide, self.middle, self.narrow = Scaling(16, 9), Scaling(9, 4), Scaling(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.narrow(self.middle(self.wide(x)))


class SmallCNN(nn.Module):
    """Strides with dilation, symmetric padding, squeeze and excitation, a Linear behind a Flatten."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNorm(3, 8, 2)
        self.pool = nn.MaxPool2d(3, 2, padding=1)
        self.wide = ConvNorm(8, 8, 2, dilation=2)
        self.squeeze = nn.Linear(8, 8)
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(8 * 9, 5))

    def forward(self, x: Tensor) -> Tensor:
        x = self.wide(self.pool(self.stem(x)))
        gate = torch.sigmoid(self.squeeze(x.mean((2, 3))))
        return self.head(x * gate[:, :, None, None])


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(50, 16)
        self.lstm = nn.LSTM(16, 12, num_layers=2, batch_first=True, bidirectional=True, dropout=0.1)
        self.tags = nn.Linear(24, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.tags(self.lstm(self.words(tokens))[0])


class CausalModel(nn.Module):
    """Positions as a parameter, PyTorch's own encoder with a causal mask, a table used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(40, 16)
        self.places = nn.Parameter(torch.randn(1, 9, 16) * 0.02)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.scores = nn.Linear(16, 40, bias=False)
        self.scores.weight = self.words.weight

    def forward(self, tokens: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(9)
        return self.scores(self.encoder(self.words(tokens) + self.places, mask=mask, is_causal=True))


class HandMade(nn.Module):
    """Attention by hand, and two outputs with names."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(16, 48)
        self.out = nn.Linear(16, 16)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        b, n, _ = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, 4, 4).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) * 0.5).softmax(-1)
        y = self.out((weights @ v).transpose(1, 2).reshape(b, n, 16))
        return {"states": y, "pooled": y.max(1).values}


class Decoder(nn.Module):
    """A cell in a loop."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(4, 6)
        self.out = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(x.shape[0], 6)
        for step in range(x.shape[1]):
            state = self.cell(x[:, step], state)
        return self.out(state)


class Patches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(48, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.embed(F.unfold(x, 4, stride=4).transpose(1, 2))


class Standardized(nn.Module):
    """Weights that are computed of parameters: an import freezes them."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight / self.weight.norm())


class IfPositive(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            return x * 2
        return x + 1


class Packed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(4, 4, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return self.rnn(packed)[1][0][-1]


class OverBatch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0, keepdim=True)


class NoWord(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.special.bessel_j0(x)


class First(nn.Module):
    """The first of several tensors."""

    def forward(self, x: tuple[Tensor, ...]) -> Tensor:
        return x[0]
