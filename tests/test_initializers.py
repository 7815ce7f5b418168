"""Every initializer beside Keras': equal distributions on weights large enough to tell."""

import json
from typing import Any

import pytest

from graphspec.contract import REGISTRY
from graphspec.contract.initializers import Initializer
from graphspec.contract.layer import Example
from graphspec.diagnostics import SpecError
from graphspec.train.penalties import from_keras
from tests import oracle
from tests.contract import Case

INITIALIZERS: list[Any] = [
    "zeros",
    "ones",
    {"name": "constant", "value": 0.3},
    {"name": "random_normal", "mean": 1.0, "stddev": 0.2},
    {"name": "random_uniform", "minval": -0.1, "maxval": 0.3},
    {"name": "truncated_normal", "mean": 0.5, "stddev": 0.1},
    {"name": "variance_scaling", "scale": 3.0, "mode": "fan_out", "distribution": "untruncated_normal"},
    {"name": "variance_scaling", "scale": 0.5, "mode": "fan_avg", "distribution": "uniform"},
    {"name": "variance_scaling", "mode": "fan_in"},
    "glorot_uniform",
    "glorot_normal",
    "he_uniform",
    "he_normal",
    "lecun_uniform",
    "lecun_normal",
    {"name": "orthogonal", "gain": 1.5},
    {"name": "identity", "gain": 2.0},
]
LARGE: dict[str, tuple[str, dict[str, Any], tuple[int, ...], str]] = {
    "matrix": ("Dense", {"units": 120}, (160,), "kernel_initializer"),
    "kernel": ("Conv2D", {"filters": 48, "kernel_size": [3, 5]}, (6, 6, 24), "kernel_initializer"),
    "grouped": ("Conv1D", {"filters": 96, "kernel_size": 4, "groups": 2}, (9, 64), "kernel_initializer"),
    "depthwise": ("DepthwiseConv2D", {"kernel_size": [5, 7]}, (7, 7, 90), "depthwise_initializer"),
    "multiplied": (
        "SeparableConv1D",
        {"filters": 2, "kernel_size": 9, "depth_multiplier": 4},
        (9, 90),
        "depthwise_initializer",
    ),
    "vector": ("Dense", {"units": 6000}, (1,), "bias_initializer"),
    "table": ("Embedding", {"input_dim": 90, "output_dim": 130}, (3,), "embeddings_initializer"),
}
KERNELS = ("kernel", "grouped", "depthwise", "multiplied")
UNFIT = {*((shape, "identity") for shape in (*KERNELS, "vector")), ("vector", "orthogonal")}


@pytest.mark.parametrize("shape", LARGE)
@pytest.mark.parametrize("initializer", INITIALIZERS, ids=json.dumps)
def test_initializers_have_the_distribution_of_keras(initializer: Any, shape: str) -> None:
    word = initializer if isinstance(initializer, str) else initializer["name"]
    layer, arguments, size, argument = LARGE[shape]
    dtype = "int64" if shape == "table" else "float32"
    case = Case(REGISTRY["layer"][layer], Example({**arguments, argument: initializer}, (size,), dtype))
    if (shape, word) in UNFIT:
        with pytest.raises(SpecError) as caught:
            case.op()
        (diagnostic,) = caught.value.diagnostics
        assert diagnostic.code == "out-of-range" and word in diagnostic.message
        return
    twin = oracle.build(case.cls, case.example, case.tensors())
    position = -1 if shape == "vector" else 0
    weight, variable = case.weights[position], twin.variables[position]
    ours, theirs = (
        case.module().state_dict()[f"node.{weight.name}"],
        from_keras(weight, variable.value).detach(),
    )
    spread, count = float(theirs.std()), weight.size
    assert abs(float(ours.mean() - theirs.mean())) <= 1e-7 + 8 * spread / count**0.5
    assert abs(float(ours.std()) - spread) <= 1e-7 + 8 * spread / count**0.5
    assert abs(float(ours.max() - theirs.max())) <= 1e-7 + 1.5 * spread
    assert abs(float(ours.min() - theirs.min())) <= 1e-7 + 1.5 * spread


def test_every_initializer_is_compared() -> None:
    words = {item if isinstance(item, str) else item["name"] for item in INITIALIZERS}
    assert {member.word for member in Initializer.members.values()} == words
