"""Convolutional networks of papers, which the gallery does not have."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def init_weights(module: nn.Module) -> None:
    """Keras' initializers."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def conv_norm(
    in_channels: int, channels: int, kernel_size: int = 1, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    padding = kernel_size // 2
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, kernel_size, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(channels),
    )


class InvertedResidual(nn.Module):
    def __init__(self, in_channels: int, channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = expansion * in_channels
        self.expand = conv_norm(in_channels, hidden) if expansion > 1 else None
        self.depthwise = conv_norm(hidden, hidden, 3, stride, groups=hidden)
        self.project = conv_norm(hidden, channels)
        self.adds = stride == 1 and in_channels == channels

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x), inplace=True)
        y = F.relu6(self.depthwise(y), inplace=True)
        y = self.project(y)
        return x + y if self.adds else y


class MobileNetV2(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_norm(3, 32, 3, 2)
        blocks, in_channels = [], 32
        for expansion, channels, depth, stride in (
            (1, 16, 1, 1),
            (6, 24, 2, 2),
            (6, 32, 3, 2),
            (6, 64, 4, 2),
            (6, 96, 3, 1),
            (6, 160, 3, 2),
            (6, 320, 1, 1),
        ):
            for index in range(depth):
                step = stride if index == 0 else 1
                blocks.append(InvertedResidual(in_channels, channels, step, expansion))
                in_channels = channels
        self.blocks = nn.Sequential(*blocks)
        self.head = conv_norm(320, 1280)
        self.drop = nn.Dropout(0.2)
        self.probs = nn.Linear(1280, 1000)
        self.apply(init_weights)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, image: Tensor, *, logits: bool = False) -> Tensor:
        x = F.relu6(self.stem(image.permute(0, 3, 1, 2)), inplace=True)
        x = F.relu6(self.head(self.blocks(x)), inplace=True)
        x = self.probs(self.drop(x.mean((2, 3))))
        return x if logits else x.softmax(-1)


class NormConv(nn.Module):
    def __init__(self, in_channels: int, channels: int, kernel_size: int = 1) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels)
        self.conv = nn.Conv2d(in_channels, channels, kernel_size, padding=kernel_size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.relu(self.norm(x), inplace=True))


class DenseLayer(nn.Module):
    def __init__(self, in_channels: int, growth: int) -> None:
        super().__init__()
        self.reduce = NormConv(in_channels, 4 * growth)
        self.grow = NormConv(4 * growth, growth, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.grow(self.reduce(x))], 1)


class DenseNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        layers: list[nn.Module] = []
        channels, depths = 64, (6, 12, 24, 16)
        for depth in depths:
            if layers:
                layers += [NormConv(channels, channels // 2), nn.AvgPool2d(2)]
                channels //= 2
            for _ in range(depth):
                layers.append(DenseLayer(channels, 32))
                channels += 32
        self.layers = nn.Sequential(*layers)
        self.last_norm = nn.BatchNorm2d(channels)
        self.probs = nn.Linear(channels, 1000)
        self.apply(init_weights)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, image: Tensor, *, logits: bool = False) -> Tensor:
        x = F.relu(self.norm(self.stem(image.permute(0, 3, 1, 2))), inplace=True)
        x = self.layers(F.max_pool2d(x, 3, 2, 1))
        x = F.relu(self.last_norm(x), inplace=True)
        x = self.probs(x.mean((2, 3)))
        return x if logits else x.softmax(-1)


class Ghost(nn.Module):
    """Half of the channels by a convolution, the other half by a cheap one of these."""

    def __init__(self, in_channels: int, channels: int, relu: bool = True) -> None:
        super().__init__()
        half = channels // 2
        self.primary = conv_norm(in_channels, half)
        self.cheap = conv_norm(half, half, 3, groups=half)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        x = self.primary(x)
        if self.relu:
            x = F.relu(x, inplace=True)
        y = self.cheap(x)
        if self.relu:
            y = F.relu(y, inplace=True)
        return torch.cat([x, y], 1)


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int, reduced: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, reduced, 1)
        self.expand = nn.Conv2d(reduced, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.reduce(x.mean((2, 3), keepdim=True)), inplace=True)
        return x * F.hardsigmoid(self.expand(y))


class GhostBottleneck(nn.Module):
    def __init__(
        self, in_channels: int, hidden: int, channels: int, kernel_size: int, stride: int, reduced: int
    ) -> None:
        super().__init__()
        self.expand = Ghost(in_channels, hidden)
        self.depthwise = conv_norm(hidden, hidden, kernel_size, stride, hidden) if stride > 1 else None
        self.excite = SqueezeExcite(hidden, reduced) if reduced else None
        self.project = Ghost(hidden, channels, relu=False)
        self.shortcut = None
        if stride > 1 or in_channels != channels:
            self.shortcut = nn.Sequential(
                conv_norm(in_channels, in_channels, kernel_size, stride, in_channels),
                conv_norm(in_channels, channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.expand(x)
        if self.depthwise is not None:
            y = self.depthwise(y)
        if self.excite is not None:
            y = self.excite(y)
        shortcut = x if self.shortcut is None else self.shortcut(x)
        return self.project(y) + shortcut


class GhostNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_norm(3, 16, 3, 2)
        blocks, in_channels = [], 16
        for hidden, channels, kernel_size, stride, reduced in (
            (16, 16, 3, 1, 0),
            (48, 24, 3, 2, 0),
            (72, 24, 3, 1, 0),
            (72, 40, 5, 2, 20),
            (120, 40, 5, 1, 32),
            (240, 80, 3, 2, 0),
            (200, 80, 3, 1, 0),
            (184, 80, 3, 1, 0),
            (184, 80, 3, 1, 0),
            (480, 112, 3, 1, 120),
            (672, 112, 3, 1, 168),
            (672, 160, 5, 2, 168),
            (960, 160, 5, 1, 0),
            (960, 160, 5, 1, 240),
            (960, 160, 5, 1, 0),
            (960, 160, 5, 1, 240),
        ):
            blocks.append(GhostBottleneck(in_channels, hidden, channels, kernel_size, stride, reduced))
            in_channels = channels
        self.blocks = nn.Sequential(*blocks)
        self.head = conv_norm(160, 960)
        self.features = nn.Linear(960, 1280)
        self.drop = nn.Dropout(0.2)
        self.probs = nn.Linear(1280, 1000)
        self.apply(init_weights)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, image: Tensor, *, logits: bool = False) -> Tensor:
        x = F.relu(self.stem(image.permute(0, 3, 1, 2)), inplace=True)
        x = F.relu(self.head(self.blocks(x)), inplace=True)
        x = F.relu(self.features(x.mean((2, 3))), inplace=True)
        x = self.probs(self.drop(x))
        return x if logits else x.softmax(-1)


class Basic(nn.Module):
    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.first = conv_norm(in_channels, channels, 3, stride)
        self.second = conv_norm(channels, channels, 3)
        project = stride > 1 or in_channels != channels
        self.shortcut = conv_norm(in_channels, channels, 1, stride) if project else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(F.relu(self.first(x), inplace=True))
        y += x if self.shortcut is None else self.shortcut(x)
        return F.relu(y, inplace=True)


class Pyramid(nn.Module):
    """Five levels of the same width from the last three stages of a backbone."""

    def __init__(self, in_channels: list[int], channels: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(n, channels, 1) for n in in_channels)
        self.smooth = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in in_channels)
        self.p6 = nn.Conv2d(in_channels[-1], channels, 3, 2, 1)
        self.p7 = nn.Conv2d(channels, channels, 3, 2, 1)

    def forward(self, stages: list[Tensor]) -> list[Tensor]:
        laterals = [conv(x) for conv, x in zip(self.laterals, stages, strict=True)]
        for level in (1, 0):
            laterals[level] = laterals[level] + F.interpolate(laterals[level + 1], scale_factor=2)
        levels = [conv(x) for conv, x in zip(self.smooth, laterals, strict=True)]
        p6 = self.p6(stages[-1])
        return [*levels, p6, self.p7(F.relu(p6))]


class Head(nn.Module):
    def __init__(self, channels: int, anchors: int, size: int) -> None:
        super().__init__()
        self.tower = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(4))
        self.last = nn.Conv2d(channels, anchors * size, 3, padding=1)
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.tower:
            x = F.relu(conv(x), inplace=True)
        return self.last(x).permute(0, 2, 3, 1).reshape(len(x), -1, self.size)


class RetinaNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.classify, self.locate = Head(64, 9, 20), Head(64, 9, 4)
        self.stem = conv_norm(3, 64, 7, 2)
        self.stages = nn.ModuleList(
            nn.Sequential(Basic(in_channels, channels, stride), Basic(channels, channels, 1))
            for in_channels, channels, stride in ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2))
        )
        self.pyramid = Pyramid([128, 256, 512], 64)
        self.apply(init_weights)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, image: Tensor, *, logits: bool = False) -> dict[str, Tensor]:
        x = F.relu(self.stem(image.permute(0, 3, 1, 2)), inplace=True)
        x = F.max_pool2d(x, 3, 2, 1)
        stages = []
        for stage in self.stages:
            x = stage(x)
            stages.append(x)
        levels = self.pyramid(stages[1:])
        scores = torch.cat([self.classify(level) for level in levels], 1)
        boxes = torch.cat([self.locate(level) for level in levels], 1)
        return {"scores": scores if logits else scores.sigmoid(), "boxes": boxes}
