"""Weights of imported modules: which train, which are one, how they start."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import graphspec
from graphspec.convert.pytorch import importing
from graphspec.convert.pytorch.functions import HANDLERS
from graphspec.convert.pytorch.pointwise import activation
from graphspec.convert.pytorch.proof import _run, prove
from graphspec.convert.pytorch.result import FromTorch
from graphspec.diagnostics import SpecError
from tests.convert.modules import common
from tests.convert.modules.given import floats

pytestmark = pytest.mark.usefixtures("little_repeats")


def equal(module: nn.Module, inputs: Any) -> FromTorch:
    """The import of a module that computes and learns the same, and trains as many numbers."""
    imported = graphspec.from_torch(module, inputs)
    assert imported.proved is not None and imported.proved.outputs < 1e-5, imported.proved
    assert imported.proved.gradient is not None and imported.proved.gradient < 1e-5, imported.proved
    assert imported.proved.steps is not None and imported.proved.steps < 1e-5, imported.proved
    assert not imported.frozen
    return imported


def trained(imported: FromTorch) -> int:
    return imported.program.summary().trainable_params


@pytest.mark.parametrize("how", common.TWO)
def test_a_tensor_of_two_layers_is_one_whatever_else_they_have(how: str) -> None:
    make, words, x = common.TWO[how]
    module = common.Two(make, *words)
    assert trained(equal(module, x)) == sum(p.numel() for p in module.parameters())


class TheirRMSNorm(nn.Module):
    """As transformers write it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.variance_epsilon = nn.Parameter(torch.ones(4)), 1e-6

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))


def test_what_is_recognised_by_its_name_trains() -> None:
    assert "RMSNormalization" in equal(nn.Sequential(TheirRMSNorm(), nn.Linear(4, 4)), floats(2, 4)).text


def test_a_table_of_embeddings_and_a_projection_is_one() -> None:
    assert trained(equal(common.Tables(), common.FIXED["table"])) == 40 * 4 + 40


@pytest.mark.parametrize("how", common.USED)
def test_a_weight_that_is_computed_with_elsewhere_is_one(how: str) -> None:
    equal(common.Used(how), common.USED[how])


@pytest.mark.parametrize(
    ("cls", "goes_on", "reads", "words"),
    [
        (nn.GRU, True, "last step", {}),
        (nn.LSTM, True, "state", {}),
        (nn.RNN, False, "state", {"nonlinearity": "relu"}),
        (nn.LSTM, False, "sequence", {}),
        (nn.GRU, True, "sequence", {"num_layers": 2, "bidirectional": True}),
    ],
)
def test_a_recurrent_layer_that_is_called_twice_is_one(
    cls: Any, goes_on: bool, reads: str, words: dict[str, Any]
) -> None:
    module = common.Recurrent(cls, goes_on, reads, **words)
    x = floats(2, 6, 3)
    imported = equal(module, (x, x))  # one tensor, for two inputs
    biases = sum(p.numel() for n, p in module.named_parameters() if "bias_hh" in n and cls is not nn.GRU)
    assert trained(imported) == sum(p.numel() for p in module.parameters()) - biases


@pytest.mark.parametrize("how", common.FIXED)
def test_a_tensor_that_forward_makes_does_not_train(how: str) -> None:
    module = common.Fixed(how)
    imported = equal(module, common.FIXED[how])
    used = sum(p.numel() for p in module.parameters()) - 4 * (how == "bias")
    assert trained(imported) == used


@pytest.mark.parametrize(
    "frozen",
    [("dense.weight",), ("dense.bias",), ("norm.weight",), ("dense.weight", "dense.bias"), ()],
    ids=" ".join,
)
def test_parameters_of_one_layer_train_apart(frozen: tuple[str, ...]) -> None:
    module = common.Frozen(*frozen)
    imported = equal(module, floats(2, 4))
    assert trained(imported) == sum(p.numel() for p in module.parameters() if p.requires_grad)


def test_a_recurrent_layer_trains_as_a_whole() -> None:
    module = common.Recurrent(nn.GRU, False, "sequence")
    module.layer.weight_hh_l0.requires_grad_(False)
    with pytest.raises(SpecError, match="some of its weights train, and others do not"):
        graphspec.from_torch(module, (floats(2, 6, 3), floats(2, 6, 3)))


def test_statistics_of_a_batch_without_weights_are_those_of_the_batch() -> None:
    """In training, where nothing else of the layer trains."""
    module = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, affine=False))
    assert "trainable" not in equal(module, floats(2, 4)).text


@pytest.mark.parametrize(
    ("module", "inputs"),
    [
        (parametrizations.weight_norm(nn.Linear(4, 5)), floats(2, 4)),
        (parametrizations.weight_norm(nn.ConvTranspose1d(3, 5, 3)), floats(2, 3, 6)),
        (common.Constant(), floats(2, 4)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_weights_that_are_computed_learn(module: nn.Module, inputs: Any) -> None:
    assert trained(equal(module, inputs)) == sum(p.numel() for p in module.parameters())


def test_the_norm_of_a_matrix_that_divides_it_is_no_constant() -> None:
    imported = graphspec.from_torch(parametrizations.spectral_norm(nn.Linear(4, 5)), floats(2, 4))
    assert not imported.frozen and "{parameter: [5, 4]}" in imported.text


# --- what they start with


def starts(imported: FromTorch) -> list[str]:
    """The weights of a spec that are trained from scratch, but start as those of the module."""
    fresh = imported.program.module(seed=1).state_dict()
    return [key for key, weight in imported.weights.items() if torch.equal(fresh[key], weight)]


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (nn.Linear(4, 4), "kernel_initializer: {name: constant, value: 0.02}"),
        (nn.Linear(4, 1), "kernel_initializer: {name: constant, value: 0.02}"),
        (nn.LayerNorm(4), "gamma_initializer: {name: constant, value: 0.02}"),
        (nn.BatchNorm1d(4), "gamma_initializer: {name: constant, value: 0.02}"),
        (nn.PReLU(), "alpha_initializer: {name: constant, value: 0.02}"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_constants_are_initializers(layer: nn.Module, words: str) -> None:
    assert isinstance(layer.weight, nn.Parameter)
    for name, parameter in layer.named_parameters():
        nn.init.constant_(parameter, 0.02 if name == "weight" else 0.5)
    imported = graphspec.from_torch(nn.Sequential(layer, nn.ReLU()), floats(2, 4))
    assert words in imported.text and starts(imported) == list(imported.weights)
    assert imported.notes == ()


def test_weights_of_all_kinds_start_as_those_of_the_module() -> None:
    module = common.Constants()
    imported = graphspec.from_torch(module, common.FIXED["table"])
    assert starts(imported) == [key for key in imported.weights if not key.startswith("table")]
    assert imported.notes == (
        "without the weights of the module, `table` starts with other numbers: train with `--weights`",
    )


def test_a_constant_that_no_initializer_of_a_layer_says_is_told() -> None:
    norm = nn.RMSNorm(4)
    nn.init.constant_(norm.weight, 0.5)
    imported = graphspec.from_torch(nn.Sequential(norm, nn.ReLU()), floats(2, 4))
    assert starts(imported) == [] and "`node_0` starts with other numbers" in imported.notes[0]


def test_numbers_that_were_drawn_are_told() -> None:
    layers = [nn.Linear(4, 4), nn.Linear(4, 1)]
    imported = graphspec.from_torch(nn.Sequential(*layers), floats(2, 4))
    assert starts(imported) == [] and "initializer" not in imported.text
    assert "`node_0`, `node_1` start with other numbers" in imported.notes[0]


# --- what the proof finds


def changed(imported: FromTorch, old: str, new: str) -> FromTorch:
    assert old in imported.text
    return replace(imported, program=graphspec.compile(imported.text.replace(old, new)))


def test_the_proof_finds_what_the_spec_trains_alone() -> None:
    module, x = common.Fixed("ones"), {"x": common.FIXED["ones"]}
    imported = changed(graphspec.from_torch(module, x, check=False), ", trainable: false", "")
    with pytest.raises(SpecError, match=r"the spec trains `dense2\.weight`, which is fixed in the module"):
        prove(imported, module, x)


def test_the_proof_finds_what_the_spec_does_not_train() -> None:
    module, x = nn.Linear(4, 4), {"input": floats(2, 4)}
    imported = changed(graphspec.from_torch(module, x, check=False), "units: 4", "units: 4, trainable: false")
    with pytest.raises(SpecError, match="the module trains `weight`, and the spec does not"):
        prove(imported, module, x)


def test_the_proof_finds_a_tensor_that_is_two_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "unsettled", lambda *_: {})
    with pytest.raises(
        SpecError, match=r"`first\.bias` is in the spec more than once: in `first\.bias`, `sec"
    ):
        graphspec.from_torch(common.Two(lambda: nn.Linear(4, 4), "bias"), floats(2, 4))


def test_the_proof_finds_a_parameter_that_is_lost() -> None:
    module, x = nn.Linear(4, 4), {"input": floats(2, 4)}
    nn.init.zeros_(module.bias)
    imported = changed(graphspec.from_torch(module, x, check=False), "units: 4", "units: 4, use_bias: false")
    weights = {key: value for key, value in imported.weights.items() if key.endswith("weight")}
    with pytest.raises(SpecError, match="the module trains `bias`, of which the spec lacks elements"):
        prove(replace(imported, weights=weights), module, x)


# --- where it is found


def test_the_first_node_that_differs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HANDLERS, "gelu", lambda w, self, **_: activation(w, self, "relu"))
    module = nn.Sequential(common.Step(), nn.LayerNorm(4), common.Step(), nn.Linear(4, 2))
    with pytest.raises(SpecError) as error:
        graphspec.from_torch(module, floats(2, 4))
    line = inspect.getsourcelines(common.Step.forward)[1] + 1
    said = "first in `gelu`, which is the node `node_0.act`, of the submodule `0.act` (GELU), at "
    assert said in str(error.value) and f"common.py:{line}" in str(error.value)


def test_the_line_that_does_not_run_is_named() -> None:
    imported = graphspec.from_torch(nn.Linear(4, 4), floats(2, 4), check=False)
    with pytest.raises(SpecError, match=r"does not run on the module's inputs \(in `dense: \{layer: Dense"):
        _run(imported, imported.program.module(), [torch.zeros(2, 5)])


def test_the_smallest_submodule_that_does_something_else_later_is_named() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.ReLU(), common.Counts()), nn.Linear(4, 2))
    with pytest.raises(SpecError, match=r"first in the submodule `1\.1` \(Counts\), which computes"):
        graphspec.from_torch(module, floats(2, 4))
