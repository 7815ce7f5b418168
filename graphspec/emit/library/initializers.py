"""Keras' initializers that PyTorch lacks."""

import torch
from torch import Tensor, nn


def variance_scaling_(w: Tensor, scale: float, mode: str, distribution: str) -> None:
    """Fills [out, in, *kernel] by Keras' VarianceScaling; normals end at two sigmas."""
    fan_in = w[0].numel() if w.dim() > 1 else len(w)
    fan_out = w[:, 0].numel() if w.dim() > 1 else len(w)
    fans = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}
    variance = scale / fans[mode]
    if distribution == "uniform":
        limit = (3 * variance) ** 0.5
        nn.init.uniform_(w, -limit, limit)
    elif distribution == "untruncated_normal":
        nn.init.normal_(w, std=variance**0.5)
    else:
        std = variance**0.5 / 0.87962566103423978
        nn.init.trunc_normal_(w, std=std, a=-2 * std, b=2 * std)


def orthogonal_(w: Tensor, gain: float = 1.0) -> None:
    """Fills a weight [..., out] as an orthogonal matrix [rest, out]."""
    filled = nn.init.orthogonal_(torch.empty_like(w.flatten(0, -2)), gain)
    w.detach().copy_(filled.view_as(w))
