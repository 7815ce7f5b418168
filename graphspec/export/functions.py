"""Functions of PyTorch in another form, for the export only: attention along some of many axes, as that of
ONNX has one batch axis; distances, which ONNX does not know; indices that broadcast, which tracing takes for
fixed sizes; and sums with a number so small that onnxscript takes it for 0 and leaves it out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

Function = Callable[..., Any]
SUMS: set[Any] = {
    Tensor.add,
    Tensor.__add__,
    Tensor.__radd__,
    Tensor.sub,
    Tensor.__sub__,
    torch.add,
    torch.sub,
}
SMALL = 1e-7
"""Numbers below this are added as a tensor of one element, which onnxscript 0.7 does not compare with 0."""


class Replacing(TorchFunctionMode):
    """While it is active, functions of PyTorch are replaced by others, which may call them."""

    def __init__(self, functions: Mapping[Function, Function]):
        super().__init__()
        self.functions = functions

    def __torch_function__(
        self,
        func: Function,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return self.functions.get(func, func)(*args, **(kwargs or {}))


def _attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, *args: Any, **options: Any
) -> Tensor:
    """`F.scaled_dot_product_attention` of [*batch, heads, length, size]."""
    if query.dim() <= 4:
        return F.scaled_dot_product_attention(query, key, value, attn_mask, *args, **options)
    batch, mask = query.shape[:-3], attn_mask
    if mask is not None:
        mask = mask.expand(*batch, *mask.shape[-3:]).flatten(0, -4)
    q, k, v = (part.flatten(0, -4) for part in (query, key, value))
    y: Tensor = F.scaled_dot_product_attention(q, k, v, mask, *args, **options).unflatten(0, batch)
    return y


def _sum(function: Function, *terms: Any, **options: Any) -> Any:
    """A sum or a difference, with a small number as a tensor."""
    tensor = next((term for term in terms if isinstance(term, Tensor)), None)
    if tensor is not None and tensor.is_floating_point() and tensor.dim():
        one = partial(tensor.new_full, (1,))
        terms = tuple(one(x) if type(x) is float and 0 < abs(x) < SMALL else x for x in terms)
    return function(*terms, **options)


def _distances(x: Tensor, y: Tensor, p: float = 2.0, **options: Any) -> Tensor:
    """`torch.cdist`, which ONNX does not know."""
    gaps: Tensor = torch.linalg.vector_norm(x.unsqueeze(-2) - y.unsqueeze(-3), p, -1)
    return gaps


def _taken(x: Tensor, indices: Tensor, dim: int) -> Tensor:
    """`Tensor.take_along_dim` by `gather`, after both are broadcast along all other axes."""
    dim %= x.dim()
    before, after = (
        torch.broadcast_shapes(x.shape[part], indices.shape[part])
        for part in (slice(dim), slice(dim + 1, None))
    )
    wide, index = (each.expand(*before, each.shape[dim], *after) for each in (x, indices))
    return wide.gather(dim, index)


EXPORTABLE: Mapping[Function, Function] = {
    F.scaled_dot_product_attention: _attention,
    Tensor.take_along_dim: _taken,
    torch.cdist: _distances,
    **{function: partial(_sum, function) for function in SUMS},
}
"""By function, one that computes the same and can be exported at any size."""
