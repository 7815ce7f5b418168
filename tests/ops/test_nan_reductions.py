"""Reductions that pass over NaN, beside Keras on tensors that have some."""

import keras
import pytest
import torch

from graphspec.contract import REGISTRY
from tests import bundled, oracle
from tests.layer_contract import Case, assert_equal, gradients
from tests.layers.examples import examples_of

NAMES = sorted(name for name in REGISTRY["op"] if name.startswith("nan") and name != "nan_to_num")
CASES = [
    pytest.param(Case(REGISTRY["op"][name], example), id=f"{name}-{number}")
    for name in NAMES
    for number, example in enumerate(examples_of(REGISTRY["op"][name]))
    if example.dtype == "float32"
]


def with_nan(case):
    """The case's input, in which every third number is NaN, and the whole second example."""
    x = case.tensors()[0].detach()
    x.view(-1)[::3] = torch.nan
    x[1] = torch.nan
    return x.requires_grad_()


@bundled(16, "case", CASES)
def test_nan_is_passed_over_as_keras_does(case):
    ours, theirs = with_nan(case), with_nan(case)
    with oracle.double_precision():
        expected = getattr(keras.ops, case.cls.spec_name)(theirs, **case.example.arguments)
    actual = case.module()(ours)
    assert_equal(actual, expected, "output")
    rest = [i for i in range(len(ours)) if i != 1]  # frameworks differ where nothing is left
    a, b = gradients((actual[rest],), [ours]), gradients((expected[rest],), [theirs])
    assert_equal(a[0][rest], b[0][rest], "gradient")
