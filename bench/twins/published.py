"""Published image networks, with the hyperparameters of keras.applications."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def init_weights(module: nn.Module) -> None:
    """Keras' initializers."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class ConvNorm(nn.Module):
    def __init__(
        self, in_channels: int, channels: int, kernel_size: int = 1, stride: int = 1, bias: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, kernel_size, stride, kernel_size // 2, bias=bias)
        self.norm = nn.BatchNorm2d(channels, eps=1.001e-5, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class Basic(nn.Module):
    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int, bias: bool) -> None:
        super().__init__()
        project = stride > 1 or in_channels != channels
        self.shortcut = ConvNorm(in_channels, channels, 1, stride, bias) if project else None
        self.first = ConvNorm(in_channels, channels, 3, stride, bias)
        self.second = ConvNorm(channels, channels, 3, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.shortcut is None else self.shortcut(x)
        x = F.relu(self.first(x), inplace=True)
        x = self.second(x)
        x += shortcut
        return F.relu(x, inplace=True)


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int, bias: bool) -> None:
        super().__init__()
        project = stride > 1 or in_channels != 4 * channels
        self.shortcut = ConvNorm(in_channels, 4 * channels, 1, stride, bias) if project else None
        self.reduce = ConvNorm(in_channels, channels, 1, stride, bias)
        self.spatial = ConvNorm(channels, channels, 3, bias=bias)
        self.expand = ConvNorm(channels, 4 * channels, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.shortcut is None else self.shortcut(x)
        x = F.relu(self.reduce(x), inplace=True)
        x = F.relu(self.spatial(x), inplace=True)
        x = self.expand(x)
        x += shortcut
        return F.relu(x, inplace=True)


class ResNet(nn.Module):
    def __init__(self, block: type[Basic | Bottleneck], depths: Sequence[int], bias: bool = False) -> None:
        super().__init__()
        self.stem = ConvNorm(3, 64, 7, 2, bias)
        blocks: list[nn.Module] = []
        in_channels = 64
        for stage, depth in enumerate(depths):
            channels = 64 * 2**stage
            for position in range(depth):
                stride = 2 if stage and not position else 1
                blocks.append(block(in_channels, channels, stride, bias))
                in_channels = block.expansion * channels
        self.blocks = nn.Sequential(*blocks)
        self.probs = nn.Linear(in_channels, 1000)
        self.apply(init_weights)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, image: Tensor, *, logits: bool = False) -> Tensor:
        x = F.relu(self.stem(image.permute(0, 3, 1, 2)), inplace=True)
        x = F.max_pool2d(x, 3, 2, 1)
        x = self.probs(self.blocks(x).mean((2, 3)))
        return x if logits else x.softmax(-1)


class Torchvision(nn.Module):
    """torchvision's ResNet-50, with the call signature of the other twins.

    It has the stride in a block's middle convolution, and costs 6 % more for it. Here its strides and
    epsilons are those of the paper, of Keras and of the spec, so that both compute the same.
    """

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import resnet

        self.model = resnet.resnet50(norm_layer=partial(nn.BatchNorm2d, eps=1.001e-5))
        for block in self.model.modules():
            if isinstance(block, resnet.Bottleneck):
                block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride
                children = block._modules  # in the spec, the shortcut's weights come first
                children |= {name: children.pop(name) for name in list(children) if name != "downsample"}
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, image: Tensor, *, logits: bool = False) -> Tensor:
        x = self.model(image.permute(0, 3, 1, 2))
        return x if logits else x.softmax(-1)


class InceptionConv(nn.Module):
    """A convolution, a normalization without scales, ReLU; padded to keep the size if its stride is 1."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        kernel_size: int | tuple[int, int] = 1,
        stride: int = 1,
        padding: str | int = "same",
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, kernel_size, stride, padding, bias=False)
        self.norm = nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)
        self.norm.register_parameter("weight", None)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)), inplace=True)


def convs(in_channels: int, *layers: tuple) -> nn.Sequential:
    """A sequence of convolutions, each (channels, kernel size, ...)."""
    found = []
    for channels, *rest in layers:
        found.append(InceptionConv(in_channels, channels, *rest))
        in_channels = channels
    return nn.Sequential(*found)


class InceptionA(nn.Module):
    def __init__(self, in_channels: int, pool_channels: int) -> None:
        super().__init__()
        self.branch1 = InceptionConv(in_channels, 64)
        self.branch5 = convs(in_channels, (48,), (64, 5))
        self.branch3 = convs(in_channels, (64,), (96, 3), (96, 3))
        self.pooled = InceptionConv(in_channels, pool_channels)

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        return torch.cat([self.branch1(x), self.branch5(x), self.branch3(x), self.pooled(pooled)], 1)


class ReductionA(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.branch3 = InceptionConv(288, 384, 3, 2, 0)
        self.double3 = convs(288, (64,), (96, 3), (96, 3, 2, 0))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch3(x), self.double3(x), F.max_pool2d(x, 3, 2)], 1)


class InceptionB(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        c = channels
        self.branch1 = InceptionConv(768, 192)
        self.branch7 = convs(768, (c,), (c, (1, 7)), (192, (7, 1)))
        self.double7 = convs(768, (c,), (c, (7, 1)), (c, (1, 7)), (c, (7, 1)), (192, (1, 7)))
        self.pooled = InceptionConv(768, 192)

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        return torch.cat([self.branch1(x), self.branch7(x), self.double7(x), self.pooled(pooled)], 1)


class ReductionB(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.branch3 = convs(768, (192,), (320, 3, 2, 0))
        self.branch7 = convs(768, (192,), (192, (1, 7)), (192, (7, 1)), (192, 3, 2, 0))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch3(x), self.branch7(x), F.max_pool2d(x, 3, 2)], 1)


class InceptionC(nn.Module):
    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.branch1 = InceptionConv(in_channels, 320)
        self.reduce3 = InceptionConv(in_channels, 384)
        self.wide3, self.tall3 = InceptionConv(384, 384, (1, 3)), InceptionConv(384, 384, (3, 1))
        self.double3 = convs(in_channels, (448,), (384, 3))
        self.wide9, self.tall9 = InceptionConv(384, 384, (1, 3)), InceptionConv(384, 384, (3, 1))
        self.pooled = InceptionConv(in_channels, 192)

    def forward(self, x: Tensor) -> Tensor:
        three, nine = self.reduce3(x), self.double3(x)
        pooled = self.pooled(F.avg_pool2d(x, 3, 1, 1, count_include_pad=False))
        branches = [self.wide3(three), self.tall3(three), self.wide9(nine), self.tall9(nine)]
        return torch.cat([self.branch1(x), *branches, pooled], 1)


class InceptionV3(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem1 = convs(3, (32, 3, 2, 0), (32, 3, 1, 0), (64, 3))
        self.stem2 = convs(64, (80,), (192, 3, 1, 0))
        self.mixed = nn.Sequential(
            *(InceptionA(channels, pool) for channels, pool in ((192, 32), (256, 64), (288, 64))),
            ReductionA(),
            *(InceptionB(channels) for channels in (128, 160, 160, 192)),
            ReductionB(),
            *(InceptionC(channels) for channels in (1280, 2048)),
        )
        self.probs = nn.Linear(2048, 1000)
        self.apply(init_weights)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, image: Tensor, *, logits: bool = False) -> Tensor:
        x = F.max_pool2d(self.stem1(image.permute(0, 3, 1, 2)), 3, 2)
        x = F.max_pool2d(self.stem2(x), 3, 2)
        x = self.probs(self.mixed(x).mean((2, 3)))
        return x if logits else x.softmax(-1)


def norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class Separable(nn.Module):
    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False)
        self.pointwise = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.norm = norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.pointwise(self.depthwise(x)))


class Down(nn.Module):
    def __init__(self, in_channels: int, first: int, channels: int) -> None:
        super().__init__()
        self.first = Separable(in_channels, first)
        self.second = Separable(first, channels)
        self.shortcut = nn.Conv2d(in_channels, channels, 1, stride=2, bias=False)
        self.norm = norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(F.relu(self.first(F.relu(x)), inplace=True))
        # Keras pads an even side only at its end
        pooled = F.max_pool2d(y, 3, 2, (y.shape[2] % 2, y.shape[3] % 2), ceil_mode=True)
        pooled += self.norm(self.shortcut(x))
        return pooled


class Middle(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(Separable(channels, channels) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        first, second, third = self.convs
        y = first(F.relu(x))
        y = second(F.relu(y, inplace=True))
        y = third(F.relu(y, inplace=True))
        y += x
        return y


class XceptionFeatures(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 32, 3, stride=2, bias=False), norm(32)
        self.conv2, self.norm2 = nn.Conv2d(32, 64, 3, bias=False), norm(64)
        self.blocks = nn.Sequential(
            *(Down(a, b, b) for a, b in ((64, 128), (128, 256), (256, 728))),
            *(Middle(728) for _ in range(8)),
            Down(728, 728, 1024),
        )
        self.last1 = Separable(1024, 1536)
        self.last2 = Separable(1536, 2048)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(self.norm1(self.conv1(image.permute(0, 3, 1, 2))), inplace=True)
        x = F.relu(self.norm2(self.conv2(x)), inplace=True)
        x = self.blocks(x)
        x = F.relu(self.last1(x), inplace=True)
        x = F.relu(self.last2(x), inplace=True)
        return x.mean((2, 3))


class Xception(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = XceptionFeatures()
        self.probs = nn.Linear(2048, 1000)
        self.apply(init_weights)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, image: Tensor, *, logits: bool = False) -> Tensor:
        x = self.probs(self.features(image))
        return x if logits else x.softmax(-1)


class TwoCameras(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.vision = XceptionFeatures()
        self.distance = nn.Linear(4096, 1)
        self.apply(init_weights)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, left: Tensor, right: Tensor, *, logits: bool = False) -> Tensor:
        return self.distance(torch.cat([self.vision(left), self.vision(right)], -1))
