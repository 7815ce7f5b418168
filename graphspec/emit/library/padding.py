"""Keras' `same` padding."""

from typing import Any

import torch
from torch import Tensor


def same_padding(x: Tensor, kernel_size: Any, stride: Any, dilation: Any) -> list[int]:
    """Keras' `same` padding, as F.pad takes it: an odd row or column goes last."""
    pads: list[int] = []
    for n, k, s, d in zip(x.shape[2:], kernel_size, stride, dilation, strict=True):
        missing = d * (k - 1) + 1 - s + -n % s
        if torch.compiler.is_exporting():  # only steps wider than the window leave gaps
            gaps = d * (k - 1) + 1 < s
            total = torch.sym_max(missing, 0) if gaps else missing
        else:
            total = max(missing, 0)
        pads = [total // 2, total - total // 2, *pads]
    return pads
