"""gpt: tokens int64[N, length] -> next float32[N, length, 96]."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class MultiHeadAttention(nn.Module):
    """Keras' attention of several heads; masks are true where a query sees a key."""

    def __init__(
        self,
        in_features: int,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        value_features: int | None = None,
        key_features: int | None = None,
        out_features: int | None = None,
        num_kv_heads: int | None = None,
        dropout: float = 0.0,
        bias: bool = True,
    ):
        super().__init__()
        value_dim, num_kv_heads = value_dim or key_dim, num_kv_heads or num_heads
        value_features = value_features or in_features
        key_features = key_features or value_features
        self.query = nn.Linear(in_features, num_heads * key_dim, bias)
        self.key = nn.Linear(key_features, num_kv_heads * key_dim, bias)
        self.value = nn.Linear(value_features, num_kv_heads * value_dim, bias)
        out_features = out_features or in_features
        self.output = nn.Linear(num_heads * value_dim, out_features, bias)
        self.num_heads, self.num_kv_heads = num_heads, num_kv_heads
        self.dropout = dropout

    def split(self, x: Tensor, heads: int) -> Tensor:
        """[batch, length, heads * size] -> [batch, heads, length, size]."""
        return x.unflatten(-1, (heads, -1)).transpose(1, 2)

    def merge(self, x: Tensor, query: Tensor) -> Tensor:
        """[batch, heads, length, size] -> [batch, length, features]."""
        return self.output(x.transpose(1, 2).flatten(2))

    def forward(
        self,
        query: Tensor,
        value: Tensor,
        key: Tensor | None = None,
        mask: Tensor | None = None,
        is_causal: bool = False,
        return_scores: bool = False,
    ):
        key = value if key is None else key
        q = self.split(self.query(query), self.num_heads)
        k = self.split(self.key(key), self.num_kv_heads)
        v = self.split(self.value(value), self.num_kv_heads)
        p = self.dropout if self.training else 0.0
        if return_scores:
            groups = self.num_heads // self.num_kv_heads
            if groups > 1:
                k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
            scores = q * q.shape[-1] ** -0.5 @ k.mT
            if mask is None:
                scores = scores.softmax(-1)
            else:  # a query that sees nothing gets zeros
                hidden = torch.finfo(scores.dtype).min
                scores = scores.masked_fill(~mask, hidden).softmax(-1) * mask
            return self.merge(F.dropout(scores, p) @ v, query), scores
        if mask is not None and self.dropout == 0 and query.dim() == 3:
            # a query that sees nothing gets the mean of all values
            hidden = torch.finfo(q.dtype).min / 2
            mask = torch.zeros_like(mask, dtype=q.dtype).masked_fill(~mask, hidden)
        grouped = self.num_heads > self.num_kv_heads
        x = F.scaled_dot_product_attention(
            q, k, v, mask, p, is_causal, enable_gqa=grouped
        )
        return self.merge(x, query)


class PositionEmbedding(nn.Module):
    """A learned vector for each position, in the shape of a sequence."""

    def __init__(self, sequence_length: int, features: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(sequence_length, features))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight[: x.shape[-2]].expand(x.shape)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, {self.weight.shape[1]}"


def init_weights(module: nn.Module) -> None:
    """Fills a module's own weights by Keras' initializers."""
    if isinstance(module, MultiHeadAttention):
        nn.init.xavier_uniform_(module.query.weight)
        nn.init.zeros_(module.query.bias)
        nn.init.xavier_uniform_(module.key.weight)
        nn.init.zeros_(module.key.bias)
        nn.init.xavier_uniform_(module.value.weight)
        nn.init.zeros_(module.value.bias)
        nn.init.xavier_uniform_(module.output.weight)
        nn.init.zeros_(module.output.bias)
    elif isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.uniform_(module.weight, -0.05, 0.05)
    elif isinstance(module, PositionEmbedding):
        nn.init.xavier_uniform_(module.weight.T)


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1 = nn.LayerNorm(64)
        self.attention = MultiHeadAttention(64, 4, 16, dropout=0.1)
        self.drop1 = nn.Dropout(0.1)
        self.norm2 = nn.LayerNorm(64)
        self.expanded = nn.Linear(64, 256)
        self.projected = nn.Linear(256, 64)
        self.drop2 = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        y = self.attention(y, y, is_causal=True)
        y = self.drop1(y)
        seen = x + y
        y = self.norm2(seen)
        y = F.gelu(self.expanded(y))
        y = self.projected(y)
        y = self.drop2(y)
        return seen + y


class Gpt(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(96, 64)
        self.positions = PositionEmbedding(128, 64)
        self.drop = nn.Dropout(0.1)
        self.layers = nn.ModuleList(Layer() for _ in range(3))
        self.norm = nn.LayerNorm(64)
        self.apply(init_weights)

    def forward(self, tokens: Tensor, *, logits: bool = False) -> Tensor:
        words = self.embedding(tokens)  # [N, length, 64]
        x = self.positions(words)  # [N, length, 64]
        x = words + x  # [N, length, 64]
        x = self.drop(x)  # [N, length, 64]
        for layer in self.layers:
            x = layer(x)  # [N, length, 64]
        x = self.norm(x)  # [N, length, 64]
        x = F.linear(x, self.embedding.weight)  # [N, length, 96]
        return x if logits else x.softmax(-1)
