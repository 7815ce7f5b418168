"""The memory of torch's kernels on CPUs beside their results: of convolutions, pooling and LSTMs. Without it
the estimate of a step is a quarter to a half of the memory of models with LSTMs, with convolutions 0.8.

It follows from shapes and strides, which tensors on the meta device have. `bench/memory.py` compares it with
what torch's allocator gives out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

LINE, PAGE = 16, 4096
"""Floats of a cache line, and bytes of a page: what oneDNN aligns rows and arrays to."""


def passing(func: Any, args: Sequence[Any]) -> int:
    """The bytes that an operation takes while it runs, beside its arguments and its results.

    These are copies in the layout that a kernel reads and writes.
    """
    if func is torch.ops.aten.max_pool2d_with_indices_backward.default:
        gradient, input, indices = args[0], args[1], args[-1]  # what it writes has the layout of its input
        layout = torch.channels_last if _has_channels_last(gradient) else torch.contiguous_format
        return _copies((gradient, input, indices), layout)
    if func not in CONVOLUTIONS:
        return 0
    *tensors, weight = args[: CONVOLUTIONS[func]]
    last = _channels_last(tensors[-1], weight)
    if last is not None:
        return _copies(tensors, last)
    blocks = sum(int(tensor.nbytes) for tensor in (*tensors, weight))  # of channels, from contiguous tensors
    return _copies(tensors, torch.contiguous_format) + blocks


def _copies(tensors: Sequence[Tensor], layout: torch.memory_format) -> int:
    return sum(int(tensor.nbytes) for tensor in tensors if not tensor.is_contiguous(memory_format=layout))


def laid_out(func: Any, args: Sequence[Any], result: Any) -> Any:
    """The result of an operation on the meta device in the layout that a CPU gives it."""
    if func not in CONVOLUTIONS:
        return result
    *tensors, weight = args[: CONVOLUTIONS[func]]
    last = _channels_last(tensors[-1], weight)
    if last is None:
        return result
    results = (result,) if isinstance(result, Tensor) else result
    converted = [r.contiguous(memory_format=last) if r is not None and r.dim() > 1 else r for r in results]
    return converted[0] if isinstance(result, Tensor) else tuple(converted)


CONVOLUTIONS = {torch.ops.aten.convolution.default: 2, torch.ops.aten.convolution_backward.default: 3}
"""How many tensors each begins with; the last two are the input and the weight."""


def _channels_last(input: Tensor, weight: Tensor) -> torch.memory_format | None:
    """The layout with channels last, if a convolution computes in it."""
    if weight.dim() not in (4, 5) or not any(map(_has_channels_last, (input, weight))):
        return None
    return torch.channels_last if weight.dim() == 4 else torch.channels_last_3d


def _has_channels_last(tensor: Tensor) -> bool:
    """Whether strides are those of channels last, as torch decides it where sizes are 1."""
    least = 0
    for axis in (1, *range(tensor.dim() - 1, 1, -1), 0):
        stride, size = tensor.stride(axis), tensor.shape[axis]
        if not size or stride < least or (axis == 0 and least == tensor.stride(1)):
            return False
        least = stride * size if size > 1 else stride
    return True


class Kernels(TorchFunctionMode):
    """Inside, an LSTM on the meta device keeps for its backward pass what oneDNN's kernel keeps."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.lstm and len(args) == 9 and isinstance(args[2], list | tuple):  # no packed sequence
            return _lstm(*args)
        return func(*args, **(kwargs or {}))


def _lstm(
    input: Tensor,
    states: Sequence[Tensor],
    weights: Sequence[Tensor],
    bias: bool,
    layers: int,
    dropout: float,
    training: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """`torch.lstm`, layer by layer."""
    values = input.transpose(0, 1) if batch_first else input
    each, directions, last = 4 if bias else 2, 2 if bidirectional else 1, []
    for layer in range(layers):
        outputs = []
        for direction in range(directions):
            number = layer * directions + direction
            layer_weights = weights[number * each : (number + 1) * each]
            outputs.append(
                LSTMLayer.apply(values.contiguous(), states[0][number], states[1][number], *layer_weights)
            )
        last += [one[1:] for one in outputs]
        values = torch.cat([one[0] for one in outputs], -1) if bidirectional else outputs[0][0]
        if dropout and training and layer + 1 < layers:
            values = torch.dropout(values, dropout, training)
    hidden, cell = (torch.stack(states) for states in zip(*last, strict=True))
    return values.transpose(0, 1) if batch_first else values, hidden, cell


class LSTMLayer(torch.autograd.Function):
    """One layer in one direction, steps first: results and gradients without values."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, hidden: Tensor, cell: Tensor, *weights: Tensor) -> Any:
        steps, batch, width = input.shape
        units = hidden.shape[-1]
        output = input.new_empty(steps, batch, units)
        kept = input.new_empty(lstm_workspace(steps, batch, width, units), dtype=torch.uint8)
        ctx.save_for_backward(input, hidden, cell, output, kept, *weights)
        return output, hidden.new_empty(hidden.shape), cell.new_empty(cell.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        input, hidden, cell, output, _, *weights = ctx.saved_tensors
        steps, batch, units = output.shape
        scratch = input.new_empty(steps, batch, _row(4 * units))  # gradients of gates
        input_gradients = [torch.empty_like(tensor) for tensor in (input, hidden, cell, *weights)]
        del scratch
        return tuple(input_gradients)


def lstm_workspace(steps: int, batch: int, width: int, units: int) -> int:
    """The bytes that oneDNN keeps of an LSTM layer: gates, and states and their gradients, of each step."""
    wide, hidden = _row(max(width, units)), _row(units)
    arrays = [
        _row(4 * units) * steps,
        hidden * steps,
        *[2 * wide * (steps + 1)] * (3 if torch.__version__ >= "2.11" else 5),  # versions, not texts
        *[2 * hidden * (steps + 1)] * 2,
    ]
    return sum(-(-4 * batch * floats // PAGE) * PAGE for floats in arrays)


def _row(floats: int) -> int:
    """Floats of an aligned row: lines of a cache, and no multiple of 1 KiB."""
    rounded = -(-floats // LINE) * LINE
    return rounded + LINE if rounded % 256 == 0 else rounded
