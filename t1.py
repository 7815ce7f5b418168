# Made by graphspec 0.1.0 from the spec t1. It needs torch 2.10 or later.
# A checksum, so that graphspec overwrites no edits: 449e1bb652d4
"""t1: x float32[N, 5, 4]
-> zc float32[N, 13, 4], n float32[N, 5, 4], b float32[1, 7, 4].
"""

import torch
from torch import Tensor, nn


def variance_scaling_(w: Tensor, scale: float, mode: str, distribution: str) -> None:
    """Fills [out, in, *kernel] by Keras' VarianceScaling; normals end at two sigmas."""
    fan_in, fan_out = (w[0].numel(), w[:, 0].numel()) if w.dim() > 1 else (len(w), len(w))
    variance = scale / {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[mode]
    if distribution == "uniform":
        nn.init.uniform_(w, -((3 * variance) ** 0.5), (3 * variance) ** 0.5)
    elif distribution == "untruncated_normal":
        nn.init.normal_(w, std=variance**0.5)
    else:
        std = variance**0.5 / 0.87962566103423978
        nn.init.trunc_normal_(w, std=std, a=-2 * std, b=2 * std)


def init_weights(module: nn.Module) -> None:
    """Fills a module's own weights by Keras' initializers."""
    if isinstance(module, nn.Embedding):
        nn.init.uniform_(module.weight, -0.05, 0.05)


class T1(nn.Module):
    def __init__(self):
        super().__init__()
        self.cls = nn.Parameter(torch.empty(1, 1, 4))
        nn.init.zeros_(self.cls)
        self.pos = nn.Parameter(torch.empty(1, 6, 4))
        nn.init.xavier_uniform_(self.pos.detach()[0])
        self.s = nn.Parameter(torch.empty(1, 1))
        variance_scaling_(self.s.detach()[0], 1.0, "fan_avg", "uniform")
        self.idx = nn.Buffer(torch.tensor([[0, 1, 2, 3, 4, 5]]), persistent=False)
        self.emb = nn.Embedding(6, 4)
        self.apply(init_weights)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        emb = self.emb(self.idx)  # [1, 6, 4]
        y = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], 1)  # [N, 6, 4]
        z = (y + self.pos + emb) * self.s  # [N, 6, 4]
        del emb, y
        b = self.cls.expand((-1, 7, 4))  # [1, 7, 4]
        n = torch.randn_like(x)  # [N, 5, 4]
        return {"zc": torch.cat([z, b.expand(z.shape[0], -1, -1)], 1), "n": n, "b": b}
