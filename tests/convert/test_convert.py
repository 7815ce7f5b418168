"""Models of Keras as specs: the same outputs and weights, the text that a person would write."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
from keras import layers

import graphspec
from graphspec.convert import Imported, import_keras
from graphspec.convert.proof import difference
from graphspec.diagnostics import SpecError
from graphspec.transfer import transfer
from tests import bundled, one_in
from tests.keras_saved import KERAS_WARNS, randomize
from tests.keras_zoo import ZOO

pytestmark = KERAS_WARNS

TOLERANCE = 1e-5


def proved(model: Any, **options: Any) -> Imported:
    """The model imported, after its outputs with random weights and its counts were compared."""
    randomize(model)
    imported = graphspec.from_keras(model, **options)
    assert imported.weights is not None
    assert imported.program.summary().total_params == model.count_params()
    assert difference(imported.program, imported.weights, model) < TOLERANCE
    assert max(map(len, imported.text.splitlines())) < 120
    return imported


@bundled(16, "name", ZOO)
def test_models_agree_with_keras(name: str) -> None:
    model = ZOO[name]()
    folded, flat = proved(model), graphspec.from_keras(model, flat=True)
    assert not any("flat" in note for note in folded.notes)
    assert len(folded.text.splitlines()) <= len(flat.text.splitlines())


@pytest.mark.parametrize("name", one_in(4, ZOO))
def test_files_of_keras_2_agree(name: str, tmp_path: Path) -> None:
    model = ZOO[name]()
    randomize(model)
    model.save(tmp_path / "model.h5")
    imported = import_keras(tmp_path / "model.h5", flat=True)
    assert imported.weights is not None
    assert difference(imported.program, imported.weights, model) < TOLERANCE


def test_a_config_alone_is_a_spec_without_weights(tmp_path: Path) -> None:
    model = ZOO["siamese"]()
    (tmp_path / "siamese.json").write_text(model.to_json())
    imported = import_keras(tmp_path / "siamese.json")
    assert imported.weights is None and imported.text == graphspec.from_keras(model).text


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


def test_shared_layers_and_settings_of_compile() -> None:
    assert proved(ZOO["siamese"]()).text == (
        "inputs:\n"
        "  left:  {shape: [7, 5]}\n"
        "  right: {shape: [7, 5]}\n"
        "shared:\n"
        "  encoder: {layer: LSTM, units: 4}\n"
        "nodes:\n"
        "  left_encoder:  {call: encoder, from: left}\n"
        "  right_encoder: {call: encoder, from: right}\n"
        "  joined:        {merge: concatenate, from: [left_encoder, right_encoder]}\n"
        "  similar:       {layer: Dense, units: 1, activation: sigmoid}\n"
        "outputs: [similar]\n"
    )
    text = graphspec.from_keras(ZOO["ticket_routing"]()).text
    assert "optimizer: {name: rmsprop, learning_rate: 0.0003}" in text
    assert "priority:   {loss: {name: binary_crossentropy, from_logits: true}}" in text
    assert "from_logits: true}, loss_weight: 0.2}" in text


def test_masks_that_the_language_carries_are_not_written() -> None:
    keras.utils.clear_session()  # which numbers names
    assert graphspec.from_keras(ZOO["masks_that_meet"](), flat=True).text.split("nodes:\n")[1] == (
        "  embedding:     {layer: Embedding, from: a, input_dim: 50, output_dim: 8, mask_zero: true}\n"
        "  embedding_1:   {layer: Embedding, from: a, input_dim: 50, output_dim: 8, mask_zero: true}\n"
        "  add:           {merge: add, from: [embedding, embedding_1]}\n"
        "  concatenate:   {merge: concatenate, from: [add, embedding]}\n"
        "  lstm:          {layer: LSTM, units: 3}\n"
        "  embedding_2:   {layer: Embedding, from: b, input_dim: 50, output_dim: 8, mask_zero: true}\n"
        "  concatenate_2: {merge: concatenate, from: [embedding, embedding_2], axis: 1}\n"
        "  lstm_1:        {layer: LSTM, units: 3}\n"
        "outputs: [lstm, lstm_1]\n"
    )


def test_repetition_is_folded() -> None:
    x = given = keras.Input((8,), name="x")
    for index in range(6):
        y = layers.LayerNormalization(name=f"block{index}_norm")(x)
        y = layers.Dense(32, activation="gelu", name=f"block{index}_wide")(y)
        y = layers.Dense(8, name=f"block{index}_narrow")(y)
        x = layers.Add(name=f"block{index}_sum")([x, y])
    assert proved(keras.Model(given, layers.Dense(2, name="score")(x))).text == (
        "inputs:\n"
        "  x: {shape: [8]}\n"
        "blocks:\n"
        "  block:\n"
        "    inputs: [x]\n"
        "    nodes:\n"
        "      norm:   {layer: LayerNormalization}\n"
        "      wide:   {layer: Dense, units: 32, activation: gelu}\n"
        "      narrow: {layer: Dense, units: 8}\n"
        "      sum:    {merge: add, from: [x, narrow]}\n"
        "nodes:\n"
        "  block: {block: block, repeat: 6}\n"
        "  score: {layer: Dense, units: 2}\n"
        "outputs: [score]\n"
    )


def refused(model: Any) -> str:
    with pytest.raises(SpecError) as raised:
        graphspec.from_keras(model)
    assert all(d.code == "import-unsupported" and d.help for d in raised.value.diagnostics)
    return str(raised.value)


def test_what_cannot_be_said_is_named() -> None:
    image = keras.Input((8, 8, 3), name="image")
    assert "`RandomElasticTransform` is not a layer of a spec" in refused(
        keras.Model(image, layers.RandomElasticTransform(name="wave")(image))
    )


def test_what_nothing_reads_is_told() -> None:
    x = keras.Input((4,), name="x")
    both = [layers.Dense(3, name="read")(x), layers.Dense(2, name="unread")(x)]
    inner = keras.Model(x, both, name="inner")
    given = keras.Input((4,), name="given")
    imported = graphspec.from_keras(keras.Model(given, inner(given)[0]))
    assert imported.notes == ("`inner.unread` is left out with its weights: nothing reads it",)
    assert imported.program.summary().total_params == 15


class Doubled(layers.Layer):
    """A class whose code no file holds."""

    def call(self, x: Any) -> Any:
        return x * 2


def test_a_class_of_ones_own_comes_in_as_what_it_does() -> None:
    """From a live model; a file needs permission."""
    x = keras.Input((8,), name="x")
    assert "{op: multiply, x2: 2}" in proved(keras.Model(x, Doubled(name="twice")(x))).text


def constants() -> Any:
    """Tensors that never change, beside an input: of its features, and with an axis for the batch."""
    x = keras.Input((4,), name="x")
    y = x * keras.ops.convert_to_tensor([1.0, 2.0, 3.0, 4.0]) + np.array([[0.5, 0.1, 0.2, 0.3]], "float32")
    return keras.Model(x, layers.Dense(3, name="y")(keras.ops.take(y, [0, 2, 2], axis=1)))


def normalized() -> Any:
    x = keras.Input((4,), name="x")
    return keras.Model(x, layers.SpectralNormalization(layers.Dense(3), power_iterations=2, name="y")(x))


@pytest.mark.parametrize("make", [constants, normalized])
def test_constants_and_normalized_kernels_are_imported(make: Any) -> None:
    proved(make())


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("inside", [False, True])
def test_normalized_kernels_have_their_order_in_files_of_keras_2(
    frozen: bool, inside: bool, tmp_path: Path
) -> None:
    """The vector has as many numbers as the bias, which is listed before it where it trains."""
    x = keras.Input((4,), name="x")
    layer = layers.SpectralNormalization(layers.Dense(3), name="norm")
    layer.trainable = not frozen
    y = layer(x)
    model = keras.Model(x, layers.Dense(3)(keras.Model(x, y, name="inner")(x) if inside else y))
    randomize(model)
    for number, variable in enumerate(model.weights):
        if len(variable.shape) == 1 or "vector_u" in variable.name:
            variable.assign(np.arange(3).reshape(variable.shape) + number)
    model.save(tmp_path / "model.h5")
    imported = import_keras(tmp_path / "model.h5", flat=True)
    assert imported.weights is not None
    assert difference(imported.program, imported.weights, model) < TOLERANCE
    assert ("trainable: false" in imported.text) == frozen
    model.save_weights(tmp_path / "model.weights.h5")
    found = transfer(imported.program.graph, tmp_path / "model.weights.h5")
    assert found.plan.ok and found.weights.keys() == imported.weights.keys()
    assert all(torch.equal(found.weights[key], value) for key, value in imported.weights.items())


def test_what_a_wrapper_freezes_stays_frozen() -> None:
    model = keras.Sequential(
        [keras.Input((3, 4), name="x"), layers.TimeDistributed(layers.Dense(2), name="each")]
    )
    model.get_layer("each").trainable = False
    assert "trainable: false" in proved(model).text


def test_a_constant_for_each_example_is_refused() -> None:
    x = keras.Input((4,), batch_size=2, name="x")
    assert "for each example" in refused(keras.Model(x, x + np.ones((2, 4), "float32")))


STACKED = [
    pytest.param(lambda x, y, axis=axis: keras.ops.stack([x, y], axis=axis), id=f"stack-{axis}")
    for axis in range(-3, 4)
    if axis
]


@pytest.mark.parametrize("call", STACKED)
def test_a_new_axis_is_counted_in_what_is_stacked(call: Any) -> None:
    """Axis 3 of two images is their last, and -1 of the result."""
    x, y = keras.Input((3, 4), name="x"), keras.Input((3, 4), name="y")
    proved(keras.Model([x, y], call(x, y)))


@pytest.mark.parametrize("ranks", [(1, 3), (3, 1)])
def test_an_axis_stays_as_it_is_where_calls_differ_in_rank(ranks: tuple[int, int]) -> None:
    """The last axis of a vector is not that of an image."""
    shapes = {1: (4,), 3: (4, 2, 3)}
    layer = layers.Softmax(axis=1)
    x, y = (keras.Input(shapes[rank]) for rank in ranks)
    proved(keras.Model([x, y], [layer(x), layer(y)]))


def test_only_inputs_and_params_give_way_to_reserved_names() -> None:
    x = keras.Input((4,), name="index")
    y = layers.Dense(2, name="logits")(layers.Dense(4, name="batch")(x))
    text = graphspec.from_keras(keras.Model(x, y)).text
    assert "  index_: {shape: [4]}\n" in text and "  batch:  {layer" in text and "  logits: {layer" in text


@pytest.mark.parametrize("dtype", ["float64", "float16"])
@pytest.mark.parametrize(
    "make",
    [
        lambda x: layers.Softmax()(x),
        lambda x: layers.Dense(3)(layers.Flatten()(x)),
        lambda x: layers.Add()([x, layers.Dense(4)(x)]),
        lambda x: layers.Dense(3)(x * 2),
        lambda x: layers.GRU(3)(x),
    ],
    ids=["softmax", "flatten", "merge", "operation", "recurrent"],
)
def test_layers_read_floats_as_float32(make: Any, dtype: str) -> None:
    x = keras.Input((3, 4), dtype=dtype, name="x")
    model = keras.Model(x, make(x))
    imported = proved(model)
    assert "{op: cast" in imported.text
    module = imported.program.module()
    assert module(*imported.program.example_inputs().values()).dtype == torch.float32


def test_an_input_that_only_embeddings_read_holds_integers() -> None:
    """Keras casts what they read; its inputs are floats where nothing is said."""
    words = keras.Input((5,), name="words")
    tables = [layers.Embedding(9, 4, mask_zero=True)(words), layers.Embedding(9, 4)(words)]
    model = keras.Model(words, layers.LSTM(3)(layers.Add()(tables)))
    assert "words: {shape: [5], dtype: int32}" in proved(model).text


def numbers(shape: tuple[int | None, ...], **settings: Any) -> Any:
    return keras.Input(shape, **{"name": "x", **settings})


def nested(x: Any) -> Any:
    inner = keras.Input((2,))
    return keras.Model(inner, layers.Embedding(9, 4)(inner))(x[:, :2])


def of_integers(x: Any) -> Any:
    inner = keras.Input((5,), dtype="int32")
    return keras.Model(inner, layers.Embedding(9, 4)(inner))(x)


@pytest.mark.parametrize(
    "make",
    [
        lambda x: layers.Embedding(9, 4)(x),
        lambda x: layers.Embedding(9, 4)(x[:, 1:]),
        lambda x: layers.Embedding(9, 4)(layers.Reshape((5, 1))(x)),
        lambda x: layers.Embedding(9, 4)(layers.Concatenate()([x, x])),
        lambda x: layers.Embedding(9, 4)(keras.ops.split(x, 5, 1)[2]),
        lambda x: layers.Embedding(2, 4)(x > 3),
        lambda x: keras.Sequential([layers.Embedding(9, 4), layers.LSTM(3)])(x),
        lambda x: layers.TimeDistributed(layers.Embedding(9, 4))(layers.Reshape((5, 1))(x)),
        lambda x: layers.CategoryEncoding(9)(x),
        lambda x: keras.ops.one_hot(x, 9),
        lambda x: keras.ops.take(np.ones((9, 3), "float32"), x, 0),
        lambda x: layers.Add()([layers.Embedding(9, 9)(x), keras.ops.one_hot(x, 9)]),
        nested,
        of_integers,
    ],
)
def test_floats_are_indices_as_in_keras(make: Any) -> None:
    """Keras casts what tables and encodings read; a module takes the same floats."""
    x = numbers((5,))
    model = keras.Model(x, make(x))
    imported = proved(model)
    values = imported.program.example_inputs()["x"].float()
    module = imported.program.module().eval()
    module.load_state_dict({**module.state_dict(), **(imported.weights or {})})
    torch.testing.assert_close(module(values), model(values, training=False))


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda x: keras.ops.where(x > 0, x, -1e30), "x2: -1e30"),
        (lambda x: keras.ops.maximum(x, np.finfo("float32").min), "x2: -3.4028234663852886e38"),
        (lambda x: keras.ops.clip(x, -1e30, 1e30), "x_min: -1e30, x_max: 1e30"),
        (lambda x: layers.ReLU(max_value=1e30)(x), "max_value: 1e30"),
        (lambda x: layers.Rescaling(1e25, 2.0)(x), "scale: 1e25, offset: 2"),
        (lambda x: keras.ops.pad(x, [[0, 0], [1, 1]], constant_values=-1e30), "constant_values: -1e30"),
    ],
    ids=["where", "maximum", "clip", "relu", "rescaling", "pad"],
)
def test_numbers_of_any_size_are_written(make: Any, word: str) -> None:
    x = numbers((5,))
    assert word in proved(keras.Model(x, make(x))).text


@pytest.mark.parametrize("rank", [1, 2])
def test_open_sizes_that_must_be_multiples_are_such(rank: int) -> None:
    """Where halves are doubled and added, Keras fails at odd sizes."""
    pool, grow = getattr(layers, f"MaxPooling{rank}D"), getattr(layers, f"UpSampling{rank}D")
    x = numbers((*[None] * rank, 3))
    once = layers.Add()([x, grow(2)(pool(2)(x))])
    imported = proved(keras.Model(x, layers.Add()([once, grow(4)(pool(4)(x))])))
    assert "2 *" not in imported.text and imported.text.count("4 *") == rank
    assert len([note for note in imported.notes if "is a multiple of 4" in note]) == rank
