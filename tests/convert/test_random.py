"""Random models of Keras' functional API: imported, they give the same outputs and the same gradients."""

import json
from collections.abc import Mapping
from typing import Any

import keras
import torch
from hypothesis import given
from hypothesis import strategies as st
from keras import layers as L
from torch import Tensor

import graphspec
from graphspec.convert import Imported
from graphspec.convert.weights import state
from tests import oracle
from tests.keras_saved import KERAS_WARNS, randomize

pytestmark = KERAS_WARNS

SHAPES = {2: (6,), 3: (5, 4), 4: (6, 6, 3)}
UNARY: dict[int, dict[str, Any]] = {
    2: {
        "dense": lambda d: L.Dense(d(st.sampled_from([4, 6])), d(st.sampled_from(["relu", "tanh", None]))),
        "batch": lambda d: L.BatchNormalization(),
        "norm": lambda d: L.LayerNormalization(epsilon=d(st.sampled_from([1e-3, 1e-5]))),
        "drop": lambda d: L.Dropout(0.5),
        "steps": lambda d: L.RepeatVector(3),
        "scale": lambda d: lambda x: 2.5 * x + 1,
        "act": lambda d: L.Activation(d(st.sampled_from(["gelu", "softmax", "silu"]))),
    },
    3: {
        "dense": lambda d: L.Dense(4, use_bias=d(st.booleans())),
        "conv": lambda d: L.Conv1D(4, 3, padding=d(st.sampled_from(["same", "causal"]))),
        "lstm": lambda d: L.LSTM(4, return_sequences=d(st.booleans())),
        "both": lambda d: L.Bidirectional(L.GRU(2, return_sequences=True)),
        "pool": lambda d: L.GlobalAveragePooling1D(),
        "norm": lambda d: L.LayerNormalization(),
        "cut": lambda d: lambda x: x[:, -2:],
        "mean": lambda d: lambda x: x - keras.ops.mean(x, axis=1, keepdims=True),
        "attend": lambda d: lambda x: L.MultiHeadAttention(2, 3)(x, x),
        "each": lambda d: L.TimeDistributed(L.Dense(4)),
    },
    4: {
        "conv": lambda d: L.Conv2D(4, d(st.sampled_from([1, 3])), d(st.sampled_from([1, 2])), "same"),
        "depth": lambda d: L.DepthwiseConv2D(2, padding="same"),
        "batch": lambda d: L.BatchNormalization(scale=d(st.booleans())),
        "pool": lambda d: L.MaxPooling2D(2, strides=1, padding="same"),
        "mean": lambda d: L.GlobalAveragePooling2D(),
        "flat": lambda d: L.Flatten(),
        "pad": lambda d: L.ZeroPadding2D(d(st.sampled_from([1, (0, 1)]))),
    },
}
BINARY = {
    "add": lambda a, b: L.Add()([a, b]),
    "multiply": lambda a, b: L.Multiply()([a, b]),
    "join": lambda a, b: L.Concatenate()([a, b]),
    "plus": lambda a, b: a + b,
    "minus": lambda a, b: a - b,
    "times": lambda a, b: a * b,
}


class Growing:
    """A model that grows call by call; `unread` are the tensors that are outputs so far."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        ranks = draw(st.lists(st.sampled_from([2, 3, 4]), min_size=1, max_size=2))
        self.inputs = [keras.Input(SHAPES[rank], name=f"input{i}") for i, rank in enumerate(ranks)]
        self.tensors, self.unread = list(self.inputs), list(self.inputs)
        self.shared: list[tuple[Any, Any]] = []

    def take(self) -> Any:
        tensor = self.draw(st.sampled_from(self.tensors))
        self.unread = [other for other in self.unread if other is not tensor]
        return tensor

    def give(self, tensor: Any) -> None:
        self.tensors.append(tensor)
        self.unread.append(tensor)

    def step(self) -> None:
        how = self.draw(st.sampled_from(["layer", "layer", "layer", "merge", "again", "model", "tower"]))
        x = self.take()
        rank = len(x.shape)
        made = UNARY[rank][self.draw(st.sampled_from(sorted(UNARY[rank])))](self.draw)
        alike = [other for other in self.tensors if other.shape == x.shape and other is not x]
        known = [layer for layer, shape in self.shared if shape == x.shape]
        if how == "merge" and alike:
            other = self.draw(st.sampled_from(alike))
            self.unread = [each for each in self.unread if each is not other]
            self.give(BINARY[self.draw(st.sampled_from(sorted(BINARY)))](x, other))
        elif how == "again" and known:
            self.give(self.draw(st.sampled_from(known))(x))
        elif how == "model":
            inner = keras.Input(x.shape[1:])
            model = keras.Model(inner, L.Dense(3)(made(inner)))
            self.shared.append((model, x.shape))
            self.give(model(x))
        elif how == "tower":
            for _ in range(self.draw(st.integers(2, 4))):
                y = L.Dense(x.shape[-1], "relu")(L.LayerNormalization()(x))
                x = L.Add()([x, y])
            self.give(x)
        else:
            if isinstance(made, keras.layers.Layer):
                self.shared.append((made, x.shape))
            self.give(made(x))


def random_model(draw: Any) -> Any:
    """A model with no input or node that nothing reads."""
    keras.utils.clear_session(free_memory=False)
    growing = Growing(draw)
    for _ in range(draw(st.integers(2, 8))):
        growing.step()
    outputs = [tensor for tensor in growing.unread if not any(tensor is i for i in growing.inputs)]
    inputs = [tensor for tensor in growing.inputs if not any(tensor is other for other in growing.unread)]
    return keras.Model(inputs, outputs)


class Gradients:
    """The gradients of a model's variables, where `state` looks for variables."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def layer(
        self, path: tuple[str, ...], stored: tuple[str, ...], parts: tuple[tuple[str, ...], ...] = ()
    ) -> list[Any]:
        found = self.model
        for name in path:
            found = found.get_layer(name)
        values = [variable.value for variable in found.weights]
        return [(torch.zeros_like(v) if v.grad is None else v.grad).numpy() for v in values]


def doubled(model: Any) -> Any:
    """The same model in float64."""
    config = json.loads(model.to_json().replace('"float32"', '"float64"'))
    found = keras.models.model_from_json(json.dumps(config))
    found.set_weights(model.get_weights())
    return found


def total(outputs: Any) -> Tensor:
    """A fixed random combination of outputs."""
    generator = torch.Generator().manual_seed(1)
    listed = list(outputs.values()) if isinstance(outputs, Mapping) else outputs
    listed = listed if isinstance(listed, (list, tuple)) else [listed]
    terms = [(x * torch.randn(x.shape, generator=generator, dtype=x.dtype)).sum() for x in listed]
    return torch.stack(terms).sum()


def assert_agree(imported: Imported, model: Any) -> None:
    """Outputs in inference, and the gradients of a combination of them, in float64."""
    module = imported.program.module().eval()
    assert imported.weights is not None
    module.load_state_dict({**module.state_dict(), **imported.weights})
    module.double()
    xs = [x.double().requires_grad_() for x in imported.program.example_inputs().values()]
    ys = [x.detach().clone().requires_grad_() for x in xs]
    with oracle.double_precision():
        twin = doubled(model)
        theirs = total(twin(ys if len(ys) > 1 else ys[0], training=False))
    ours = total(module(*xs))
    torch.testing.assert_close(ours, theirs)
    ours.backward()
    theirs.backward()
    for x, y in zip(xs, ys, strict=True):
        torch.testing.assert_close(x.grad, y.grad)
    held = dict(module.named_parameters())
    for key, expected in state(imported.program.graph, imported.places, Gradients(twin)).items():
        if key in held:
            grad = held[key].grad
            found = torch.zeros_like(held[key]) if grad is None else grad
            torch.testing.assert_close(found.float(), expected.float(), msg=key)


@given(st.data(), st.booleans())
def test_random_models_agree(data: st.DataObject, flat: bool) -> None:
    model = random_model(data.draw)  # Keras draws seeds for its layers, which no strategy may
    randomize(model)
    imported = graphspec.from_keras(model, flat=flat)
    assert not any("flat" in note for note in imported.notes)
    assert_agree(imported, model)


def mbconv(x: Any, expand: int, filters: int, strides: int) -> Any:
    """An inverted bottleneck with squeeze-and-excitation, as in EfficientNet."""
    came, y = x, x
    if expand > 1:
        y = L.Conv2D(x.shape[-1] * expand, 1, use_bias=False)(y)
        y = L.Activation("swish")(L.BatchNormalization()(y))
    y = L.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False)(y)
    y = L.Activation("swish")(L.BatchNormalization()(y))
    width = y.shape[-1]
    gate = L.Reshape((1, 1, width))(L.GlobalAveragePooling2D()(y))
    gate = L.Conv2D(max(1, x.shape[-1] // 4), 1, activation="swish")(gate)
    y = L.multiply([y, L.Conv2D(width, 1, activation="sigmoid")(gate)])
    y = L.BatchNormalization()(L.Conv2D(filters, 1, use_bias=False)(y))
    if strides > 1 or filters != came.shape[-1]:
        return y
    return L.add([L.Dropout(0.1, noise_shape=(None, 1, 1, 1))(y), came])


def test_stages_of_efficientnet_become_blocks() -> None:
    """Stages of other depths, some without an expansion, some with strides: each kind is written once."""
    x = image = keras.Input((16, 16, 3))
    x = L.Activation("swish")(L.BatchNormalization()(L.Conv2D(4, 3, padding="same", use_bias=False)(x)))
    for expand, filters, strides, depth in (
        (1, 4, 1, 1),
        (6, 6, 2, 2),
        (6, 6, 2, 3),
        (4, 8, 1, 3),
    ):
        for index in range(depth):
            x = mbconv(x, expand, filters, strides if index == 0 else 1)
    model = keras.Model(image, L.Dense(3, activation="softmax")(L.GlobalAveragePooling2D()(x)))
    imported = graphspec.from_keras(model)
    assert imported.text.count("DepthwiseConv2D") < 5
    assert_agree(imported, model)
