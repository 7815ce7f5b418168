"""The precision of a training. Weights, losses and optimizer state are always float32.

`float32` is PyTorch's own: on CUDA products of matrices in full, convolutions in TF32. `tf32` takes TF32 for
both, 10 bits of fraction at several times the speed. `bf16` runs the model under autocast: products and
convolutions in bfloat16, sums, normalizations and softmax in float32; bfloat16 has the range of float32, so
losses need no scaling.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor

from graphspec.train.config import Precision


@contextmanager
def products(precision: Precision) -> Iterator[None]:
    """Sets the precision of float32 matrix products inside, and restores it afterwards."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest" if precision == "float32" else "high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """The autocast context of a model."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def in_full(value: Tensor) -> Tensor:
    """The outputs of a model in float32, for losses."""
    return value.float() if value.dtype == torch.bfloat16 else value
