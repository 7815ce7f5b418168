"""What training remembers of the batches before."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class State(nn.Module):
    """A tensor [1, ...] that each batch of training changes."""

    value: Tensor

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype | None = None):
        super().__init__()
        self.register_buffer("value", torch.zeros(1, *shape, dtype=dtype))

    def forward(self) -> Tensor:
        """The value that the batches before have left."""
        return self.value.clone() if self.training else self.value

    def update(
        self, change: Callable[..., Tensor], batch: list[Tensor], *others: Tensor
    ) -> None:
        """In training, the value becomes what `change` makes of it and of a batch."""
        if self.training:
            self.push(change, [x.detach() for x in batch], *others)

    @torch.no_grad()
    def push(
        self, change: Callable[..., Tensor], batch: list[Tensor], *others: Tensor
    ) -> None:
        """Changes the value; `change` gets the batch, [n, ...], as [1, n, ...]."""
        with torch.autocast(self.value.device.type, enabled=False):
            read = [x.unsqueeze(0) for x in batch] + [*others]
            self.value.copy_(change(self.value, *map(in_full, read)))


def in_full(x: Tensor) -> Tensor:
    """Floats of 32 bits or more."""
    return (
        x.to(torch.promote_types(x.dtype, torch.float32))
        if x.is_floating_point()
        else x
    )
