"""The text half of the gallery in specs/: attention that is causal, padding that changes nothing, inputs of
several kinds trained together.
"""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
from torch import Tensor

import graphspec
from graphspec.train.loop import train
from tests import ROOT

SPECS = ROOT / "specs"


def program(name: str, **settings: Any) -> graphspec.Program:
    return graphspec.compile(SPECS / f"{name}.yaml", settings=settings)


def tokens(batch: int, length: int, high: int, low: int = 0) -> Tensor:
    return torch.randint(low, high, (batch, length), generator=torch.Generator().manual_seed(0))


# --- gpt


def test_gpt2_counts_as_published() -> None:
    assert graphspec.compile(SPECS / "gpt.yaml", preset="gpt2").summary().total_params == 124_439_808


@torch.no_grad()
def test_a_later_token_changes_no_earlier_output() -> None:
    module = program("gpt").module().eval()
    text = tokens(2, 12, 96)
    before = module(text)
    for place in (0, 5, 11):
        changed = text.clone()
        changed[:, place] = (changed[:, place] + 1) % 96
        after = module(changed)
        torch.testing.assert_close(after[:, :place], before[:, :place])
        assert not torch.allclose(after[:, place:], before[:, place:])


@torch.no_grad()
def test_a_gpt_takes_any_length_up_to_its_context() -> None:
    module = program("gpt").module().eval()
    text = tokens(1, 128, 96)
    whole = module(text)
    for length in (1, 2, 77, 128):
        torch.testing.assert_close(module(text[:, :length]), whole[:, :length])


def test_a_text_longer_than_the_context_is_refused() -> None:
    short = program("gpt", context=5)
    assert short.maximum_sizes == {"length": 5}
    assert short.example_inputs(2)["tokens"].shape == (2, 5)
    with pytest.raises(ValueError, match="`length` must be at most 5, not 6"):
        short.module()(tokens(1, 6, 96))


def test_one_table_reads_and_scores() -> None:
    module = program("gpt").module().eval()
    assert [key for key in module.state_dict() if "embedding" in key] == ["embedding.weight"]
    text = tokens(1, 4, 96)
    with torch.no_grad():
        before = module(text, logits=True)
        module.state_dict()["embedding.weight"][95] = 0  # a token that is not read: only its score changes
        after = module(text, logits=True)
    assert 95 not in text
    torch.testing.assert_close(after[..., :95], before[..., :95])
    assert (after[..., 95] == 0).all()


def keras_gpt(values: list[Tensor], depth: int, width: int, heads: int) -> Any:
    """The same network in Keras, with the weights of a module in the order of its state dict."""
    layers = keras.layers
    text = keras.Input((None,), dtype="int64")
    table = layers.ReversibleEmbedding(96, width)
    x = table(text)
    places = keras.Input((None, width))
    x = x + places  # KerasHub's positions, given
    for _ in range(depth):
        norm = layers.LayerNormalization(epsilon=1e-5)(x)
        attention = layers.MultiHeadAttention(heads, width // heads)
        x = x + attention(norm, norm, use_causal_mask=True)
        norm = layers.LayerNormalization(epsilon=1e-5)(x)
        grown = layers.Dense(4 * width, activation="gelu")(norm)
        x = x + layers.Dense(width)(grown)
    x = layers.LayerNormalization(epsilon=1e-5)(x)
    model = keras.Model([text, places], keras.ops.softmax(table(x, reverse=True)))
    shaped = []
    for variable, value in zip(model.weights, values, strict=True):
        matrix = value.T if value.dim() == 2 and "embedding" not in variable.path else value
        shaped.append(matrix.reshape(tuple(variable.shape)).numpy())
    model.set_weights(shaped)
    return model


@torch.no_grad()
def test_a_gpt_computes_what_keras_does() -> None:
    module = program("gpt", dropout=0.0, depth=2).module().eval()
    state = module.state_dict()
    positions = state.pop("positions.weight")
    text = tokens(2, 9, 96)
    model = keras_gpt(list(state.values()), depth=2, width=64, heads=4)
    expected = model([text, positions[:9].expand(2, 9, 64)])
    torch.testing.assert_close(module(text), expected, rtol=1e-4, atol=1e-6)


# --- transformer_classifier


@torch.no_grad()
def test_padding_changes_nothing() -> None:
    module = program("transformer_classifier").module().eval()
    text = tokens(3, 10, 20_000, low=1)
    padded = torch.cat([text, torch.zeros(3, 7, dtype=torch.int64)], 1)
    torch.testing.assert_close(module(padded), module(text))
    words = torch.cat([text, torch.ones(3, 7, dtype=torch.int64)], 1)
    assert not torch.allclose(module(words), module(text), atol=1e-6)


# --- all


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("gpt", {"vocabulary": 24, "context": 16, "width": 32, "depth": 2}),
        pytest.param("transformer_classifier", {"vocabulary": 200, "depth": 1}, marks=pytest.mark.parity),
        pytest.param("item_price", {"vocabulary": 200, "brands": 20, "size": 16}, marks=pytest.mark.parity),
    ],
)
def test_the_loss_falls(name: str, settings: dict[str, Any], tmp_path: Path) -> None:
    settings = {"train.optimizer": {"name": "adam", "learning_rate": 0.005}, **settings}
    result = train(program(name, **settings), device="cpu", run_dir=tmp_path / "run", epochs=8)
    losses = np.array(result.history["loss"])
    assert losses[-1] < 0.9 * losses[0]


def test_every_input_of_an_item_matters() -> None:
    item = program("item_price")
    module, inputs = item.module().eval(), item.example_inputs(4)
    with torch.no_grad():
        before = module(**inputs)
        for name, value in inputs.items():
            other = (value + 1) % 2 if not value.dtype.is_floating_point else value + 1
            assert not torch.allclose(module(**{**inputs, name: other.to(value.dtype)}), before), name
    assert all(weight.requires_grad for weight in module.parameters())
