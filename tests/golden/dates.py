# Made by graphspec 0.1.0 from the spec dates. It needs torch 2.10 or later.
"""dates: written int64[N, letters], iso int64[N, length]
-> next float32[N, length, 20].
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class KerasRNN(nn.Module):
    """Mixin: Keras' initializers for nn.GRU, nn.LSTM and nn.RNN."""

    all_weights: list[list[Tensor]]
    bias: bool

    def reset_parameters(self) -> None:
        for kernel, recurrent, *biases in self.all_weights:
            nn.init.xavier_uniform_(kernel)
            nn.init.orthogonal_(recurrent)
            for bias in biases:
                nn.init.zeros_(bias)


def last_unmasked(y: Tensor, mask: Tensor, sequences: bool = False) -> Tensor:
    """The output at the last unmasked step, or zeros: at the end, or at every step."""
    steps = (mask.cumsum(1) if sequences else mask.sum(1, keepdim=True))[..., None]
    last = y.gather(1, (steps - 1).clamp(min=0).expand(-1, -1, y.shape[2]))
    return last.masked_fill(steps == 0, 0)


def merge_directions(forward: Tensor, backward: Tensor) -> Any:
    """The outputs of both directions as one."""
    return torch.cat((forward, backward), -1)


def merge_masked(
    forward: Tensor, backward: Tensor, mask: Tensor, sequences: bool = False
) -> Any:
    """The outputs of both directions as one. Of sequences, masked steps are zero."""
    if not sequences:
        return merge_directions(forward[:, -1], backward[:, -1])
    masked, backward = ~mask[..., None], backward.flip(1)
    return merge_directions(
        forward.masked_fill(masked, 0), backward.masked_fill(masked, 0)
    )


def unmasked_first(x: Tensor, mask: Tensor) -> Tensor:
    """The unmasked steps of each row in their order, then zeros."""
    # all masked steps are written to step 0, which is cut off
    rows = x.new_zeros(x.shape[0], x.shape[1] + 1, x.shape[2])
    examples = torch.arange(x.shape[0], device=x.device)[:, None]
    rows[examples, mask.cumsum(1) * mask] = x
    return rows[:, 1:]


class BidirectionalGRU(KerasRNN, nn.GRU):  # type: ignore[misc]
    """nn.GRU in both directions that computes what Keras' GRU does."""

    def __init__(
        self, input_size: int, hidden_size: int, return_sequences: bool = False
    ):
        super().__init__(input_size, hidden_size, batch_first=True, bidirectional=True)
        self.return_sequences = return_sequences

    def forward(self, x: Tensor, mask: Tensor) -> Any:  # type: ignore[override]
        zeros = x.new_zeros(2, x.shape[0], self.hidden_size)
        ahead, _ = self.skip(x, mask, 0, zeros[0])
        back, _ = self.skip(x.flip(1), mask.flip(1), 1, zeros[1])
        return merge_masked(ahead, back, mask, self.return_sequences)

    def skip(
        self, x: Tensor, mask: Tensor, way: int, h: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The outputs and the last state over the unmasked steps, in one direction."""
        x, h0 = unmasked_first(x, mask), h[None].contiguous()
        weights = self.all_weights[way]
        y, _ = torch.gru(x, h0, weights, True, 1, 0.0, self.training, False, True)
        y = last_unmasked(y, mask, self.return_sequences)
        return y, torch.where(mask.any(1, keepdim=True), y[:, -1], h)


class GRU(KerasRNN, nn.GRU):  # type: ignore[misc]
    """nn.GRU that computes what Keras' GRU does."""

    def __init__(
        self, input_size: int, hidden_size: int, return_sequences: bool = False
    ):
        super().__init__(input_size, hidden_size, batch_first=True)
        self.return_sequences = return_sequences

    def forward(self, x: Tensor) -> Any:  # type: ignore[override]
        y, h = super().forward(x)
        return y if self.return_sequences else h[0]


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

    def forward(self, query: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        q = self.split(self.query(query))
        k = self.split(self.key(value))
        v = self.split(self.value(value))
        # a query that attends to nothing gets the mean of all values
        hidden = torch.finfo(q.dtype).min / 2
        seen = torch.zeros_like(mask, dtype=q.dtype).masked_fill(~mask, hidden)
        x = F.scaled_dot_product_attention(q, k, v, seen)
        return self.output(x.transpose(1, 2).flatten(2))


def init_weights(module: nn.Module) -> None:
    """Fills a module's own weights by Keras' initializers."""
    if isinstance(module, nn.Embedding):
        nn.init.uniform_(module.weight, -0.05, 0.05)
    elif isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


class Dates(nn.Module):
    def __init__(self, half: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.letters = nn.Embedding(60, 2 * half)
        self.read = BidirectionalGRU(2 * half, half, return_sequences=True)
        self.signs = nn.Embedding(20, 2 * half)
        self.memory = GRU(2 * half, 2 * half, return_sequences=True)
        self.look = MultiHeadAttention(2 * half, heads, 2 * half // heads)
        self.hidden = nn.Linear(4 * half, 2 * half)
        self.next = nn.Linear(2 * half, 20)
        self.apply(init_weights)

    def forward(self, written: Tensor, iso: Tensor, *, logits: bool = False) -> Tensor:
        letters_mask = written != 0  # [N, letters]
        x = self.letters(written)  # [N, letters, 2 * half]
        read = self.read(x, mask=letters_mask)  # [N, letters, 2 * half]
        x = self.signs(iso)  # [N, length, 2 * half]
        memory = self.memory(x)  # [N, length, 2 * half]
        x = self.look(memory, read, mask=letters_mask[:, None, None])
        x = torch.cat([memory, x], -1)  # [N, length, 4 * half]
        x = F.relu(self.hidden(x), inplace=True)  # [N, length, 2 * half]
        x = self.next(x)  # [N, length, 20]
        return x if logits else x.softmax(-1)
