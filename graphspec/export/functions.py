"""Functions of PyTorch in another form, for the export only: attention along some of many axes, as that of
ONNX has one batch axis; and indices that broadcast, which tracing takes for fixed sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class Exportable(TorchFunctionMode):
    """While it is active, functions compute the same by others, which can be exported at any size."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is F.scaled_dot_product_attention and args[0].dim() > 4:
            return _attention(*args, **(kwargs or {}))
        if func is Tensor.take_along_dim:
            return _taken(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, *args: Any, **options: Any
) -> Tensor:
    """What `F.scaled_dot_product_attention` computes of [*batch, heads, length, size]."""
    batch = query.shape[:-3]
    mask = attn_mask
    if mask is not None:
        mask = mask.expand(*batch, *mask.shape[-3:]).flatten(0, -4)
    q, k, v = (part.flatten(0, -4) for part in (query, key, value))
    y: Tensor = F.scaled_dot_product_attention(q, k, v, mask, *args, **options).unflatten(0, batch)
    return y


def _taken(x: Tensor, indices: Tensor, dim: int) -> Tensor:
    """What `Tensor.take_along_dim` computes: `gather`, after both are broadcast along all other axes."""
    dim %= x.dim()
    before, after = (
        torch.broadcast_shapes(x.shape[part], indices.shape[part])
        for part in (slice(dim), slice(dim + 1, None))
    )
    wide, index = (each.expand(*before, each.shape[dim], *after) for each in (x, indices))
    return wide.gather(dim, index)
