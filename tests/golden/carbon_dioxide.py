# Made by graphspec 0.1.0 from the spec carbon_dioxide. It needs torch 2.10 or later.
"""carbon_dioxide: past float32[N, 104] -> co2 float32[N, 26]."""

from torch import Tensor, nn


def init_weights(module: nn.Module) -> None:
    """Fills a module's own weights by Keras' initializers."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


class CarbonDioxide(nn.Module):
    def __init__(self, past: int = 104, next: int = 26) -> None:
        super().__init__()
        self.co2 = nn.Linear(past, next)
        self.apply(init_weights)

    def forward(self, past: Tensor) -> Tensor:
        return self.co2(past)  # [N, next]
