"""Imports of layers, functions, losses, metrics and schedules of Keras that are new or rare."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import losses, metrics, ops, optimizers

from graphspec.convert import import_keras
from graphspec.convert.proof import difference
from tests.keras_saved import KERAS_WARNS, randomize

pytestmark = KERAS_WARNS


def chain(shape: tuple[int, ...], *steps: Any, dtype: str = "float32") -> Any:
    x = given = keras.Input(shape, dtype=dtype, name="x")
    for step in steps:
        x = step(x)
    return keras.Model(given, x)


def several(make: Callable[..., Any], *shapes: tuple[int, ...]) -> Any:
    given = [keras.Input(shape, name=f"x{number}") for number, shape in enumerate(shapes)]
    return keras.Model(given, make(*given))


def learned(layer: Any) -> Any:
    """A layer that has seen data, as after `adapt`, which needs TensorFlow."""
    layer.reset_state()
    layer.update_state(np.linspace(-1, 1, 50) ** 3)
    layer.finalize_state()
    return layer


def augmented() -> Any:
    """Each draws in training alone, and is written with as many numbers as a person would."""
    steps = [
        *(L.RandomFlip(), L.RandomRotation(0.2), L.RandomZoom(0.2), L.RandomTranslation(0.1, 0.1)),
        *(L.RandomContrast(0.2), L.RandomBrightness(0.2), L.RandomHue(0.2), L.RandomSaturation(0.5)),
        *(L.RandomSharpness(0.5), L.RandomShear(0.2, 0.1), L.RandomPerspective(), L.RandomPosterization(4)),
        *(L.Solarization(0.1, 0.5), L.RandomGaussianBlur(), L.RandomErasing(), L.RandomGrayscale()),
        *(L.RandomInvert(), L.RandomColorDegeneration(0.3), L.RandomColorJitter(hue_factor=0.2)),
    ]
    return chain((8, 8, 3), *steps, L.AutoContrast())


AFFINE = np.array([1, 1, 1, 1, 1, 1, 0, 0], "float32")
CORNERS = (
    np.array([[0, 0], [0, 4], [4, 0], [4, 4]], "float32"),
    np.array([[0, 0.5], [0, 4], [4, 0], [4, 3]], "float32"),
)
SCALE = np.array([0.5, 0.75], "float32")
MODELS: dict[str, Callable[[], Any]] = {
    "conv-lstm-1d": lambda: chain((4, 6, 2), L.ConvLSTM1D(3, 3, padding="same", return_sequences=True)),
    "conv-lstm-2d": lambda: chain((3, 6, 6, 2), L.ConvLSTM2D(3, 3, strides=2, return_state=True)),
    "conv-lstm-3d": lambda: chain((2, 3, 3, 3, 1), L.ConvLSTM3D(2, 2)),
    "cells": lambda: chain((5, 3), L.RNN([L.LSTMCell(4), L.GRUCell(3), L.SimpleRNNCell(2)])),
    "cell-before": lambda: chain((5, 3), L.RNN(L.GRUCell(4, reset_after=False), go_backwards=True)),
    "cell-states": lambda: several(
        lambda x, h, c: L.RNN(L.LSTMCell(4))(x, initial_state=[h, c]), (5, 3), (4,), (4,)
    ),
    "cell-alone": lambda: several(lambda x, h: L.GRUCell(4)(x, h)[0], (3,), (4,)),
    "backward": lambda: chain(
        (5, 3), L.Bidirectional(L.LSTM(4), backward_layer=L.LSTM(4, activation="relu", go_backwards=True))
    ),
    "spectral-norm": lambda: chain((6, 6, 2), L.SpectralNormalization(L.Conv2D(3, 3))),
    "mel": lambda: chain((400,), L.MelSpectrogram(64, sequence_stride=32, num_mel_bins=8, power_to_db=False)),
    "stft": lambda: chain((64, 2), L.STFTSpectrogram(frame_length=16, window="hamming", padding="same")),
    "crop-and-resize": lambda: chain(
        (6, 7, 3), L.CenterCrop(5, 6), L.Resizing(4, 4, pad_to_aspect_ratio=True, fill_value=1.0)
    ),
    "rescaling": lambda: chain((4, 4, 3), L.Rescaling([0.5, 1, 2], offset=[0.0, 1.0, 2.0])),
    "affine": lambda: several(
        lambda x, t: ops.image.affine_transform(x, t * AFFINE, fill_mode="reflect"), (5, 4, 3), (8,)
    ),
    "perspective": lambda: chain((5, 4, 3), lambda x: ops.image.perspective_transform(x, *CORNERS)),
    "volumes": lambda: chain((4, 4, 4, 2), lambda x: ops.image.extract_patches_3d(x, 2)),
    "scaled": lambda: chain(
        (6, 4, 2),
        lambda x: ops.image.scale_and_translate(x, (2, 3, 3, 2), SCALE, 1 - SCALE, (1, 2), "lanczos3"),
    ),
    "discretization-learned": lambda: chain((4,), learned(L.Discretization(num_bins=4, epsilon=0.02))),
    "discretization": lambda: chain((4,), L.Discretization([-1.0, 0.0, 1.0], output_mode="multi_hot")),
    "adaptive": lambda: chain((7, 6, 3), L.AdaptiveAveragePooling2D((3, 2)), L.AdaptiveMaxPooling2D(2)),
    "reversible": lambda: tied(),
    "augmented": augmented,
    "pools": lambda: chain((6, 6, 3), lambda x: ops.average_pool(ops.max_pool(x, 2, 1), 2)),
    "windows": lambda: chain((2, 5, 6), lambda x: ops.fold(ops.unfold(x, 2), (5, 6), 2)),
    "beside": lambda: several(lambda a, b: [ops.hstack([a, b]), ops.dstack([a, b])], (4, 3), (4, 3)),
    "distances": lambda: several(lambda a, b: ops.cdist(a, b), (4, 3), (5, 3)),
    "signals": lambda: chain((64,), lambda x: ops.istft(ops.stft(x, 16, 8, 16), 16, 8, 16)),
    "moments": lambda: chain((4, 3), lambda x: list(ops.moments(x, axes=[1]))),
    "initial": lambda: chain((4, 3), lambda x: ops.max(x, axis=1, initial=0.5)),
    "images": lambda: chain(
        (6, 6, 3), lambda x: ops.image.extract_patches(ops.image.resize(x, (4, 8)), (2, 2))
    ),
    "slices": lambda: chain((4, 3), lambda x: ops.slice_update(x, [0, 1, 0], x[:, :2, ::2])),
}


def tied() -> Any:
    words = keras.Input((5,), dtype="int32", name="words")
    table = L.ReversibleEmbedding(8, 4)
    return keras.Model(words, table(table(words), reverse=True))


@pytest.mark.parametrize("name", MODELS)
def test_saved_models_agree_with_keras(name: str, tmp_path: Path) -> None:
    model = MODELS[name]()
    randomize(model)
    model.save(tmp_path / "model.keras")
    imported = import_keras(tmp_path / "model.keras")
    assert imported.weights is not None and not imported.notes
    assert imported.program.summary().total_params == model.count_params()
    assert difference(imported.program, imported.weights, model) < 1e-5, imported.text


def test_bounds_are_written_as_one_number_where_that_is_enough(tmp_path: Path) -> None:
    augmented().save(tmp_path / "model.keras")
    text = import_keras(tmp_path / "model.keras").text
    for part in (
        "RandomRotation, factor: 0.2}",
        "RandomHue, factor: 0.2}",
        "RandomPosterization, factor: 4}",
    ):
        assert part in text
    assert "Solarization, addition_factor: 0.1, threshold_factor: 0.5}" in text and "[-0." not in text


SETTINGS: list[tuple[str, Any, list[Any], str]] = [
    ("softmax", losses.Dice(axis=(1, 2)), [], "loss: {name: dice, axis: [1, 2]}"),
    ("softmax", losses.Tversky(alpha=0.3, beta=0.7), [], "loss: {name: tversky, alpha: 0.3, beta: 0.7}"),
    ("softmax", losses.Circle(gamma=64.0), [], "loss: {name: circle, gamma: 64}"),
    (
        "softmax",
        losses.CategoricalGeneralizedCrossEntropy(q=0.3),
        [],
        "loss: {name: categorical_generalized_cross_entropy, q: 0.3}",
    ),
    ("linear", losses.CTC(), [], "loss: ctc"),
    ("softmax", "mse", [metrics.OneHotMeanIoU(3)], "metrics: [{name: one_hot_mean_iou, num_classes: 3}]"),
    ("sigmoid", "mse", [metrics.BinaryIoU(threshold=0.3)], "metrics: [{name: binary_iou, threshold: 0.3}]"),
    (
        "sigmoid",
        "mse",
        [metrics.RecallAtPrecision(0.5)],
        "metrics: [{name: recall_at_precision, precision: 0.5}]",
    ),
    ("sigmoid", "mse", [metrics.AUC(curve="PR")], "metrics: [{name: auc, curve: PR}]"),
    ("softmax", "mse", [metrics.KLDivergence(), metrics.Poisson()], "metrics: [kl_divergence, poisson]"),
    ("softmax", "mse", [metrics.PearsonCorrelation()], "metrics: [pearson_correlation]"),
]


@pytest.mark.parametrize(
    ("activation", "loss", "measured", "expected"), SETTINGS, ids=lambda value: str(value)[:40]
)
def test_losses_and_metrics_are_written(
    activation: str, loss: Any, measured: list[Any], expected: str, tmp_path: Path
) -> None:
    shape = (5,) if isinstance(loss, losses.Circle) else (8, 5)
    model = chain(shape, L.Dense(3, activation=activation, name="y"))
    model.compile("adam", loss, metrics=measured)
    model.save(tmp_path / "model.keras")
    imported = import_keras(tmp_path / "model.keras")
    assert expected in imported.text and not imported.notes


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (
            optimizers.schedules.CosineDecay(0.0, 100, warmup_steps=5, warmup_target=0.2),
            "  optimizer: {name: sgd, learning_rate: 0.2}\n"
            "  schedule: {name: cosine_decay, decay_steps: 100, warmup_steps: 5}\n",
        ),
        (
            optimizers.schedules.ExponentialDecay(0.1, 50, 0.9, staircase=True),
            "  optimizer: {name: sgd, learning_rate: 0.1}\n"
            "  schedule: {name: exponential_decay, decay_steps: 50, decay_rate: 0.9, staircase: true}\n",
        ),
        (
            optimizers.schedules.PiecewiseConstantDecay([10, 20], [0.1, 0.01, 0.001]),
            "  schedule: {name: piecewise_constant_decay, boundaries: [10, 20], "
            "values: [0.1, 0.01, 0.001]}\n",
        ),
    ],
    ids=["cosine", "exponential", "piecewise"],
)
def test_schedules_are_written(schedule: Any, expected: str, tmp_path: Path) -> None:
    model = chain((5,), L.Dense(3, name="y"))
    model.compile(optimizers.SGD(schedule), "mse")
    model.save(tmp_path / "model.keras")
    imported = import_keras(tmp_path / "model.keras")
    assert imported.text.endswith(expected) and not imported.notes
