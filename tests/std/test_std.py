"""The blocks of the library: each computes what PyTorch, torchvision or timm compute for its paper."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import timm.layers
import timm.models.mlp_mixer
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

import graphspec
from graphspec import std
from graphspec.diagnostics import SpecError

IMAGE, SEQUENCE = [12, 12, 32], [9, 32]
Oracle = Callable[[Mapping[str, Tensor], Tensor], Tensor]


def loaded(module: nn.Module, weights: Mapping[str, Tensor], names: str) -> nn.Module:
    """A module with these weights, in the order of its own names."""
    own = {key: value for key, value in module.state_dict().items() if "num_batches" not in key}
    order = names.split() or list(own)
    found = [key for name in order for key in own if re.fullmatch(rf"{name}(\..*)?", key)]
    assert len(found) == len(weights) == len(own)
    for key, value in zip(found, weights.values(), strict=True):
        own[key].copy_(value.reshape(own[key].shape))
    for each in module.modules():
        if isinstance(each, nn.BatchNorm2d):
            each.eps = 1e-3
    return module.eval()


def image(made: Callable[[], nn.Module], names: str = "") -> Oracle:
    def compute(weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
        y: Tensor = loaded(made(), weights, names)(x.permute(0, 3, 1, 2))
        return y.permute(0, 2, 3, 1)

    return compute


def sequence(made: Callable[[], nn.Module], names: str = "") -> Oracle:
    def compute(weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
        y: Tensor = loaded(made(), weights, names)(x)
        return y

    return compute


class NormConv(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, kernel: int = 1) -> None:
        conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        super().__init__(conv, nn.BatchNorm2d(outputs), nn.SiLU())


class Small(nn.Sequential):
    def __init__(self, width: int) -> None:
        super().__init__(NormConv(width, width, 3), NormConv(width, width, 3))

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


class C2f(nn.Module):
    def __init__(self, inputs: int, outputs: int, depth: int) -> None:
        super().__init__()
        self.cv1 = NormConv(inputs, outputs)
        self.m = nn.ModuleList(Small(outputs // 2) for _ in range(depth))
        self.cv2 = NormConv((2 + depth) * (outputs // 2), outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = list(self.cv1(x).chunk(2, 1))
        for each in self.m:
            y.append(each(y[-1]))
        result: Tensor = self.cv2(torch.cat(y, 1))
        return result


class Sppf(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.cv1, self.cv2 = NormConv(inputs, inputs // 2), NormConv(2 * inputs, outputs)
        self.pool = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = [self.cv1(x)]
        for _ in range(3):
            y.append(self.pool(y[-1]))
        result: Tensor = self.cv2(torch.cat(y, 1))
        return result


def rope(weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """As a product of complex numbers."""
    half = x.shape[-1] // 2
    angles = torch.outer(torch.arange(x.shape[1]), 10000.0 ** (-torch.arange(half) / half))
    turned = torch.complex(x[..., :half], x[..., half:]) * torch.exp(1j * angles)[:, None]
    return torch.cat([turned.real, turned.imag], -1)


def swiglu(weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
    gate, up, down = weights.values()
    return (F.silu(x @ gate.T) * (x @ up.T)) @ down.T


def tcn(weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
    skip, skip_bias, first, first_bias, second, second_bias = weights.values()
    given = x.transpose(1, 2)
    y = F.relu(F.conv1d(F.pad(given, (4, 0)), first, first_bias, dilation=2))
    y = F.relu(F.conv1d(F.pad(y, (4, 0)), second, second_bias, dilation=2))
    return F.relu(F.conv1d(given, skip, skip_bias) + y).transpose(1, 2)


def gated_residual(weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
    w = list(weights.values())
    skip, inner = F.linear(x, *w[0:2]), F.linear(x, *w[2:4])
    y = F.linear(F.elu(inner), *w[4:6])
    y = skip + F.glu(torch.cat([F.linear(y, *w[8:10]), F.linear(y, *w[6:8])], -1))
    return F.layer_norm(y, [24], w[10], w[11])


def vit_patches(weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
    token, kernel, bias, places = weights.values()
    y = F.conv2d(x.permute(0, 3, 1, 2), kernel, bias, 4).flatten(2).transpose(1, 2)
    return torch.cat([token.expand(len(x), 1, -1), y], 1) + places[:10]


def encoder(weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
    layer = nn.TransformerEncoderLayer(32, 4, 128, 0.0, "gelu", batch_first=True, norm_first=True)
    _fill(layer, weights, "norm1 self_attn norm2 linear1 linear2")
    y: Tensor = layer(x, nn.Transformer.generate_square_subsequent_mask(x.shape[1]), is_causal=True)
    return y


def decoder(weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
    layer = nn.TransformerDecoderLayer(32, 4, 128, 0.0, "gelu", batch_first=True, norm_first=True)
    _fill(layer, weights, "norm1 self_attn norm2 multihead_attn norm3 linear1 linear2")
    y: Tensor = layer(x, x.flip(1))
    return y


def _fill(layer: nn.Module, weights: Mapping[str, Tensor], names: str) -> None:
    """Ours have a weight and a bias of query, key, value and output, PyTorch's has the first three as one."""
    state, left = layer.eval().state_dict(), list(weights.values())
    for name in names.split():
        if "attn" in name:
            (wq, bq, wk, bk, wv, bv, wo, bo), left = left[:8], left[8:]
            values = {"in_proj_weight": torch.cat([wq, wk, wv]), "in_proj_bias": torch.cat([bq, bk, bv])}
            values |= {"out_proj.weight": wo, "out_proj.bias": bo}
        else:
            values, left = {"weight": left[0], "bias": left[1]}, left[2:]
        for key, value in values.items():
            state[f"{name}.{key}"].copy_(value)
    assert not left


def bottleneck() -> nn.Module:
    from torchvision.models.resnet import Bottleneck

    down = nn.Sequential(nn.Conv2d(32, 32, 1, 2, bias=False), nn.BatchNorm2d(32))
    return Bottleneck(32, 8, 2, down)


def convnext() -> nn.Module:
    from torchvision.models.convnext import CNBlock

    return CNBlock(32, 1e-6, 0.0)


def inverted(filters: int, stride: int, expansion: int) -> nn.Module:
    from torchvision.models.mobilenetv2 import InvertedResidual

    return InvertedResidual(32, filters, stride, expansion)


def aspp() -> nn.Module:
    from torchvision.models.segmentation.deeplabv3 import ASPP

    return ASPP(32, [2, 3], 16)


CASES: list[tuple[str, str, list[int], Oracle]] = [
    ("aspp", "filters: 16, dilations: [2, 3]", IMAGE, image(aspp)),
    (
        "bottleneck",
        "filters: 8, strides: 2",
        IMAGE,
        image(bottleneck, "downsample conv1 bn1 conv2 bn2 conv3 bn3"),
    ),
    ("c2f", "filters: 16, depth: 2", IMAGE, image(lambda: C2f(32, 16, 2), "cv1 m cv2")),
    ("conv_norm", "filters: 16, activation: silu", IMAGE, image(lambda: NormConv(32, 16, 3))),
    ("convnext", "", IMAGE, image(convnext, "layer_scale block")),
    ("gated_residual", "units: 24", SEQUENCE, gated_residual),
    ("inverted_residual", "filters: 32", IMAGE, image(lambda: inverted(32, 1, 6))),
    ("inverted_residual", "filters: 16, strides: 2, expansion: 1", IMAGE, image(lambda: inverted(16, 2, 1))),
    (
        "mlp_mixer",
        "tokens: 8, hidden: 64",
        SEQUENCE,
        sequence(
            lambda: timm.models.mlp_mixer.MixerBlock(32, 9, (8 / 32, 2.0)),
            "norm1 mlp_tokens norm2 mlp_channels",
        ),
    ),
    ("rope", "", [9, 4, 16], rope),
    ("sppf", "filters: 24", IMAGE, image(lambda: Sppf(32, 24))),
    ("squeeze_excite", "", IMAGE, image(lambda: torchvision.ops.SqueezeExcitation(32, 2))),
    ("swiglu", "hidden: 48", SEQUENCE, swiglu),
    ("tcn", "filters: 16, dilation: 2", SEQUENCE, tcn),
    ("transformer", "heads: 4, causal: true", SEQUENCE, encoder),
    ("transformer", "heads: 4, from: {x: x, memory: later}", SEQUENCE, decoder),
    ("vit_patches", "units: 24, size: 4", IMAGE, vit_patches),
]


def spec_of(block: str, params: str, shape: list[int]) -> str:
    comma = ", " if params else ""
    later = "  later: {op: flip, from: x, axis: 1}\n" if "later" in params else ""
    node = f"  y: {{block: std/{block}{comma}{params}}}\n"
    return f"inputs: {{x: {{shape: {shape}}}}}\nnodes:\n{later}{node}outputs: [y]\n"


@pytest.mark.parametrize(("block", "params", "shape", "oracle"), CASES)
@torch.no_grad()
def test_a_block_is_what_its_paper_says(block: str, params: str, shape: list[int], oracle: Oracle) -> None:
    program = graphspec.compile(spec_of(block, params, shape))
    module = program.module(seed=0).eval()
    drawn = torch.Generator().manual_seed(1)
    for value in module.state_dict().values():
        value.copy_(0.5 * torch.rand(value.shape, generator=drawn) + 0.1)
    x = torch.rand(2, *shape, generator=drawn)
    wanted = oracle(module.state_dict(), x)
    torch.testing.assert_close(module(x), wanted, rtol=1e-4, atol=1e-4)


def test_every_block_has_a_case_and_a_paper() -> None:
    parts_of_rope = {"std/rotary", "std/rotate"}
    assert {f"std/{block}" for block, *_ in CASES} | parts_of_rope == set(std.names())
    for name in std.names():
        assert re.search(r"(Paper|Source): .*\d{4}", std.document(name).text), name


@pytest.mark.parametrize(("block", "params", "shape", "oracle"), CASES)
def test_a_resolved_spec_needs_no_library(block: str, params: str, shape: list[int], oracle: Oracle) -> None:
    program = graphspec.compile(spec_of(block, params, shape))
    text = program.resolve()
    assert "std/" not in text
    assert graphspec.compile(text).source == program.source


CLASHING = """
params: {filters: 3, heads: 2}
inputs: {x: {shape: [8, 8, 4]}}
shared: {first: {layer: ReLU}}
blocks:
  small: {inputs: [x], nodes: {y: {call: first}}}
  c2f:
    params: {depth: $heads}
    inputs: [x]
    nodes: {y: {block: std/c2f, filters: 6, depth: $depth}, z: {block: small}}
nodes:
  a: {block: c2f}
  b: {block: std/c2f, filters: $filters * 2}
outputs: [b]
""".replace("$filters * 2", "$(filters * 2)")


def test_a_block_sees_nothing_of_the_file_that_uses_it() -> None:
    """Params, blocks and shared entries of the file have the names of the library's."""
    program = graphspec.compile(CLASHING)
    assert program.summary().total_params > 0
    resolved = graphspec.compile(program.resolve())
    own, other = (each.module(seed=0).state_dict() for each in (program, resolved))
    assert own.keys() == other.keys()
    assert all(torch.equal(own[key], other[key]) for key in own)


@pytest.mark.parametrize(
    ("node", "code", "help"),
    [
        ("{block: std/rop}", "unknown-block", "std/rope"),
        ("{block: rope}", "unknown-block", "std/rope"),
        ("{block: std/rope, thet: 1.0}", "unknown-key", "theta"),
        ("{block: std/swiglu}", "missing-key", "hidden"),
        ("{block: std/transformer, heads: 2, from: {x: x, memroy: x}}", "unknown-key", "memory"),
    ],
)
def test_a_mistake_is_at_the_node(node: str, code: str, help: str) -> None:
    with pytest.raises(SpecError) as error:
        graphspec.compile(f"inputs: {{x: {{shape: [9, 4, 16]}}}}\nnodes: {{y: {node}}}\noutputs: [y]\n")
    (diagnostic,) = error.value.diagnostics
    assert diagnostic.code == code and help in str(diagnostic.help)
    assert diagnostic.span is not None and diagnostic.span.file == "<spec>"


def test_a_class_is_right_with_a_use_that_the_file_has_not() -> None:
    """A transformer without dropout that has a memory: in the file, it has both or none."""
    spec = """
inputs: {x: {shape: [9, 32]}, memory: {shape: [5, 32]}}
nodes:
  one: {block: std/transformer, heads: 4, from: x}
  two: {block: std/transformer, heads: 4, from: [one, memory], rate: 0.1}
outputs: [two]
"""
    alone = "inputs: {x: {shape: [9, 32]}, memory: {shape: [5, 32]}}\nnodes:\n"
    alone += "  y: {block: std/transformer, heads: 4, from: [x, memory]}\noutputs: [y]\n"
    names: dict[str, Any] = {}
    exec(graphspec.compile(spec).source, names)
    made = names["Transformer"](32, 4, has_memory=True)
    module = graphspec.compile(alone).module(seed=0).eval()
    made.load_state_dict({key.removeprefix("y."): value for key, value in module.state_dict().items()})
    x, memory = torch.randn(2, 9, 32), torch.randn(2, 5, 32)
    torch.testing.assert_close(made.eval()(x, memory), module(x, memory))
