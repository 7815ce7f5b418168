"""Keras models with code of their own, in the manner of Keras' published examples: one for each cause for
which such models were refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers, ops


class ClassToken(layers.Layer):
    """Bare weights: one broadcast to the batch, one added to it; an embedding of a constant."""

    def __init__(self, length: int, dim: int) -> None:
        super().__init__()
        self.token = self.add_weight(shape=(1, 1, dim), initializer="random_normal")
        self.scale = self.add_weight(shape=(dim,), initializer="ones")
        self.places = layers.Embedding(length + 1, dim)
        self.length = length

    def call(self, x: Any) -> Any:
        batch, _, dim = ops.shape(x)
        token = ops.broadcast_to(self.token, [batch, 1, dim])
        return ops.concatenate([token, x * self.scale], axis=1) + self.places(ops.arange(self.length + 1))


class Heads(layers.Layer):
    """Attention by hand: the batch is moved behind the axis of queries, keys and values."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.qkv, self.out = layers.Dense(3 * dim), layers.Dense(dim)
        self.dim, self.heads = dim, heads
        self.bias = self.add_weight(shape=(5, heads), initializer="random_normal")

    def call(self, x: Any) -> Any:
        batch, length, _ = ops.shape(x)
        qkv = ops.reshape(self.qkv(x), (batch, length, 3, self.heads, self.dim // self.heads))
        q, k, v = ops.unstack(ops.transpose(qkv, (2, 0, 3, 1, 4)), axis=0)
        scores = q @ ops.transpose(k, (0, 1, 3, 2))
        away = np.abs(np.arange(length)[:, None] - np.arange(length)) % 5
        bias = ops.reshape(ops.take(self.bias, away.reshape(-1), axis=0), (length, length, self.heads))
        scores = ops.softmax(scores + ops.transpose(bias, (2, 0, 1))[None], axis=-1)
        found = ops.reshape(ops.transpose(scores @ v, (0, 2, 1, 3)), (batch, length, self.dim))
        return self.out(found)


class Windows(layers.Layer):
    """Windows of an image, merged with the batch, each through a layer of images."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.mix = layers.Conv2D(3, 3, padding="same"), layers.Dense(3)

    def call(self, x: Any) -> Any:
        x = ops.transpose(ops.reshape(x, (-1, 2, 4, 2, 4, 3)), (0, 1, 3, 2, 4, 5))
        x = self.mix(self.conv(ops.reshape(x, (-1, 4, 4, 3))))
        x = ops.transpose(ops.reshape(x, (-1, 2, 2, 4, 4, 3)), (0, 1, 3, 2, 4, 5))
        return ops.reshape(x, (-1, 8, 8, 3))


class Codebook(layers.Layer):
    """The nearest of bare vectors, for positions merged with the batch; a loss that is left out."""

    def build(self, shape: Any) -> None:
        self.codes = self.add_weight(shape=(shape[-1], 6), initializer="random_normal")

    def call(self, x: Any) -> Any:
        flat = ops.reshape(x, [-1, x.shape[-1]])
        near = ops.sum(flat**2, axis=1, keepdims=True) + ops.sum(self.codes**2, axis=0)
        chosen = ops.one_hot(ops.argmin(near - 2 * ops.matmul(flat, self.codes), axis=1), 6)
        found = ops.reshape(ops.matmul(chosen, ops.transpose(self.codes)), ops.shape(x))
        self.add_loss(ops.mean((found - x) ** 2))
        return x + ops.stop_gradient(found - x)


class Causal(layers.Layer):
    """A mask of the size of the batch, masks that a layer of one's own hands on."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = layers.Embedding(9, 8), layers.Embedding(6, 8)
        self.attention = layers.MultiHeadAttention(2, 4)
        self.matrix = self.add_weight(shape=(8, 8), initializer="random_normal")

    def call(self, x: Any) -> Any:
        batch, length = ops.shape(x)
        mask = ops.reshape(ops.arange(length)[:, None] >= ops.arange(length), (1, length, length))
        times = ops.concatenate([ops.expand_dims(batch, -1), ops.convert_to_tensor([1, 1])], axis=0)
        x = self.words(x) + self.places(ops.arange(length))
        x = x + ops.einsum("...i,ij->...j", x, self.matrix)
        return x + self.attention(x, x, attention_mask=ops.cast(ops.tile(mask, times), "int32"))


class Padded(layers.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.words = layers.Embedding(9, 8)

    def call(self, x: Any) -> Any:
        return self.words(x) * 2.0

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        return ops.not_equal(x, 0)


class Tree(keras.Model):
    """A class of a model that is called with tensors; a loop over them."""

    def __init__(self, depth: int = 2) -> None:
        super().__init__()
        self.depth = depth
        self.leaves = self.add_weight(shape=(2**depth, 3), initializer="random_normal")
        self.decide = layers.Dense(2**depth, activation="sigmoid")

    def call(self, x: Any) -> Any:
        batch = ops.shape(x)[0]
        one = ops.expand_dims(self.decide(x), axis=2)
        one = layers.concatenate([one, 1 - one], axis=2)
        mu, begin = ops.ones([batch, 1, 1]), 1
        for level in range(self.depth):
            mu = ops.tile(ops.reshape(mu, [batch, -1, 1]), (1, 1, 2)) * one[:, begin : begin + 2**level, :]
            begin += 2**level
        return ops.matmul(ops.reshape(mu, [batch, 2**self.depth]), ops.softmax(self.leaves))


def over(layer: Any, *shape: int, dtype: str = "float32") -> Any:
    x = keras.Input(shape, dtype=dtype, name="x")
    return keras.Model(x, layer(x))


def functions() -> Any:
    def mish(x: Any) -> Any:
        return x * ops.tanh(ops.softplus(x))

    x = keras.Input((6,), name="x")
    shared = layers.Dense(6, activation=mish)
    y = layers.Dense(4, activation=ops.gelu)(shared(shared(x)))
    return keras.Model(x, layers.Lambda(lambda t: t[:, :2] * 3, name="part")(y))


def called(model: Any, *shape: int) -> Any:
    model(np.zeros(shape, "float32"))
    return model


def inside_models() -> Any:
    inner = keras.Sequential([keras.Input((4, 8)), Heads(8, 2), layers.LayerNormalization()], name="inner")
    x = keras.Input((4, 8), name="x")
    return keras.Model(x, inner(layers.TimeDistributed(layers.Dense(8))(x)))


def padded() -> Any:
    x = keras.Input((6,), dtype="int32", name="x")
    y = Padded()(x)
    return keras.Model(x, layers.LSTM(3)(y))


MODELS: dict[str, Callable[[], Any]] = {
    "class-token": lambda: over(ClassToken(4, 8), 4, 8),
    "windows": lambda: over(Windows(), 8, 8, 3),
    "heads": lambda: over(Heads(8, 2), 4, 8),
    "codebook": lambda: over(Codebook(), 4, 4, 3),
    "causal": lambda: over(Causal(), 6),
    "padded": padded,
    "tree": lambda: called(Tree(), 2, 5),
    "functions": functions,
    "inside-models": inside_models,
}
