"""xception: image float32[N, 299, 299, 3] -> probs float32[N, 1000]."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class BatchNorm(nn.Module):
    """Keras' batch normalization of axis 1: running variance without Bessel's correction."""

    frozen = False  # always in inference mode, as Keras' is where it is not trainable

    def __init__(
        self, num_features: int, eps: float, momentum: float, center=True, scale=True
    ):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(num_features)) if scale else None
        self.bias = nn.Parameter(torch.zeros(num_features)) if center else None
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def forward(self, x: Tensor) -> Tensor:
        mean, var, n = self.running_mean, self.running_var, x.numel() // x.shape[1]
        training = self.training and not self.frozen
        if training:
            mean, var = torch.zeros_like(mean), torch.zeros_like(var)
        # unlike F.batch_norm, this trains on one value a channel
        cudnn = torch.backends.cudnn.enabled
        y = torch.batch_norm(
            x, self.weight, self.bias, mean, var, training, 1.0, self.eps, cudnn
        )
        if training:
            with torch.no_grad():
                var = var * ((n - 1) / n) if n > 1 else torch.zeros_like(var)
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(var, self.momentum)
        return y

    def extra_repr(self) -> str:
        return f"{len(self.running_mean)}, eps={self.eps}, momentum={self.momentum}"


class SeparableConv2d(nn.Module):
    """A convolution of each channel by itself, then one of width 1 that mixes them."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size,
        depth_multiplier: int = 1,
        stride=1,
        padding: str = "valid",
        dilation=1,
        bias: bool = True,
    ):
        super().__init__()
        channels = in_channels * depth_multiplier
        self.depthwise = nn.Conv2d(
            in_channels,
            channels,
            kernel_size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=in_channels,
            bias=False,
        )
        self.pointwise = nn.Conv2d(channels, out_channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))


def same_padding(x: Tensor, kernel_size, stride, dilation=(1, 1)) -> list[int]:
    """How far Keras' `same` pads, as F.pad takes it: an odd row or column goes last."""
    pads: list[int] = []
    for n, k, s, d in zip(x.shape[2:], kernel_size, stride, dilation, strict=True):
        total = d * (k - 1) + 1 - s + -n % s
        if d * (k - 1) + 1 < s:  # steps may leave gaps
            total = torch.sym_max(total, 0)
        pads = [total // 2, total - total // 2, *pads]
    return pads


def max_pool_same(x: Tensor, kernel_size, stride) -> Tensor:
    """Max pooling of [N, C, H, W] with Keras' `same` padding."""
    pads = same_padding(x, kernel_size, stride)
    uneven = any(
        s == 1 and k % 2 == 0 for k, s in zip(kernel_size, stride, strict=True)
    )
    if uneven or torch.compiler.is_exporting():
        x = F.pad(x, pads, value=float("-inf"))
        return F.max_pool2d(x, kernel_size, stride)
    # ceil_mode adds the windows that end past the input: no copy is padded
    return F.max_pool2d(x, kernel_size, stride, (pads[2], pads[0]), ceil_mode=True)


def init_weights(module: nn.Module) -> None:
    """Fills a module's own weights by Keras' initializers."""
    if isinstance(module, nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)
    elif isinstance(module, SeparableConv2d):
        nn.init.xavier_uniform_(module.depthwise.weight.transpose(0, 1))
        nn.init.xavier_uniform_(module.pointwise.weight)
    elif isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


class Conv(nn.Module):
    def __init__(
        self,
        in_channels: int,
        filters: int,
        kernel_size: int = 1,
        strides: int = 1,
        relu: bool = True,
    ):
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, filters, kernel_size, stride=strides, bias=False
        )
        self.norm = BatchNorm(filters, eps=0.001, momentum=0.01)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        return F.relu(x, inplace=True) if self.relu else x


class Separable(nn.Module):
    def __init__(self, in_channels: int, filters: int, relu: bool = True):
        super().__init__()
        self.conv = SeparableConv2d(in_channels, filters, 3, padding="same", bias=False)
        self.norm = BatchNorm(filters, eps=0.001, momentum=0.01)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        return F.relu(x, inplace=True) if self.relu else x


class Down(nn.Module):
    def __init__(self, in_channels: int, first: int, filters: int):
        super().__init__()
        self.wide = Separable(in_channels, first)
        self.deep = Separable(first, filters, relu=False)
        self.shortcut = Conv(in_channels, filters, strides=2, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.deep(self.wide(F.relu(x)))
        return max_pool_same(y, (3, 3), (2, 2)) + self.shortcut(x)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.convs = nn.Sequential(
            Separable(728, 728), Separable(728, 728), Separable(728, 728, relu=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.convs(F.relu(x)) + x


class Xception(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem1 = Conv(3, 32, kernel_size=3, strides=2)
        self.stem2 = Conv(32, 64, kernel_size=3)
        self.entry = nn.Sequential(
            Down(64, first=128, filters=128),
            Down(128, first=256, filters=256),
            Down(256, first=728, filters=728),
        )
        self.middle = nn.Sequential(*(Residual() for _ in range(8)))
        self.exit = Down(728, first=728, filters=1024)
        self.last1 = Separable(1024, 1536)
        self.last2 = Separable(1536, 2048)
        self.probs = nn.Linear(2048, 1000)
        self.apply(init_weights)
        self.to(memory_format=torch.channels_last)

    def forward(self, image: Tensor, *, logits: bool = False) -> Tensor:
        x = self.stem1(image.permute(0, 3, 1, 2))  # [N, 32, 149, 149]
        x = self.stem2(x)  # [N, 64, 147, 147]
        x = self.entry(x)  # [N, 728, 19, 19]
        x = self.middle(x)  # [N, 728, 19, 19]
        x = self.exit(x)  # [N, 1024, 10, 10]
        x = self.last1(x)  # [N, 1536, 10, 10]
        x = self.last2(x).mean((2, 3))  # [N, 2048]
        x = self.probs(x)  # [N, 1000]
        return x if logits else x.softmax(-1)
