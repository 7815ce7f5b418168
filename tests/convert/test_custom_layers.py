"""Keras models with layers of one's own: what is inside of them comes in."""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
from keras import ops
from typer.testing import CliRunner

import graphspec
from graphspec.cli.app import app
from graphspec.contract import REGISTRY
from graphspec.convert import import_keras
from graphspec.convert.config import KerasLayer
from graphspec.convert.phases import by_default
from graphspec.convert.proof import difference
from graphspec.diagnostics import SpecError
from tests import one_in
from tests.convert.custom_models import MODELS
from tests.keras_saved import KERAS_WARNS, randomize

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


@pytest.mark.parametrize("name", one_in(5, MODELS))
def test_models_with_code_agree_with_keras(name: str) -> None:
    model = MODELS[name]()
    randomize(model)
    imported = graphspec.from_keras(model)
    assert imported.weights is not None
    assert difference(imported.program, imported.weights, model) < 1e-5
    assert not any("train_step" in note for note in imported.notes)
    trained = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    assert imported.program.summary().trainable_params == trained
    again = graphspec.from_keras(model)  # the first has left the model as it was
    assert again.text == imported.text


def refused(model: Any) -> str:
    with pytest.raises(SpecError) as raised:
        graphspec.from_keras(model)
    assert [item.code for item in raised.value.diagnostics] == ["import-unsupported"]
    return str(raised.value)


def one(function: Any, *shape: int) -> Any:
    class Own(keras.layers.Layer):
        def __init__(self) -> None:
            super().__init__(name="own")
            self.dense = keras.layers.Dense(4)
            self.state = self.add_weight(shape=(), initializer="zeros", trainable=False)

        def call(self, x: Any) -> Any:
            return function(self, self.dense(x))

    x = keras.Input(shape or (4,), name="x")
    return keras.Model(x, Own()(x))


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda layer, x: x - ops.mean(x, axis=0, keepdims=True), "may not mix examples"),
        (lambda layer, x: x * ops.cast(ops.shape(x)[0], "float32"), "with the number of examples"),
        (lambda layer, x: x / ops.shape(x)[0], "with the number of examples"),
        (lambda layer, x: ops.matmul(x, ops.transpose(layer.dense.kernel)), "a weight of another layer"),
        (lambda layer, x: x + ops.reshape(ops.arange(ops.shape(x)[0]), (-1, 1)), "for each example"),
        (lambda layer, x: (layer.dense.kernel.assign(layer.dense.kernel), x)[1], "it assigns to"),
        (lambda layer, x: x if float(ops.sum(x)) > 0 else -x, "Own"),
        (lambda layer, x: ops.transpose(x), "is not the batch"),
        (lambda layer, x: ops.cond(ops.sum(x) > 0, lambda: x, lambda: -x), "cond"),
    ],
)
def test_code_that_no_graph_can_be_is_refused_by_name(function: Any, said: str) -> None:
    found = refused(one(function))
    assert said in found and "own" in found.lower()


def test_a_file_names_the_class_in_a_chain(layers: Any, tmp_path: Path) -> None:
    """Its config may have no name."""
    inner = keras.Sequential([keras.Input((4,)), layers.Scale(name="scale")])
    keras.Sequential([keras.Input((4,)), inner]).save(tmp_path / "chain.keras")
    with pytest.raises(SpecError, match="Scale"):
        import_keras(tmp_path / "chain.keras")


def test_what_is_left_out_is_told(layers: Any) -> None:
    class Penalty(keras.regularizers.Regularizer):
        def __call__(self, x: Any) -> Any:
            return ops.sum(x)

        def get_config(self) -> dict[str, Any]:
            return {}

    class Drop(keras.layers.Layer):
        def call(self, x: Any, training: bool = False) -> Any:
            return x * 2 if training else x

    x, unread = keras.Input((4,), name="x"), keras.Input((3,), name="unread")
    start = keras.initializers.Constant(np.arange(3.0))
    y = keras.layers.Dense(3, bias_initializer=start, kernel_regularizer=Penalty(), name="y")(x)
    model = keras.Model([x, unread], Drop(name="drop")(y))
    metric = keras.metrics.MeanAbsoluteError(name="mine")
    model.compile(keras.optimizers.SGD(0.5, use_ema=True), "mse", metrics=[metric])
    imported = graphspec.from_keras(model)
    notes = " ".join(imported.notes)
    for part in ("`unread`", "`kernel_regularizer`", "`bias_initializer`", "`drop`", "`mine`"):
        assert part in notes
    assert (
        "use_ema: true" in imported.text and "loss: mse" in imported.text
    ) or "mean_squared" in imported.text


def test_noise_has_the_size_of_the_batch() -> None:
    class Sampling(keras.layers.Layer):
        def call(self, inputs: Any) -> Any:
            mean, log = inputs
            return mean + ops.exp(0.5 * log) * keras.random.normal(ops.shape(mean))

    x = keras.Input((4,), name="x")
    mean, log = (keras.layers.Dense(2, name=word)(x) for word in ("mean", "log"))
    imported = graphspec.from_keras(keras.Model(x, [mean, Sampling()([mean, log])]))
    module = imported.program.module()
    one, two = (module(torch.zeros(3, 4)) for _ in range(2))
    (same, drawn), (also, other) = one.values(), two.values()
    assert torch.equal(same, also) and drawn.shape == (3, 2) and not torch.equal(drawn, other)
    assert len(set(drawn.flatten().tolist())) == 6


def test_a_functional_model_of_an_own_class_comes_in_with_a_note() -> None:
    class Trainer(keras.Model):
        def train_step(self, data: Any) -> Any:
            raise NotImplementedError

    inputs = keras.Input((4,), name="x")
    imported = graphspec.from_keras(Trainer(inputs, keras.layers.Dense(2)(inputs)))
    assert "layer: Dense" in imported.text
    assert any("train_step" in note for note in imported.notes)


def sigmoid(x: Any) -> Any:
    """Not the one of Keras, whose name it has."""
    return ops.clip(0.2 * x + 0.5, 0, 1)


def around(layer: Any, *shape: int) -> Any:
    x = keras.Input(shape, name="x")
    return keras.Model(x, layer(x))


class Coded(keras.Model):
    """A class whose code is given; it is called once on an example."""

    def __init__(self, code: Any, example: Any, **inner: Any):
        super().__init__()
        self.code = code
        for word, layer in inner.items():
            setattr(self, word, layer)
        self(example)

    def call(self, x: Any) -> Any:
        return self.code(self, x)


@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.GRU(2, recurrent_activation=sigmoid, name="mine"),
        keras.layers.RNN(keras.layers.LSTMCell(2, recurrent_activation=sigmoid), name="mine"),
        keras.layers.TimeDistributed(keras.layers.GRU(2, activation=sigmoid, name="mine")),
    ],
)
def test_a_function_inside_a_layer_is_not_taken_for_the_one_of_its_name(layer: Any) -> None:
    shape = (2, 3, 2) if isinstance(layer, keras.layers.TimeDistributed) else (3, 2)
    found = refused(around(layer, *shape))
    assert "`mine`" in found and "activation` is a function" in found


def test_a_function_at_the_end_of_what_is_wrapped_comes_in() -> None:
    model = around(keras.layers.TimeDistributed(keras.layers.Dense(2, activation=sigmoid)), 3, 2)
    assert "TimeDistributed" not in graphspec.from_keras(model).text


def test_indices_and_a_function_come_in_together() -> None:
    """A first run finds that the input holds indices, and leaves no trace in the second."""
    inner = {"e": keras.layers.Embedding(10, 4), "d": keras.layers.Dense(3, activation=sigmoid)}
    model = Coded(lambda m, x: m.d(ops.mean(m.e(x), 1)), np.zeros((2, 5), "int32"), **inner)
    assert "op: clip" in graphspec.from_keras(model).text
    assert model.d.activation is sigmoid


@pytest.mark.parametrize("key", ["a", 0])
def test_a_part_that_a_class_leaves_unread_is_left_out(key: Any) -> None:
    examples = [np.zeros((2, 5), "float32"), np.zeros((2, 4), "float32")]
    example = dict(zip("ab", examples, strict=True)) if key == "a" else examples
    model = Coded(lambda m, x: m.d(x[key]), example, d=keras.layers.Dense(3))
    assert any("nothing reads it" in note for note in graphspec.from_keras(model).notes)


def test_inputs_in_a_list_in_a_list_are_compared() -> None:
    unread, x, other = (keras.Input((size,)) for size in (3, 4, 2))  # Keras numbers their names
    model = keras.Model([[unread, x], other], keras.layers.Lambda(lambda x: 2 * x)(x))
    assert len(graphspec.from_keras(model).notes) == 2


@pytest.mark.parametrize("layer", [keras.layers.Dense(2), keras.layers.Dense(2, activation=sigmoid)])
def test_a_loss_that_no_file_holds_is_left_out(layer: Any) -> None:
    class Loss:
        def __call__(self, y: Any, found: Any) -> Any:
            return ops.mean(y - found)

    model = around(layer, 3)
    model.compile("sgd", loss=Loss())
    assert any("settings of `compile` are left out" in note for note in graphspec.from_keras(model).notes)


def test_a_layer_that_always_trains_or_never_is_told() -> None:
    x = keras.Input((4,), name="x")
    base = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization()], name="base")
    plain = keras.Model(x, keras.layers.Dropout(0.5, name="drop")(base(x, training=False), training=True))
    inner = {"norm": keras.layers.BatchNormalization(), "drop": keras.layers.Dropout(0.5)}
    code = Coded(lambda m, x: m.drop(m.norm(x, training=False), training=True), np.ones((2, 4)), **inner)
    for model, name in ((plain, "base"), (code, "norm")):
        notes = graphspec.from_keras(model).notes
        for word, value in ((name, False), ("drop", True)):
            assert f"`{word}` is always called with training={value}, which the spec does not say" in notes
    assert "not compared" in notes[-1]
    usual = keras.Model(x, keras.layers.Dropout(0.5)(keras.layers.BatchNormalization()(x)))
    assert not graphspec.from_keras(usual).notes


def test_numbers_that_are_like_the_number_of_examples_come_in() -> None:
    """It is 61 first, and another where that ends in a refusal."""
    days = one(lambda layer, x: ops.reshape(x, (-1, 4)) / 366)
    assert "366" in graphspec.from_keras(days).text
    steps = np.arange(122.0, dtype="float32").reshape(-1, 1)
    graphspec.from_keras(around(keras.layers.Lambda(lambda x: x + ops.convert_to_tensor(steps)), 122, 1))


def test_what_keras_writes_of_training_is_known() -> None:
    for name in dir(keras.layers):
        kind: Any = getattr(keras.layers, name)
        if name in REGISTRY["layer"] and hasattr(kind, "call") and "Dense" not in name:  # float8 alone
            said = inspect.signature(kind.call).parameters.get("training")
            assert said is None or said.default is by_default(KerasLayer(name, name, "keras.layers", {}, []))
