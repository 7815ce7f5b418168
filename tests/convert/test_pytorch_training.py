"""What a module of PyTorch's does in training alone, in its spec."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest
import torch
from torch import nn

import graphspec
from graphspec.diagnostics import SpecError
from tests.convert.modules import noisy
from tests.convert.modules.given import differences

pytestmark = pytest.mark.usefixtures("little_repeats")


def floats(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def test_attention_keeps_its_dropout_whatever_its_name() -> None:
    plain = graphspec.from_torch(noisy.FusedAttention(), floats(2, 5, 16))
    assert "key_dim: 4, dropout: 0.25}" in plain.text
    masked = graphspec.from_torch(noisy.FusedAttention(masked=True), floats(2, 5, 16))
    assert "{layer: Dropout, rate: 0.25}" in masked.text and "dot_product_attention" not in masked.text
    for imported in (plain, masked):
        assert not differences(imported.notes)
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
        ("normal", "{layer: GaussianNoise, stddev: 0.1}"),
        ("channels", "{layer: SpatialDropout1D, rate: 0.3}"),
        ("off", ""),
    ],
)
def test_what_training_adds_is_a_layer(how: str, layer: str) -> None:
    imported = graphspec.from_torch(noisy.Inline(how), floats(2, 5, 6))
    assert layer in imported.text and not differences(imported.notes)
    assert ("Dropout" in imported.text or "Noise" in imported.text) == bool(layer)
    assert imported.proved is not None and imported.proved.gradient is not None


def test_what_training_keeps_is_kept() -> None:
    """How fast statistics follow, what is added to variances, and which weights are fixed."""
    module = nn.Sequential(
        nn.Linear(6, 6).requires_grad_(False), nn.BatchNorm1d(6, momentum=0.3, eps=0.5), nn.Linear(6, 6)
    )
    module.append(nn.GroupNorm(3, 6, eps=0.25))
    text = graphspec.from_torch(module.eval(), torch.randn(4, 6)).text
    assert "momentum: 0.7" in text and "epsilon: 0.5" in text and "epsilon: 0.25" in text
    assert text.count("trainable: false") == 1


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("unscaled", "`mul` at .*noisy.py:.* is left out"),
        ("other rows", "`index` at .*noisy.py:.* is left out"),
        ("renormalized", "`mul` at .*noisy.py:.* is left out"),
        ("biased", "`add` at .*noisy.py:.* is left out"),
        ("scaled", "`mul` at .*noisy.py:.* is left out"),
        ("python", "numbers of `random` in training is left out"),
        ("norm", "in training, `norm` normalize as in inference"),
        ("whole", "what it does in training alone is left out: its control flow depends on .*noisy.py"),
    ],
)
def test_what_no_layer_does_in_training_is_told(how: str, told: str) -> None:
    imported = graphspec.from_torch(noisy.Inline(how), floats(2, 5, 6), check=False)
    assert len(differences(imported.notes)) == 1 + (how == "python")
    assert re.search(told, differences(imported.notes)[0])
    assert "Drop" not in imported.text and "Noise" not in imported.text


def test_what_looks_like_dropout_or_noise_is_neither() -> None:
    imported = graphspec.from_torch(noisy.Several([*noisy.UNLIKE]), floats(2, 5, 6), check=False)
    told = [
        re.fullmatch("`(.*)` at .*noisy.py:.* is left out: .*", note) for note in differences(imported.notes)
    ]
    assert sorted(match[1] for match in told if match) == ["add", "bernoulli", "dropout", "mul"]
    assert "Drop" not in imported.text and "Noise" not in imported.text


def test_what_drops_in_inference_is_refused() -> None:
    for module, shape in ((noisy.Always(), (2, 6)), (noisy.AlwaysAttention(), (2, 5, 16))):
        with pytest.raises(SpecError, match="drops values in inference, too"):
            graphspec.from_torch(module, floats(*shape))


def test_causal_attention_that_is_no_layer_drops() -> None:
    imported = graphspec.from_torch(noisy.FusedAttention(causal=True), floats(2, 5, 16))
    assert "{layer: Dropout, rate: 0.25}" in imported.text and not differences(imported.notes)


@pytest.mark.parametrize("added", [False, True])
def test_a_query_that_sees_no_key_is_zero(added: bool) -> None:
    x = floats(2, 5, 16)
    x[0, :, 0] = -1
    module = noisy.FusedAttention(masked=True, added=added).eval()
    imported = graphspec.from_torch(module, x, check=False)
    ours = imported.program.module()
    ours.load_state_dict(imported.weights)
    for mode in (False, True):
        y = ours.train(mode)(x)
        y = y if isinstance(y, torch.Tensor) else next(iter(y.values()))
        assert torch.allclose(y[0], module(x)[0], atol=1e-6)
    y.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in ours.parameters())


def test_noise_is_read_where_the_module_reads_it() -> None:
    imported = graphspec.from_torch(noisy.Beside(), floats(2, 6), check=False)
    assert "{merge: subtract, from: [dropout, product]}" in imported.text


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (nn.RReLU(), "`1` draw their slopes: the spec has the one of inference"),
        (
            nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)),
            "_u`, `1.parametrizations.weight.0._v` change with each batch: the spec keeps them as they are",
        ),
    ],
    ids=["slopes", "iterated"],
)
def test_what_moves_in_training_is_told(layer: nn.Module, said: str) -> None:
    module = nn.Sequential(nn.Linear(4, 4), layer)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    imported = graphspec.from_torch(module, torch.randn(2, 4))
    assert any(note.startswith("in training, ") and said in note for note in imported.notes), imported.notes
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_dropped_heads_are_dropped_whole() -> None:
    imported = graphspec.from_torch(noisy.HeadDrop(), floats(2, 5, 16), check=False)
    assert "{layer: Dropout, rate: 0.25, noise_shape: [null, null, 1, 1]}" in imported.text


def test_numbers_of_python_leave_the_rest() -> None:
    imported = graphspec.from_torch(noisy.LayerDrop(), floats(2, 5, 16), check=False)
    assert "key_dim: 4, dropout: 0.25}" in imported.text
    assert "numbers of `random`" in differences(imported.notes)[0]


def test_a_module_that_does_not_train_is_told() -> None:
    imported = graphspec.from_torch(noisy.ForInference(6, 6), floats(2, 6))
    assert differences(imported.notes) == ["what it does in training alone is left out: for inference"]


def test_other_outputs_in_training_are_told() -> None:
    imported = graphspec.from_torch(noisy.Helper(6, 6), floats(2, 6), check=False)
    assert len(differences(imported.notes)) == 1 and "returns other outputs" in differences(imported.notes)[0]


def test_the_module_is_as_before() -> None:
    module = noisy.Writes().train()
    weights, state = module.dense.weight.detach().clone(), module.generator.get_state()
    python, numpy, own = random.getstate(), str(np.random.get_state()), torch.get_rng_state()
    graphspec.from_torch(module, floats(2, 6))
    assert torch.equal(module.dense.weight, weights) and module.training
    assert module.mean is None and not module.done and not module.seen
    assert torch.equal(module.generator.get_state(), state) and torch.equal(torch.get_rng_state(), own)
    assert random.getstate() == python and str(np.random.get_state()) == numpy


def test_a_part_taken_before_a_write_shows_it() -> None:
    imported = graphspec.from_torch(noisy.ViewBefore(), floats(2, 4, 6))
    assert imported.proved is not None and imported.proved.outputs < 1e-6
