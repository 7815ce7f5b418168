"""What batches leave for those that follow."""

import torch
from torch import Tensor, nn


class Queue(nn.Module):
    """The last rows that training has seen, the newest first."""

    rows: Tensor

    def __init__(self, size: int, shape: tuple[int, ...]):
        super().__init__()
        self.register_buffer("rows", torch.zeros(size, *shape))

    def forward(self, x: Tensor) -> Tensor:
        """The rows of the batches before, [1, size, ...]; training adds those of x."""
        if not self.training:
            return self.rows.unsqueeze(0)
        rows = self.rows.clone()
        self.push(x.detach())
        return rows.unsqueeze(0)

    def push(self, x: Tensor) -> None:
        """Takes rows in; as many fall out."""
        rows = torch.cat([x.to(self.rows.dtype), self.rows])
        self.rows.copy_(rows[: len(self.rows)])
