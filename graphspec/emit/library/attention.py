"""Keras' attention layers."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Dot-product attention. A mask is true where a query attends to a key."""

    def __init__(self, scale: bool = False, dropout: float = 0.0):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(())) if scale else None
        self.dropout = dropout

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        """[batch, query length, key length]"""
        scores = query @ key.mT
        return scores if self.scale is None else scores * self.scale

    def forward(
        self,
        query: Tensor,
        value: Tensor,
        key: Tensor | None = None,
        mask: Tensor | None = None,
        query_mask: Tensor | None = None,
        return_scores: bool = False,
    ) -> Any:
        scores = self.score(query, value if key is None else key)
        if mask is not None:
            far = min(1e9, torch.finfo(scores.dtype).max)
            scores = torch.where(mask, scores, scores - far)
        scores = F.dropout(scores.softmax(-1), self.dropout, self.training)
        x = scores @ value
        if query_mask is not None:
            x = x.masked_fill(~query_mask[..., None], 0)
        return (x, scores) if return_scores else x


class AdditiveAttention(Attention):
    """Attention whose scores are tanh(query + key), summed with weights."""

    def __init__(self, features: int, scale: bool = True, dropout: float = 0.0):
        super().__init__(False, dropout)
        self.scale = nn.Parameter(torch.empty(features)) if scale else None

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        x = (query.unsqueeze(-2) + key.unsqueeze(-3)).tanh()
        return x.sum(-1) if self.scale is None else x @ self.scale


class ConcatAttention(Attention):
    """Attention whose scores are the sum of tanh(query + key), times a weight."""

    def __init__(self, scale: bool = False, dropout: float = 0.0):
        super().__init__(scale, dropout)
        self.concat_score_weight = nn.Parameter(torch.ones(()))

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        x = query.unsqueeze(-2) + key.unsqueeze(-3)
        x = x if self.scale is None else x * self.scale
        return x.tanh().sum(-1) * self.concat_score_weight


class MultiHeadAttention(nn.Module):
    """Multi-head attention. A mask is true where a query attends to a key."""

    def __init__(
        self,
        in_features: int,
        num_heads: int,
        key_dim: int,
        value_features: int | None = None,
        dropout: float = 0.0,
        bias: bool = True,
    ):
        super().__init__()
        values = in_features if value_features is None else value_features
        self.query = nn.Linear(in_features, num_heads * key_dim, bias=bias)
        self.key = nn.Linear(values, num_heads * key_dim, bias=bias)
        self.value = nn.Linear(values, num_heads * key_dim, bias=bias)
        self.output = nn.Linear(num_heads * key_dim, in_features, bias=bias)
        self.num_heads, self.dropout = num_heads, dropout

    def split(self, x: Tensor) -> Tensor:
        """[batch, length, heads * size] -> [batch, heads, length, size]."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def forward(
        self,
        query: Tensor,
        value: Tensor,
        key: Tensor | None = None,
        mask: Tensor | None = None,
        is_causal: bool = False,
        query_mask: Tensor | None = None,
    ) -> Tensor:
        q = self.split(self.query(query))
        k = self.split(self.key(value if key is None else key))
        v = self.split(self.value(value))
        seen = mask
        if mask is not None and self.dropout == 0:
            # a query that attends to nothing gets the mean of all values
            hidden = torch.finfo(q.dtype).min / 2
            seen = torch.zeros_like(mask, dtype=q.dtype).masked_fill(~mask, hidden)
        p = self.dropout if self.training else 0.0
        x = F.scaled_dot_product_attention(q, k, v, seen, p, is_causal=is_causal)
        if query_mask is not None:  # a masked query attends to nothing
            x = x * query_mask[:, None, :, None]
        return self.output(x.transpose(1, 2).flatten(2))


class SizedAttention(nn.Module):
    """Multi-head attention with inputs and outputs of any size, and optional scores."""

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
        value_size = key_dim if value_dim is None else value_dim
        kv_heads = num_kv_heads or num_heads
        values = in_features if value_features is None else value_features
        keys = values if key_features is None else key_features
        outputs = in_features if out_features is None else out_features
        self.query = nn.Linear(in_features, num_heads * key_dim, bias=bias)
        self.key = nn.Linear(keys, kv_heads * key_dim, bias=bias)
        self.value = nn.Linear(values, kv_heads * value_size, bias=bias)
        self.output = nn.Linear(num_heads * value_size, outputs, bias=bias)
        self.num_heads, self.num_kv_heads = num_heads, num_kv_heads
        self.dropout = dropout

    def split(self, x: Tensor, heads: int) -> Tensor:
        """[batch, length, heads * size] -> [batch, heads, length, size]."""
        return x.unflatten(-1, (heads, -1)).transpose(1, 2)

    def merge(self, x: Tensor, _query: Tensor) -> Tensor:
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
        query_mask: Tensor | None = None,
    ) -> Any:
        keys = value if key is None else key
        q = self.split(self.query(query), self.num_heads)
        k = self.split(self.key(keys), self.num_kv_heads or self.num_heads)
        v = self.split(self.value(value), self.num_kv_heads or self.num_heads)
        p = self.dropout if self.training else 0.0
        if return_scores:
            if self.num_kv_heads is not None:
                groups = self.num_heads // self.num_kv_heads
                k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
            scores = q * q.shape[-1] ** -0.5 @ k.mT
            if mask is None:
                scores = scores.softmax(-1)
            else:  # a query that attends to nothing gets zeros
                hidden = torch.finfo(scores.dtype).min
                scores = scores.masked_fill(~mask, hidden).softmax(-1) * mask
            return self.merge(F.dropout(scores, p) @ v, query), scores
        seen = mask
        if mask is not None and self.dropout == 0 and query.dim() == 3:
            # a query that attends to nothing gets the mean of all values
            hidden = torch.finfo(q.dtype).min / 2
            seen = torch.zeros_like(mask, dtype=q.dtype).masked_fill(~mask, hidden)
        grouped = self.num_kv_heads is not None
        x = F.scaled_dot_product_attention(
            q, k, v, seen, p, is_causal, enable_gqa=grouped
        )
        if query_mask is not None:  # a masked query attends to nothing
            x = x * query_mask[:, None, :, None]
        return self.merge(x, query)


class GeneralAttention(SizedAttention):
    """Multi-head attention along any axes, with a gate or an output of several axes."""

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
        gate: bool = False,
        axes: tuple[int, ...] = (1,),
        output_shape: tuple[int, ...] | None = None,
    ):
        super().__init__(
            in_features,
            num_heads,
            key_dim,
            value_dim,
            value_features,
            key_features,
            out_features,
            num_kv_heads,
            dropout,
            bias,
        )
        gates = num_heads * (value_dim or key_dim)
        self.gate = nn.Linear(in_features, gates, bias=bias) if gate else None
        if gate:
            self.sigmoid = nn.Sigmoid()
        self.axes, self.output_shape = axes, output_shape

    def split(self, x: Tensor, heads: int) -> Tensor:
        """[batch, *axes, heads * size] -> [batch, *others, heads, length, size]."""
        x, count = x.unflatten(-1, (heads, -1)), len(self.axes)
        x = x.movedim(self.axes, tuple(range(-1 - count, -1)))
        return x.flatten(-1 - count, -2)

    def merge(self, x: Tensor, query: Tensor) -> Tensor:
        """[batch, *others, heads, length, size] -> [batch, *axes, *features]."""
        x = x.unflatten(-2, [query.shape[axis] for axis in self.axes])
        x = x.movedim(tuple(range(-1 - len(self.axes), -1)), self.axes).flatten(-2)
        if self.gate is not None:
            x = x * self.sigmoid(self.gate(query))
        y = self.output(x)
        return y if self.output_shape is None else y.unflatten(-1, self.output_shape)

    def forward(  # type: ignore[override, unused-ignore]
        self,
        query: Tensor,
        value: Tensor,
        key: Tensor | None = None,
        mask: Tensor | None = None,
        is_causal: bool = False,
        return_scores: bool = False,
        query_mask: Tensor | None = None,
    ) -> Any:
        y = super().forward(
            query, value, key, mask, is_causal, return_scores, query_mask
        )
        if not return_scores or len(self.axes) == 1:
            return y
        y, scores = y
        rows, columns = ([x.shape[axis] for axis in self.axes] for x in (query, value))
        scores = scores.unflatten(-1, columns)
        return y, scores.unflatten(-1 - len(columns), rows)


def causal_mask(query: Tensor, value: Tensor, axis: int = 1) -> Tensor:
    """True where a query may attend to a value: at its own position and before."""
    shape = query.shape[axis], value.shape[axis]
    return torch.ones(shape, dtype=torch.bool, device=query.device).tril()


def orthogonal_blocks_(w: Tensor, blocks: int, gain: float = 1.0) -> None:
    """Fills [blocks * size, in] as an orthogonal matrix [size, blocks * in]."""
    rows = w.detach().unflatten(0, (blocks, -1)).transpose(0, 1)  # [size, blocks, in]
    filled = nn.init.orthogonal_(torch.empty_like(rows.flatten(1)), gain)
    rows.copy_(filled.view_as(rows))


def window_mask(query: Tensor, value: Tensor, window: int, axis: int = 1) -> Tensor:
    """True where a value is less than `window` positions away from the query."""
    shape = query.shape[axis], value.shape[axis]
    mask = torch.ones(shape, dtype=torch.bool, device=query.device)
    return mask.triu(1 - window).tril(window - 1)
