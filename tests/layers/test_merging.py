"""The merges' shape rules, what they say when shapes differ, and how batch axes of 1 stretch."""

import re
from itertools import product as combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import graphspec
from graphspec.contract import REGISTRY
from graphspec.contract.broadcasting import promote
from graphspec.contract.layer import LayerError, Site
from graphspec.tensor import Tensor, symbol
from tests import one_in
from tests.emit.test_emit import agrees

BATCH = symbol("batch")


def tensor(*shape, dtype="float32", batch=BATCH):
    return Tensor((batch, *shape), dtype)


def merge(name, **arguments):
    return REGISTRY["merge"][name].model_validate(arguments)


def refused(layer, *inputs):
    with pytest.raises(LayerError) as error:
        layer.infer(*inputs)
    return error.value


def run(layer, *arrays):
    """The merge of real tensors, by the code that it emits."""
    types = tuple(
        Tensor((BATCH if a.shape[0] > 1 else 1, *a.shape[1:]), str(a.dtype).removeprefix("torch."))
        for a in arrays
    )
    output = layer.infer(*types)
    code = layer.code(Site(types, (output,)))
    names = {str(i): f"inputs[{i}]" for i in range(len(arrays))} | {"list": "inputs"}
    names |= {name: repr(value) for name, value in code.constants.items()}
    text = re.sub(r"\{(\w+)\}", lambda match: names[match[1]], code.call)
    result = eval(text, {"torch": torch, "F": torch.nn.functional, "inputs": list(arrays)})
    assert tuple(result.shape[1:]) == output.shape[1:]
    assert str(result.dtype) == f"torch.{output.dtype}"
    return result


def test_equal_symbolic_sizes_merge_and_different_ones_do_not():
    length, other = symbol("length"), symbol("other")
    add = merge("add")
    assert add.infer(tensor((length + 1) // 2, 8), tensor((length + 1) // 2, 8)).shape[1] == (length + 1) // 2
    error = refused(add, tensor(length, 8), tensor(other, 8))
    assert error.code == "shapes-differ"
    assert "same name" in error.help
    assert refused(add, tensor(length, 8), tensor(length - 1, 8)).inputs == (0, 1)
    assert add.infer(tensor(length, 8), tensor(1, 8)).shape == (BATCH, length, 8)


def test_the_smaller_rank_is_aligned_after_the_batch():
    assert merge("multiply").infer(tensor(3), tensor(4, 5, 3)).shape == (BATCH, 4, 5, 3)
    assert refused(merge("multiply"), tensor(4), tensor(4, 5, 3)).inputs == (0, 1)


@pytest.mark.parametrize(
    ("shapes", "layer"),
    [
        (
            ((28, 28, 64), (56, 56, 64)),
            "{layer: Conv2D, from: {input1}, filters: 64, kernel_size: 1, strides: 2}",
        ),
        (
            ((56, 56, 32), (28, 28, 64)),
            "{layer: Conv2D, from: {input0}, filters: 64, kernel_size: 1, strides: 2}",
        ),
        (
            ((8, 28, 64), (8, 56, 64)),
            "{layer: Conv2D, from: {input1}, filters: 64, kernel_size: 1, strides: [1, 2]}",
        ),
        (((28, 28, 32), (28, 28, 64)), "{layer: Conv2D, from: {input0}, filters: 64, kernel_size: 1}"),
        (((100, 8), (50, 8)), "{layer: Conv1D, from: {input0}, filters: 8, kernel_size: 1, strides: 2}"),
        (((7,), (9,)), "{layer: Dense, from: {input0}, units: 9}"),
        (((5, 9), (5, 7)), "{layer: Dense, from: {input1}, units: 9}"),
    ],
)
def test_a_layer_is_proposed_that_mends_the_shapes(shapes, layer):
    inputs = [tensor(*shape) for shape in shapes]
    error = refused(merge("add"), *inputs)
    assert layer in error.help
    assert all(str(x) in error.message for x in inputs)
    assert "{input0}" in error.message and "{input1}" in error.message


def test_the_first_pair_that_differs_is_named():
    assert refused(merge("add"), tensor(1, 4), tensor(3, 1), tensor(3, 5)).inputs == (0, 2)
    assert refused(merge("concatenate"), tensor(2, 4), tensor(2, 3), tensor(5, 4)).inputs == (0, 2)


def test_concatenation_adds_sizes_along_its_axis_alone():
    length, other = symbol("length"), symbol("other")
    joined = merge("concatenate", axis=1).infer(tensor(length, 8), tensor(other, 8), tensor(3, 8))
    assert joined.shape == (BATCH, length + other + 3, 8)
    assert refused(merge("concatenate"), tensor(1, 8), tensor(3, 8)).help.endswith("`axis: 1`")
    strided = refused(merge("concatenate"), tensor(8, 8, 3), tensor(4, 4, 5))
    assert "{layer: Conv2D, from: {input0}, filters: 3, kernel_size: 1, strides: 2}" in strided.help
    assert "GlobalAveragePooling2D" in refused(merge("concatenate"), tensor(8), tensor(4, 4, 5)).help


@pytest.mark.parametrize("name", ["concatenate", "stack"])
@pytest.mark.parametrize("axis", [0, 3, -4])
def test_the_batch_and_missing_axes_are_refused(name, axis):
    inputs = [tensor(4, 8), tensor(4, 8)] if name == "concatenate" else [tensor(4), tensor(4)]
    error = refused(merge(name, axis=axis), *inputs)
    assert (error.code, error.argument) == ("out-of-range", "axis")


def test_the_number_of_inputs_is_checked():
    for name in ("subtract", "dot"):
        layer = merge(name, **({"axes": 1} if name == "dot" else {}))
        assert refused(layer, tensor(4)).code == "input-count"
        assert refused(layer, tensor(4), tensor(4), tensor(4)).code == "input-count"


def test_dot_names_the_axes_that_would_fit():
    error = refused(merge("dot", axes=1), tensor(3, 5), tensor(10, 3))
    assert error.help.endswith("`axes: [1, 2]`")
    assert refused(merge("dot", axes=0), tensor(3), tensor(3)).argument == "axes"
    assert refused(merge("dot", axes=[1, 3]), tensor(3), tensor(3, 4)).argument == "axes"


@pytest.mark.parametrize("name", ["add", "multiply", "average", "maximum", "concatenate", "stack"])
def test_the_batch_axis_of_a_parameter_stretches(name):
    arguments = {"axis": 1} if name == "concatenate" else {}
    token, x = torch.randn(1, 2, 4), torch.randn(5, 2, 4)
    result = run(merge(name, **arguments), token, x)
    assert torch.equal(result, run(merge(name, **arguments), token.expand(5, 2, 4), x))


def test_dot_stretches_a_batch_of_one():
    a, b = torch.randn(1, 3, 4), torch.randn(5, 4, 2)
    assert torch.allclose(run(merge("dot", axes=[2, 1]), a, b), a @ b)


def test_axes_follow_the_layout_in_memory():
    image = tensor(4, 5, 3)
    layer = merge("concatenate")
    site = Site((image, image), (layer.infer(image, image),), channels_first=True)
    assert layer.memory(image, image) == "any"
    assert layer.code(site).constants == {"axis": 1}
    assert merge("add").memory(image, tensor(3)) == "spec"


sizes = st.sampled_from([1, 2, 3])
shapes = st.lists(
    st.tuples(sizes, sizes, sizes).flatmap(lambda s: st.integers(0, 3).map(lambda n: s[:n])),
    min_size=1,
    max_size=6,
)


@given(shapes, st.sampled_from(["add", "multiply", "average", "maximum", "minimum"]))
def test_inferred_shapes_are_the_real_ones(shapes, name):
    rank = max(len(shape) for shape in shapes)
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    inputs = [tensor(*shape) for shape in shapes]
    try:
        expected = np.broadcast_shapes(*padded)
    except ValueError:
        assert refused(merge(name), *inputs).code == "shapes-differ"
        return
    assert merge(name).infer(*inputs).shape[1:] == expected
    run(merge(name), *(torch.randn(5, *shape) for shape in shapes))


def test_dtypes_are_promoted_as_pytorch_does():
    names = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64"]
    for a, b in combinations(names, names):
        assert f"torch.{promote(a, b)}" == str(torch.promote_types(getattr(torch, a), getattr(torch, b)))


@pytest.mark.parametrize(
    "merge", one_in(3, ["add", "multiply", "average", "concatenate", "maximum", "minimum", "stack"])
)
def test_merges_of_hundreds(merge):
    program = graphspec.compile(
        f"inputs: {{x: {{shape: [2]}}}}\nnodes:\n  a: {{layer: Dense, units: 3, parallel: 230}}\n"
        f"  b: {{merge: {merge}, from: a.*}}\noutputs: [b]\n"
    )
    agrees(program)
