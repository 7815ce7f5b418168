"""Every initializer beside Keras': equal distributions on weights large enough to tell."""

import json
from typing import Any

import keras
import numpy as np
import pytest

import graphspec
from graphspec.contract import REGISTRY
from graphspec.contract.initializers import Initializer
from graphspec.contract.layer import Example
from graphspec.diagnostics import SpecError
from graphspec.train.penalties import from_keras
from tests import bundled, oracle
from tests.layer_contract import Case

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
@bundled(16, "initializer", INITIALIZERS, ids=json.dumps)
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
    keras.utils.set_random_seed(0)  # the same draws each time: extremes of a normal distribution spread
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


PARAMETER = "inputs: {x: {shape: SHAPE}}\nnodes:\n  p: {parameter: SHAPE, initializer: INITIALIZER}\n" + (
    "  sum: {merge: add, from: [x, p]}\noutputs: [sum]\n"
)


@pytest.mark.parametrize("shape", [[4000], [120, 160], [8, 192], [6, 24, 48]], ids=str)
@bundled(16, "initializer", INITIALIZERS, ids=json.dumps)
def test_parameters_start_as_weights_of_keras(initializer: Any, shape: list[int]) -> None:
    word = initializer if isinstance(initializer, str) else initializer["name"]
    text = PARAMETER.replace("SHAPE", str(shape)).replace("INITIALIZER", json.dumps(initializer))
    if (word == "identity" and len(shape) != 2) or (word == "orthogonal" and len(shape) == 1):
        with pytest.raises(SpecError, match="cannot fill a parameter"):
            graphspec.compile(text)
        return
    found = graphspec.compile(text).module(seed=1).state_dict()["p"][0].numpy()
    given: dict[str, Any] = {} if isinstance(initializer, str) else initializer
    config = {key: value for key, value in given.items() if key != "name"}
    made = keras.initializers.get({"class_name": _camel(word), "config": config})
    wanted = np.asarray(made(shape))
    if word in ("identity", "zeros", "ones", "constant"):
        np.testing.assert_allclose(found, wanted)
    elif word == "orthogonal":
        rows, other = (array.reshape(-1, shape[-1]) for array in (found, wanted))
        small = rows if rows.shape[0] < rows.shape[1] else rows.T
        other = other if other.shape[0] < other.shape[1] else other.T
        np.testing.assert_allclose(small @ small.T, other @ other.T, atol=1e-4)
    else:
        spread = wanted.std()
        assert abs(found.std() - spread) < 6 * spread / found.size**0.5
        assert abs(found.mean() - wanted.mean()) < 8 * spread / found.size**0.5
        assert abs(np.abs(found).max() - np.abs(wanted).max()) < 1.5 * spread


def _camel(word: str) -> str:
    return "".join(part.capitalize() for part in word.split("_"))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        ("{layer: EinsumDense, equation: 'abc,cde->abde', output_shape: [null, 3, 5], KEY}", [4, 6]),
        ("{layer: EinsumDense, equation: 'ab,bcde->acde', output_shape: [2, 3, 4], KEY}", [5]),
        ("{layer: PReLU, alpha_initializer: INIT}", [3, 4, 5]),
        ("{layer: LayerNormalization, axis: [1, 2, 3], gamma_initializer: INIT}", [3, 4, 5]),
    ],
)
@pytest.mark.parametrize("gain", [1.0, 2.5])
def test_orthogonal_weights_of_many_axes(layer: str, shape: list[int], gain: float) -> None:
    init = f"{{name: orthogonal, gain: {gain}}}"
    node = layer.replace("KEY", "kernel_initializer: INIT").replace("INIT", init)
    program = graphspec.compile(f"inputs: {{x: {{shape: {shape}}}}}\nnodes: {{y: {node}}}\noutputs: [y]\n")
    module = program.module(seed=2)
    weight = next(value for name, value in module.state_dict().items() if name.endswith("weight")).numpy()
    assert weight.ndim >= 3
    matrix = weight.reshape(-1, weight.shape[-1])
    small = matrix if matrix.shape[0] < matrix.shape[1] else matrix.T
    np.testing.assert_allclose(small @ small.T, gain**2 * np.eye(len(small)), atol=1e-4)
    module(*program.example_inputs().values())


@pytest.mark.parametrize(
    ("initializer", "code", "says"),
    [
        ("{name: constant, value: [1, 2]}", "wrong-type", "must be a number"),
        ("{name: constant, valu: 1}", "unknown-key", "did you mean `value`?"),
        ("glorot", "out-of-range", "did you mean `glorot_uniform`?"),
        ("12", "wrong-type", ""),
    ],
)
def test_an_initializer_of_a_parameter_that_is_written_wrong(initializer: str, code: str, says: str) -> None:
    with pytest.raises(SpecError) as error:
        graphspec.compile(PARAMETER.replace("SHAPE", "[2, 3]").replace("INITIALIZER", initializer))
    (found,) = error.value.diagnostics
    assert found.code == code and says in f"{found.message} {found.help}"
