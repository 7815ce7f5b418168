"""Convolutions beside what they are by definition, and beside each other, where Keras is not asked."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import graphspec
from graphspec.contract import REGISTRY
from graphspec.contract.layer import Example
from graphspec.diagnostics import SpecError
from tests import bundled, one_in
from tests.layer_contract import Case, assert_equal


def case(layer: str, shape: tuple[int, ...], **arguments: Any) -> Case:
    return Case(REGISTRY["layer"][layer], Example(arguments, (shape,)))


def same_convolution(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """A convolution [N, C, H, W] with TensorFlow's `same`, written out."""
    pads: list[int] = []
    for size, width in zip(x.shape[2:], weight.shape[2:], strict=True):
        total = max((-(-size // stride) - 1) * stride + width - size, 0)
        pads = [total // 2, total - total // 2, *pads]
    return F.conv2d(F.pad(x, pads), weight, stride=stride)


@bundled(16, "kernel_size", [1, 2, 3, 4, 5, [2, 5]])
@pytest.mark.parametrize("strides", [1, 2, 3])
def test_a_transposed_convolution_is_the_gradient_of_a_convolution(kernel_size: Any, strides: int) -> None:
    transposed = case(
        "Conv2DTranspose",
        (4, 5, 3),
        filters=2,
        kernel_size=kernel_size,
        strides=strides,
        padding="same",
        use_bias=False,
    )
    module, (x,) = transposed.module(), transposed.tensors()
    weight = module.get_parameter("node.weight")
    image = torch.zeros(len(x), 2, 4 * strides, 5 * strides, dtype=torch.float64, requires_grad=True)
    outcome = same_convolution(image, weight, strides)
    (gradient,) = torch.autograd.grad(outcome, image, x.permute(0, 3, 1, 2))
    assert_equal(module(x), gradient.permute(0, 2, 3, 1), "beside the gradient")


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("depth_multiplier", [1, 3])
def test_a_separable_convolution_is_a_depthwise_and_a_pointwise_one(
    strides: int, depth_multiplier: int
) -> None:
    window = {
        "kernel_size": 3,
        "strides": strides,
        "padding": "same",
        "depth_multiplier": depth_multiplier,
    }
    separable = case("SeparableConv2D", (7, 6, 4), filters=5, **window)
    nodes = {
        "depthwise": {"layer": "DepthwiseConv2D", "use_bias": False, **window},
        "pointwise": {"layer": "Conv2D", "filters": 5, "kernel_size": 1},
    }
    pair = {"inputs": {"x": {"shape": [7, 6, 4]}}, "nodes": nodes, "outputs": ["pointwise"]}
    one, two = separable.module(), graphspec.compile(json.dumps(pair, indent=1)).module().double()
    two.load_state_dict({key.removeprefix("node."): value for key, value in one.state_dict().items()})
    assert_equal(one(*separable.tensors()), two(*separable.tensors()), "beside two layers")


@pytest.mark.parametrize("depth_multiplier", [1, 2])
def test_an_orthogonal_depthwise_kernel_has_orthonormal_filters(depth_multiplier: int) -> None:
    weight = (
        case(
            "DepthwiseConv2D",
            (5, 5, 6),
            kernel_size=3,
            depth_multiplier=depth_multiplier,
            depthwise_initializer={"name": "orthogonal", "gain": 2.0},
        )
        .module()
        .get_parameter("node.weight")
    )
    filters = weight.unflatten(0, (6, depth_multiplier)).transpose(0, 1).flatten(1)
    product = (filters @ filters.T).detach()
    torch.testing.assert_close(product, 4 * torch.eye(depth_multiplier).double(), atol=1e-6, rtol=1e-6)


PLAIN = [
    ("DepthwiseConv2D", {"kernel_size": 3, "padding": "same"}, "Conv2d"),
    ("Conv2DTranspose", {"filters": 2, "kernel_size": 2, "strides": 2}, "ConvTranspose2d"),
    ("Conv2DTranspose", {"filters": 2, "kernel_size": 4, "strides": 2, "padding": "same"}, "ConvTranspose2d"),
    ("Conv2DTranspose", {"filters": 2, "kernel_size": 2, "strides": 3, "padding": "same"}, "ConvTranspose2d"),
    ("Conv1DTranspose", {"filters": 2, "kernel_size": 3, "padding": "same"}, "ConvTranspose1d"),
    ("Conv3D", {"filters": 2, "kernel_size": [3, 1, 3], "padding": "same"}, "Conv3d"),
]


@pytest.mark.parametrize(("layer", "arguments", "module"), PLAIN, ids=lambda value: json.dumps(value))
def test_layers_are_pytorchs_own_where_it_computes_the_same(
    layer: str, arguments: dict[str, Any], module: str
) -> None:
    rank = int(layer[layer.index("D", 1) - 1])
    made = case(layer, (6,) * rank + (4,), **arguments).module().get_submodule("node")
    assert type(made) is getattr(nn, module)


REFUSED = [
    ({"kernel_size": 3, "output_padding": 1}, "out-of-range", "output_padding"),
    ({"kernel_size": 3, "strides": 2, "output_padding": [1, 2]}, "out-of-range", "output_padding"),
    ({"kernel_size": 3, "strides": 2, "output_padding": -1}, "out-of-range", "output_padding"),
    ({"kernel_size": 2, "padding": "same", "output_padding": 0}, "window-too-large", "output_padding"),
    ({"kernel_size": 2, "strides": 2, "dilation_rate": 2}, "out-of-range", "dilation_rate"),
    ({"kernel_size": 2, "padding": "causal"}, "out-of-range", "padding"),
]


@pytest.mark.parametrize(("arguments", "code", "word"), REFUSED, ids=lambda value: json.dumps(value))
def test_transposed_convolutions_refuse_what_has_no_size(
    arguments: dict[str, Any], code: str, word: str
) -> None:
    node = {"layer": "Conv2DTranspose", "filters": 2, **arguments}
    spec = {"inputs": {"x": {"shape": [1, 1, 3]}}, "nodes": {"node": node}, "outputs": ["node"]}
    with pytest.raises(SpecError) as caught:
        graphspec.compile(json.dumps(spec, indent=1))
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == code and f"`{word}`" in f"{diagnostic.message} {diagnostic.help}"


EXPORTED = [
    ("Conv2D", {"filters": 2, "kernel_size": 3, "padding": "same", "strides": 2}, 2),
    ("DepthwiseConv2D", {"kernel_size": 3, "padding": "same"}, 2),
    ("DepthwiseConv2D", {"kernel_size": 3, "padding": "same", "strides": 2}, 2),
    ("SeparableConv2D", {"filters": 2, "kernel_size": 3, "padding": "same", "depth_multiplier": 2}, 2),
    ("SeparableConv2D", {"filters": 2, "kernel_size": 2, "padding": "same", "strides": 2}, 2),
    ("Conv1DTranspose", {"filters": 2, "kernel_size": 3, "strides": 2, "padding": "same"}, 1),
    ("Conv2DTranspose", {"filters": 2, "kernel_size": 3, "strides": 2, "padding": "same"}, 2),
    ("Conv2DTranspose", {"filters": 2, "kernel_size": 2, "strides": 2}, 2),
    ("Conv3D", {"filters": 2, "kernel_size": 3, "padding": "same", "strides": 2}, 3),
    ("MaxPooling3D", {"pool_size": 3, "strides": 2, "padding": "same"}, 3),
    ("AveragePooling3D", {"pool_size": 2, "padding": "same"}, 3),
    ("GlobalAveragePooling3D", {}, 3),
    ("UpSampling3D", {}, 3),
    ("ZeroPadding3D", {}, 3),
    ("Cropping3D", {}, 3),
]


@pytest.mark.parametrize(
    ("layer", "arguments", "rank"), one_in(6, EXPORTED), ids=lambda value: json.dumps(value)
)
def test_unknown_sizes_can_be_exported(
    layer: str, arguments: dict[str, Any], rank: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the source for it, with every size but the channels dynamic."""
    if layer in ("MaxPooling3D", "AveragePooling3D") and torch.__version__ < "2.11":
        pytest.skip("torch 2.10 pools only sizes that are even, or odd, as those of the example")
    sizes = (10, 9, 8)[:rank]
    program = graphspec.compile(
        case(layer, (*sizes, 3), **arguments).spec({size: f"n{size}" for size in sizes})
    )
    file = f"{tmp_path.name}_model"  # a name of its own: torch caches what it imports
    (tmp_path / f"{file}.py").write_text(program.emit(exporting=True).source)
    monkeypatch.syspath_prepend(str(tmp_path))
    module = getattr(importlib.import_module(file), program.class_name)().double().eval()
    dynamic = {axis + 1: torch.export.Dim(f"n{size}", min=4, max=60) for axis, size in enumerate(sizes)}
    example = torch.randn(2, *sizes, 3, dtype=torch.float64)
    exported = torch.export.export(module, (example,), dynamic_shapes=(dynamic,), strict=True).module()
    for more in range(3):
        x = torch.randn(2, *(size + more for size in sizes), 3, dtype=torch.float64)
        assert_equal(exported(x), module(x), f"{more} larger")


def test_a_block_takes_each_kernel_of_a_transposed_convolution() -> None:
    """What an even kernel cuts off at the end is an argument of the class, however the block is used."""
    text = """
inputs: {x: {shape: [4, 4, 3]}}
blocks:
  up:
    params: {size: 3}
    inputs: [x]
    nodes: {y: {layer: Conv2DTranspose, filters: 2, kernel_size: $size, padding: same}}
nodes: {y: {block: up}}
outputs: [y]
"""
    module = graphspec.compile(text).module()
    assert module(torch.ones(1, 4, 4, 3)).shape == (1, 4, 4, 2)
    made: Any = type(module.y)
    even = made(3, size=2)
    assert even(torch.ones(1, 3, 4, 4)).shape == (1, 2, 4, 4)
