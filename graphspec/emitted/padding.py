"""Keras' `same` padding."""

import torch
from torch import Tensor


def same_padding(x: Tensor, kernel_size, stride, dilation=(1, 1)) -> list[int]:
    """Keras' `same` padding, as F.pad takes it: an odd row or column goes last."""
    pads: list[int] = []
    for n, k, s, d in zip(x.shape[2:], kernel_size, stride, dilation, strict=True):
        total = d * (k - 1) + 1 - s + -n % s
        if not torch.compiler.is_exporting():
            total = max(total, 0)
        elif d * (k - 1) + 1 < s:  # steps may leave gaps
            total = torch.sym_max(total, 0)
        pads = [total // 2, total - total // 2, *pads]
    return pads
