"""Weights that are trained otherwise: parameter groups, and what looks at how Keras stores a weight."""

from typing import Any

import keras
import pytest
import torch
from torch import Tensor

import graphspec
from graphspec.contract.registry import REGISTRY
from graphspec.train.config import OPTIMIZERS
from graphspec.train.freezing import set_trainable
from graphspec.train.optimizers import Optimizer
from graphspec.train.optimizers.setup import optimizer_for
from graphspec.train.penalties import from_keras
from graphspec.train.penalties import variable as stored
from graphspec.weights import held_weights, paths
from tests import ROOT, bundled, oracle
from tests.layer_contract import Case, copy_weights, paired

SPECS = ROOT / "specs"
SMALL = (
    "dense",
    "vae",
    "gpt",
    "posts",
    "siamese",
    "item_price",
    "unet",
    "ensemble",
    "transformer_classifier",
)


@pytest.mark.parametrize("name", SMALL)
def test_paths_are_the_names_of_the_modules_parameters(name: str) -> None:
    program = graphspec.compile(SPECS / f"{name}.yaml")
    found = list(paths(program.graph))
    assert len(found) == len(set(found))
    assert set(found) == dict(program.module().named_parameters()).keys()


SPEC = """
inputs:
  x: {shape: [6]}
nodes:
  body: {layer: Dense, units: 5, activation: tanh, trainable: false}
  middle: {layer: Dense, units: 4}
  class_token: {parameter: [1, 4]}
  head: {merge: add, from: [middle, class_token]}
outputs:
  head: {loss: mse, loss_weight: learned}
train:
  optimizer: {name: OPTIMIZER, learning_rate: 0.01, weight_decay: 0.1}
  schedule: {name: cosine_decay, decay_steps: 8}
  parameter_groups: GROUPS
"""


def trained(text: str, steps: int = 6) -> tuple[Any, dict[str, Tensor], Optimizer]:
    """The weights after some steps along gradients of which each weight has its own."""
    program = graphspec.compile(text)
    module = program.module(seed=3)
    set_trainable(program, module)
    variance = torch.full((), 0.5, requires_grad=True)
    found = optimizer_for(program, module, {"head": variance}, 10)
    for step in range(steps):
        for name, weight in found.weights.items():
            source = torch.Generator().manual_seed(100 * step + len(name))
            weight.grad = torch.randn(weight.shape, generator=source)
        found.step()
    return program, {name: weight.detach() for name, weight in module.named_parameters()}, found


def spec(groups: str, optimizer: str) -> str:
    return SPEC.replace("GROUPS", groups).replace("OPTIMIZER", optimizer)


def test_the_last_group_that_gives_a_setting_wins() -> None:
    _, plain, optimizer = trained(spec("[]", "adamw"))
    assert "body.weight" not in optimizer.weights
    groups = """
    - {match: "*.bias", weight_decay: 0}
    - {match: "body.*", learning_rate: 0.001, trainable: true}
    - {match: "body.bias", trainable: false}
    - {match: "middle.*", trainable: false}
    - {match: "middle.b?as", trainable: true}
"""
    program, other, optimizer = trained(spec(groups, "adamw"))
    start = dict(program.module(seed=3).named_parameters())
    moved = {name for name, weight in other.items() if not torch.equal(weight, start[name])}
    assert moved == {"body.weight", "middle.bias", "class_token"}
    assert set(optimizer.weights) == {*moved, "loss_weight/head"}
    assert not torch.equal(other["middle.bias"], plain["middle.bias"])  # which decays there, and not here


def test_weights_without_decay_are_those_that_keras_excludes() -> None:
    gradients = [torch.randn(3, 4), torch.randn(4)]
    variables = [keras.Variable(torch.ones(3, 4), name="kernel"), keras.Variable(torch.ones(4), name="bias")]
    theirs = keras.optimizers.Lion(weight_decay=0.5, learning_rate=0.1)
    theirs.exclude_from_weight_decay(var_names=["bias"])
    settings = OPTIMIZERS.read({"name": "lion", "weight_decay": 0.5, "learning_rate": 0.1})
    weights = {"a.kernel": torch.ones(3, 4), "a.bias": torch.ones(4)}
    free = settings.model_copy(update={"weight_decay": 0.0})
    ours = Optimizer(settings, weights, groups=[(["a.bias"], free, 1.0)])
    for _ in range(3):
        for weight, gradient in zip(weights.values(), gradients, strict=True):
            weight.grad = gradient.clone()
        ours.step()
        theirs.apply(gradients, variables)
    for weight, variable in zip(weights.values(), variables, strict=True):
        torch.testing.assert_close(weight, variable.value.detach())


def test_a_group_is_as_an_optimizer_of_its_own() -> None:
    groups = '[{match: "middle.*", learning_rate: 0.001, weight_decay: 0.3}]'
    _, together, optimizer = trained(spec(groups, "adam"))
    assert optimizer.learning_rate == pytest.approx(0.01 * 0.1464466, rel=1e-5)  # after 6 of 8 steps
    alone = spec("[]", "adam").replace("0.01, weight_decay: 0.1", "0.001, weight_decay: 0.3")
    _, other, _ = trained(alone)
    for name in ("middle.weight", "middle.bias"):
        torch.testing.assert_close(together[name], other[name], rtol=1e-5, atol=1e-7)


def test_a_learned_loss_weight_does_not_decay() -> None:
    program = graphspec.compile(spec("[]", "sgd"))
    variance = torch.full((), 0.5, requires_grad=True)
    optimizer = optimizer_for(program, program.module(), {"head": variance}, 10)
    for weight in optimizer.weights.values():
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    assert variance.item() == 0.5


LAYERS = ("Dense", "Conv2D", "Conv1D", "LSTM", "GRU", "Embedding", "DepthwiseConv2D", "MultiHeadAttention")


@pytest.mark.parametrize(
    ("name", "options"),
    [("muon", {}), ("adafactor", {}), ("lamb", {}), ("sgd", {"clipnorm": 0.5}), ("adam", {"clipvalue": 0.2})],
)
@bundled(16, "layer", LAYERS)
def test_updates_look_at_what_keras_stores(layer: str, name: str, options: dict[str, Any]) -> None:
    """Both rows of a GRU's bias are one variable."""
    cls = REGISTRY["layer"][layer]
    with oracle.double_precision():
        case = Case(cls, cls.examples[0])
        twin = oracle.build(cls, case.example, case.tensors())
        twin.randomize()
        module = case.module()
        found = copy_weights(case, twin.variables, module)
        program = graphspec.compile(case.spec())
        layouts = {each.key: each.weight for each in held_weights(program.graph)}
        weights = dict(module.named_parameters())
        ours = Optimizer(OPTIMIZERS.read({"name": name, **options}), weights, layouts=layouts)
        theirs = getattr(keras.optimizers, {"sgd": "SGD"}.get(name, name.title()))(**options)
        pairs = [(w, v) for w, v in paired(case.weights, twin.variables) if w.trainable]
        variables = {
            id(v): keras.Variable(v.value.detach().clone(), name=w.keras.replace("/", "_")) for w, v in pairs
        }
        for _ in range(3):
            gradients: dict[int, Any] = {}
            for weight, variable in pairs:
                tensor = weights[f"node.{weight.name}"]
                tensor.grad = torch.empty_like(tensor).normal_()  # in its layout, as autograd leaves it
                gradients.setdefault(id(variable), []).append((weight, tensor.grad))
            theirs.apply([stored(parts) for parts in gradients.values()], list(variables.values()))
            ours.step()
        for weight, variable in pairs:
            expected = from_keras(weight, variables[id(variable)].value.detach())
            torch.testing.assert_close(found[weight.name].detach(), expected, rtol=1e-6, atol=1e-8)
