# Made by graphspec 0.1.0 from the spec item_price with size = 32. It needs torch 2.10
# or later.
"""item_price: description int64[N, words], brand int64[N], facts float32[N, 6],
    photo uint8[N, 32, 32, 3]
-> price float32[N, 1].
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def last_unmasked(y: Tensor, mask: Tensor) -> Tensor:
    """The output at the last unmasked step, or zeros: at the end, or at every step."""
    steps = mask.sum(1, keepdim=True)[..., None]
    last = y.gather(1, (steps - 1).clamp(min=0).expand(-1, -1, y.shape[2]))
    return last.masked_fill(steps == 0, 0)


def unmasked_first(x: Tensor, mask: Tensor) -> Tensor:
    """The unmasked steps of each row in their order, then zeros."""
    # all masked steps are written to step 0, which is cut off
    rows = x.new_zeros(x.shape[0], x.shape[1] + 1, x.shape[2])
    examples = torch.arange(x.shape[0], device=x.device)[:, None]
    rows[examples, mask.cumsum(1) * mask] = x
    return rows[:, 1:]


class GRU(nn.GRU):
    """nn.GRU that computes what Keras' GRU does."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size, batch_first=True)

    def forward(self, x: Tensor, mask: Tensor) -> Any:  # type: ignore[override]
        y, _ = super().forward(unmasked_first(x, mask))
        y = last_unmasked(y, mask)
        return y[:, -1]

    def reset_parameters(self) -> None:
        for kernel, recurrent, *biases in self.all_weights:
            nn.init.xavier_uniform_(kernel)
            nn.init.orthogonal_(recurrent)
            for bias in biases:
                nn.init.zeros_(bias)


def init_weights(module: nn.Module) -> None:
    """Fills a module's own weights by Keras' initializers."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.uniform_(module.weight, -0.05, 0.05)


class ConvPool(nn.Module):
    def __init__(self, in_channels: int, filters: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, filters, 3, padding="same")

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(F.relu(self.conv(x), inplace=True), 2)


class ItemPrice(nn.Module):
    def __init__(self, vocabulary: int = 5000, brands: int = 200) -> None:
        super().__init__()
        self.words_read = nn.Embedding(vocabulary, 32)
        self.description_code = GRU(32, 32)
        self.brand_code = nn.Embedding(brands, 8)
        self.facts_code = nn.Linear(6, 16)
        self.convs = nn.Sequential(ConvPool(3, 16), ConvPool(16, 32), ConvPool(32, 64))
        self.hidden = nn.Linear(120, 64)
        self.price = nn.Linear(64, 1)
        self.apply(init_weights)

    def forward(
        self, description: Tensor, brand: Tensor, facts: Tensor, photo: Tensor
    ) -> Tensor:
        words_read_mask = description != 0  # [N, words]
        x = self.words_read(description)  # [N, words, 32]
        description_code = self.description_code(x, mask=words_read_mask)  # [N, 32]
        brand_code = self.brand_code(brand)  # [N, 8]
        facts_code = F.relu(self.facts_code(facts), inplace=True)  # [N, 16]
        x = photo.to(self.words_read.weight.dtype) / 255  # [N, 32, 32, 3]
        x = self.convs(x.permute(0, 3, 1, 2)).mean((2, 3))  # [N, 64]
        x = torch.cat([description_code, brand_code, facts_code, x], -1)  # [N, 120]
        x = F.relu(self.hidden(x), inplace=True)  # [N, 64]
        return self.price(x)  # [N, 1]
