"""Models of Keras' functional API, small: what its guide shows, and what is awkward to import."""

from collections.abc import Callable
from typing import Any

import keras
from keras import Input, Model, Sequential, ops
from keras import layers as L

ZOO: dict[str, Callable[[], Any]] = {}


def model(make: Callable[[], Any]) -> Callable[[], Any]:
    ZOO[make.__name__] = make
    return make


# --- the guide


@model
def autoencoder() -> Any:
    image = Input((28, 28, 1), name="img")
    x = L.Conv2D(8, 3, activation="relu")(image)
    x = L.Conv2D(16, 3, activation="relu")(x)
    x = L.MaxPooling2D(3)(x)
    x = L.Conv2D(8, 3, activation="relu")(x)
    x = L.Conv2D(16, 3, activation="relu")(x)
    encoder = Model(image, L.GlobalMaxPooling2D()(x), name="encoder")
    code = Input((16,), name="encoded_img")
    x = L.Reshape((4, 4, 1))(code)
    x = L.Conv2DTranspose(8, 3, activation="relu")(x)
    x = L.Conv2DTranspose(16, 3, activation="relu")(x)
    x = L.UpSampling2D(3)(x)
    x = L.Conv2DTranspose(8, 3, activation="relu")(x)
    decoder = Model(code, L.Conv2DTranspose(1, 3, activation="relu")(x), name="decoder")
    given = Input((28, 28, 1), name="img")
    return Model(given, decoder(encoder(given)), name="autoencoder")


@model
def ensemble() -> Any:
    def member(name: str) -> Any:
        features = Input((16,))
        return Model(features, L.Dense(1)(features), name=name)

    x = Input((16,), name="x")
    return Model(x, L.average([member(name)(x) for name in ("first", "second", "third")]))


@model
def ticket_routing() -> Any:
    title = Input((None,), name="title", dtype="int64")
    text = Input((None,), name="body", dtype="int64")
    tags = Input((12,), name="tags")
    read = [L.LSTM(16)(L.Embedding(100, 8)(title)), L.LSTM(8)(L.Embedding(100, 8)(text))]
    x = L.concatenate([*read, tags])
    outputs = {
        "priority": L.Dense(1, name="priority")(x),
        "department": L.Dense(4, name="department")(x),
    }
    found = Model([title, text, tags], outputs)
    losses = {
        "priority": keras.losses.BinaryCrossentropy(from_logits=True),
        "department": keras.losses.CategoricalCrossentropy(from_logits=True),
    }
    found.compile(keras.optimizers.RMSprop(3e-4), losses, loss_weights={"priority": 1.0, "department": 0.2})
    return found


@model
def toy_resnet() -> Any:
    image = Input((16, 16, 3), name="img")
    x = L.Conv2D(8, 3, activation="relu")(image)
    first = L.MaxPooling2D(3)(L.Conv2D(8, 3, activation="relu")(x))
    x = L.Conv2D(8, 3, activation="relu", padding="same")(first)
    second = L.add([L.Conv2D(8, 3, activation="relu", padding="same")(x), first])
    x = L.Conv2D(8, 3, activation="relu", padding="same")(second)
    third = L.add([L.Conv2D(8, 3, activation="relu", padding="same")(x), second])
    x = L.Dense(16, activation="relu")(L.GlobalAveragePooling2D()(third))
    return Model(image, L.Dense(10)(L.Dropout(0.5)(x)), name="toy_resnet")


@model
def shared_embedding() -> Any:
    words = L.Embedding(50, 8, name="words")
    a, b = Input((None,), dtype="int64", name="a"), Input((None,), dtype="int64", name="b")
    return Model([a, b], [words(a), words(b)])


@model
def feature_extraction() -> Any:
    whole = toy_resnet()
    return Model(whole.input, [layer.output for layer in whole.layers[1:6]])


# --- masks


@model
def attention_under_a_mask() -> Any:
    text = Input((None,), dtype="int64", name="text")
    x = L.Embedding(50, 8, mask_zero=True)(text)
    x = L.LayerNormalization()(L.MultiHeadAttention(2, 4)(x, x))
    return Model(text, L.Dense(3)(L.GlobalAveragePooling1D()(x)))


@model
def causal_attention_with_scores() -> Any:
    text = Input((12,), dtype="int64", name="text")
    x = L.Embedding(50, 8, mask_zero=True)(text)
    seen, scores = L.MultiHeadAttention(2, 4)(x, x, use_causal_mask=True, return_attention_scores=True)
    return Model(text, [seen, scores])


@model
def attention_before_a_masked_layer() -> Any:
    """Keras writes the mask that attention passes on as a tensor made a tensor."""
    text = Input((None,), dtype="int64", name="text")
    x = L.Embedding(50, 8, mask_zero=True)(text)
    return Model(text, [L.LSTM(3)(L.Attention()([x, x])), L.GRU(3)(L.AdditiveAttention()([x, x]))])


@model
def one_of_two_kinds_under_a_mask() -> Any:
    text, steps = Input((None,), dtype="int64", name="text"), Input((5, 4), name="steps")
    x = L.Embedding(50, 8, mask_zero=True)(text)
    return Model([text, steps], [L.Bidirectional(L.SimpleRNN(3))(x), L.Bidirectional(L.GRU(3))(steps)])


@model
def sequence_to_sequence() -> Any:
    source = Input((None,), dtype="int64", name="source")
    target = Input((None,), dtype="int64", name="target")
    read = L.Embedding(50, 8, mask_zero=True)(source)
    wrote = L.Embedding(40, 8, mask_zero=True)(target)
    _, h, c = L.LSTM(8, return_state=True, name="encoder")(read)
    x = L.LSTM(8, return_sequences=True, name="decoder")(wrote, initial_state=[h, c])
    seen = L.Attention()([x, L.LSTM(8, return_sequences=True)(read)])
    return Model([source, target], L.Dense(40, activation="softmax")(L.Concatenate()([x, seen])))


@model
def masking_layer() -> Any:
    steps = Input((5, 4), name="steps")
    x = L.Bidirectional(L.GRU(3, return_sequences=True))(L.Masking(-1.0)(steps))
    return Model(steps, L.LSTM(3)(L.TimeDistributed(L.Dense(4))(x)))


@model
def mask_of_ones_own() -> Any:
    steps, kept = Input((5, 4), name="steps"), Input((5,), dtype="bool", name="kept")
    return Model([steps, kept], L.LSTM(3)(steps, mask=kept))


@model
def mask_of_ones_own_goes_on() -> Any:
    steps, kept = Input((5, 4), name="steps"), Input((5,), dtype="bool", name="kept")
    x = L.LSTM(3, return_sequences=True)(steps, mask=kept)
    return Model([steps, kept], L.GRU(3)(L.TimeDistributed(L.Dense(4))(x)))


@model
def masks_of_attention() -> Any:
    """Keras' layer of heads reads no mask of the query but the one that it carries."""
    x, kept = Input((5, 8), name="x"), Input((5,), dtype="bool", name="kept")
    y = L.MultiHeadAttention(2, 4)(x, x, query_mask=kept, value_mask=kept, key_mask=kept)
    return Model([x, kept], L.GroupQueryAttention(4, 4, 2)(y, y, query_mask=kept, value_mask=kept))


@model
def mask_computed_by_ops() -> Any:
    text, steps = Input((5,), dtype="int64", name="text"), Input((5, 4), name="steps")
    return Model([text, steps], L.LSTM(3)(steps, mask=ops.not_equal(text, 0)))


@model
def masks_that_meet() -> Any:
    a, b = Input((6,), dtype="int64", name="a"), Input((4,), dtype="int64", name="b")
    first, second = (L.Embedding(50, 8, mask_zero=True)(a) for _ in range(2))
    x = L.Concatenate()([L.Add()([first, second]), first])
    y = L.Concatenate(axis=1)([first, L.Embedding(50, 8, mask_zero=True)(b)])
    return Model([a, b], [L.LSTM(3)(x), L.LSTM(3)(y)])


# --- models in models, layers called twice


@model
def siamese() -> Any:
    left, right = Input((7, 5), name="left"), Input((7, 5), name="right")
    encoder = L.LSTM(4, name="encoder")
    joined = L.Concatenate(name="joined")([encoder(left), encoder(right)])
    return Model([left, right], L.Dense(1, activation="sigmoid", name="similar")(joined))


@model
def model_called_twice() -> Any:
    x = Input((5,), name="x")
    tower = Model(x, L.Dense(3, activation="relu")(L.Dense(4)(x)), name="tower")
    a, b = Input((5,), name="a"), Input((5,), name="b")
    return Model([a, b], [L.Add()([tower(a), tower(b)]), tower(b)])


@model
def model_with_several_inputs_and_outputs() -> Any:
    x, y = Input((5,), name="x"), Input((3,), name="y")
    u = L.Dense(4, name="u")(x)
    pair = Model([x, y], [L.Add()([u, L.Dense(4, name="v")(y)]), u], name="pair")
    a, b = Input((5,), name="a"), Input((3,), name="b")
    first, second = pair([a, b])
    return Model([a, b], {"first": first, "second": L.Dense(2)(second)})


@model
def model_at_each_step() -> Any:
    frame = Sequential([Input((6, 6, 3)), L.Conv2D(2, 3), L.Flatten(), L.Dense(4)], name="frame")
    video = Input((5, 6, 6, 3), name="video")
    return Model(video, L.LSTM(3)(L.TimeDistributed(frame)(video)))


@model
def activation_called_twice() -> Any:
    x, relu = Input((4,), name="x"), L.ReLU()
    return Model(x, relu(L.Dense(3)(relu(L.Dense(4)(x)))))


# --- names, sizes, structures


@model
def awkward_names() -> Any:
    given = Input((5,), name="class")
    x = L.Dense(3, name="1x")(given)
    x = L.Dense(3, name="logits")(L.Dense(3, name="index")(x))
    x = L.Dense(3, name="a b")(x)
    return Model(given, [x, L.Dense(2, name="a_b")(x)])


@model
def lengths_that_meet() -> Any:
    a, b = Input((None, 4), name="a"), Input((None, 4), name="b")
    return Model([a, b], L.Dense(2)(L.Add()([a, b])))


@model
def dictionaries() -> Any:
    zeta, alpha = Input((4,), name="zeta"), Input((3,), name="alpha")
    x = L.Concatenate()([L.Dense(3)(zeta), L.Dense(2)(alpha)])
    return Model({"zeta": zeta, "alpha": alpha}, {"out": x, "first": L.Dense(1)(x)})


# --- layers and functions


@model
def frozen_and_penalized() -> Any:
    image = Input((8, 8, 3), name="image")
    conv = L.Conv2D(4, 3, name="frozen")
    conv.trainable = False
    x = L.Flatten()(L.BatchNormalization()(conv(image)))
    regularizer, start = keras.regularizers.L2(1e-3), keras.initializers.Constant(0.5)
    dense = L.Dense(3, kernel_regularizer=regularizer, kernel_constraint="max_norm", bias_initializer=start)
    return Model(image, dense(x))


@model
def images() -> Any:
    image = Input((17, 16, 3), name="image")
    x = L.ZeroPadding2D(((1, 2), (0, 1)))(image)
    x = L.Conv2D(4, (3, 2), strides=(2, 1), padding="same")(x)
    x = L.SeparableConv2D(6, 3, padding="same")(L.DepthwiseConv2D(3, depth_multiplier=2)(x))
    x = L.PReLU(shared_axes=[1, 2])(L.LeakyReLU(0.1)(x))
    x = L.Conv2DTranspose(5, 3, strides=2, padding="same")(x)
    x = L.GroupNormalization(5)(L.UpSampling2D(2, interpolation="bilinear")(x))
    x = L.MaxPooling2D(3, strides=2, padding="same")(L.SpatialDropout2D(0.2)(x))
    return Model(image, L.GlobalMaxPooling2D()(L.Cropping2D(1)(x)))


@model
def sequences() -> Any:
    steps = Input((20, 3), name="steps")
    x = L.Conv1D(4, 3, padding="causal", activation="gelu")(steps)
    x = L.GRU(4, return_sequences=True, reset_after=False)(L.SimpleRNN(4, return_sequences=True)(x))
    x = L.Bidirectional(L.LSTM(3, return_sequences=True), merge_mode="sum")(x)
    x = L.LayerNormalization(epsilon=1e-5)(L.AveragePooling1D(2)(x))
    x = L.EinsumDense("abc,cd->abd", output_shape=(None, 6), bias_axes="d")(x)
    return Model(steps, L.Permute((2, 1))(L.RepeatVector(3)(L.GlobalMaxPooling1D()(x))))


@model
def cells() -> Any:
    x = Input((6, 3), name="x")
    y = L.RNN(L.LSTMCell(4, recurrent_activation="hard_sigmoid"), return_sequences=True, name="lower")(x)
    y = L.RNN([L.LSTMCell(4), L.GRUCell(3), L.LSTMCell(2)], return_sequences=True, name="upper")(y)
    back = L.LSTM(4, go_backwards=True, return_sequences=True, activation="softsign")
    y = L.Bidirectional(L.LSTM(4, return_sequences=True), backward_layer=back, name="ways")(y)
    y = L.Bidirectional(L.RNN(L.GRUCell(4)), name="cells")(y)
    return Model(x, L.Dense(1, name="score")(y), name="of_cells")


@model
def films() -> Any:
    x = Input((4, 6, 6, 2), name="film")
    y = L.ConvLSTM2D(3, 3, padding="same", return_sequences=True, name="lower")(x)
    y = L.ConvLSTM2D(2, (3, 2), strides=2, activation="relu", name="upper")(y)
    return Model(x, L.Flatten(name="flat")(y), name="films")


@model
def functions() -> Any:
    x = Input((6, 6, 2), name="image")
    y = ops.max_pool(x, 2, padding="same")
    y = ops.hstack([y, ops.average_pool(x, 2)])
    mean, variance = ops.moments(y, [1, 2])
    return Model(x, ops.add(mean, ops.max(variance, axis=1, keepdims=True, initial=0.5)), name="of_functions")


@model
def other_attention() -> Any:
    query, value = Input((5, 8), name="query"), Input((7, 8), name="value")
    x, y = L.AdditiveAttention()([query, value]), L.GroupQueryAttention(4, 4, 2)(query, value)
    return Model([query, value], L.Add()([x, y]))


@model
def attention_along_some_axes() -> Any:
    x = Input((4, 5, 8), name="x")
    return Model(x, [L.MultiHeadAttention(2, 4, attention_axes=axes)(x, x) for axes in (1, 2, (1, 2), None)])


@model
def gated_attention() -> Any:
    x = Input((5, 8), name="x")
    y = L.MultiHeadAttention(2, 4, use_gate=True)(x, x)
    return Model(x, L.GroupQueryAttention(4, 4, 2, use_gate=True)(y, y))


@model
def attention_that_sees_nothing() -> Any:
    """Many a query without a key: the mean of all values, or with dropout zeros."""
    x = Input((5, 8), name="x")
    mask = x[..., :5] > 1
    parts = ops.reshape(x, (-1, 5, 2, 4))
    outputs = [ops.dot_product_attention(parts, parts, parts, mask=ops.expand_dims(mask, 1))]
    for rate in (0.0, 0.5):
        outputs.append(L.MultiHeadAttention(2, 4, dropout=rate)(x, x, attention_mask=mask))
        outputs.append(L.GroupQueryAttention(4, 4, 2, dropout=rate)(x, x, attention_mask=mask))
    return Model(x, outputs)


@model
def arithmetic() -> Any:
    given = Input((6, 4), name="x")
    x = 2 / (ops.abs((1 - (given * 2 + 1)) / 3) + 1)
    x = ops.relu(x[:, 1:])
    x = x + ops.mean(x, axis=1, keepdims=True)
    z = ops.matmul(ops.softmax(ops.transpose(x, (0, 2, 1)), axis=-1), x)
    z = ops.concatenate([z, ops.expand_dims(z[..., 0], -1)], axis=-1)
    z = ops.clip(ops.where(z > 0, z, 0.1 * z), -1, 1)
    return Model(given, [ops.sum(ops.square(z), axis=[1, 2]), ops.max(z, axis=-1)])


@model
def rearranging() -> Any:
    x = Input((8, 4), name="x")
    a, b = ops.split(x, 2, axis=1)
    r = ops.reshape(ops.stack([a, b], axis=1), (-1, 16, 2))
    largest = ops.top_k(ops.mean(r, axis=-1), 2)
    padded = ops.pad(r, ((0, 0), (1, 1), (0, 0)))
    outputs = [ops.take(r, [0, 3], axis=1), *largest, padded, ops.argmax(r, axis=1)]
    return Model(x, [*outputs, ops.norm(a, axis=-1), ops.einsum("abc,adc->abd", a, b)])


@model
def layer_inside_and_outside() -> Any:
    both = L.Dense(4, name="both")
    x = Input((4,), name="x")
    tower = Model(x, both(L.Dense(4)(x)), name="tower")
    given = Input((4,), name="given")
    return Model(given, both(tower(given)))


@model
def model_inside_and_outside() -> Any:
    x = Input((4,), name="x")
    inner = Model(x, L.Dense(4, "relu")(x), name="inner")
    middle = Model(x, inner(L.Dense(4)(x)), name="middle")
    given = Input((4,), name="given")
    return Model(given, inner(middle(given)))


@model
def alike_models_one_called_twice() -> Any:
    def inner() -> Any:
        x = Input((6,))
        return Model(x, L.Dense(6)(2.5 * x + 1))

    given, shared = Input((6,), name="x"), inner()
    first = inner()(given)
    return Model(given, [shared(given), shared(first)])
