"""Sizes with a factor, `16 * height`: what is derived of them, and what refuses other sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

import graphspec
from graphspec.data.fields import Checker, fields
from graphspec.diagnostics import SpecError
from graphspec.export import FORMATS, export
from graphspec.export.tracing import Range
from graphspec.tensor import Size, symbol, unit_of
from graphspec.train.loop import train
from tests import one_in

UNET = """
inputs:
  image: {shape: [16 * height, width * 8, 3]}
nodes:
  half:    {layer: MaxPooling2D, pool_size: 2, repeat: 3}
  conv:    {layer: Conv2D, filters: 4, kernel_size: 3, padding: same, strides: [2, 1]}
  grown:   {layer: UpSampling2D, size: [16, 8]}
  joined:  {merge: concatenate, from: [image, grown]}
  mask:    {layer: Conv2D, filters: 1, kernel_size: 1}
outputs:
  mask: {loss: mse}
"""

PROGRAM = graphspec.compile(UNET)


def codes(text: str) -> list[str]:
    with pytest.raises(SpecError) as error:
        graphspec.compile(text)
    return [diagnostic.code for diagnostic in error.value.diagnostics]


def test_a_unet_of_any_size_halves_and_doubles() -> None:
    program = graphspec.compile(UNET)
    height, width = symbol("height"), symbol("width")
    shapes = {row.name: row.output_shape[1:3] for row in program.summary().rows}
    assert shapes["half.2"] == (2 * height, width)
    assert shapes["conv"] == (height, width)
    assert shapes["mask"] == (16 * height, 8 * width)
    assert "(None, 16 * height, 8 * width, 3)" in str(program.summary())
    module = program.module()
    for sizes in ((16, 8), (48, 24)):
        assert module(torch.zeros(2, *sizes, 3)).shape == (2, *sizes, 1)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((24, 8), r"image: `16 \* height` must be a multiple of 16, not 24"),
        ((16, 12), r"image: `8 \* width` must be a multiple of 8, not 12"),
    ],
)
def test_forward_refuses_other_sizes_by_name(shape: tuple[int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        graphspec.compile(UNET).module()(torch.zeros(1, *shape, 3))


@pytest.mark.parametrize("loaded", ["image", "mask"])
def test_data_of_other_sizes_are_refused_by_name(loaded: str, tmp_path: Path) -> None:
    shapes = {"image": (5, 32, 16, 3), "mask": (5, 32, 16, 1)}
    shapes[loaded] = (5, 30, 16, shapes[loaded][-1])
    np.savez(tmp_path / "data.npz", **{k: np.zeros(s, np.float32) for k, s in shapes.items()})  # type: ignore[arg-type]
    with pytest.raises(SpecError) as error:
        train(graphspec.compile(UNET), data=tmp_path / "data.npz", run_dir=tmp_path / "run", epochs=1)
    (found,) = error.value.diagnostics
    assert found.code == "data-shape"
    assert f"`{loaded}`" in found.message and "16 * height" in found.message
    if loaded == "image":
        assert found.help == "`16 * height` must be a multiple of 16, not 30: crop, pad or resize the data"


def test_data_of_a_legal_size_train(tmp_path: Path) -> None:
    arrays = {"image": np.zeros((4, 32, 16, 3), np.float32), "mask": np.zeros((4, 32, 16, 1), np.float32)}
    np.savez(tmp_path / "data.npz", **arrays)  # type: ignore[arg-type]
    program = graphspec.compile(UNET)
    result = train(program, data=tmp_path / "data.npz", run_dir=tmp_path / "run", epochs=1)
    assert len(result.history["loss"]) == 1


def test_what_is_too_small_is_told_in_the_sizes_of_the_array() -> None:
    program = graphspec.compile("""
inputs: {x: {shape: [4 * steps, 2]}}
nodes: {conv: {layer: Conv1D, filters: 2, kernel_size: 9}}
outputs: {conv: {loss: mse}}
""")
    assert program.minimum_sizes == {"steps": 3}
    wanted = [field for field in fields(program) if field.name == "x"]
    checker = Checker("x.npz", str, wanted, program.minimum_sizes)
    checker.check("x", np.zeros((3, 8, 2), np.float32))
    with pytest.raises(SpecError) as error:
        checker.finish({"x": 3})
    assert error.value.diagnostics[0].message == (
        "`4 * steps` is 8 in `x` of `x.npz`; the model needs at least 12"
    )
    with pytest.raises(ValueError, match=r"x: `4 \* steps` must be at least 12, not 8"):
        program.module()(torch.zeros(1, 8, 2))


def test_adjacent_axes_of_one_condition_have_one_check() -> None:
    program = graphspec.compile("""
inputs: {x: {shape: [4 * rows, 4 * columns, 2]}, y: {shape: [4 * rows, 2]}}
nodes:
  pool: {layer: MaxPooling2D, from: x, pool_size: 4}
  mean: {layer: GlobalAveragePooling1D, from: y}
outputs: [pool, mean]
""")
    assert program.source.count("raise ValueError") == 2
    module = program.module()
    with pytest.raises(ValueError, match=r"x: \[8, 6\] must be multiples of 4"):
        module(torch.ones(1, 8, 6, 2), torch.ones(1, 8, 2))
    with pytest.raises(ValueError, match=r"y: `4 \* rows` is 4, but 8 in x"):
        module(torch.ones(1, 8, 8, 2), torch.ones(1, 4, 2))


def test_a_size_that_is_refused_hides_no_input() -> None:
    program = graphspec.compile("""
inputs: {size: {shape: [8 * steps, 2]}}
nodes: {pool: {layer: MaxPooling1D, pool_size: 8}}
outputs: {pool: {loss: mse}}
""")
    assert "if (size2 := size.shape[1]) % 8 != 0:" in program.source
    module = program.module()
    assert module(torch.ones(1, 8, 2)).tolist() == [[[1, 1]]]
    with pytest.raises(ValueError, match=r"`8 \* steps` must be a multiple of 8, not 3"):
        module(torch.ones(1, 3, 2))


SHARED = """
inputs:
  image: {shape: [16 * height, 3]}
  rows:  {shape: [height]}
  mask:  {shape: [8 * height, 1]}
nodes:
  a: {layer: GlobalAveragePooling1D, from: image}
  b: {layer: Reshape, from: rows, target_shape: [-1, 1]}
  c: {layer: AveragePooling1D, from: mask, pool_size: 8}
  d: {merge: add, from: [b, c]}
outputs: [a, d]
"""


def test_one_name_is_one_size_whatever_its_factors() -> None:
    module = graphspec.compile(SHARED).module()
    module(torch.zeros(1, 32, 3), torch.zeros(1, 2), torch.zeros(1, 16, 1))
    with pytest.raises(ValueError, match=r"rows: `height` is 3, not 2"):
        module(torch.zeros(1, 32, 3), torch.zeros(1, 3), torch.zeros(1, 16, 1))
    with pytest.raises(ValueError, match=r"mask: `8 \* height` is 24, not 16"):
        module(torch.zeros(1, 32, 3), torch.zeros(1, 2), torch.zeros(1, 24, 1))


def test_a_factor_may_be_an_expression_of_params() -> None:
    text = UNET.replace("16 * height", "$(2 ** depth) * height").replace(
        "inputs:", "params: {depth: 4}\ninputs:"
    )
    assert graphspec.compile(text).inputs["image"] == graphspec.compile(UNET).inputs["image"]


@pytest.mark.parametrize(
    ("size", "code"),
    [
        ("0 * height", "out-of-range"),
        ("height // 2", "wrong-type"),
        ("height + 1", "wrong-type"),
        ("-2 * height", "wrong-type"),
        ("2.5 * height", "wrong-type"),
        ("2 * 3", "wrong-type"),
        ("height * width", "wrong-type"),
        ("16 * batch", "reserved-name"),
        ("__import__('os') * 2", "wrong-type"),
    ],
)
def test_other_expressions_are_no_sizes_of_inputs(size: str, code: str) -> None:
    assert codes(UNET.replace("16 * height", f'"{size}"')) == [code]


MODEL = """
inputs: {x: {shape: [4 * steps, 2]}}
nodes: {pool: {layer: AveragePooling1D, pool_size: 4}}
outputs: {pool: {}}
"""


@pytest.mark.parametrize(
    ("shape", "fits"),
    [("[8, 2]", True), ("[12 * n, 2]", True), ("[6, 2]", False), ("[n, 2]", False), ("[6 * n, 2]", False)],
)
def test_a_model_file_demands_a_multiple(shape: str, fits: bool, tmp_path: Path) -> None:
    (tmp_path / "model.yaml").write_text(MODEL)
    spec = tmp_path / "spec.yaml"
    spec.write_text(f"inputs: {{x: {{shape: {shape}}}}}\nnodes: {{y: {{model: model.yaml}}}}\noutputs: [y]\n")
    if fits:
        program = graphspec.compile(spec)
        (x,) = program.example_inputs().values()
        torch.testing.assert_close(program.module()(x), x.unflatten(1, (-1, 4)).mean(2))
        return
    with pytest.raises(SpecError) as error:
        graphspec.compile(spec)
    (found,) = error.value.diagnostics
    assert found.code == "shapes-differ"
    assert found.help is not None and "must be a multiple of 4" in found.help


@pytest.mark.parametrize("format", one_in(2, reversed(FORMATS)))
def test_exports_carry_the_factor(format: str, tmp_path: Path) -> None:
    program = graphspec.compile(UNET)
    exported = export(program, format, tmp_path / f"model.{format}")
    assert exported.fixed == {}
    assert exported.free == {"batch": Range(1), "height": Range(1), "width": Range(1)}
    if format == "onnx":
        import onnx

        graph = onnx.load(exported.file).graph
        sizes = [d.dim_param or d.dim_value for d in graph.input[0].type.tensor_type.shape.dim]
        assert sizes == ["batch", "16*height", "8*width", 3]
    else:
        loaded = torch.export.load(exported.file).module()
        assert loaded(image=torch.zeros(2, 64, 24, 3)).shape == (2, 64, 24, 1)


def test_examples_are_multiples() -> None:
    program = graphspec.compile(UNET)
    assert program.example_inputs()["image"].shape == (2, 64, 64, 3)
    assert program.example_inputs(1, {"height": 3, "width": 1})["image"].shape == (1, 48, 8, 3)


factors = st.integers(1, 12)


@given(factors, factors, st.integers(1, 5), st.integers(1, 9), st.integers(1, 4))
def test_derived_sizes_are_those_that_come_out(
    factor: int, pool: int, kernel: int, units: int, strides: int
) -> None:
    """A pooling, a convolution and an upsampling of any multiple, beside what PyTorch gives."""
    text = f"""
inputs: {{x: {{shape: [{factor} * n, 2]}}}}
nodes:
  pool: {{layer: MaxPooling1D, pool_size: {pool}, strides: {strides}, padding: same}}
  conv: {{layer: Conv1D, filters: 2, kernel_size: {kernel}}}
  grow: {{layer: UpSampling1D, size: {pool}}}
  sums: {{compute: "grow * 2 + 1"}}
outputs: [sums]
"""
    program = graphspec.compile(text)
    units = max(units, program.minimum_sizes["n"])
    (x,) = program.example_inputs(2, {"n": units}).values()
    size: Any = program.outputs["sums"].tensors[0].shape[1]
    assert x.shape[1] == factor * units
    assert program.module()(x).shape[1] == (size.evaluate({"n": units}) if isinstance(size, Size) else size)


@given(st.integers(1, 10**6), st.integers(0, 3))
def test_a_unit_is_a_name_and_its_factor(factor: int, offset: int) -> None:
    size = factor * symbol("n") + offset
    assert unit_of(size) == (None if offset else ("n", factor))


RESHAPED = """
params: {heads: 4}
inputs: {x: {shape: [length, 64]}, image: {shape: [4 * height, width, 8]}}
nodes:
  heads: {layer: Reshape, from: x, target_shape: [-1, $heads, 16]}
  named: {layer: Reshape, from: x, target_shape: [length, $heads, -1]}
  rows:  {layer: Reshape, from: image, target_shape: [height, 4, width, 8]}
  flat:  {layer: Reshape, from: image, target_shape: [height, -1]}
  again: {layer: Reshape, from: rows, target_shape: [4 * height, 2, -1, 4]}
outputs: [heads, named, rows, flat, again]
"""


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))
def test_reshape_takes_sizes_by_their_names(length: int, height: int, width: int) -> None:
    program = graphspec.compile(RESHAPED)
    sizes = {"length": length, "height": height, "width": width}
    x, image = program.example_inputs(2, sizes).values()
    found = program.module()(x, image)
    expected = {
        "heads": x.reshape(2, length, 4, 16),
        "named": x.reshape(2, length, 4, 16),
        "rows": image.reshape(2, height, 4, width, 8),
        "flat": image.reshape(2, height, -1),
        "again": image.reshape(2, 4 * height, 2, width, 4),
    }
    for name, value in expected.items():
        assert torch.equal(found[name], value)
        shape = program.outputs[name].tensors[0].shape[1:]
        assert [s if isinstance(s, int) else s.evaluate(sizes) for s in shape] == list(value.shape[1:])


@pytest.mark.parametrize(
    ("source", "target", "code"),
    [
        ("x", "[lenght, 64]", "unknown-reference"),
        ("x", "[length, 63]", "shapes-differ"),
        ("x", "[height, -1]", "shapes-differ"),
        ("x", "[1.5, -1]", "wrong-type"),
        ("x", "[length / 2, -1]", "wrong-type"),
        ("x", "[0, -1]", "out-of-range"),
        ("flat", "[4 * height, width, 8]", "unknown-size"),
    ],
)
def test_targets_that_cannot_be(source: str, target: str, code: str) -> None:
    flat = "  flat: {layer: Flatten, from: image}\n"
    node = f"  y: {{layer: Reshape, from: {source}, target_shape: {target}}}\n"
    reads = "  z: {layer: Flatten, from: flat}\n"
    text = RESHAPED[: RESHAPED.index("  heads")].replace("params: {heads: 4}\n", "")
    assert codes(f"{text}{flat}{reads}{node}outputs: [y, z, x]\n") == [code]


def test_a_mask_of_lengths_masks() -> None:
    program = graphspec.compile("""
inputs: {x: {shape: [steps, 3]}, lengths: {shape: [], dtype: int64}}
nodes:
  kept: {op: sequence_mask, from: lengths, like: x}
  code: {layer: LSTM, from: {sequences: x, mask: kept}, units: 4}
outputs: [code]
""")
    module, x = program.module().eval(), torch.randn(3, 7, 3)
    found = module(x, torch.tensor([7, 4, 1]))
    for row, length in enumerate((7, 4, 1)):
        alone = module(x[row : row + 1, :length], torch.tensor([length]))
        torch.testing.assert_close(found[row : row + 1], alone)


OPS = """
inputs:
  tokens: {shape: [length], dtype: int64}
  film:   {shape: [3 * n, 4]}
nodes:
  words: {layer: Embedding, from: tokens, input_dim: 20, output_dim: 8}
  heads: {op: reshape, newshape: [-1, length, 2, 4]}
  back:  {op: reshape, newshape: [-1, length, 8]}
  thirds: {op: reshape, from: film, newshape: [-1, n, 12]}
  one:   {constant: [[1.5, 2.5]]}
  wide:  {op: broadcast_to, from: one, like: words, shape: [-1, length, 2]}
  thick: {op: broadcast_to, from: one, like: film, shape: [-1, 3 * n, 2]}
outputs: [heads, back, thirds, wide, thick]
"""


def test_ops_take_sizes_by_name() -> None:
    program = graphspec.compile(OPS)
    length, n = symbol("length"), symbol("n")
    shapes = {row.name: row.output_shape[1:] for row in program.summary().rows}
    assert shapes["heads"] == (length, 2, 4) and shapes["thirds"] == (n, 12) and shapes["thick"] == (3 * n, 2)
    inputs = program.example_inputs(2, {"length": 5, "n": 2})
    module: Any = program.module()
    found = module(**inputs)
    words = module.get_submodule("words")(inputs["tokens"])
    torch.testing.assert_close(found["heads"], words.reshape(2, 5, 2, 4))
    torch.testing.assert_close(found["back"], words)
    torch.testing.assert_close(found["thirds"], inputs["film"].reshape(2, 2, 12))
    torch.testing.assert_close(found["wide"], torch.tensor([1.5, 2.5]).expand(2, 5, 2))
    assert found["thick"].shape == (2, 6, 2)
    batches = {name: output.tensors[0].shape[0] for name, output in program.outputs.items()}
    assert set(batches.values()) == {symbol("batch")}


def test_formulas_take_sizes_by_name() -> None:
    """Also in a block, and beside params."""
    program = graphspec.compile("""
    params: {heads: 2}
    inputs: {x: {shape: [4 * quarter, 8]}}
    blocks:
      split:
        inputs: [x]
        nodes: {parts: {compute: "reshape(2 * x, newshape=[-1, quarter, 2 * $heads, 8])"}}
    nodes:
      parts: {block: split}
      ones:  {constant: [[1]]}
      wide:  {compute: "broadcast_to(ones, like=x, shape=[-1, 4 * quarter, $heads])"}
    outputs: [parts, wide]
    """)
    x = torch.randn(3, 12, 8)
    found = program.module()(x)
    torch.testing.assert_close(found["parts"], 2 * x.reshape(3, 3, 4, 8))
    assert found["wide"].shape == (3, 12, 2)


@pytest.mark.parametrize(
    ("formula", "help"),
    [
        ("reshape(x, newshape=[-1, lenght, 2, 4])", "did you mean `length`?"),
        ("x / length", "`length` is a size, and no tensor"),
        ("reshape(x, newshape=[-1, length, 8 // heads, 4])", "write `$heads`: it is a param"),
    ],
)
def test_a_name_of_a_size_is_told_from_a_tensor(formula: str, help: str) -> None:
    with pytest.raises(SpecError) as error:
        graphspec.compile(
            f"params: {{heads: 4}}\ninputs: {{x: {{shape: [length, 8]}}}}\n"
            f"nodes: {{y: {{compute: '{formula}'}}}}\noutputs: [y]\n"
        )
    [found] = error.value.diagnostics
    assert found.code == "unknown-reference" and found.help is not None and found.help.startswith(help)


def test_an_axis_of_size_1_comes_between_others() -> None:
    program = graphspec.compile(
        "inputs: {x: {shape: [length, 8]}}\n"
        "nodes: {y: {layer: Reshape, target_shape: [-1, 1, 8]}}\noutputs: [y]\n"
    )
    assert "x.unsqueeze(2)" in program.source
    assert program.module()(torch.zeros(2, 3, 8)).shape == (2, 3, 1, 8)


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("newshape: [-1, length, 2, 4]", "newshape: [-1, lenght, 2, 4]", "unknown-reference"),
        ("newshape: [-1, length, 2, 4]", "newshape: [-1, length, 3, 4]", "shapes-differ"),
        ("newshape: [-1, n, 12]", "newshape: [-1, length, 12]", "shapes-differ"),
        ("like: words, shape: [-1, length, 2]", "shape: [-1, length, 2]", "unknown-size"),
        ("like: words, shape: [-1, length, 2]", "like: film, shape: [-1, length, 2]", "unknown-size"),
        ("shape: [-1, 3 * n, 2]", "shape: [-1, 3 * n, 5]", "shapes-differ"),
    ],
)
def test_ops_refuse_sizes_that_nothing_tells(old: str, new: str, code: str) -> None:
    assert codes(OPS.replace(old, new)) == [code]


PYRAMID = """
inputs: {image: {shape: [height, width, 3]}}
nodes:
  low:    {layer: Conv2D, filters: 4, kernel_size: 3, strides: 2}
  grown:  {op: image_resize, from: low, like: image, interpolation: INTERPOLATION}
  joined: {merge: concatenate, from: [image, grown]}
  mask:   {layer: Conv2D, filters: 2, kernel_size: 1}
  start:  {parameter: [1, 1, 2], initializer: random_normal}
  bias:   {op: broadcast_to, from: start, like: mask, shape: [-1, height, width, 2]}
  sum:    {merge: add, from: [mask, bias]}
outputs: [sum, bias]
"""


@pytest.mark.parametrize("interpolation", one_in(3, ["nearest", "bilinear", "bicubic"]))
def test_images_take_the_size_of_others(interpolation: str, tmp_path: Path) -> None:
    program = graphspec.compile(PYRAMID.replace("INTERPOLATION", interpolation))
    height, width = symbol("height"), symbol("width")
    shapes = {row.name: row.output_shape for row in program.summary().rows}
    assert shapes["grown"] == (None, height, width, 4) and shapes["bias"] == (None, height, width, 2)
    module: Any = program.module(seed=0).eval()
    image = torch.randn(2, 7, 10, 3)
    low = module.get_submodule("low")(image.permute(0, 3, 1, 2))
    mode = "nearest-exact" if interpolation == "nearest" else interpolation
    joined = torch.cat([image.permute(0, 3, 1, 2), F.interpolate(low, (7, 10), mode=mode)], 1)
    bias = module.start.expand(2, 7, 10, 2)
    found = module(image)
    torch.testing.assert_close(found["bias"], bias)
    torch.testing.assert_close(found["sum"], module.get_submodule("mask")(joined).permute(0, 2, 3, 1) + bias)
    exported = export(program, "onnx", tmp_path / "model.onnx", weights=module.state_dict())
    assert exported.fixed == {} and set(exported.free) == {"batch", "height", "width"}


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        (", like: image", "", "missing-key"),
        ("like: image", "like: image, size: [4, 4]", "input-count"),
        ("like: image", "like: start", "wrong-rank"),
    ],
)
def test_one_size_is_wanted_and_of_images(old: str, new: str, code: str) -> None:
    text = PYRAMID.replace("INTERPOLATION", "bilinear").replace("[1, 1, 2]", "[1, 2]")
    assert code in codes(text.replace(old, new))


LISTS = """
inputs: {x: {shape: [4 * length]}}
nodes:
  steps: {op: expand_dims, axis: 2}
  means: {layer: AveragePooling1D, pool_size: 4}
  mean:  {layer: GlobalAveragePooling1D}
  y:     {layer: Dense, units: 1}
outputs: {y: {loss: mse}}
data: {train: a.jsonl}
train: {epochs: 1, batch_size: 4}
"""


def lists(tmp_path: Path, lengths: list[int], word: str = "0.5") -> None:
    rows = (f'{{"x": [{", ".join([word] * length)}], "y": 1.0}}' for length in lengths)
    (tmp_path / "a.jsonl").write_text("\n".join(rows))


def test_lists_are_padded_to_a_common_multiple(tmp_path: Path) -> None:
    lists(tmp_path, [4, 8, 12, 4, 16, 4])
    assert train(graphspec.compile(LISTS), root=tmp_path, run_dir=tmp_path / "run").history["loss"]


def test_a_list_that_is_no_multiple_is_refused_with_its_row(tmp_path: Path) -> None:
    lists(tmp_path, [4, 8, 6, 4])
    with pytest.raises(SpecError) as error:
        train(graphspec.compile(LISTS), root=tmp_path, run_dir=tmp_path / "run")
    (found,) = error.value.diagnostics
    assert found.code == "data-shape" and "is 6 long at" in found.message and "3" in found.message
    assert "`4 * length` is a multiple of 4" in found.message


def test_tokens_are_padded_to_a_multiple(tmp_path: Path) -> None:
    lists(tmp_path, [3, 8, 6, 1], '"a"')
    text = LISTS.replace("[4 * length]}", "[4 * length], dtype: int64}").replace(
        "{op: expand_dims, axis: 2}", "{layer: Embedding, input_dim: 4, output_dim: 2}"
    )
    text = text.replace("a.jsonl}", "a.jsonl, features: {x: {encode: tokens, vocabulary: 4}}}")
    assert train(graphspec.compile(text), root=tmp_path, run_dir=tmp_path / "run").history["loss"]
