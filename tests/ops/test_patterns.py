"""`rearrange`, `istft`, and convolutions by kernels that all examples share; and their mistakes."""

import keras
import pytest
import torch

import graphspec


def spec(node: str, shape: str = "[8, 3]", more: str = "") -> str:
    return f"\ninputs: {{x: {{shape: {shape}}}}}\nnodes:\n  {more}\n  y: {node}\noutputs: [y]\n"


@pytest.mark.parametrize(
    "pattern, lengths, code",
    [
        ("b t c -> b (t c", "{}", "out-of-range"),
        ("b t c", "{}", "out-of-range"),
        ("b t c -> t b c", "{}", "out-of-range"),
        ("b t c -> (b t) c", "{}", "out-of-range"),
        ("b t t -> b t t", "{}", "out-of-range"),
        ("b t c -> b t d", "{}", "out-of-range"),
        ("b t c -> b c t", "{d: 2}", "out-of-range"),
        ("b t -> b t", "{}", "wrong-rank"),
        ("b (h w) c -> b h w c", "{}", "missing-key"),
        ("b (h w) c -> b h w c", "{h: 3}", "shapes-differ"),
        ("b (h w) c -> b h w c", "{h: 2, w: 3}", "shapes-differ"),
        ("b t c -> b c t", "{t: 7}", "shapes-differ"),
    ],
)
def test_a_pattern_that_cannot_be_is_told(pattern: str, lengths: str, code: str) -> None:
    with pytest.raises(graphspec.SpecError) as error:
        graphspec.compile(spec(f"{{op: rearrange, pattern: {pattern}, axes_lengths: {lengths}}}"))
    assert [one.code for one in error.value.diagnostics] == [code]


@pytest.mark.parametrize(
    "written, help",
    [
        ("b (h w) c -> b h w c, h: 2", "write axes_lengths: {h: 2}"),
        ("b (h v w) c -> b h v w c, axes_lengths: {h: 2}", "write axes_lengths: {h: 2, w: ...}"),
    ],
)
def test_sizes_of_a_pattern_have_a_place(written: str, help: str) -> None:
    with pytest.raises(graphspec.SpecError) as error:
        graphspec.compile(spec(f"{{op: rearrange, pattern: {written}}}"))
    assert [one.help for one in error.value.diagnostics] == [help]


def test_sizes_with_names_are_split_and_merged() -> None:
    node = "{op: rearrange, pattern: b (t p) c -> b t (c p), axes_lengths: {p: 2}}"
    module = graphspec.compile(spec(node, "[2 * n, 3]")).module()
    for length in (4, 10):
        x = torch.randn(5, length, 3)
        expected = keras.ops.rearrange(x, "b (t p) c -> b t (c p)", p=2)
        torch.testing.assert_close(module(x), expected, rtol=0, atol=0)


def test_a_transposed_convolution_by_a_kernel_that_all_share() -> None:
    node = "{op: conv_transpose, from: [x, k], strides: 2, padding: same}"
    program = graphspec.compile(spec(node, "[5, 4, 3]", "k: {parameter: [3, 3, 2, 3]}"))
    module, x = program.module(seed=0), torch.randn(2, 5, 4, 3)
    kernel = module.state_dict()["k"].reshape(3, 3, 2, 3)
    expected = keras.ops.conv_transpose(x, kernel, strides=2, padding="same")
    torch.testing.assert_close(module(x), expected, rtol=1e-5, atol=1e-6)


def test_a_separable_convolution_by_kernels_that_all_share() -> None:
    node = "{op: separable_conv, from: [x, k, p], padding: same}"
    kernels = "k: {parameter: [3, 3, 3, 2]}\n  p: {parameter: [1, 1, 6, 4]}"
    module, x = graphspec.compile(spec(node, "[5, 4, 3]", kernels)).module(seed=0), torch.randn(2, 5, 4, 3)
    state = module.state_dict()
    depthwise, pointwise = state["k"].reshape(3, 3, 3, 2), state["p"].reshape(1, 1, 6, 4)
    expected = keras.ops.separable_conv(x, depthwise, pointwise, padding="same")
    torch.testing.assert_close(module(x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "op, sizes", [("conv", "2, 4"), ("depthwise_conv", "4, 2"), ("conv_transpose", "2, 4")]
)
def test_each_examples_kernel_meets_a_tensor_without_a_batch(op: str, sizes: str) -> None:
    text = f"""
inputs: {{x: {{shape: [3, 3, {sizes}]}}}}
nodes:
  start: {{parameter: [5, 4, {4 if op != "conv" else 2}], initializer: random_normal}}
  y:     {{op: {op}, from: [start, x]}}
outputs: [y]
"""
    module, x = graphspec.compile(text).module(seed=0), torch.randn(3, *(3, 3), *map(int, sizes.split(",")))
    start = module.state_dict()["start"]
    expected = torch.cat([getattr(keras.ops, op)(start, kernel) for kernel in x])
    torch.testing.assert_close(module(x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "node, more",
    [
        ("{op: conv_transpose, from: [x, k]}", "k: {parameter: [3, 4, 5]}"),
        ("{op: separable_conv, from: [x, k, p]}", "k: {parameter: [3, 3, 1]}\n  p: {parameter: [1, 4, 2]}"),
    ],
)
def test_kernels_that_do_not_fit_are_told(node: str, more: str) -> None:
    with pytest.raises(graphspec.SpecError) as error:
        graphspec.compile(spec(node, more=more))
    assert [one.code for one in error.value.diagnostics] == ["shapes-differ"]


@pytest.mark.parametrize("options", ["window: null", "center: false", "sequence_length: 6"])
def test_a_signal_is_filled_with_zeros_to_its_length(options: str) -> None:
    given = {"sequence_length": 8, "sequence_stride": 4, "fft_length": 8, "length": 100}
    text = ", ".join(f"{key}: {value}" for key, value in given.items() if key != options.split(":")[0])
    program = graphspec.compile(
        "\ninputs: {real: {shape: [6, 5]}, imag: {shape: [6, 5]}}\nnodes:\n"
        f"  y: {{op: istft, from: [real, imag], {text}, {options}}}\noutputs: [y]\n"
    )
    y = program.module()(torch.randn(2, 6, 5), torch.randn(2, 6, 5))
    assert y.shape == (2, 100) and (y[:, 28:] == 0).all() and (y[:, 4:20] != 0).all()


def test_windows_that_leave_gaps_are_told() -> None:
    with pytest.raises(graphspec.SpecError) as error:
        graphspec.compile(
            "\ninputs: {real: {shape: [6, 5]}, imag: {shape: [6, 5]}}\nnodes:\n  y: {op: istft, "
            "from: [real, imag], sequence_length: 8, sequence_stride: 8, fft_length: 8}\noutputs: [y]\n"
        )
    assert [one.code for one in error.value.diagnostics] == ["out-of-range"]
