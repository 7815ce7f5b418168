"""The modules that attention of several heads becomes: a short one for sequences of one width, and longer
ones for every other case. All have the same keys in the state dict.
"""

from __future__ import annotations

from graphspec.contract.helpers import helper

helper(
    "reset_attention",
    '''
def reset_attention(attention: nn.Module) -> None:
    """Keras' initializers."""
    for linear in attention.children():
        nn.init.xavier_uniform_(linear.weight)
        if linear.bias is not None:
            nn.init.zeros_(linear.bias)
''',
)
helper(
    "MultiHeadAttention",
    '''
class MultiHeadAttention(nn.Module):
    """Attention of several heads; masks are true where a query sees a key."""

    def __init__(
        self,
        in_features: int,
        num_heads: int,
        key_dim: int,
        dropout: float = 0.0,
        bias: bool = True,
    ):
        super().__init__()
        self.query = nn.Linear(in_features, num_heads * key_dim, bias)
        self.key = nn.Linear(in_features, num_heads * key_dim, bias)
        self.value = nn.Linear(in_features, num_heads * key_dim, bias)
        self.output = nn.Linear(num_heads * key_dim, in_features, bias)
        self.num_heads, self.dropout = num_heads, dropout
        reset_attention(self)

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
        if mask is not None and self.dropout == 0:
            # a query that sees nothing gets the mean of all values
            hidden = torch.finfo(q.dtype).min / 2
            mask = torch.zeros_like(mask, dtype=q.dtype).masked_fill(~mask, hidden)
        p = self.dropout if self.training else 0.0
        x = F.scaled_dot_product_attention(q, k, v, mask, p, is_causal)
        if query_mask is not None:  # a query that is masked sees nothing
            x = x * query_mask[:, None, :, None]
        return self.output(x.transpose(1, 2).flatten(2))
''',
    "reset_attention",
)
helper(
    "SizedAttention",
    '''
class SizedAttention(nn.Module):
    """Attention whose inputs, values and outputs have sizes of their own, or that gives its scores."""

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
        reset_attention(self)

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
        query_mask: Tensor | None = None,
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
        if query_mask is not None:  # a query that is masked sees nothing
            x = x * query_mask[:, None, :, None]
        return self.merge(x, query)
''',
    "reset_attention",
)
helper(
    "GeneralAttention",
    '''
class GeneralAttention(SizedAttention):
    """Attention along any axes, with a gate, or with an output of several axes."""

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
        self.gate = nn.Linear(in_features, gates, bias) if gate else None
        self.axes, self.output_shape = axes, output_shape
        reset_attention(self)

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
            x = x * self.gate(query).sigmoid()
        y = self.output(x)
        return y if self.output_shape is None else y.unflatten(-1, self.output_shape)

    def forward(
        self,
        query: Tensor,
        value: Tensor,
        key: Tensor | None = None,
        mask: Tensor | None = None,
        is_causal: bool = False,
        return_scores: bool = False,
        query_mask: Tensor | None = None,
    ):
        y = super().forward(
            query, value, key, mask, is_causal, return_scores, query_mask
        )
        if not return_scores or len(self.axes) == 1:
            return y
        y, scores = y
        rows, columns = ([x.shape[axis] for axis in self.axes] for x in (query, value))
        scores = scores.unflatten(-1, columns)
        return y, scores.unflatten(-1 - len(columns), rows)
''',
    "SizedAttention",
)
helper(
    "orthogonal_blocks_",
    '''
def orthogonal_blocks_(w: Tensor, blocks: int, gain: float = 1.0) -> None:
    """Fill a weight [blocks * size, in] as an orthogonal matrix [size, blocks * in]."""
    rows = w.detach().unflatten(0, (blocks, -1)).transpose(0, 1)  # [size, blocks, in]
    filled = nn.init.orthogonal_(torch.empty_like(rows.flatten(1)), gain)
    rows.copy_(filled.view_as(rows))
''',
)
