"""Activations with arguments: beside Keras, where they run, in emitted source, what is refused, imports."""

from __future__ import annotations

import functools
import json
from typing import Any

import keras
import pytest
import torch

import graphspec
from graphspec.contract import REGISTRY
from graphspec.contract.activations import ACTIVATIONS, ActivationFunction
from graphspec.contract.layer import LayerError
from graphspec.emit.library import activations as emitted
from graphspec.reference import layers
from graphspec.tensor import Tensor, symbol
from tests import bundled
from tests.keras_saved import KERAS_WARNS

CASES: list[tuple[str, dict[str, Any]]] = [
    ("gelu", {"approximate": True}),
    ("leaky_relu", {"negative_slope": 0.1}),
    ("leaky_relu", {"negative_slope": 0.01}),
    ("elu", {"alpha": 0.5}),
    ("celu", {"alpha": 0.7}),
    ("hard_shrink", {"threshold": 0.2}),
    ("soft_shrink", {"threshold": 0.3}),
    ("squareplus", {"b": 1}),
    ("relu", {"negative_slope": 0.1}),
    ("relu", {"max_value": 0.5}),
    ("relu", {"max_value": 6}),
    ("relu", {"threshold": 0.2}),
    ("relu", {"threshold": 0.2, "max_value": 0.6}),
    ("relu", {"threshold": 0.2, "negative_slope": 0.3}),
    ("relu", {"negative_slope": 0.2, "max_value": 0.4, "threshold": 0.1}),
    ("relu", {"negative_slope": 0.2, "max_value": 0.4}),
    ("softmax", {"axis": 1}),
    ("log_softmax", {"axis": -2}),
    ("glu", {"axis": 1}),
]


def compiled(node: dict[str, Any], *shape: int) -> graphspec.Program:
    text = f"inputs: {{x: {{shape: {list(shape)}}}}}\nnodes: {{y: {json.dumps(node)}}}\noutputs: [y]\n"
    return graphspec.compile(text)


@bundled(16, ("name", "arguments"), CASES, ids=str)
def test_arguments_are_those_of_keras(name: str, arguments: dict[str, Any]) -> None:
    """As an expression, as a callable, and where an image has its channels at axis 1, in float64."""
    x = torch.randn(3, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = getattr(keras.activations, name)(x, **arguments)
    module = compiled({"layer": "Activation", "activation": {"name": name, **arguments}}, 4, 6).module()
    torch.testing.assert_close(module(x), expected, rtol=1e-12, atol=1e-12)
    function = ActivationFunction.parse({"name": name, **arguments}).callable()
    space = {"torch": torch, "nn": torch.nn, "F": torch.nn.functional, "partial": functools.partial}
    found = eval(function, {**space, **vars(emitted)})
    torch.testing.assert_close(found(x), expected, rtol=1e-12, atol=1e-12)


def test_uses_of_a_block_differ_in_an_argument_or_an_axis() -> None:
    program = graphspec.compile("""
inputs: {x: {shape: [6, 8]}}
blocks:
  b:
    params: {slope: 0.1, axis: 1}
    inputs: [x]
    nodes:
      hidden: {layer: Dense, units: 8, activation: {name: leaky_relu, negative_slope: $slope}}
      shares: {layer: Softmax, axis: $axis}
nodes:
  first:  {block: b}
  second: {block: b, slope: 0.3, axis: 2}
outputs: [first, second]
""")
    assert program.source.count("class B") == 1 and "from functools import partial" in program.source
    module = program.module()
    x = torch.randn(2, 6, 8)
    found = module(x)
    for axis, (name, slope) in enumerate({"first": 0.1, "second": 0.3}.items(), 1):
        block = getattr(module, name)
        x = torch.nn.functional.leaky_relu(block.hidden(x), slope).softmax(axis)
        torch.testing.assert_close(found[name], x)


def test_activations_that_differ_between_uses_are_typed_as_functions() -> None:
    program = graphspec.compile("""
inputs: {x: {shape: [8]}}
blocks:
  b: {params: {activation: relu}, inputs: [x], nodes: {d: {layer: Dense, units: 8, activation: $activation}}}
nodes:
  a: {block: b, activation: sigmoid}
  c: {block: b, activation: tanh}
outputs: [c]
""")
    assert "activation: Callable[[Tensor], Tensor]" in program.source


@pytest.mark.parametrize(
    ("written", "message", "help"),
    [
        ("{name: gelu, aproximate: true}", "`activation` of `Dense` has no", "did you mean `approximate`?"),
        ("{name: leaky_rleu}", 'unknown activation "leaky_rleu"', "did you mean `leaky_relu`?"),
        ("{name: elu, alpha: a}", '`alpha` of `activation` of `Dense` is "a"', "write a number"),
        ("{leaky_relu: 0.1}", "activation must be", "write {name: leaky_relu, negative_slope: 0.1}"),
        (
            "leaky_relu(0.1)",
            "unknown activation",
            "write arguments next to the name: {name: leaky_relu, ...}",
        ),
        ("{name: softmax, axis: 3}", "`softmax` has no axis 3 here", None),
        ("{name: softmax, axis: 0}", "axis 0 is the batch", "count from 1, or from the end: `axis: -1`"),
        ("{name: celu, alpha: 0}", "`alpha` of `activation` of `Dense` is 0, but must be more than", None),
        ("{name: glu, axis: 1}", "`glu` halves axis 1 of", None),
    ],
)  # fmt: skip
def test_wrong_names_and_arguments_are_told(written: str, message: str, help: str | None) -> None:
    text = (
        f"inputs: {{x: {{shape: [3, 8]}}}}\nnodes: {{y: {{layer: Dense, units: 8, activation: {written}}}}}\n"
    )
    with pytest.raises(graphspec.SpecError) as error:
        graphspec.compile(text + "outputs: [y]\n")
    (found,) = error.value.diagnostics
    assert message in found.message and found.span is not None
    assert help is None or (found.help is not None and help in found.help)


@pytest.mark.parametrize("name", ["LSTM", "ConvLSTM2D"])
def test_a_recurrent_layer_needs_the_size_that_it_has(name: str) -> None:
    arguments = {"units": 4} if name == "LSTM" else {"filters": 4, "kernel_size": 3}
    layer = REGISTRY["layer"][name].model_validate({**arguments, "activation": "glu"})
    shape = (5, 3) if name == "LSTM" else (5, 8, 8, 3)
    with pytest.raises(LayerError, match="`glu` changes the size"):
        layer.infer(Tensor((symbol("batch"), *shape), "float32"), None, None)


def test_a_softmax_along_another_axis_ends_in_no_probabilities() -> None:
    for axis, ending in ((-1, "softmax"), (1, None)):
        activation = {"name": "softmax", "axis": axis}
        layer = REGISTRY["layer"]["Dense"].model_validate({"units": 4, "activation": activation})
        assert layer.output_activation() == ending
    slope = REGISTRY["layer"]["Dense"].model_validate(
        {"units": 4, "activation": {"name": "relu", "negative_slope": 1}}
    )
    assert slope.output_activation() is None


def test_every_activation_has_a_page_with_its_arguments() -> None:
    for cls in ACTIVATIONS.values():
        page = next(page for page in layers.find(cls.word) if page.kind == "activation")
        assert [parameter.name for parameter in page.parameters] == list(cls.model_fields) and page.doc


@KERAS_WARNS
def test_layers_of_keras_as_activations_are_imported() -> None:
    inputs = keras.Input((6, 5))
    layers = keras.layers
    x = layers.Dense(4, activation=layers.LeakyReLU(0.1))(inputs)
    x = layers.Dense(4, activation=layers.ReLU(max_value=6))(x)
    x = layers.LSTM(4, activation=layers.ELU(0.5), return_sequences=True)(x)
    x = layers.Dense(4, activation=layers.Softmax(axis=1))(x)
    x = layers.Dense(4, activation=layers.Activation("swish"))(x)
    model = keras.Model(inputs, layers.Dense(4, activation=layers.Softmax())(x))
    spec = graphspec.from_keras(model)
    for text in (
        "{name: leaky_relu, negative_slope: 0.1}",
        "{name: relu, max_value: 6}",
        "{name: elu, alpha: 0.5}",
        "{name: softmax, axis: 1}",
        "activation: silu",
        "activation: softmax",
    ):
        assert text in spec.text
    value = torch.randn(2, 6, 5)
    module = spec.program.module(weights=spec.weights)
    torch.testing.assert_close(module(value), model(value), rtol=1e-5, atol=1e-5)
