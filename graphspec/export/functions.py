"""Functions of PyTorch in another form, for the export only: attention along some of many axes, as that of
ONNX has one batch axis; distances, which ONNX does not know; indices that broadcast, which tracing takes for
fixed sizes; and sums with a number so small that onnxscript takes it for 0 and leaves it out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

SUMS = {Tensor.add, Tensor.__add__, Tensor.__radd__, Tensor.sub, Tensor.__sub__, torch.add, torch.sub}
SMALL = 1e-7
"""Numbers below this are added as a tensor of one element, which onnxscript 0.7 does not compare with 0."""


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
        if func is torch.cdist:
            return _distances(*args, **(kwargs or {}))
        if func in SUMS:
            args = _kept(args)
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


def _kept(terms: Sequence[Any]) -> Sequence[Any]:
    """The terms of a sum, a small number as a tensor."""
    tensor = next((term for term in terms if isinstance(term, Tensor)), None)
    if tensor is None or not tensor.is_floating_point() or tensor.dim() == 0:
        return terms
    return [tensor.new_full((1,), x) if type(x) is float and 0 < abs(x) < SMALL else x for x in terms]


def _distances(x: Tensor, y: Tensor, p: float = 2.0, **options: Any) -> Tensor:
    """What `torch.cdist` computes, which ONNX does not know."""
    gaps: Tensor = torch.linalg.vector_norm(x.unsqueeze(-2) - y.unsqueeze(-3), p, -1)
    return gaps


def _taken(x: Tensor, indices: Tensor, dim: int) -> Tensor:
    """What `Tensor.take_along_dim` computes: `gather`, after both are broadcast along all other axes."""
    dim %= x.dim()
    before, after = (
        torch.broadcast_shapes(x.shape[part], indices.shape[part])
        for part in (slice(dim), slice(dim + 1, None))
    )
    wide, index = (each.expand(*before, each.shape[dim], *after) for each in (x, indices))
    return wide.gather(dim, index)
