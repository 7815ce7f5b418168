"""Keras models with layers of one's own: what is inside of them comes in."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import graphspec
from graphspec.cli import app
from graphspec.diagnostics import SpecError
from tests.keras_saved import KERAS_WARNS

pytestmark = KERAS_WARNS

SOURCE = '''
import keras
from keras import layers, ops


@keras.saving.register_keras_serializable(package="mine")
class Gate(layers.Layer):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.inner = layers.Dense(units, activation="sigmoid")

    def call(self, x):
        return x * self.inner(x)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable(package="mine")
class Block(layers.Layer):
    """A custom layer inside a custom layer."""

    def __init__(self, units, heads=2, **kwargs):
        super().__init__(**kwargs)
        self.units, self.heads = units, heads
        self.attention = layers.MultiHeadAttention(heads, units // heads)
        self.norm = layers.LayerNormalization()
        self.gate = Gate(units)
        self.drop = layers.Dropout(0.1)

    def call(self, x, training=False):
        y = self.norm(x + self.drop(self.attention(x, x), training=training))
        return ops.maximum(self.gate(y), 0.1 * y)

    def get_config(self):
        return {**super().get_config(), "units": self.units, "heads": self.heads}


class Scale(layers.Layer):
    """A weight without a layer around it."""

    def build(self, shape):
        self.gamma = self.add_weight(shape=(shape[-1],), initializer="ones")

    def call(self, x):
        return x * self.gamma
'''


@pytest.fixture
def layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    name = f"own_layers_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield importlib.import_module(name)
    sys.modules.pop(name, None)


def model_of(layers: Any) -> Any:
    inputs = keras.Input((5, 8), name="x")
    x = inputs
    for _ in range(3):
        x = layers.Block(8)(x)
    return keras.Model(inputs, keras.layers.Dense(2)(x), name="own")


def same(model: Any, imported: Any) -> None:
    module = imported.program.module().eval()
    module.load_state_dict({**module.state_dict(), **imported.weights})
    x = torch.randn(3, 5, 8)
    wanted = keras.ops.convert_to_numpy(model(x.numpy(), training=False))
    np.testing.assert_allclose(module(x).detach().numpy(), wanted, atol=1e-5)


def test_a_live_model_comes_in_with_what_is_inside(layers: Any) -> None:
    model = model_of(layers)
    imported = graphspec.from_keras(model)
    same(model, imported)
    assert "repeat: 2" in imported.text and "MultiHeadAttention" in imported.text
    assert "Dropout" in imported.text


def test_a_file_needs_permission(layers: Any, tmp_path: Path) -> None:
    model_of(layers).save(tmp_path / "own.keras")
    run = CliRunner()
    refused = run.invoke(app, ["import", "keras", "own.keras", "-o", "out"])
    assert refused.exit_code == 1 and "Block" in refused.output
    done = run.invoke(app, ["import", "keras", "own.keras", "-o", "out", "--allow", layers.__name__])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out" / "own.safetensors").is_file()
    other = run.invoke(app, ["import", "keras", "own.keras", "-o", "out2", "--allow", "other"])
    assert other.exit_code == 1 and "module-not-allowed" in other.output


def test_a_layer_with_bare_weights_is_refused(layers: Any) -> None:
    inputs = keras.Input((4,))
    with pytest.raises(SpecError) as error:
        graphspec.from_keras(keras.Model(inputs, layers.Scale(name="scale")(inputs)))
    assert error.value.diagnostics[0].code == "import-unsupported"
    assert "`scale`" in str(error.value)


def test_a_functional_model_of_an_own_class_comes_in_with_a_note() -> None:
    class Trainer(keras.Model):
        def train_step(self, data: Any) -> Any:
            raise NotImplementedError

    inputs = keras.Input((4,), name="x")
    imported = graphspec.from_keras(Trainer(inputs, keras.layers.Dense(2)(inputs)))
    assert "layer: Dense" in imported.text
    assert any("train_step" in note for note in imported.notes)
