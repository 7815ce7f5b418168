"""transformer_classifier: text int64[N, length] -> class float32[N, 2]."""

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


def masked_mean(x: Tensor, mask: Tensor, axis: int, keepdim: bool = False) -> Tensor:
    """The mean over the steps, at `axis` of 1 or 2, that a mask [N, steps] leaves."""
    mask = mask.unsqueeze(3 - axis)
    return x.masked_fill(~mask, 0).sum(axis, keepdim) / mask.sum(axis, keepdim)


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


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = MultiHeadAttention(32, 2, 16, dropout=0.1)
        self.norm1 = nn.LayerNorm(32, eps=1e-06)
        self.expanded = nn.Linear(32, 64)
        self.projected = nn.Linear(64, 32)
        self.drop = nn.Dropout(0.1)
        self.norm2 = nn.LayerNorm(32, eps=1e-06)

    def forward(self, x: Tensor, x_mask: Tensor) -> Tensor:
        y = self.attention(x, x, mask=x_mask[:, None, :, None] & x_mask[:, None, None])
        y = x + y
        norm1 = self.norm1(y)
        y = F.relu(self.expanded(norm1))
        y = self.projected(y)
        y = self.drop(y)
        y = norm1 + y
        return self.norm2(y)


class TransformerClassifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(20000, 32)
        self.positions = PositionEmbedding(200, 32)
        self.encoders = nn.ModuleList(Encoder() for _ in range(2))
        self.class_ = nn.Linear(32, 2)
        self.apply(init_weights)

    def forward(self, text: Tensor, *, logits: bool = False) -> Tensor:
        words_mask = text != 0  # [N, length]
        words = self.words(text)  # [N, length, 32]
        x = self.positions(words)  # [N, length, 32]
        x = words + x  # [N, length, 32]
        del words
        for encoder in self.encoders:
            x = encoder(x, words_mask)  # [N, length, 32]
        x = masked_mean(x, words_mask, 1)  # [N, 32]
        x = self.class_(x)  # [N, 2]
        return x if logits else x.softmax(-1)
