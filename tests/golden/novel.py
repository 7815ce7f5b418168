# Made by graphspec 0.1.0 from the spec novel. It needs torch 2.10 or later.
"""novel: tokens int64[N, length] -> next float32[N, length, 73]."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class MultiHeadAttention(nn.Module):
    """Multi-head attention. A mask is true where a query attends to a key."""

    def __init__(self, in_features: int, num_heads: int, key_dim: int):
        super().__init__()
        self.query = nn.Linear(in_features, num_heads * key_dim)
        self.key = nn.Linear(in_features, num_heads * key_dim)
        self.value = nn.Linear(in_features, num_heads * key_dim)
        self.output = nn.Linear(num_heads * key_dim, in_features)
        self.num_heads = num_heads

    def split(self, x: Tensor) -> Tensor:
        """[batch, length, heads * size] -> [batch, heads, length, size]."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def forward(self, query: Tensor, value: Tensor, is_causal: bool = False) -> Tensor:
        q = self.split(self.query(query))
        k = self.split(self.key(value))
        v = self.split(self.value(value))
        x = F.scaled_dot_product_attention(q, k, v, is_causal=is_causal)
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
    def __init__(self, width: int, heads: int, rate: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = MultiHeadAttention(width, heads, width // heads)
        self.drop1 = nn.Dropout(rate)
        self.norm2 = nn.LayerNorm(width)
        self.expanded = nn.Linear(width, 4 * width)
        self.projected = nn.Linear(4 * width, width)
        self.drop2 = nn.Dropout(rate)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        seen = x + self.drop1(self.attention(y, y, is_causal=True))
        x = F.gelu(self.expanded(self.norm2(seen)))
        return seen + self.drop2(self.projected(x))


class Novel(nn.Module):
    def __init__(
        self,
        width: int = 64,
        heads: int = 4,
        depth: int = 2,
        context: int = 64,
        rate: float = 0.1,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(73, width)
        self.positions = PositionEmbedding(context, width)
        self.drop = nn.Dropout(rate)
        self.layers = nn.Sequential(*(Layer(width, heads, rate) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.context = context
        self.apply(init_weights)

    def forward(self, tokens: Tensor, *, logits: bool = False) -> Tensor:
        if (size := tokens.shape[1]) > self.context:
            raise ValueError(
                f"tokens: `length` must be at most {self.context}, not {size}"
            )
        x = self.embedding(tokens)  # [N, length, width]
        x = x + self.positions(x)  # [N, length, width]
        x = self.drop(x)  # [N, length, width]
        x = self.layers(x)  # [N, length, width]
        x = F.linear(self.norm(x), self.embedding.weight)  # [N, length, 73]
        return x if logits else x.softmax(-1)
