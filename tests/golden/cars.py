# Made by graphspec 0.1.0 from the spec cars. It needs torch 2.10 or later.
"""cars: facts float32[N, 8], year float32[N, 1], cylinders int64[N, 1],
    name int64[N, words]
-> mpg float32[N, 1], origin float32[N, 3].
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def masked_mean(x: Tensor, mask: Tensor, axis: int) -> Tensor:
    """The mean over the unmasked steps, at `axis` 1 or 2; the mask is [N, steps]."""
    mask = mask.unsqueeze(3 - axis)
    return x.masked_fill(~mask, 0).sum(axis) / mask.sum(axis)


def init_weights(module: nn.Module) -> None:
    """Fills a module's own weights by Keras' initializers."""
    if isinstance(module, nn.Embedding):
        nn.init.uniform_(module.weight, -0.05, 0.05)
    elif isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


class Cars(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.engine = nn.Embedding(8, 4)
        self.hidden = nn.ModuleList([nn.Linear(13, 64), nn.Linear(64, 64)])
        self.mpg = nn.Linear(64, 1)
        self.vectors = nn.Embedding(200, 16)
        self.drop = nn.Dropout(0.2)
        self.origin = nn.Linear(80, 3)
        self.apply(init_weights)

    def forward(
        self,
        facts: Tensor,
        year: Tensor,
        cylinders: Tensor,
        name: Tensor,
        *,
        logits: bool = False,
    ) -> dict[str, Tensor]:
        x = self.engine(cylinders).flatten(1)  # [N, 4]
        hidden = torch.cat([facts, year, x], -1)  # [N, 13]
        for layer in self.hidden:
            hidden = F.relu(layer(hidden), inplace=True)  # [N, 64]
        mpg = self.mpg(hidden)  # [N, 1]
        x = masked_mean(self.vectors(name), name != 0, 1)  # [N, 16]
        x = self.drop(x)  # [N, 16]
        origin = self.origin(torch.cat([x, hidden], -1))  # [N, 3]
        return {"mpg": mpg, "origin": origin if logits else origin.softmax(-1)}
