"""Normalization, EinsumDense, PositionEmbedding and Discretization: what they refuse, and unknown sizes."""

from __future__ import annotations

import pytest
import torch

import graphspec
from graphspec.contract import REGISTRY
from graphspec.contract.layer import LayerError
from graphspec.tensor import Tensor, symbol

BATCH, LENGTH = symbol("batch"), symbol("length")


def tensor(*shape, dtype="float32"):
    return Tensor((BATCH, *shape), dtype)


def refused(name, x, **arguments):
    with pytest.raises(LayerError) as error:
        REGISTRY["layer"][name].model_validate(arguments).infer(x)
    return error.value


def inferred(name, x, **arguments):
    return REGISTRY["layer"][name].model_validate(arguments).infer(x)


def test_normalization_needs_to_be_told():
    assert refused("Normalization", tensor(LENGTH)).code == "unknown-size"
    for arguments, missing in (({"mean": 1.0}, "variance"), ({"variance": 1.0}, "mean")):
        error = refused("Normalization", tensor(3), **arguments)
        assert (error.code, error.argument) == ("missing-key", missing)
    for mean in ([1, 2], [[1, 2, 3]], [[1], [2, 3]], []):
        assert refused("Normalization", tensor(3), mean=mean, variance=1).argument == "mean"
    assert refused("Normalization", tensor(3), mean=0, variance=[1, -1, 1]).code == "out-of-range"
    assert refused("Normalization", tensor(LENGTH), mean=[1], variance=[1]).code == "unknown-size"
    assert refused("Normalization", tensor(3), mean=[1], variance=[1], axis=0).argument == "axis"
    assert inferred("Normalization", tensor(LENGTH, 2, dtype="int32"), mean=[1, 2], variance=1) == tensor(
        LENGTH, 2
    )


def test_normalization_tells_its_mistake_in_a_spec():
    spec = "inputs: {x: {shape: [3]}}\nnodes:\n  n: {layer: Normalization, mean: [a]}\noutputs: [n]\n"
    with pytest.raises(graphspec.SpecError) as error:
        graphspec.compile(spec)
    (mistake,) = error.value.diagnostics
    assert mistake.code == "wrong-type"
    assert mistake.message.endswith("must be a number or a list of numbers")


@pytest.mark.parametrize(
    ("equation", "output_shape", "bias_axes", "argument"),
    [
        ("ab,bc", 5, None, "equation"),
        ("ab,bc->a", 5, None, "equation"),
        ("ab,bc->ca", 5, None, "equation"),
        ("ab,abc->ac", 5, None, "equation"),
        ("abc,cd->abd", 5, None, "equation"),
        ("abb,bc->abc", 5, None, "equation"),
        ("ab,bc->ad", 5, None, "equation"),
        ("ab,bcd->ac", 5, None, "equation"),
        ("...ab,bc->...c...", 5, None, "equation"),
        ("...b,bc->ac", 5, None, "equation"),
        ("ab,bc->ac", [5, 6], None, "output_shape"),
        ("ab,bc->ac", [None], None, "output_shape"),
        ("ab,b->ab", 5, None, "output_shape"),
        ("ab,bc->ac", 5, "b", "bias_axes"),
        ("ab,bc->ac", 5, "ac", "bias_axes"),
    ],
)
def test_equations_are_checked(equation, output_shape, bias_axes, argument):
    arguments = {"equation": equation, "output_shape": output_shape, "bias_axes": bias_axes}
    assert refused("EinsumDense", tensor(7), **arguments).argument == argument


def test_einsum_dense_keeps_unknown_sizes():
    arguments = {"equation": "abc,cd->abd", "output_shape": [None, 5]}
    assert inferred("EinsumDense", tensor(LENGTH, 3), **arguments) == tensor(LENGTH, 5)
    error = refused("EinsumDense", tensor(3, LENGTH), **arguments)
    assert (error.code, error.inputs) == ("unknown-size", (0,))
    fixed = {"equation": "abc,cd->abd", "output_shape": [4, 5]}
    assert refused("EinsumDense", tensor(LENGTH, 3), **fixed).code == "shapes-differ"
    elided = {"equation": "...x,xy->...y", "output_shape": 5}
    assert inferred("EinsumDense", tensor(2, LENGTH, 3), **elided) == tensor(2, LENGTH, 5)


def test_positions_are_cut_to_the_length_at_hand():
    spec = """
        inputs: {x: {shape: [length, 4]}}
        nodes:
          positions: {layer: PositionEmbedding, from: x, sequence_length: 6}
        outputs: [positions]
    """
    module = graphspec.compile(spec).module()
    for length in (1, 5, 6):
        found = module(torch.zeros(2, length, 4))
        assert torch.equal(found, module.positions.weight[:length].expand(2, length, 4))
    error = refused("PositionEmbedding", tensor(7, 4), sequence_length=6)
    assert (error.code, error.help) == ("out-of-range", "write `sequence_length: 7`")
    assert refused("PositionEmbedding", tensor(4), sequence_length=6).code == "wrong-rank"
    assert refused("PositionEmbedding", tensor(3, LENGTH), sequence_length=6).code == "unknown-size"


def test_boundaries_rise():
    for boundaries in ([1, 0], [0, 0]):
        error = refused("Discretization", tensor(3), bin_boundaries=boundaries)
        assert error.argument == "bin_boundaries"
    assert refused("Discretization", tensor(3, dtype="int32"), bin_boundaries=[0]).code == "wrong-dtype"
    counted = {"bin_boundaries": [0, 1], "output_mode": "count"}
    assert inferred("Discretization", tensor(LENGTH), **counted) == tensor(3)
    assert refused("Discretization", tensor(LENGTH, 2), **counted).code == "wrong-rank"
