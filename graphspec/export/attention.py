"""Attention along some of many axes, for the export only: that of ONNX has one batch axis."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class OneBatch(TorchFunctionMode):
    """While it is active, attention takes all axes before the heads as one batch."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is F.scaled_dot_product_attention and args[0].dim() > 4:
            return _attention(*args, **(kwargs or {}))
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
