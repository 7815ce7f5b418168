"""Tensors of which each process may hold a part: `DTensor`s of torch.

Tensors that are whole go through unchanged, and torch.distributed.tensor, which takes half a second, is not
imported for them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def is_sharded(tensor: Tensor) -> bool:
    """Whether a tensor is one of which this process may hold a part.

    torch.compile traces this, and so it does not ask `sys.modules`, which grows while it is traced.
    """
    return hasattr(tensor, "device_mesh")


def local(tensor: Tensor) -> Tensor:
    """The part that this process holds; it shares its memory."""
    sharded: Any = tensor
    return sharded.to_local() if is_sharded(tensor) else tensor


def sharing(tensor: Tensor) -> Any:
    """The processes that together hold a sharded tensor once: others may hold copies of the same parts."""
    mesh = tensor.device_mesh  # type: ignore[attr-defined]
    return mesh.get_group(mesh.ndim - 1)


def full_tensor(tensor: Tensor) -> Tensor:
    """The whole tensor, in every process. The gradients of the processes are summed."""
    if not is_sharded(tensor):
        return tensor
    from torch.distributed.tensor import Partial

    sharded: Any = tensor
    gathered: Tensor = sharded.full_tensor(grad_placements=[Partial()] * sharded.device_mesh.ndim)
    return gathered


def like(pattern: Tensor, part: Tensor) -> Tensor:
    """A part as a tensor of `pattern`'s shape, with the same placement."""
    if not is_sharded(pattern):
        return part
    from torch.distributed.tensor import DTensor

    sharded: Any = pattern
    return DTensor.from_local(
        part,
        sharded.device_mesh,
        sharded.placements,
        run_check=False,
        shape=sharded.shape,
        stride=sharded.stride(),
    )


@torch.no_grad()
def put(tensor: Tensor, value: Tensor) -> None:
    """Copies the values of a whole tensor, which every process has, into a tensor."""
    if not is_sharded(tensor):
        tensor.copy_(value)
        return
    from torch.distributed.tensor import distribute_tensor

    sharded: Any = tensor
    distributed = distribute_tensor(
        value.to(sharded.device), sharded.device_mesh, sharded.placements, src_data_rank=None
    )
    sharded.to_local().copy_(distributed.to_local())
