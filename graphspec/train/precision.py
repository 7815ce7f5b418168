"""The precision of a training. Weights, losses and optimizer state are always float32.

`float32` is PyTorch's own: on CUDA products of matrices in full, convolutions in TF32. `tf32` takes TF32 for
both, 10 bits of fraction at several times the speed. `bf16` runs the model under autocast: products and
convolutions in bfloat16, sums, normalizations and softmax in float32; bfloat16 has the range of float32, so
losses need no scaling.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

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
    if precision != "bf16":
        return nullcontext()
    lowered = torch.autocast(device.type, torch.bfloat16)
    lacking = device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return _without_onednn(lowered) if lacking and not torch.compiler.is_compiling() else lowered


@contextmanager
def _without_onednn(lowered: AbstractContextManager[object]) -> Iterator[None]:
    """Where a processor lacks bfloat16, oneDNN has no LSTM of it, and PyTorch does not ask first."""
    backend: Any = torch.backends.mkldnn
    before, backend.enabled = backend.enabled, False
    try:
        with lowered:
            yield
    finally:
        backend.enabled = before


def in_full(value: Tensor) -> Tensor:
    """The outputs of a model in float32, for losses."""
    return value.float() if value.dtype == torch.bfloat16 else value
