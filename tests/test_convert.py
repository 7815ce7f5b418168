"""Models of Keras as specs: the same outputs and weights, the text that a person would write."""

from typing import Any

import keras
from keras import layers

import graphspec
from graphspec.convert import Imported
from graphspec.convert.proof import difference
from tests.keras_saved import KERAS_WARNS, randomize

pytestmark = KERAS_WARNS

TOLERANCE = 1e-5


def proved(model: Any, **options: Any) -> Imported:
    """The model imported, after its outputs with random weights were compared."""
    randomize(model)
    imported = graphspec.from_keras(model, **options)
    assert imported.weights is not None
    assert difference(imported.program, imported.weights, model) < TOLERANCE
    return imported


def test_a_stack_is_what_a_person_writes() -> None:
    model = keras.Sequential(
        [
            keras.Input((64,), name="features"),
            layers.Dense(32, activation="relu", name="hidden"),
            layers.Dense(10, activation="softmax", name="probs"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    assert proved(model).text == (
        "inputs:\n"
        "  features: {shape: [64]}\n"
        "nodes:\n"
        "  hidden: {layer: Dense, units: 32, activation: relu}\n"
        "  probs:  {layer: Dense, units: 10, activation: softmax}\n"
        "outputs:\n"
        "  probs: {loss: sparse_categorical_crossentropy, metrics: [accuracy]}\n"
        "train:\n"
        "  optimizer: adam\n"
    )
