"""Constants: nested lists as nodes and in the place of tensors, and functions of keras.ops that make them."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import graphspec
from graphspec.contract import REGISTRY
from graphspec.contract.layer import Layer
from graphspec.diagnostics import SpecError
from graphspec.export import FORMATS, export
from graphspec.plot import plot
from tests import bundled, interpreter, one_in
from tests.layers.examples import examples_of

SOURCES = [cls for _, cls in sorted(REGISTRY["op"].items()) if cls.reads_nothing(())]


def written(value: Any) -> str:
    """A value as YAML has it."""
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, float) and math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    return str(value).lower() if isinstance(value, bool) else repr(value)


def spec(node: str, shape: str = "[2, 3]", dtype: str = "float32") -> str:
    return f"""
inputs: {{x: {{shape: {shape}, dtype: {dtype}}}}}
nodes:
  c: {node}
outputs: {{c: {{}}, x: {{}}}}
"""


def value_of(node: str) -> Tensor:
    """What a node without inputs gives."""
    program = graphspec.compile(spec(node))
    module = program.module()
    assert not module.state_dict()
    found: Tensor = module(torch.zeros(5, 2, 3))["c"]
    type = program.outputs["c"].tensors[0]
    assert (tuple(found.shape), str(found.dtype)) == (type.shape, f"torch.{type.dtype}")
    return found


def refused(text: str) -> list[str]:
    with pytest.raises(SpecError) as error:
        graphspec.compile(text)
    return [diagnostic.code for diagnostic in error.value.diagnostics]


shapes = st.lists(st.integers(1, 3), max_size=4)
numbers = st.one_of(
    st.integers(-(2**31), 2**31), st.floats(allow_nan=False, width=32), st.sampled_from([math.inf, -0.0])
)


@st.composite
def nested(draw: st.DrawFn) -> Any:
    elements = draw(st.sampled_from([numbers, st.booleans()]))

    def fill(shape: list[int]) -> Any:
        return [fill(shape[1:]) for _ in range(shape[0])] if shape else draw(elements)

    return fill(draw(shapes))


@given(nested())
def test_a_constant_is_what_numpy_makes_of_it(value: Any) -> None:
    expected = np.array(value)
    found = value_of(f"{{constant: {written(value)}}}")
    assert tuple(found.shape) == (1, *expected.shape)
    assert found.dtype == {"b": torch.bool, "i": torch.int64, "f": torch.float32}[expected.dtype.kind]
    np.testing.assert_array_equal(found[0].numpy(), expected.astype(found.numpy().dtype))


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16", "int32", "int16", "int8", "uint8"])
def test_a_constant_has_the_dtype_that_it_says(dtype: str) -> None:
    assert value_of(f"{{constant: [[1, 2], [3, 4]], dtype: {dtype}}}").dtype == getattr(torch, dtype)


@bundled(
    16,
    ("node", "code"),
    [
        ("{constant: [[1, 2], [3]]}", "wrong-type"),
        ("{constant: []}", "wrong-type"),
        ("{constant: [[], []]}", "wrong-type"),
        ("{constant: [1, true]}", "wrong-type"),
        ("{constant: [1, a]}", "wrong-type"),
        ("{constant: null}", "wrong-type"),
        ("{constant: text}", "wrong-type"),
        ("{constant: {a: 1}}", "wrong-type"),
        ("{constant: [.nan]}", "wrong-type"),
        ("{constant: [99999999999999999999]}", "number-too-large"),
        ("{constant: [[[[[[[[[1]]]]]]]]]}", "wrong-type"),
        ("{constant: [1, 2], dtype: bool}", "wrong-dtype"),
        ("{constant: [true], dtype: int64}", "wrong-dtype"),
        ("{constant: [0.5], dtype: int64}", "wrong-dtype"),
        ("{constant: [300], dtype: uint8}", "out-of-range"),
        ("{constant: [3], dtype: flaot32}", "out-of-range"),
        ("{constant: [1.0e+39]}", "out-of-range"),
        ("{constant: [70000], dtype: float16}", "out-of-range"),
        ("{op: linspace, start: 0, stop: 1.0e+300}", "out-of-range"),
        ("{op: full, shape: [2], fill_value: 1.0e+300}", "out-of-range"),
        ("{op: full, shape: [2], fill_value: 300, dtype: uint8}", "out-of-range"),
        ("{op: arange, stop: 3, start: -1, dtype: uint8}", "out-of-range"),
        ("{op: add, from: x, x2: [1.0e+39, 0, 0]}", "out-of-range"),
        ("{constant: [3], units: 8}", "unknown-key"),
        ("{constant: [3], from: x}", "input-count"),
        ("{op: zeros, from: x, shape: [3]}", "input-count"),
        ("{op: zeros, shape: [0]}", "out-of-range"),
        ("{op: full, shape: [2], fill_value: 0.5, dtype: int32}", "wrong-dtype"),
        ("{op: arange, from: x}", "missing-key"),
        ("{op: arange, from: x, axis: 0}", "out-of-range"),
        ("{op: arange, from: x, axis: 1, stop: 3}", "out-of-range"),
        ("{op: arange, from: x, axis: 1, step: 0}", "out-of-range"),
        ("{op: arange, from: x, axis: 1, step: 0.5}", "wrong-dtype"),
        ("{op: arange, stop: 0}", "out-of-range"),
        ("{op: cast, from: x}", "missing-key"),
        ("{op: multiply, from: x, x2: [1, 2]}", "shapes-differ"),
        ("{op: multiply, from: x, x2: [[[[1, 2, 3]]]]}", "shapes-differ"),
        ("{op: multiply, from: x, x2: [1, [2]]}", "out-of-range"),
        ("{op: multiply, from: x, x2: [true, true, false]}", "out-of-range"),
        ("{op: divide, from: x, x2: [1, 0, 2]}", "out-of-range"),
        ("{op: where, from: x, x1: [1, 2, 3], x2: [1, 2, 3]}", "input-count"),
    ],
)
def test_what_is_no_constant_is_refused(node: str, code: str) -> None:
    assert refused(spec(node)) == [code]


@pytest.mark.parametrize(
    ("cls", "number"),
    [
        pytest.param(cls, number, id=f"{cls.spec_name}-{number}")
        for cls in SOURCES
        for number in range(len(examples_of(cls)))
    ],
)
def test_what_makes_a_tensor_of_nothing_makes_what_keras_makes(cls: type[Layer], number: int) -> None:
    arguments = dict(examples_of(cls)[number].arguments)
    found = value_of(
        f"{{op: {cls.spec_name}, {', '.join(f'{k}: {written(v)}' for k, v in arguments.items())}}}"
    )
    expected = getattr(keras.ops, cls.spec_name)(**arguments)
    torch.testing.assert_close(found[0], expected, check_dtype="dtype" in arguments)


@pytest.mark.parametrize("text", ["stop: 5", "start: 2, stop: 9, step: 3", "start: 5, stop: -3, step: -2"])
def test_arange_without_a_tensor_is_that_of_keras(text: str) -> None:
    arguments = {key: int(value) for key, value in (part.split(": ") for part in text.split(", "))}
    arguments = {"start": 0, **arguments}
    torch.testing.assert_close(
        value_of(f"{{op: arange, {text}}}")[0], keras.ops.arange(**arguments), check_dtype=False
    )


POSITIONS = """
inputs: {tokens: {shape: [length], dtype: int64}}
nodes:
  places: {op: arange, from: tokens, axis: 1}
  where:  {layer: Embedding, input_dim: 12, output_dim: 4}
  what:   {layer: Embedding, from: tokens, input_dim: 50, output_dim: 4}
  scale:  {constant: [1, 2, 0.5, -1]}
  sum:    {merge: add, from: [where, what]}
  out:    {merge: multiply, from: [sum, scale]}
outputs: [out]
"""


def test_positions_are_embedded_up_to_their_table() -> None:
    program = graphspec.compile(POSITIONS)
    assert program.maximum_sizes == {"length": 12}
    module, tokens = program.module(), torch.randint(50, (3, 12))
    weights = module.state_dict()
    expected = weights["where.weight"][:12] + weights["what.weight"][tokens]
    torch.testing.assert_close(module(tokens), expected * torch.tensor([1, 2, 0.5, -1]))
    with pytest.raises(ValueError, match="`length` must be at most 12, not 13"):
        module(torch.zeros(1, 13, dtype=torch.int64))


@pytest.mark.parametrize("format", one_in(2, FORMATS))
def test_constants_export(format: str, tmp_path: Path) -> None:
    exported = export(graphspec.compile(POSITIONS), format, tmp_path / f"model.{format}")
    assert {name: (span.least, span.most) for name, span in exported.free.items()} == {
        "batch": (1, None),
        "length": (1, 12),
    }


@pytest.mark.parametrize("source", ["{constant: [3, 60]}", "{op: arange, stop: 61}"])
def test_integers_beyond_what_reads_them_are_refused(source: str) -> None:
    node = "{layer: Embedding, from: c, input_dim: 60, output_dim: 4}"
    text = spec(source).replace("outputs: {c", f"  e: {node}\noutputs: {{e")
    assert refused(text) == ["out-of-range"]


def test_a_module_with_constants_moves_copies_and_agrees_with_its_graph() -> None:
    program = graphspec.compile(POSITIONS)
    module = program.module().double().eval()
    assert module.scale.dtype == torch.float64
    tokens = torch.randint(50, (2, 7))
    found = interpreter.interpret(program, module, {"tokens": tokens})["out"]
    torch.testing.assert_close(copy.deepcopy(module)(tokens), found)


def test_blocks_that_differ_in_their_constants_are_one_class() -> None:
    program = graphspec.compile("""
inputs: {x: {shape: [3]}}
blocks:
  scaled:
    params: {by: required, kind: float32}
    inputs: [x]
    nodes:
      shift: {constant: $by, dtype: $kind}
      sum:   {merge: add, from: [x, shift]}
      out:   {op: multiply, x2: $by}
nodes:
  a: {block: scaled, from: x, by: [1.0, 2.0, 3.0]}
  b: {block: scaled, by: [0.5, 0.5, -1.0], kind: float64}
outputs: [b]
""")
    assert program.source.count("class ") == 2
    x, one, two = torch.randn(4, 3), torch.tensor([1.0, 2, 3]), torch.tensor([0.5, 0.5, -1])
    torch.testing.assert_close(program.module()(x), (((x + one) * one) + two.double()) * two)


@pytest.mark.parametrize("dtype", ["float16", "int32", "uint8"])
def test_a_list_takes_the_type_of_the_tensor_beside_it(dtype: str) -> None:
    program = graphspec.compile(spec("{op: add, from: x, x2: [1, 2, 3]}", dtype=dtype))
    module, x = program.module(), torch.ones(2, 2, 3).to(getattr(torch, dtype))
    assert module(x)["c"].dtype == x.dtype
    torch.testing.assert_close(module(x)["c"][0, 0].double(), torch.tensor([2.0, 3, 4]).double())


def test_a_left_out_constant_is_nothing() -> None:
    program = graphspec.compile("""
params: {shifted: false}
inputs: {x: {shape: [3]}}
nodes:
  shift: {constant: [1, 2, 3], when: $shifted}
  sum:   {merge: add, from: [x, shift]}
outputs: [sum]
""")
    x = torch.randn(2, 3)
    torch.testing.assert_close(program.module()(x), x)


def test_a_constant_has_no_weights_and_a_box_of_its_own() -> None:
    program = graphspec.compile(POSITIONS)
    row = next(row for row in program.summary().rows if row.name == "scale")
    assert (row.type, row.params, row.output_shape) == ("Constant", 0, (1, 4))
    assert "value [1, 2, 0.5, -1]" in plot(program, ".svg")


def test_images_meet_lists_along_their_channels() -> None:
    """A convolution keeps channels at axis 1 in memory."""
    program = graphspec.compile("""
inputs: {image: {shape: [6, 6, 3]}}
nodes:
  conv: {layer: Conv2D, filters: 3, kernel_size: 3}
  mean: {op: subtract, x2: [0.5, 0.25, 0.125]}
  last: {layer: Conv2D, filters: 2, kernel_size: 1}
outputs: [mean, last]
""")
    module, image = program.module(), torch.randn(2, 6, 6, 3)
    conv = module.get_submodule("conv")(image.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    torch.testing.assert_close(module(image)["mean"], conv - torch.tensor([0.5, 0.25, 0.125]))


@pytest.mark.parametrize(
    "initializer", ["zeros", "{name: constant, value: 2.5}", "glorot_uniform", "he_normal"]
)
def test_a_parameter_may_be_one_number(initializer: str) -> None:
    """Of fans of one each, as for Keras."""
    program = graphspec.compile(f"""
        inputs: {{x: {{shape: [n, 3]}}, s: {{shape: []}}}}
        nodes:
          scale: {{parameter: [], initializer: {initializer}}}
          y: {{compute: scale * x}}
          z: {{merge: multiply, from: [s, scale]}}
        outputs: [y, z]
    """)
    module, x, s = program.module(seed=1), torch.randn(4, 5, 3), torch.randn(4)
    assert program.summary().total_params == 1
    (scale,) = module.parameters()
    found = module(x, s)
    torch.testing.assert_close((found["y"], found["z"]), (x * scale.item(), s * scale.item()))
    known = {"zeros": 0.0, "{name: constant, value: 2.5}": 2.5}
    if initializer in known:
        assert scale.item() == known[initializer]
    else:
        assert 0 < abs(scale.item()) < {"glorot_uniform": 3**0.5, "he_normal": 2 * 2**0.5 / 0.87}[initializer]


def test_a_type_that_only_some_blocks_cast_to_is_written_where_it_is_cast() -> None:
    source = graphspec.compile("""
        inputs: {x: {shape: [3]}}
        blocks:
          b:
            params: {whole: false}
            inputs: [x]
            nodes:
              a: {op: cast, dtype: int64, when: $whole}
              c: {op: cast, dtype: float32}
              d: {layer: Dense, units: 3}
        nodes: {first: {block: b}, second: {block: b, whole: true}}
        outputs: [second]
    """).source
    assert ".to(torch.int64)" in source and "dtype" not in source
