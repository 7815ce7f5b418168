# Made by graphspec 0.1.0 from the spec bert. It needs torch 2.10 or later.
"""bert: tokens int64[N, length], segments int64[N, length]
-> states float32[N, length, 64], pooled float32[N, 64].
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class MultiHeadAttention(nn.Module):
    """Multi-head attention. A mask is true where a query attends to a key."""

    def __init__(
        self, in_features: int, num_heads: int, key_dim: int, dropout: float = 0.0
    ):
        super().__init__()
        self.query = nn.Linear(in_features, num_heads * key_dim)
        self.key = nn.Linear(in_features, num_heads * key_dim)
        self.value = nn.Linear(in_features, num_heads * key_dim)
        self.output = nn.Linear(num_heads * key_dim, in_features)
        self.num_heads, self.dropout = num_heads, dropout

    def split(self, x: Tensor) -> Tensor:
        """[batch, length, heads * size] -> [batch, heads, length, size]."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def forward(self, query: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        q = self.split(self.query(query))
        k = self.split(self.key(value))
        v = self.split(self.value(value))
        seen = mask
        if self.dropout == 0:
            # a query that attends to nothing gets the mean of all values
            hidden = torch.finfo(q.dtype).min / 2
            seen = torch.zeros_like(mask, dtype=q.dtype).masked_fill(~mask, hidden)
        p = self.dropout if self.training else 0.0
        x = F.scaled_dot_product_attention(q, k, v, seen, p)
        return self.output(x.transpose(1, 2).flatten(2))


class PositionEmbedding(nn.Module):
    """A learned vector for each position, expanded to the shape of a sequence."""

    def __init__(self, sequence_length: int, features: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(sequence_length, features))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight[: x.shape[-2]].expand(x.shape)


def init_weights(module: nn.Module) -> None:
    """Fills a module's own weights by Keras' initializers."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.uniform_(module.weight, -0.05, 0.05)
    elif isinstance(module, PositionEmbedding):
        nn.init.xavier_uniform_(module.weight)


class Layer(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(
            width, heads, width // heads, dropout=dropout
        )
        self.drop1 = nn.Dropout(dropout)
        self.norm1 = nn.LayerNorm(width, eps=1e-12)
        self.expanded = nn.Linear(width, hidden)
        self.projected = nn.Linear(hidden, width)
        self.drop2 = nn.Dropout(dropout)
        self.norm2 = nn.LayerNorm(width, eps=1e-12)

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        x = x + self.drop1(self.attention(x, x, mask=real[:, None, None]))
        norm1 = self.norm1(x)
        x = self.projected(F.gelu(self.expanded(norm1)))
        return self.norm2(norm1 + self.drop2(x))


class Bert(nn.Module):
    def __init__(
        self,
        vocabulary: int = 120,
        longest: int = 64,
        width: int = 64,
        heads: int = 4,
        hidden: int = 128,
        depth: int = 2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.places = PositionEmbedding(longest, width)
        self.kinds = nn.Embedding(2, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.drop = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            Layer(width, heads, hidden, dropout) for _ in range(depth)
        )
        self.pooled = nn.Linear(width, width)
        self.longest = longest
        self.apply(init_weights)

    def forward(self, tokens: Tensor, segments: Tensor) -> dict[str, Tensor]:
        if (size := tokens.shape[1]) > self.longest:
            raise ValueError(
                f"tokens: `length` must be at most {self.longest}, not {size}"
            )
        if (size := segments.shape[1]) != tokens.shape[1]:
            raise ValueError(
                f"segments: `length` is {size}, but {tokens.shape[1]} in tokens"
            )
        words = self.words(tokens)  # [N, length, width]
        x = self.places(words)  # [N, length, width]
        x = words + x + self.kinds(segments)  # [N, length, width]
        x = self.norm(x)  # [N, length, width]
        states = self.drop(x)  # [N, length, width]
        real = tokens != 0  # [N, length]
        for layer in self.layers:
            states = layer(states, real)  # [N, length, width]
        pooled = self.pooled(states[:, 0]).tanh()  # [N, width]
        return {"states": states, "pooled": pooled}


BERT_BASE = dict(
    vocabulary=30522, longest=512, width=768, heads=12, hidden=3072, depth=12
)
BERT_LARGE = dict(
    vocabulary=30522, longest=512, width=1024, heads=16, hidden=4096, depth=24
)
