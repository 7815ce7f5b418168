"""item_price: description int64[N, words], brand int64[N], facts float32[N, 6], photo uint8[N, 32, 32, 3]
-> price float32[N, 1].
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Masked:
    """Where `mask` [batch, length] is false the state stays, as in Keras; the output is
    the last one, or zero.
    """

    def __init__(self, *sizes: int, zero_output_for_mask: bool = False, **options):
        super().__init__(*sizes, **options)
        self.zero_output_for_mask = zero_output_for_mask

    def forward(
        self,
        x: Tensor,
        initial_state: list[Tensor] | None = None,
        mask: Tensor | None = None,
    ):
        if mask is None:
            return super().forward(x, initial_state)
        zeros = x.new_zeros(x.shape[0], self.hidden_size)
        states = [s.expand_as(zeros) for s in initial_state or [zeros] * self.states]
        y, *states = self.skip(x, mask, *states, way=0)
        if self.zero_output_for_mask:
            y = y.masked_fill(~mask[:, -y.shape[1] :, None], 0)
        y = y if self.return_sequences else y[:, -1]
        return (y, *states) if self.return_state else y


def reset_rnn(rnn: nn.Module) -> None:
    """Keras' initializers: Glorot, orthogonal, zeros."""
    for name, weight in rnn.named_parameters():
        if name.startswith("weight_ih"):
            nn.init.xavier_uniform_(weight)
        elif name.startswith("weight_hh"):
            nn.init.orthogonal_(weight)
        else:
            nn.init.zeros_(weight)
    for zeros in rnn.buffers():
        nn.init.zeros_(zeros)


class GRU(nn.GRU):
    """nn.GRU with Keras' initializers and outputs."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        return_sequences: bool = False,
        return_state: bool = False,
    ):
        super().__init__(input_size, hidden_size, bias=bias, batch_first=True)
        self.return_sequences, self.return_state = return_sequences, return_state

    def reset_parameters(self) -> None:
        reset_rnn(self)

    def forward(self, x: Tensor, initial_state: list[Tensor] | None = None):
        state = None
        if initial_state is not None:
            state = initial_state[0].expand(x.shape[0], -1)[None].contiguous()
        y, h = super().forward(x, state)
        y = y if self.return_sequences else h[0]
        return (y, h[0]) if self.return_state else y


def unmasked_first(x: Tensor, mask: Tensor) -> Tensor:
    """The unmasked steps of each row in their order, then zeros."""
    # row 0 takes the masked ones, and is cut off
    rows = x.new_zeros(x.shape[0], x.shape[1] + 1, x.shape[2])
    examples = torch.arange(x.shape[0], device=x.device)[:, None]
    rows[examples, mask.cumsum(1) * mask] = x
    return rows[:, 1:]


def last_unmasked(y: Tensor, mask: Tensor, sequences: bool) -> Tensor:
    """Outputs of the steps of `unmasked_first`, back in place: at a masked step the last
    one before it, or zeros. Only the last step's where no `sequences` are asked for.
    """
    steps = mask.cumsum(1) if sequences else mask.sum(1, keepdim=True)
    steps = steps[..., None]
    last = y.gather(1, (steps - 1).clamp(min=0).expand(-1, -1, y.shape[2]))
    return last.masked_fill(steps == 0, 0)


def skip_masked(rnn: nn.RNNBase, kernel, x: Tensor, mask: Tensor, h: Tensor, way: int):
    """A kernel over unmasked steps alone, with the weights of direction `way`: the
    outputs, and the last state.
    """
    x, h0 = unmasked_first(x, mask), h[None].contiguous()
    weights = rnn.all_weights[way]
    y, _ = kernel(x, h0, weights, rnn.bias, 1, 0.0, rnn.training, False, True)
    y = last_unmasked(y, mask, rnn.return_sequences)
    return y, torch.where(mask.any(1, keepdim=True), y[:, -1], h)


class MaskedGRU(Masked, GRU):
    """GRU that takes a mask."""

    states = 1

    def skip(self, x: Tensor, mask: Tensor, h: Tensor, way: int):
        return skip_masked(self, torch.gru, x, mask, h, way)


def init_weights(module: nn.Module) -> None:
    """Fills a module's own weights by Keras' initializers."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.uniform_(module.weight, -0.05, 0.05)


class ConvPool(nn.Module):
    def __init__(self, in_channels: int, filters: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, filters, 3, padding="same")

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(F.relu(self.conv(x), inplace=True), 2)


class ItemPrice(nn.Module):
    def __init__(self):
        super().__init__()
        self.words_read = nn.Embedding(5000, 32)
        self.description_code = MaskedGRU(32, 32)
        self.brand_code = nn.Embedding(200, 8)
        self.facts_code = nn.Linear(6, 16)
        self.convs = nn.Sequential(ConvPool(3, 16), ConvPool(16, 32), ConvPool(32, 64))
        self.hidden = nn.Linear(120, 64)
        self.price = nn.Linear(64, 1)
        self.apply(init_weights)
        self.to(memory_format=torch.channels_last)

    def forward(
        self, description: Tensor, brand: Tensor, facts: Tensor, photo: Tensor
    ) -> Tensor:
        words_read_mask = description != 0  # [N, words]
        x = self.words_read(description)  # [N, words, 32]
        description_code = self.description_code(x, mask=words_read_mask)  # [N, 32]
        brand_code = self.brand_code(brand)  # [N, 8]
        facts_code = F.relu(self.facts_code(facts), inplace=True)  # [N, 16]
        x = photo * 0.00392156862745098  # [N, 32, 32, 3]
        x = self.convs(x.permute(0, 3, 1, 2)).mean((2, 3))  # [N, 64]
        x = torch.cat([description_code, brand_code, facts_code, x], -1)  # [N, 120]
        x = F.relu(self.hidden(x), inplace=True)  # [N, 64]
        return self.price(x)  # [N, 1]
