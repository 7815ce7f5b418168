"""Reading and writing elements of each example by tensors of indices."""

import torch
from torch import Tensor


def take_each(x: Tensor, indices: Tensor, dim: int) -> Tensor:
    """The elements of each example at its indices along an axis."""
    rows = torch.arange(x.shape[0], device=x.device).view(
        -1, *[1] * (indices.dim() - 1)
    )
    taken = x.movedim(dim, 1)[rows, indices]
    places = range(1, indices.dim())
    return taken.movedim(list(places), [place + dim - 1 for place in places])


def put_each(
    x: Tensor, indices: Tensor, values: Tensor, accumulate: bool = False
) -> Tensor:
    """Writes or adds values to each example, at its own indices [batch, n, axes]."""
    rows = torch.arange(x.shape[0], device=x.device)[:, None]
    return x.index_put((rows, *indices.unbind(-1)), values, accumulate)


def put_slice(x: Tensor, values: Tensor, *starts: int) -> Tensor:
    """Writes values at the indices `starts`, which do not count the batch axis."""
    x = x.clone()
    ends = zip(starts, values.shape[1:], strict=True)
    x[(slice(None), *(slice(start, start + size) for start, size in ends))] = values
    return x


def reduce_segments(
    data: Tensor, ids: Tensor, count: int, reduce: str, empty: float
) -> Tensor:
    """Reduces the elements of each example that have the same id [batch, n].

    `empty` is the result for an id without elements. Ids below 0, and from `count` on,
    are left out.
    """
    ids = torch.where((ids < 0) | (ids >= count), count, ids)
    index = ids.view(*ids.shape, *[1] * (data.dim() - 2)).expand_as(data)
    start = data.new_full((data.shape[0], count + 1, *data.shape[2:]), empty)
    return start.scatter_reduce(1, index, data, reduce)[:, :-1]
