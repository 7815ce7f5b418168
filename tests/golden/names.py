# Made by graphspec 0.1.0 from the spec names. It needs torch 2.10 or later.
"""names: name int64[N, letters] -> language float32[N, 8]."""

from torch import Tensor, nn
from torch.nn import functional as F


def init_weights(module: nn.Module) -> None:
    """Fills a module's own weights by Keras' initializers."""
    if isinstance(module, nn.Embedding):
        nn.init.uniform_(module.weight, -0.05, 0.05)
    elif isinstance(module, (nn.Conv1d, nn.Linear)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Names(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.vectors = nn.Embedding(100, 32)
        self.pairs = nn.Conv1d(32, 128, 3, padding="same")
        self.quads = nn.Conv1d(128, 128, 3, padding="same")
        self.drop = nn.Dropout(0.3)
        self.language = nn.Linear(128, 8)
        self.apply(init_weights)

    def forward(self, name: Tensor, *, logits: bool = False) -> Tensor:
        x = self.vectors(name)  # [N, letters, 32]
        x = F.relu(self.pairs(x.transpose(1, 2)), inplace=True)  # [N, 128, letters]
        x = F.relu(self.quads(x), inplace=True).amax(2)  # [N, 128]
        x = self.drop(x)  # [N, 128]
        x = self.language(x)  # [N, 8]
        return x if logits else x.softmax(-1)
