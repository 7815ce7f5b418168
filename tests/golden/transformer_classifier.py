# Made by graphspec 0.1.0 from the spec transformer_classifier. It needs torch 2.10 or
# later.
"""transformer_classifier: text int64[N, length] -> class float32[N, 2]."""

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

    def forward(
        self, query: Tensor, value: Tensor, mask: Tensor, query_mask: Tensor
    ) -> Tensor:
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
        x = x * query_mask[:, None, :, None]
        return self.output(x.transpose(1, 2).flatten(2))


class PositionEmbedding(nn.Module):
    """A learned vector for each position, expanded to the shape of a sequence."""

    def __init__(self, sequence_length: int, features: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(sequence_length, features))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight[: x.shape[-2]].expand(x.shape)


def masked_mean(x: Tensor, mask: Tensor, axis: int) -> Tensor:
    """The mean over the unmasked steps, at `axis` 1 or 2; the mask is [N, steps]."""
    mask = mask.unsqueeze(3 - axis)
    return x.masked_fill(~mask, 0).sum(axis) / mask.sum(axis)


def init_weights(module: nn.Module) -> None:
    """Fills a module's own weights by Keras' initializers."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.uniform_(module.weight, -0.05, 0.05)
    elif isinstance(module, PositionEmbedding):
        nn.init.xavier_uniform_(module.weight)


class Encoder(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(
            width, heads, width // heads, dropout=dropout
        )
        self.norm1 = nn.LayerNorm(width, eps=1e-06)
        self.expanded = nn.Linear(width, 2 * width)
        self.projected = nn.Linear(2 * width, width)
        self.drop = nn.Dropout(dropout)
        self.norm2 = nn.LayerNorm(width, eps=1e-06)

    def forward(self, x: Tensor, x_mask: Tensor) -> Tensor:
        x = x + self.attention(x, x, mask=x_mask[:, None, None], query_mask=x_mask)
        norm1 = self.norm1(x)
        x = self.projected(F.relu(self.expanded(norm1), inplace=True))
        return self.norm2(norm1 + self.drop(x))


class TransformerClassifier(nn.Module):
    def __init__(
        self,
        vocabulary: int = 20000,
        longest: int = 200,
        width: int = 32,
        heads: int = 2,
        depth: int = 2,
        classes: int = 2,
    ) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.positions = PositionEmbedding(longest, width)
        self.encoders = nn.ModuleList(Encoder(width, heads) for _ in range(depth))
        self.class_ = nn.Linear(width, classes)
        self.longest = longest
        self.apply(init_weights)

    def forward(self, text: Tensor, *, logits: bool = False) -> Tensor:
        if text.shape[1] > self.longest:
            raise ValueError(
                f"text: `length` must be at most {self.longest}, not {text.shape[1]}"
            )
        words_mask = text != 0  # [N, length]
        x = self.words(text)  # [N, length, width]
        x = x + self.positions(x)  # [N, length, width]
        for encoder in self.encoders:
            x = encoder(x, words_mask)  # [N, length, width]
        x = self.class_(masked_mean(x, words_mask, 1))  # [N, classes]
        return x if logits else x.softmax(-1)
