"""Weights of imported modules: which train, which are one, how they start."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

import graphspec
from graphspec.convert.pytorch.result import FromTorch
from tests.convert.modules import common
from tests.convert.modules.given import floats

pytestmark = pytest.mark.usefixtures("little_repeats")


def equal(module: nn.Module, inputs: Any) -> FromTorch:
    """The import of a module that computes and learns the same, and trains as many numbers."""
    imported = graphspec.from_torch(module, inputs)
    assert imported.proved is not None and imported.proved.outputs < 1e-5, imported.proved
    assert imported.proved.gradient is not None and imported.proved.gradient < 1e-5, imported.proved
    assert not imported.frozen
    return imported


def trained(imported: FromTorch) -> int:
    return imported.program.summary().trainable_params


@pytest.mark.parametrize("how", common.TWO)
def test_a_tensor_of_two_layers_is_one_whatever_else_they_have(how: str) -> None:
    make, words, x = common.TWO[how]
    module = common.Two(make, *words)
    assert trained(equal(module, x)) == sum(p.numel() for p in module.parameters())


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


def test_statistics_of_a_batch_without_weights_are_those_of_the_batch() -> None:
    """In training, where nothing else of the layer trains."""
    module = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, affine=False))
    assert "trainable" not in equal(module, floats(2, 4)).text
