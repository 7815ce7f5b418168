"""Networks of signals and tables, as their authors would write them."""
# mypy: ignore-errors
# ruff: noqa: B905, E741

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from tests.convert.modules.given import case, floats


@case(floats(2, 4, 20))
class TCN(nn.Module):
    class Chomp(nn.Module):
        def __init__(self, n: Any) -> None:
            super().__init__()
            self.n = n

        def forward(self, x: Any) -> Any:
            return x[:, :, : -self.n].contiguous()

    class Block(nn.Module):
        def __init__(self, a: Any, b: Any, k: Any, d: Any, Ch: Any) -> None:
            super().__init__()
            p = (k - 1) * d
            wn = nn.utils.parametrizations.weight_norm
            self.net = nn.Sequential(
                wn(nn.Conv1d(a, b, k, padding=p, dilation=d)),
                Ch(p),
                nn.ReLU(),
                nn.Dropout(0.2),
                wn(nn.Conv1d(b, b, k, padding=p, dilation=d)),
                Ch(p),
                nn.ReLU(),
                nn.Dropout(0.2),
            )
            self.down = nn.Conv1d(a, b, 1) if a != b else None

        def forward(self, x: Any) -> Any:
            return F.relu(self.net(x) + (x if self.down is None else self.down(x)))

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(*[self.Block(4 if i == 0 else 6, 6, 3, 2**i, self.Chomp) for i in range(3)])
        self.fc = nn.Linear(6, 2)

    def forward(self, x: Any) -> Any:
        return self.fc(self.net(x)[:, :, -1])


@case(floats(2, 6), floats(2, 4))
class BilinearScore(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.b = nn.Bilinear(6, 4, 5)
        self.o = nn.Linear(5, 1)

    def forward(self, a: Any, b: Any) -> Any:
        return self.o(torch.relu(self.b(a, b))).squeeze(-1)


@case(floats(2, 8))
class VAE(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.e = nn.Linear(8, 16)
        self.mu = nn.Linear(16, 4)
        self.lv = nn.Linear(16, 4)
        self.d = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 8))

    def forward(self, x: Any) -> Any:
        h = F.relu(self.e(x))
        mu, lv = (self.mu(h), self.lv(h))
        z = mu + torch.randn_like(mu) * torch.exp(0.5 * lv) if self.training else mu
        return (self.d(z), mu, lv)


@case(torch.randint(0, 5, (2, 3), generator=torch.Generator().manual_seed(0)), floats(2, 4))
class Tabular(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.e = nn.ModuleList([nn.Embedding(5, 3) for _ in range(3)])
        self.bn = nn.BatchNorm1d(4)
        self.m = nn.Sequential(
            nn.Linear(13, 16), nn.ReLU(), nn.BatchNorm1d(16), nn.Dropout(0.2), nn.Linear(16, 1)
        )

    def forward(self, x_cat: Any, x_num: Any) -> Any:
        x = torch.cat([e(x_cat[:, i]) for i, e in enumerate(self.e)], 1)
        return self.m(torch.cat([x, self.bn(x_num)], 1)).squeeze(1)


@case(
    torch.randint(0, 20, (2,), generator=torch.Generator().manual_seed(0)),
    torch.randint(0, 20, (2,), generator=torch.Generator().manual_seed(2)),
)
class MatrixFactor(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.u = nn.Embedding(20, 8)
        self.i = nn.Embedding(20, 8)
        self.ub = nn.Embedding(20, 1)
        self.ib = nn.Embedding(20, 1)
        self.mu = nn.Parameter(torch.zeros(1))

    def forward(self, user: Any, item: Any) -> Any:
        return (
            (self.u(user) * self.i(item)).sum(-1)
            + self.ub(user).squeeze(-1)
            + self.ib(item).squeeze(-1)
            + self.mu
        )


@case(floats(2, 2, 100))
class WaveNet(nn.Module):
    class L(nn.Module):
        def __init__(self, c: Any, d: Any) -> None:
            super().__init__()
            self.d = d
            self.f = nn.Conv1d(c, c, 2, dilation=d)
            self.g = nn.Conv1d(c, c, 2, dilation=d)
            self.r = nn.Conv1d(c, c, 1)
            self.s = nn.Conv1d(c, c, 1)

        def forward(self, x: Any) -> Any:
            p = F.pad(x, (self.d, 0))
            z = torch.tanh(self.f(p)) * torch.sigmoid(self.g(p))
            return (x + self.r(z), self.s(z))

    def __init__(self) -> None:
        super().__init__()
        self.i = nn.Conv1d(2, 6, 1)
        self.ls = nn.ModuleList([self.L(6, 2**i) for i in range(4)])
        self.o = nn.Conv1d(6, 3, 1)

    def forward(self, x: Any) -> Any:
        x = self.i(x)
        sk = 0
        for l in self.ls:
            x, k = l(x)
            sk = sk + k
        return self.o(F.relu(sk))


@case(floats(2, 8), torch.rand(2, generator=torch.Generator().manual_seed(0)))
class Denoiser(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.t = nn.Sequential(nn.Linear(16, 16), nn.SiLU(), nn.Linear(16, 16))
        self.i = nn.Linear(8, 16)
        self.a = nn.Linear(16, 16)
        self.o = nn.Linear(16, 8)

    def forward(self, x: Any, t: Any) -> Any:
        f = torch.exp(-math.log(10000) * torch.arange(8) / 8)
        a = t[:, None] * f[None]
        e = self.t(torch.cat([a.sin(), a.cos()], -1))
        return self.o(F.silu(self.a(self.i(x) + e)))


@case(floats(2, 8))
class Highway(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.h = nn.ModuleList([nn.Linear(8, 8) for _ in range(3)])
        self.t = nn.ModuleList([nn.Linear(8, 8) for _ in range(3)])

    def forward(self, x: Any) -> Any:
        for h, t in zip(self.h, self.t):
            g = torch.sigmoid(t(x))
            x = g * F.relu(h(x)) + (1 - g) * x
        return x


@case(floats(2, 12, 6))
class Autoencoder1d(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.e = nn.Conv1d(6, 4, 4, stride=2, padding=1)
        self.d = nn.ConvTranspose1d(4, 6, 4, stride=2, padding=1)

    def forward(self, x: Any) -> Any:
        x = x.permute(0, 2, 1)
        return self.d(F.elu(self.e(x))).permute(0, 2, 1)


@case(floats(2, 20))
class Windows1d(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.l = nn.Linear(5, 4)
        self.o = nn.Linear(16, 2)

    def forward(self, x: Any) -> Any:
        w = x.unfold(1, 5, 5)
        return self.o(torch.relu(self.l(w)).flatten(1))
