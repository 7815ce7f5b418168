# Made by graphspec 0.1.0 from the spec llama with window = 0. It needs torch 2.10 or
# later.
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
    def __init__(self, size: int, theta: float = 10000.0) -> None:
        super().__init__()
        self.exponents = nn.Buffer(
            torch.linspace(0, -1 + 1 / (size // 2), size // 2)[None], persistent=False
        )
        self.theta = theta

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = torch.arange(x.shape[1], dtype=torch.float32, device=x.device)[None]
        y = y.unsqueeze(-1) * self.theta**self.exponents
        y = torch.cat([y, y], -1).unsqueeze(2)
        return y.cos().to(x.dtype), y.sin().to(x.dtype)


class Rotate(nn.Module):
    def __init__(self, x_channels: int) -> None:
        super().__init__()
        self.x_channels = x_channels

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        y = x[..., : self.x_channels // 2]
        y = torch.cat([-x[..., self.x_channels // 2 :], y], -1)
        return x * cosine + y * sine


class Layer(nn.Module):
    def __init__(
        self, width: int, heads: int, kv_heads: int, hidden: int, epsilon: float
    ) -> None:
        super().__init__()
        self.norm1 = nn.RMSNorm(width, eps=epsilon)
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, kv_heads * (width // heads), bias=False)
        self.value = nn.Linear(width, kv_heads * (width // heads), bias=False)
        self.asked = Rotate(width // heads)
        self.offered = Rotate(width // heads)
        self.output = nn.Linear(width, width, bias=False)
        self.norm2 = nn.RMSNorm(width, eps=epsilon)
        self.gate = nn.Linear(width, hidden, bias=False)
        self.up = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)
        self.queries_sizes = heads, width // heads
        self.keys_sizes = kv_heads, width // heads
        self.offers_repeats = heads // kv_heads

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        norm1 = self.norm1(x)
        queries = self.query(norm1).unflatten(2, self.queries_sizes)
        keys = self.key(norm1).unflatten(2, self.keys_sizes)
        values = self.value(norm1).unflatten(2, self.keys_sizes)
        asked = self.asked(queries, cosine, sine)
        y = self.offered(keys, cosine, sine)
        offers = y.repeat_interleave(self.offers_repeats, 2)
        y = values.repeat_interleave(self.offers_repeats, 2)
        y = F.scaled_dot_product_attention(
            asked.transpose(1, 2),
            offers.transpose(1, 2),
            y.transpose(1, 2),
            is_causal=True,
        ).transpose(1, 2)
        seen = x + self.output(y.flatten(2))
        x = self.norm2(seen)
        return seen + self.down(F.silu(self.gate(x)) * self.up(x))


class Llama(nn.Module):
    def __init__(
        self,
        vocabulary: int = 96,
        width: int = 64,
        heads: int = 4,
        kv_heads: int = 2,
        hidden: int = 172,
        depth: int = 2,
        theta: float = 10000.0,
        epsilon: float = 1e-05,
    ) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.rotary = Rotary(width // heads, theta=theta)
        self.layers = nn.ModuleList(
            Layer(width, heads, kv_heads, hidden, epsilon) for _ in range(depth)
        )
        self.norm = nn.RMSNorm(width, eps=epsilon)
        self.next = nn.Linear(width, vocabulary, bias=False)
        self.apply(init_weights)

    def forward(self, tokens: Tensor, *, logits: bool = False) -> Tensor:
        x = self.words(tokens)  # [N, length, width]
        rotary_cosine, rotary_sine = self.rotary(x)
        for layer in self.layers:
            x = layer(x, rotary_cosine, rotary_sine)  # [N, length, width]
        x = self.norm(x)  # [N, length, width]
        x = self.next(x)  # [N, length, vocabulary]
        return x if logits else x.softmax(-1)


LLAMA3_8B = dict(
    vocabulary=128256,
    width=4096,
    heads=32,
    kv_heads=8,
    hidden=14336,
    depth=32,
    theta=500000.0,
)
