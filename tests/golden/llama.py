# Made by graphspec 0.1.0 from the spec llama with vocabulary = 96, width = 64, heads =
# 4, kv_heads = 2, hidden = 172, depth = 2, theta = 10000.0, epsilon = 1e-05. It needs
# torch 2.10 or later.
"""llama: tokens int64[N, length] -> next float32[N, length, 96]."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def init_weights(module: nn.Module) -> None:
    """Fills a module's own weights by Keras' initializers."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
    elif isinstance(module, nn.Embedding):
        nn.init.uniform_(module.weight, -0.05, 0.05)


class Rotary(nn.Module):
    def __init__(self):
        super().__init__()
        self.exponents = nn.Buffer(torch.linspace(0, -0.875, 8)[None], persistent=False)

    def forward(self, words: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.arange(words.shape[1], dtype=torch.float32, device=words.device)[None]
        x = x.unsqueeze(-1) * 10000.0**self.exponents  # [1, length, 8]
        x = torch.cat([x, x], -1).unsqueeze(2)  # [1, length, 1, 16]
        return x.cos().to(words.dtype), x.sin().to(words.dtype)


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    return x * cosine + torch.cat([-x[..., 8:], x[..., :8]], -1) * sine


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1 = nn.RMSNorm(64, eps=1e-05)
        self.query = nn.Linear(64, 64, bias=False)
        self.key = nn.Linear(64, 32, bias=False)
        self.value = nn.Linear(64, 32, bias=False)
        self.output = nn.Linear(64, 64, bias=False)
        self.norm2 = nn.RMSNorm(64, eps=1e-05)
        self.gate = nn.Linear(64, 172, bias=False)
        self.up = nn.Linear(64, 172, bias=False)
        self.down = nn.Linear(172, 64, bias=False)

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        norm1 = self.norm1(x)  # [N, length, 64]
        queries = self.query(norm1).unflatten(2, (4, 16))  # [N, length, 4, 16]
        keys = self.key(norm1).unflatten(2, (2, 16))  # [N, length, 2, 16]
        values = self.value(norm1).unflatten(2, (2, 16))  # [N, length, 2, 16]
        asked = rotate(queries, cosine, sine)  # [N, length, 4, 16]
        offers = rotate(keys, cosine, sine).repeat_interleave(2, 2)
        y = values.repeat_interleave(2, 2)  # [N, length, 4, 16]
        y = F.scaled_dot_product_attention(
            asked.transpose(1, 2),
            offers.transpose(1, 2),
            y.transpose(1, 2),
            is_causal=True,
        ).transpose(1, 2)
        seen = x + self.output(y.flatten(2))  # [N, length, 64]
        y = self.norm2(seen)  # [N, length, 64]
        return seen + self.down(F.silu(self.gate(y)) * self.up(y))  # [N, length, 64]


class Llama(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(96, 64)
        self.rotary = Rotary()
        self.layers = nn.ModuleList(Layer() for _ in range(2))
        self.norm = nn.RMSNorm(64, eps=1e-05)
        self.next = nn.Linear(64, 96, bias=False)
        self.apply(init_weights)

    def forward(self, tokens: Tensor, *, logits: bool = False) -> Tensor:
        x = self.words(tokens)  # [N, length, 64]
        rotary_cosine, rotary_sine = self.rotary(x)
        for layer in self.layers:
            x = layer(x, rotary_cosine, rotary_sine)  # [N, length, 64]
        x = self.norm(x)  # [N, length, 64]
        x = self.next(x)  # [N, length, 96]
        return x if logits else x.softmax(-1)
