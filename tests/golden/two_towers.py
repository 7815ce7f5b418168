# Made by graphspec 0.1.0 from the spec two_towers. It needs torch 2.10 or later.
"""two_towers: plane int64[N, 1], destination int64[N, 1] -> flies_to float32[N, 32]."""

from torch import Tensor, nn


def init_weights(module: nn.Module) -> None:
    """Fills a module's own weights by Keras' initializers."""
    if isinstance(module, nn.Embedding):
        nn.init.uniform_(module.weight, -0.05, 0.05)


class Tower(nn.Module):
    def __init__(self, kinds: int, width: int) -> None:
        super().__init__()
        self.vector = nn.Embedding(kinds, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.vector(x).flatten(1)


class TwoTowers(nn.Module):
    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.planes = Tower(1000, width)
        self.destinations = Tower(110, width)
        self.apply(init_weights)

    def forward(self, plane: Tensor, destination: Tensor) -> dict[str, Tensor]:
        planes = self.planes(plane)  # [N, width]
        destinations = self.destinations(destination)  # [N, width]
        return {"flies_to": planes, "flies_to.1": destinations}
