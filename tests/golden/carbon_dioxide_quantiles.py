# Made by graphspec 0.1.0 from the spec carbon_dioxide_quantiles with past = 52. It
# needs torch 2.10 or later.
"""carbon_dioxide_quantiles: past float32[N, 52, 1] -> co2 float32[N, 26, 3]."""

from typing import Any

from torch import Tensor, nn


class GRU(nn.GRU):
    """nn.GRU that computes what Keras' GRU does."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size, batch_first=True)

    def forward(self, x: Tensor) -> Any:  # type: ignore[override]
        _, h = super().forward(x)
        return h[0]

    def reset_parameters(self) -> None:
        for kernel, recurrent, *biases in self.all_weights:
            nn.init.xavier_uniform_(kernel)
            nn.init.orthogonal_(recurrent)
            for bias in biases:
                nn.init.zeros_(bias)


def init_weights(module: nn.Module) -> None:
    """Fills a module's own weights by Keras' initializers."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


class CarbonDioxideQuantiles(nn.Module):
    def __init__(
        self, next: int = 26, levels: tuple[float, ...] = (0.1, 0.5, 0.9)
    ) -> None:
        super().__init__()
        self.code = GRU(1, 24)
        self.wide = nn.Linear(24, next * len(levels))
        self.steps_sizes = next, len(levels)
        self.apply(init_weights)

    def forward(self, past: Tensor) -> Tensor:
        last = past[:, 51]  # [N, 1]
        x = self.code(past - past[:, 51:])  # [N, 24]
        return self.wide(x).unflatten(1, self.steps_sizes) + last.unsqueeze(1)
