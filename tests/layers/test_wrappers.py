"""Layers around others beyond the contract: what they refuse, and what becomes of a kernel."""

import copy
from typing import Any

import pytest
import torch

import graphspec
from graphspec.diagnostics import SpecError

BLOCK = "blocks: {b: {inputs: [x], nodes: {d: {layer: Dense, units: 3}}}}\n"


def spectral(wrapped: str) -> str:
    node = f"nodes: {{node: {{layer: SpectralNormalization, wraps: {wrapped}}}}}\noutputs: [node]"
    return "inputs: {x: {shape: [6, 3]}}\n" + (BLOCK if "block" in wrapped else "") + node


def state(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in module.state_dict().items()}


@pytest.mark.parametrize(
    ("wrapped", "what"),
    [
        ("{layer: LSTM, units: 3}", "`LSTM`"),
        ("{layer: SeparableConv1D, filters: 3, kernel_size: 2}", "`SeparableConv1D`"),
        ("{layer: DepthwiseConv1D, kernel_size: 2}", "`DepthwiseConv1D`"),
        ("{layer: Flatten}", "`Flatten`"),
        ("{block: b}", "a block or model"),
    ],
)
def test_spectral_normalization_wraps_a_layer_with_a_kernel(wrapped: str, what: str) -> None:
    with pytest.raises(SpecError) as caught:
        graphspec.compile(spectral(wrapped))
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "not-supported" and diagnostic.message.endswith(f"and not {what}")


def test_spectral_normalization_is_shared_whole() -> None:
    shared = "shared: {d: {layer: SpectralNormalization, wraps: {layer: Dense, units: 3}}}\n"
    calls = "nodes: {a: {call: d}, b: {call: d}}\noutputs: [b]"
    module = graphspec.compile("inputs: {x: {shape: [6, 3]}}\n" + shared + calls).module()
    assert set(module.state_dict()) == {"d.weight", "d.bias", "d.u"}
    with pytest.raises(SpecError, match="cannot wrap a call"):
        graphspec.compile(
            "inputs: {x: {shape: [3]}}\nshared: {d: {layer: Dense, units: 3}}\nnodes: {node: "
            "{layer: SpectralNormalization, wraps: {call: d}}}\noutputs: [node]"
        )


def test_a_kernel_comes_to_norm_1_and_a_kernel_of_zeros_stays() -> None:
    module = graphspec.compile(spectral("{layer: Dense, units: 4}")).module().train()
    assert set(module.state_dict()) == {"node.weight", "node.bias", "node.u"}
    for _ in range(50):
        module(torch.rand(2, 6, 3))
    before = state(module)
    norm = torch.linalg.matrix_norm(before["node.weight"], 2)
    torch.testing.assert_close(norm, torch.ones(()), atol=1e-4, rtol=0)
    module.load_state_dict({**before, "node.weight": torch.zeros(4, 3)})
    module(torch.rand(2, 6, 3))
    after = state(module)
    assert not after["node.weight"].any() and torch.equal(after["node.u"], before["node.u"])


def test_its_module_can_be_copied_and_keeps_its_weights_in_inference() -> None:
    module = graphspec.compile(spectral("{layer: Conv1D, filters: 4, kernel_size: 2}")).module()
    x, before = torch.rand(2, 6, 3), state(module)
    expected = module.eval()(x)
    assert all(torch.equal(before[key], value) for key, value in state(module).items())
    twin = copy.deepcopy(module)
    assert torch.equal(twin(x), expected)
    twin.train()(x)
    assert not torch.equal(state(twin)["node.weight"], before["node.weight"])


PAIR = """
blocks:
  pair: {inputs: [x], nodes: {conv: {layer: Conv2D, filters: 2, kernel_size: 3}, act: {op: tanh}}}
"""


@pytest.mark.parametrize(
    ("wrapped", "blocks", "title"),
    [
        ("{layer: Conv2D, filters: 2, kernel_size: 3, activation: relu}", "", "Conv2D"),
        ("{layer: Dense, units: 2}", "", "Dense"),
        ("{block: pair}", PAIR, "pair"),
        ("{call: dense}", "shared: {dense: {layer: Dense, units: 2}}\n", "Dense"),
    ],
)
def test_time_distributed_in_time_distributed_has_two_axes_of_steps(
    wrapped: str, blocks: str, title: str
) -> None:
    twice = f"{{layer: TimeDistributed, wraps: {{layer: TimeDistributed, wraps: {wrapped}}}}}"
    text = "inputs: {{x: {{shape: [{}]}}}}\n{}nodes: {{seen: {}}}\noutputs: [seen]\n"
    program = graphspec.compile(text.format("clips, frames, 6, 5, 3", blocks, twice))
    module = program.module(seed=1)
    single = graphspec.compile(text.format("6, 5, 3", blocks, wrapped)).module()
    single.load_state_dict(module.state_dict())
    x = torch.randn(2, 3, 4, 6, 5, 3)
    torch.testing.assert_close(module(x), single(x.flatten(0, 2)).unflatten(0, (2, 3, 4)))
    assert program.outputs["seen"].tensors[0].rank == 6
    assert f"TimeDistributed(TimeDistributed({title}))" in str(program.summary())


NORMALIZED = """
inputs: {clip: {shape: [frames, 6, 6, 2]}}
blocks:
  frame:
    inputs: [x]
    nodes:
      conv: {layer: Conv2D, filters: 3, kernel_size: 3, use_bias: false}
      norm: {layer: BatchNormalization, momentum: 0.5}
      mean: {layer: GlobalAveragePooling2D}
nodes: {each: {layer: TimeDistributed, wraps: {block: frame}}}
outputs: [each]
"""


def test_a_block_in_time_distributed_normalizes_each_step_by_itself() -> None:
    program = graphspec.compile(NORMALIZED)
    module, clip = program.module().train(), torch.randn(4, 3, 6, 6, 2)
    single = copy.deepcopy(module.get_submodule("each"))
    expected = torch.stack([single(step.permute(0, 3, 1, 2)) for step in clip.unbind(1)], 1)
    found = module(clip)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(module.get_submodule("each").state_dict(), single.state_dict())
    found.sum().backward()
    one = module.eval()(clip)
    torch.testing.assert_close(one[:, 1:2], module(clip[:, 1:2]))


def test_spectral_normalization_keeps_the_mask_that_its_layer_keeps() -> None:
    text = (
        "inputs: {words: {shape: [6], dtype: int64}}\n"
        "nodes:\n"
        "  vectors: {layer: Embedding, input_dim: 9, output_dim: 4, mask_zero: true}\n"
        "  dense: {layer: Dense, units: 4}\n"
        "  code: {layer: LSTM, units: 3}\n"
        "outputs: [code]"
    )
    wrapped = text.replace(
        "{layer: Dense, units: 4}", "{layer: SpectralNormalization, wraps: {layer: Dense, units: 4}}"
    )
    embedding = "{layer: Embedding, input_dim: 9, output_dim: 4, mask_zero: true}"
    table = text.replace(embedding, f"{{layer: SpectralNormalization, wraps: {embedding}}}")
    words = torch.tensor([[3, 4, 0, 0, 0, 0]])
    plain = graphspec.compile(text).module().eval()
    for each in (wrapped, table):
        module = graphspec.compile(each).module().eval()
        module.load_state_dict(plain.state_dict(), strict=False)
        torch.testing.assert_close(module(words), plain(words))


ATTACK = """
inputs: {image: {shape: [6, 6, 2]}, digit: {shape: [], dtype: int64}}
blocks:
  net:
    inputs: [x]
    nodes:
      a: {layer: Conv2D, filters: 4, kernel_size: 3, activation: tanh}
      b: {layer: GlobalAveragePooling2D}
      c: {layer: Dense, units: 5}
  error:
    inputs: [digit, image]
    nodes:
      scores: {call: net, from: image}
      one:    {op: one_hot, from: digit, num_classes: 5}
      error:  {compute: "-sum(one * log_softmax(scores), axis=1)"}
shared: {net: {block: net}}
nodes:
  slope: {layer: InputGradient, by: image, wraps: {block: error}, from: {image: image, digit: digit}}
  moved: {compute: "image + 0.1 * sign(slope)"}
  found: {call: net}
outputs: {found: {from: found}, slope: {from: slope}}
"""


def test_a_gradient_is_by_one_of_several_inputs() -> None:
    """Of a loss by a picture, as an attack on a network needs it: that of autograd."""
    module: Any = graphspec.compile(ATTACK).module()
    image, digit = torch.randn(3, 6, 6, 2, requires_grad=True), torch.tensor([0, 4, 2])
    outputs = module(image, digit)

    def net(x: torch.Tensor) -> torch.Tensor:
        pooled = module.net.a(x.permute(0, 3, 1, 2)).tanh().mean((2, 3))
        found: torch.Tensor = module.net.c(pooled)
        return found

    total = torch.nn.functional.cross_entropy(net(image), digit, reduction="sum")
    (slope,) = torch.autograd.grad(total, image, create_graph=True)
    torch.testing.assert_close(outputs["slope"], slope)
    torch.testing.assert_close(outputs["found"], net(image + 0.1 * slope.sign()))
    weights = [*module.parameters()]
    given = torch.autograd.grad(
        outputs["slope"].square().sum(), weights, retain_graph=True, allow_unused=True
    )
    wanted = torch.autograd.grad(slope.square().sum(), weights, allow_unused=True)
    for one, other in zip(given, wanted, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("by: image", "by: picture", "unknown-key"),
        ("by: image", "by: digit", "wrong-dtype"),
        (", digit: digit}}", "}}", "input-count"),
    ],
)
def test_what_has_no_gradient_by_it_is_told(old: str, new: str, code: str) -> None:
    with pytest.raises(SpecError) as caught:
        graphspec.compile(ATTACK.replace(old, new))
    assert caught.value.diagnostics[0].code == code and caught.value.diagnostics[0].help, caught.value
