"""Networks of images, as their authors would write them."""
# mypy: ignore-errors
# ruff: noqa: E741, RUF059

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from tests.convert.modules.given import case, floats


@case(floats(2, 3, 16, 16))
class SENet(nn.Module):
    class SE(nn.Module):
        def __init__(self, c: Any, r: Any = 4) -> None:
            super().__init__()
            self.pool = nn.AdaptiveAvgPool2d(1)
            self.fc = nn.Sequential(
                nn.Linear(c, c // r, bias=False),
                nn.ReLU(inplace=True),
                nn.Linear(c // r, c, bias=False),
                nn.Sigmoid(),
            )

        def forward(self, x: Any) -> Any:
            b, c, _, _ = x.size()
            y = self.pool(x).view(b, c)
            y = self.fc(y).view(b, c, 1, 1)
            return x * y.expand_as(x)

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.se1 = self.SE(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.se2 = self.SE(8)
        self.fc = nn.Linear(8, 3)

    def forward(self, x: Any) -> Any:
        x = self.se1(F.relu(self.conv(x)))
        x = self.se2(F.relu(self.conv2(x)))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


@case(floats(2, 3, 32, 32))
class UNet(nn.Module):
    class Double(nn.Module):
        def __init__(self, a: Any, b: Any) -> None:
            super().__init__()
            self.net = nn.Sequential(
                nn.Conv2d(a, b, 3, padding=1, bias=False),
                nn.BatchNorm2d(b),
                nn.ReLU(inplace=True),
                nn.Conv2d(b, b, 3, padding=1, bias=False),
                nn.BatchNorm2d(b),
                nn.ReLU(inplace=True),
            )

        def forward(self, x: Any) -> Any:
            return self.net(x)

    class Up(nn.Module):
        def __init__(self, a: Any, b: Any, D: Any) -> None:
            super().__init__()
            self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
            self.conv = D(a, b)

        def forward(self, x1: Any, x2: Any) -> Any:
            x1 = self.up(x1)
            dy = x2.size(2) - x1.size(2)
            dx = x2.size(3) - x1.size(3)
            x1 = F.pad(x1, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
            return self.conv(torch.cat([x2, x1], 1))

    def __init__(self) -> None:
        super().__init__()
        D = self.Double
        self.inc = D(3, 8)
        self.d1 = D(8, 16)
        self.d2 = D(16, 16)
        self.pool = nn.MaxPool2d(2)
        self.u1 = self.Up(32, 8, D)
        self.u2 = self.Up(16, 8, D)
        self.out = nn.Conv2d(8, 2, 1)

    def forward(self, x: Any) -> Any:
        a = self.inc(x)
        b = self.d1(self.pool(a))
        c = self.d2(self.pool(b))
        return self.out(self.u2(self.u1(c, b), a))


@case(floats(2, 3, 32, 32))
class UNetTranspose(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.e1 = nn.Conv2d(3, 8, 3, padding=1)
        self.e2 = nn.Conv2d(8, 16, 3, padding=1)
        self.up = nn.ConvTranspose2d(16, 8, 2, stride=2)
        self.d = nn.Conv2d(16, 8, 3, padding=1)
        self.o = nn.Conv2d(8, 1, 1)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Any) -> Any:
        a = F.leaky_relu(self.e1(x), 0.1)
        b = F.leaky_relu(self.e2(self.pool(a)), 0.1)
        u = self.up(b)
        return torch.sigmoid(self.o(F.relu(self.d(torch.cat((u, a), dim=1)))))


@case(floats(2, 3, 16, 16))
class PatchMixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Linear(48, 16)
        self.tok = nn.Parameter(torch.randn(1, 1, 16) * 0.02)
        self.pos = nn.Parameter(torch.randn(1, 17, 16) * 0.02)
        self.mix = nn.Linear(17, 17)
        self.fc = nn.Linear(16, 3)

    def forward(self, x: Any) -> Any:
        b, c, h, w = x.shape
        p = 4
        x = (
            x.reshape(b, c, h // p, p, w // p, p)
            .permute(0, 2, 4, 3, 5, 1)
            .reshape(b, h // p * (w // p), p * p * c)
        )
        x = self.proj(x)
        x = torch.cat((self.tok.expand(b, -1, -1), x), 1) + self.pos
        x = x + self.mix(x.transpose(1, 2)).transpose(1, 2)
        return self.fc(x[:, 0])


@case(floats(2, 3, 20, 20))
class Interpolate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.b = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.l = nn.Conv2d(8, 8, 1)
        self.o = nn.Conv2d(8, 2, 1)

    def forward(self, x: Any) -> Any:
        a = F.relu(self.a(x))
        b = F.relu(self.b(a))
        y = self.l(a) + F.interpolate(b, size=a.shape[-2:], mode="nearest")
        return F.interpolate(self.o(y), size=x.shape[2:], mode="bilinear", align_corners=False)


@case(floats(2, 3, 16, 16))
class DenseBlockNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.l = nn.ModuleList()
        c = 3
        for _ in range(4):
            self.l.append(nn.Sequential(nn.BatchNorm2d(c), nn.ReLU(), nn.Conv2d(c, 4, 3, padding=1)))
            c += 4
        self.fc = nn.Linear(c, 2)

    def forward(self, x: Any) -> Any:
        for l in self.l:
            x = torch.cat([x, l(x)], 1)
        return self.fc(x.mean([2, 3]))


@case(floats(2, 1, 16, 16))
class CBAM(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Conv2d(1, 8, 3, padding=1)
        self.mlp = nn.Sequential(nn.Linear(8, 2), nn.ReLU(), nn.Linear(2, 8))
        self.sp = nn.Conv2d(2, 1, 7, padding=3)
        self.fc = nn.Linear(8, 2)

    def forward(self, x: Any) -> Any:
        x = self.c(x)
        a = torch.sigmoid(
            self.mlp(F.adaptive_avg_pool2d(x, 1).flatten(1))
            + self.mlp(F.adaptive_max_pool2d(x, 1).flatten(1))
        )[:, :, None, None]
        x = x * a
        m = torch.cat([x.mean(1, keepdim=True), x.max(1, keepdim=True)[0]], 1)
        x = x * torch.sigmoid(self.sp(m))
        return self.fc(F.max_pool2d(x, 16).view(x.size(0), -1))


@case(floats(2, 3, 16, 16))
class ChannelShuffleNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Conv2d(3, 8, 1)
        self.g = nn.Conv2d(8, 8, 3, padding=1, groups=4)
        self.ps = nn.PixelShuffle(2)
        self.o = nn.Conv2d(2, 3, 3, padding=1)

    def forward(self, x: Any) -> Any:
        x = self.c(x)
        b, c, h, w = x.shape
        x = x.view(b, 4, 2, h, w).transpose(1, 2).reshape(b, c, h, w)
        return torch.clamp(self.o(self.ps(self.g(x))), 0, 1)


@case(floats(2, 3, 16, 16))
class CustomNorms(nn.Module):
    class LN2d(nn.Module):
        def __init__(self, c: Any) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(c))
            self.bias = nn.Parameter(torch.zeros(c))
            self.eps = 1e-06

        def forward(self, x: Any) -> Any:
            u = x.mean(1, keepdim=True)
            v = (x - u).pow(2).mean(1, keepdim=True)
            x = (x - u) / torch.sqrt(v + self.eps)
            return self.weight[:, None, None] * x + self.bias[:, None, None]

    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Conv2d(3, 8, 3, padding=1)
        self.n = self.LN2d(8)
        self.gamma = nn.Parameter(torch.ones(8) * 0.01)
        self.dw = nn.Conv2d(8, 8, 7, padding=3, groups=8)
        self.pw = nn.Linear(8, 16)
        self.pw2 = nn.Linear(16, 8)
        self.inn = nn.InstanceNorm2d(8, affine=True)

    def forward(self, x: Any) -> Any:
        x = self.n(self.c(x))
        i = x
        x = self.dw(x).permute(0, 2, 3, 1)
        x = self.gamma * self.pw2(F.gelu(self.pw(x)))
        x = i + x.permute(0, 3, 1, 2)
        return self.inn(x).amax((-2, -1))


@case(floats(2, 4, 3, 8, 8))
class VideoFrames(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.l = nn.LSTM(6, 8, batch_first=True)
        self.fc = nn.Linear(8, 2)

    def forward(self, x: Any) -> Any:
        b, t, c, h, w = x.shape
        f = self.c(x.view(b * t, c, h, w)).view(b, t, -1)
        o, _ = self.l(f)
        return self.fc(o[:, -1])


@case(floats(2, 1, 8, 8, 8))
class Conv3dNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Conv3d(1, 4, 3, padding=1)
        self.bn = nn.BatchNorm3d(4)
        self.p = nn.MaxPool3d(2)
        self.fc = nn.Linear(4 * 64, 2)

    def forward(self, x: Any) -> Any:
        return self.fc(torch.flatten(self.p(F.relu(self.bn(self.c(x)))), 1))


@case(floats(2, 3, 12, 12))
class Upsampled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect")
        self.p = nn.PReLU()
        self.a = nn.AvgPool2d(3, 2, 1)
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.fc = nn.LazyLinear(2) if False else nn.Linear(4 * 12 * 12, 2)

    def forward(self, x: Any) -> Any:
        x = self.up(self.a(self.p(self.c(x))))
        return self.fc(x.flatten(start_dim=1))


@case(floats(2, 3, 8, 8), floats(2, 3, 8, 8))
class Siamese(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.e = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 8))

    def forward(self, a: Any, b: Any) -> Any:
        u, v = (F.normalize(self.e(a), dim=1), F.normalize(self.e(b), dim=1))
        return (F.cosine_similarity(u, v), torch.cdist(u.unsqueeze(1), v.unsqueeze(1)).flatten())


@case(floats(2, 8, 3))
class PointNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.m = nn.Sequential(nn.Conv1d(3, 8, 1), nn.BatchNorm1d(8), nn.ReLU())
        self.fc = nn.Linear(8, 9)
        self.m2 = nn.Conv1d(3, 8, 1)

    def forward(self, x: Any) -> Any:
        x = x.transpose(2, 1)
        f = torch.max(self.m(x), 2, keepdim=True)[0].view(-1, 8)
        t = self.fc(f) + torch.eye(3).flatten()
        t = t.view(-1, 3, 3)
        x = torch.bmm(x.transpose(2, 1), t).transpose(2, 1)
        return self.m2(x).max(-1).values


@case(floats(2, 3, 16, 16))
class AxialAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Conv2d(3, 8, 1)
        self.a = nn.MultiheadAttention(8, 2, batch_first=True)
        self.fc = nn.Linear(8, 2)

    def forward(self, x: Any) -> Any:
        x = self.c(x)
        b, c, h, w = x.shape
        y = x.permute(0, 2, 3, 1).reshape(b * h, w, c)
        y = self.a(y, y, y, need_weights=False)[0].view(b, h, w, c)
        return self.fc(y.mean((1, 2)))


@case(floats(2, 3, 8, 8))
class NonLocal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.t = nn.Conv2d(3, 4, 1)
        self.p = nn.Conv2d(3, 4, 1)
        self.g = nn.Conv2d(3, 4, 1)
        self.o = nn.Conv2d(4, 3, 1)
        self.gamma = nn.Parameter(torch.full((1,), 0.3))

    def forward(self, x: Any) -> Any:
        b, c, h, w = x.size()
        q = self.t(x).view(b, -1, h * w).permute(0, 2, 1)
        k = self.p(x).view(b, -1, h * w)
        a = torch.softmax(torch.bmm(q, k), -1)
        v = self.g(x).view(b, -1, h * w)
        y = torch.bmm(v, a.permute(0, 2, 1)).view(b, 4, h, w)
        return x + self.gamma * self.o(y)
