"""Regularizers and constraints beside Keras', for every weight of every layer that takes them."""

import functools
import operator
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import keras
import pytest
import torch

import graphspec
from graphspec.contract import REGISTRY
from graphspec.contract.layer import Example, Layer
from graphspec.train.loop import train
from graphspec.train.penalties import Penalties, from_keras
from tests import bundled, oracle
from tests.emit.test_emit import agrees
from tests.layer_contract import Case, assert_equal, copy_weights, paired
from tests.layers.examples import examples_of

FIELDS = ("_regularizer", "_constraint")


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    with oracle.double_precision():
        yield


def fields(cls: type[Layer]) -> list[str]:
    return [name for name in cls.model_fields if name.endswith(FIELDS) and not name.startswith("activity")]


def with_fields(example: Example, cls: type[Layer], values: dict[str, Any]) -> Example:
    """The example with a regularizer and a constraint for each weight that takes them."""
    own = {name: value for field, value in values.items() for name in fields(cls) if name.endswith(field)}
    return replace(example, arguments={**example.arguments, **own})


SETTINGS: list[dict[str, Any]] = [
    {"_regularizer": "l2", "_constraint": "max_norm"},
    {"_regularizer": {"name": "l1l2", "l1": 0.3, "l2": 0.7}, "_constraint": "non_neg"},
    {"_regularizer": {"name": "l1", "l1": 0.5}, "_constraint": "unit_norm"},
    {
        "_regularizer": "l1",
        "_constraint": {"name": "min_max_norm", "min_value": 0.5, "max_value": 0.9, "rate": 0.4},
    },
]


def cases() -> Iterator[Any]:
    """Each example with one of the settings, which are others for the next layer; of the first two of a layer
    one has a constraint that looks along an axis.
    """
    for place, (name, cls) in enumerate(sorted(REGISTRY["layer"].items())):
        if fields(cls):
            for number, example in enumerate(examples_of(cls)):
                if not example.masks:
                    often = number < 2
                    yield pytest.param(
                        *(cls, example, SETTINGS[(place + number) % len(SETTINGS)]),
                        id=f"{name}-{number}",
                        marks=() if often else pytest.mark.parity,
                    )


CASES = list(cases())


def keras_setting(kind: Any, value: Any) -> Any:
    if isinstance(value, str):
        return kind.get(value)
    return kind.get({"class_name": value["name"], "config": {k: v for k, v in value.items() if k != "name"}})


def assert_constrained(penalties: Penalties, case: Case, twin: Any, found: Any) -> None:
    """Constraints leave the weights as Keras' own leave those of the twin."""
    penalties.constrain()
    for variable in twin.layer.trainable_variables:
        if variable.constraint is not None:
            variable.assign(variable.constraint(variable))
    for weight, variable in paired(case.weights, twin.variables):
        assert_equal(found[weight.name], from_keras(weight, variable.value), weight.name)


@bundled(16, "cls, example, setting", CASES)
def test_every_weight_of_every_layer(cls: type[Layer], example: Example, setting: dict[str, Any]) -> None:
    case = Case(cls, with_fields(example, cls, setting))
    arguments = dict(case.example.arguments)
    for name in fields(case.cls):
        kind = keras.regularizers if name.endswith("_regularizer") else keras.constraints
        arguments[name] = keras_setting(kind, arguments[name])
    twin = oracle.build(case.cls, replace(case.example, arguments=arguments), case.tensors())
    twin.randomize()
    module = case.module()
    found = copy_weights(case, twin.variables, module)
    program = graphspec.compile(case.spec())
    penalties = Penalties(program.graph, module)
    losses = twin.layer._get_regularization_losses()
    assert bool(penalties) == any(weight.trainable for weight in case.weights) == bool(losses)
    if not losses:
        return
    expected = functools.reduce(operator.add, losses)
    assert_equal(penalties.loss(), torch.as_tensor(expected), "penalty")
    assert_constrained(penalties, case, twin, found)


@pytest.mark.parametrize("mode", ["rows", "columns"])
def test_orthogonality(mode: str) -> None:
    regularizer = {"name": "orthogonal_regularizer", "factor": 0.5, "mode": mode}
    case = Case(REGISTRY["layer"]["Dense"], Example({"units": 3, "kernel_regularizer": regularizer}, ((4,),)))
    module = case.module()
    penalties = Penalties(graphspec.compile(case.spec()).graph, module)
    kernel = module.state_dict()["node.weight"].T
    expected = keras.regularizers.OrthogonalRegularizer(0.5, mode)(kernel)
    assert_equal(penalties.loss().detach(), torch.as_tensor(expected).double(), mode)


SPEC = """
inputs:
  x: {shape: [3]}
nodes:
  hidden: {layer: Dense, units: 4, kernel_regularizer: {name: l2, l2: 0.5}, FROZEN kernel_constraint: UNIT}
  y:      {layer: Dense, units: 1}
outputs:
  y: {loss: mse}
train: {epochs: 1, batch_size: 8}
"""


@pytest.mark.parametrize("frozen", [False, True])
def test_training_counts_penalties_and_keeps_constraints(frozen: bool, tmp_path: Any) -> None:
    from safetensors.torch import load_file

    spec = SPEC.replace("UNIT", "unit_norm").replace("FROZEN", "trainable: false," if frozen else "")
    plain = spec.replace("kernel_regularizer: {name: l2, l2: 0.5},", "")
    runs = {}
    for name, text in {"with": spec, "without": plain}.items():
        loss = train(graphspec.compile(text), run_dir=tmp_path / name).history["loss"][0]
        assert isinstance(loss, float)
        runs[name] = loss
    difference = runs["with"] - runs["without"]
    assert difference == 0 if frozen else difference > 0.5
    weight = load_file(tmp_path / "with" / "last.safetensors")["hidden.weight"]
    norms = weight.norm(dim=1)
    assert torch.allclose(norms, torch.ones(4), atol=1e-4) is not frozen


ACTIVITY = """
inputs:
  x: {shape: [3]}
blocks:
  hidden:
    inputs: [x]
    nodes:
      dense: {layer: Dense, units: 4, activation: tanh, activity_regularizer: PENALTY}
nodes:
  a: {block: hidden, repeat: 2}
  b: {layer: ActivityRegularization, l1: 0.125}
  y: {layer: Dense, units: 1, activity_regularizer: l2}
outputs:
  y: {loss: mse}
"""


def test_activities_count_for_each_example() -> None:
    program = graphspec.compile(ACTIVITY.replace("PENALTY", "{name: l1_l2, l1: 0.5, l2: 0.25}"))
    module = program.module().double()
    x = torch.linspace(-1, 1, 15, dtype=torch.float64).reshape(5, 3)
    penalties = Penalties(program.graph, module)
    module(x)
    found = penalties.loss()

    regularizer = keras.regularizers.L1L2(0.5, 0.25)
    twin = keras.Sequential(
        [
            keras.layers.Dense(4, "tanh", activity_regularizer=regularizer, dtype="float64"),
            keras.layers.Dense(4, "tanh", activity_regularizer=regularizer, dtype="float64"),
            keras.layers.ActivityRegularization(l1=0.125, dtype="float64"),
            keras.layers.Dense(1, activity_regularizer="l2", dtype="float64"),
        ]
    )
    twin(x)
    twin.set_weights([value.numpy().T for value in module.state_dict().values()])
    twin(x)
    assert_equal(found, functools.reduce(operator.add, twin.losses), "activities")
    assert found.requires_grad


def test_probabilities_that_are_watched_are_judged_as_such() -> None:
    """They are no longer the last step, which logits leave off; neither at the top nor in a block."""
    layer = "{layer: Dense, units: 4, activation: softmax, activity_regularizer: l2}"
    program = graphspec.compile(f"""
inputs: {{x: {{shape: [3]}}}}
blocks:
  last: {{inputs: [x], nodes: {{dense: {layer}}}}}
nodes:
  y: {layer}
  z: {{block: last, from: x}}
outputs:
  y: {{loss: sparse_categorical_crossentropy}}
  z: {{loss: sparse_categorical_crossentropy}}
""")
    agrees(program)
    assert [output.activation for output in program.outputs.values()] == [None, None]


def test_an_activity_that_cannot_be_watched_is_told() -> None:
    spec = ACTIVITY.replace("PENALTY", "l1").replace(
        "y: {layer: Dense, units: 1,", "y: {layer: Dense, units: 1, repeat: 2,"
    )
    with pytest.raises(graphspec.SpecError) as error:
        graphspec.compile(spec)
    assert error.value.diagnostics[0].code == "not-supported"


@pytest.mark.parametrize(
    "name, arguments",
    [
        ("MultiHeadAttention", {"num_heads": 2, "key_dim": 3, "value_dim": 5}),
        ("MultiHeadAttention", {"num_heads": 2, "key_dim": 3, "use_gate": True, "output_shape": [2, 5]}),
        ("GroupQueryAttention", {"head_dim": 3, "num_query_heads": 4, "num_key_value_heads": 2}),
    ],
)
@pytest.mark.parametrize("call", [{}, {"return_attention_scores": True}], ids=["output", "scores"])
def test_projections_of_attention(name: str, arguments: dict[str, Any], call: dict[str, Any]) -> None:
    """Keras penalizes each projection; of grouped attention its outputs, too."""
    penalty = {"activity_regularizer": {"name": "l1_l2", "l1": 0.5, "l2": 0.25}}
    case = Case(REGISTRY["layer"][name], Example(arguments | penalty, ((6, 8), (5, 7)), call=call))
    given = {"activity_regularizer": keras.regularizers.L1L2(0.5, 0.25)}
    inputs = case.tensors()
    twin = oracle.build(case.cls, replace(case.example, arguments=arguments | given), inputs)
    twin.randomize()
    module = case.module()
    copy_weights(case, twin.variables, module)
    penalties = Penalties(graphspec.compile(case.spec()).graph, module)
    twin(inputs, training=False)
    module(*inputs)
    found = penalties.loss()
    assert_equal(found, functools.reduce(operator.add, twin.layer.losses), name)
    assert found.requires_grad


@pytest.mark.parametrize("penalty, code", [("l2", "not-supported"), ("orthogonal", "out-of-range")])
def test_attention_whose_penalty_cannot_be_is_told(penalty: str, code: str) -> None:
    """Inside TimeDistributed, and where it takes a matrix."""
    with pytest.raises(graphspec.SpecError) as error:
        graphspec.compile(f"""
inputs: {{x: {{shape: [3, 6, 8]}}}}
blocks:
  seen:
    inputs: [x]
    nodes:
      a:
        layer: MultiHeadAttention
        num_heads: 2
        key_dim: 3
        from: [x, x]
        activity_regularizer: {penalty}
nodes:
  y: {{layer: TimeDistributed, wraps: {{block: seen}}}}
outputs: [y]
""")
    assert [one.code for one in error.value.diagnostics] == [code]


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "SimpleRNN"])
def test_both_directions_of_a_recurrent_layer(cell: str) -> None:
    penalties = {"kernel_regularizer": "l1", "recurrent_regularizer": "l2", "bias_regularizer": "l2"}
    wrapped = {"layer": cell, "units": 3, **penalties, "bias_constraint": "max_norm"}
    case = Case(REGISTRY["layer"]["Bidirectional"], Example({"wraps": wrapped}, ((4, 2),)))
    twin = oracle.build(case.cls, case.example, case.tensors())
    twin.randomize()
    module = case.module()
    found = copy_weights(case, twin.variables, module)
    ours = Penalties(graphspec.compile(case.spec()).graph, module)
    assert_equal(ours.loss(), functools.reduce(operator.add, twin.layer.losses), "penalty")
    assert_constrained(ours, case, twin, found)
