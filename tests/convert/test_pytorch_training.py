"""What a module of PyTorch's does in training alone, in its spec."""

from __future__ import annotations

import re

import pytest
import torch

import graphspec
from graphspec.diagnostics import SpecError
from tests.convert.modules import noisy


def floats(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def test_attention_keeps_its_dropout_whatever_its_name() -> None:
    plain = graphspec.from_torch(noisy.FusedAttention(), floats(2, 5, 16))
    assert "key_dim: 4, dropout: 0.25}" in plain.text
    masked = graphspec.from_torch(noisy.FusedAttention(masked=True), floats(2, 5, 16))
    assert "{layer: Dropout, rate: 0.25}" in masked.text and "dot_product_attention" not in masked.text
    for imported in (plain, masked):
        assert not imported.notes
        assert imported.proved is not None and imported.proved.gradient is not None


def test_stochastic_depth_of_the_users_own_stays_a_block() -> None:
    imported = graphspec.from_torch(noisy.Skips(), floats(2, 5, 8))
    assert "skip:  {layer: Dropout, rate: $rate, noise_shape: [null, 1, 1]}" in imported.text
    assert "repeat: {rate: [0.0, 0.1, 0.2]}" in imported.text
    assert imported.random == {"blocks.1.skip", "blocks.2.skip"}
    assert imported.proved is not None and imported.proved.gradient is not None


@pytest.mark.parametrize(
    ("how", "layer"),
    [
        ("dropout", "{layer: Dropout, rate: 0.3}"),
        ("steps", "{layer: Dropout, rate: 0.25, noise_shape: [null, null, 1]}"),
        ("noise", "{layer: GaussianNoise, stddev: 0.5}"),
        ("factor", "{layer: GaussianDropout, rate: 0.2}"),
        ("off", ""),
    ],
)
def test_what_training_adds_is_a_layer(how: str, layer: str) -> None:
    imported = graphspec.from_torch(noisy.Inline(how), floats(2, 5, 6))
    assert layer in imported.text and not imported.notes
    assert ("Dropout" in imported.text or "Noise" in imported.text) == bool(layer)
    assert imported.proved is not None and imported.proved.gradient is not None


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("unscaled", "`mul` at .*noisy.py:.* is left out"),
        ("other rows", "`index` at .*noisy.py:.* is left out"),
        ("renormalized", "`mul` at .*noisy.py:.* is left out"),
        ("python", "numbers of `random` in training is left out"),
        ("norm", "in training, `norm` normalize as in inference"),
        ("whole", "what it does in training alone is left out: its control flow depends on .*noisy.py"),
    ],
)
def test_what_no_layer_does_in_training_is_told(how: str, told: str) -> None:
    imported = graphspec.from_torch(noisy.Inline(how), floats(2, 5, 6), check=False)
    assert len(imported.notes) == 1
    assert re.search(told, imported.notes[0])


def test_what_drops_in_inference_is_refused() -> None:
    with pytest.raises(SpecError, match="drops values in inference, too"):
        graphspec.from_torch(noisy.Always(), floats(2, 6))
