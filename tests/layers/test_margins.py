"""Numbers as `padding`, strides with dilation, and infinities: what PyTorch has and Keras has not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import graphspec
from graphspec.diagnostics import SpecError


def program(node: str, shape: str) -> Any:
    return graphspec.compile(f"inputs: {{x: {{shape: {shape}}}}}\nnodes: {{y: {node}}}\noutputs: [y]\n")


SIZES = {1: [11, 3], 2: [9, 8, 3], 3: [5, 6, 7, 2]}


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("ceil", [False, True])
def test_the_largest_value_of_a_widened_window(rank: int, ceil: bool) -> None:
    words = f"pool_size: 3, strides: 2, padding: 1, ceil_mode: {str(ceil).lower()}"
    made = program(f"{{layer: MaxPooling{rank}D, {words}}}", str(SIZES[rank]))
    x = -torch.rand(2, *SIZES[rank]) - 1
    wanted = getattr(F, f"max_pool{rank}d")(x.movedim(-1, 1), 3, 2, 1, ceil_mode=ceil).movedim(1, -1)
    assert torch.equal(made.module()(x), wanted)
    assert made.outputs["y"].tensors[0].shape[1:] == tuple(wanted.shape[1:])


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (2, 2)])
def test_a_convolution_with_zeros_around(rank: int, stride: int, dilation: int) -> None:
    words = f"filters: 4, kernel_size: 3, strides: {stride}, dilation_rate: {dilation}, padding: {dilation}"
    made = program(f"{{layer: Conv{rank}D, {words}}}", str(SIZES[rank]))
    module = made.module()
    theirs = getattr(nn, f"Conv{rank}d")(SIZES[rank][-1], 4, 3, stride, dilation, dilation)
    theirs.load_state_dict({key.removeprefix("y."): value for key, value in module.state_dict().items()})
    x = torch.randn(2, *SIZES[rank])
    wanted = theirs(x.movedim(-1, 1)).movedim(1, -1)
    torch.testing.assert_close(module(x), wanted)
    assert made.outputs["y"].tensors[0].shape[1:] == tuple(wanted.shape[1:])


def test_depthwise_with_zeros_around() -> None:
    made = program("{layer: DepthwiseConv2D, kernel_size: 3, strides: 2, padding: [1, 0]}", "[height, 8, 3]")
    module = made.module()
    x = torch.randn(2, 7, 8, 3)
    weight, bias = module.state_dict().values()
    wanted = F.conv2d(x.movedim(-1, 1), weight, bias, 2, (1, 0), groups=3).movedim(1, -1)
    torch.testing.assert_close(module(x), wanted)


@pytest.mark.parametrize(
    ("node", "code"),
    [
        ("{layer: MaxPooling2D, padding: 2}", "out-of-range"),
        ("{layer: MaxPooling2D, padding: -1}", "out-of-range"),
        ("{layer: MaxPooling2D, pool_size: 9, padding: 1}", "window-too-large"),
        ("{layer: AveragePooling2D, pool_size: 3, padding: 1}", "out-of-range"),
        ("{layer: Conv2D, filters: 4, kernel_size: 3, padding: [1]}", "wrong-type"),
        ("{op: pad, pad_width: [[0, 0], [1, 1], [0, 0], [0, 0]], constant_values: .nan}", "out-of-range"),
    ],
)
def test_what_a_margin_cannot_be(node: str, code: str) -> None:
    with pytest.raises(SpecError) as error:
        program(node, "[5, 5, 2]")
    assert error.value.diagnostics[0].code == code


def test_masked_scores_are_minus_infinity() -> None:
    text = (
        "inputs: {x: {shape: [4]}, seen: {shape: [4], dtype: bool}}\n"
        "nodes:\n"
        "  scores: {op: where, from: {condition: seen, x1: x}, x2: -.inf}\n"
        "  weights: {layer: Activation, activation: softmax}\n"
        "outputs: [weights]\n"
    )
    x, seen = torch.randn(2, 4), torch.tensor([[True, True, False, True]] * 2)
    wanted = torch.where(seen, x, -torch.inf).softmax(-1)
    torch.testing.assert_close(graphspec.compile(text).module()(x, seen), wanted)
