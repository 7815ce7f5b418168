# Made by graphspec 0.1.0 from the spec dense. It needs torch 2.10 or later.
"""dense: features float32[N, 64] -> probs float32[N, 10]."""

from torch import Tensor, nn
from torch.nn import functional as F


def init_weights(module: nn.Module) -> None:
    """Fills a module's own weights by Keras' initializers."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


class Dense(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden1 = nn.Linear(64, 32)
        self.hidden2 = nn.Linear(32, 32)
        self.probs = nn.Linear(32, 10)
        self.apply(init_weights)

    def forward(self, features: Tensor, *, logits: bool = False) -> Tensor:
        x = F.relu(self.hidden1(features), inplace=True)  # [N, 32]
        x = F.relu(self.hidden2(x), inplace=True)  # [N, 32]
        x = self.probs(x)  # [N, 10]
        return x if logits else x.softmax(-1)
