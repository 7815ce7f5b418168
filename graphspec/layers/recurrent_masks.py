"""PyTorch's recurrent kernels over unmasked steps alone, as Keras has them.

The unmasked steps of each row are moved to its front, where a kernel runs over them, and its outputs back.
That is exact for any mask, takes 1.2 to 2 times as long as the kernel, and can be exported. Packed sequences
take several times as long, and cannot.
"""

from __future__ import annotations

from graphspec.contract.helpers import helper

helper(
    "unmasked_first",
    '''
def unmasked_first(x: Tensor, mask: Tensor) -> Tensor:
    """The unmasked steps of each row in their order, then zeros."""
    # row 0 takes the masked ones, and is cut off
    rows = x.new_zeros(x.shape[0], x.shape[1] + 1, x.shape[2])
    examples = torch.arange(x.shape[0], device=x.device)[:, None]
    rows[examples, mask.cumsum(1) * mask] = x
    return rows[:, 1:]
''',
)
helper(
    "last_unmasked",
    '''
def last_unmasked(y: Tensor, mask: Tensor, sequences: bool) -> Tensor:
    """Outputs of the steps of `unmasked_first`, back in place: at a masked step the last
    one before it, or zeros. Only the last step's where no `sequences` are asked for.
    """
    steps = mask.cumsum(1) if sequences else mask.sum(1, keepdim=True)
    steps = steps[..., None]
    last = y.gather(1, (steps - 1).clamp(min=0).expand(-1, -1, y.shape[2]))
    return last.masked_fill(steps == 0, 0)
''',
)
helper(
    "skip_masked",
    '''
def skip_masked(rnn: nn.RNNBase, kernel, x: Tensor, mask: Tensor, h: Tensor, way: int):
    """A kernel over unmasked steps alone, with the weights of direction `way`: the
    outputs, and the last state.
    """
    x, h0 = unmasked_first(x, mask), h[None].contiguous()
    weights = rnn.all_weights[way]
    y, _ = kernel(x, h0, weights, rnn.bias, 1, 0.0, rnn.training, False, True)
    y = last_unmasked(y, mask, rnn.return_sequences)
    return y, torch.where(mask.any(1, keepdim=True), y[:, -1], h)
''',
    "unmasked_first",
    "last_unmasked",
)
helper(
    "skip_masked_lstm",
    '''
def skip_masked_lstm(
    lstm: nn.LSTM, x: Tensor, mask: Tensor, h: Tensor, c: Tensor, way: int
):
    """nn.LSTM over unmasked steps alone, with the weights of direction `way`: the
    outputs, and the last state.
    """
    weight, *others = lstm.all_weights[way]
    x, start = unmasked_first(x, mask), (h[None].contiguous(), c[None].contiguous())
    if lstm.return_state:
        # After the unmasked steps one more feature shuts the input gate and opens the
        # forget gate: c stays.
        gates = weight.new_tensor([-1e4, 1e4, 0, 0]).repeat_interleave(len(h[0]))
        weight = torch.cat((weight, gates[:, None]), 1)
        after = ~unmasked_first(mask[..., None], mask)
        x = torch.cat((x, after), -1)
    weights = (weight, *others)
    y, _, c = torch.lstm(
        x, start, weights, lstm.bias, 1, 0.0, lstm.training, False, True
    )
    y = last_unmasked(y, mask, lstm.return_sequences)
    return y, torch.where(mask.any(1, keepdim=True), y[:, -1], h), c[0]
''',
    "unmasked_first",
    "last_unmasked",
)
helper(
    "Masked",
    '''
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
''',
)
helper(
    "MaskedBothWays",
    '''
class MaskedBothWays:
    """Where `mask` [batch, length] is false the states stay, as in Keras; of a sequence
    the output is zero there.
    """

    def forward(
        self,
        x: Tensor,
        initial_state: list[Tensor] | None = None,
        mask: Tensor | None = None,
    ):
        if mask is None:
            return super().forward(x, initial_state)
        zeros = x.new_zeros(x.shape[0], self.hidden_size)
        states = initial_state or [zeros] * 2 * self.states
        states = [s.expand_as(zeros) for s in states]
        y, *ahead = self.skip(x, mask, *states[: self.states], way=0)
        x, turned = x.flip(1), mask.flip(1)
        z, *back = self.skip(x, turned, *states[self.states :], way=1)
        if self.return_sequences:
            masked = ~mask[..., None]
            y, z = y.masked_fill(masked, 0), z.flip(1).masked_fill(masked, 0)
        else:
            y, z = y[:, -1], z[:, -1]
        y = merge_directions(y, z, self.merge_mode)
        if not self.return_state:
            return y
        return (*(y if self.merge_mode is None else (y,)), *ahead, *back)
''',
    "merge_directions",
)


def masked(module: str) -> str:
    """The helper that is `module`, a class around one of PyTorch's kernels, and takes a mask."""
    return f"Masked{module}"


SKIP = {
    "LSTM": """
    states = 2
    skip = skip_masked_lstm
""",
    "GRU": """
    states = 1

    def skip(self, x: Tensor, mask: Tensor, h: Tensor, way: int):
        return skip_masked(self, torch.gru, x, mask, h, way)
""",
    "SimpleRNN": """
    states = 1

    def skip(self, x: Tensor, mask: Tensor, h: Tensor, way: int):
        kernel = torch.rnn_relu if self.mode == "RNN_RELU" else torch.rnn_tanh
        return skip_masked(self, kernel, x, mask, h, way)
""",
}

for _kind, _skip in SKIP.items():
    for _masks, _base in (("Masked", _kind), ("MaskedBothWays", f"Bidirectional{_kind}")):
        helper(
            masked(_base),
            f'class Masked{_base}({_masks}, {_base}):\n    """{_base} that takes a mask."""\n{_skip}',
            _masks,
            _base,
            "skip_masked_lstm" if _kind == "LSTM" else "skip_masked",
        )
