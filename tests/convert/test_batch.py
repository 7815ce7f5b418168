"""Functions of Keras to which the batch is an axis like others: imported where they are equal, or refused."""

import inspect
import re
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops
from keras.src.ops import core, image, linalg, math, nn, numpy

import graphspec
from graphspec.convert.config import function_name
from graphspec.convert.proof import difference
from graphspec.diagnostics import SpecError
from tests import bundled
from tests.keras_saved import KERAS_WARNS

pytestmark = [
    KERAS_WARNS,
    # Keras' own, of lists of axes
    pytest.mark.filterwarnings("ignore:NotImplemented should not be used:DeprecationWarning"),
]

RANDOM = np.random.default_rng(0)
MATRIX = RANDOM.normal(size=(4, 5)).astype("float32")
CUBE = RANDOM.normal(size=(2, 4, 3)).astype("float32")
KERNEL = RANDOM.normal(size=(2, 3, 3, 2)).astype("float32")
DEPTHWISE = RANDOM.normal(size=(3, 3, 3, 1)).astype("float32")
POINTWISE = RANDOM.normal(size=(1, 1, 3, 2)).astype("float32")
VECTOR = RANDOM.normal(size=4).astype("float32")
SMALL = abs(RANDOM.normal(size=4)).astype("float32")


def tensors() -> dict[str, Any]:
    """Inputs whose sizes are those of the batch: Keras would not notice that one is meant for the other."""
    return {
        "v": keras.Input((4,), name="v"),
        "m": keras.Input((4, 4), name="m"),
        "image": keras.Input((5, 4, 3), name="image"),
        "ids": keras.Input((4,), dtype="int32", name="ids"),
    }


def model(make: Callable[..., Any]) -> Any:
    """A model of a function of some of the inputs, by their names."""
    names = [name for name in inspect.signature(make).parameters]
    given = {name: tensor for name, tensor in tensors().items() if name in names}
    return keras.Model(list(given.values()), keras.tree.flatten(make(**given)))


SAME: dict[str, Callable[..., Any]] = {
    "take-rows-of-a-table": lambda ids: ops.take(MATRIX, ids, axis=0),
    "take-of-a-vector": lambda ids: ops.take(VECTOR, ids),
    "take-constants": lambda m: ops.take(m, [2, 0], axis=1),
    "take-along-axis": lambda m: ops.take_along_axis(m, np.array([[[0, 2, 1, 1]]]), axis=1),
    "conv": lambda image: ops.conv(image, KERNEL, strides=2, padding="same"),
    "conv-in-a-row": lambda image: ops.relu(ops.conv(image, KERNEL)),
    "depthwise-conv": lambda image: ops.depthwise_conv(image, DEPTHWISE, padding="same"),
    "separable-conv": lambda image: ops.separable_conv(image, DEPTHWISE, POINTWISE),
    "matmul-vectors": lambda v: ops.matmul(v, MATRIX),
    "matmul": lambda m: ops.matmul(m, MATRIX),
    "matmul-before": lambda m: ops.matmul(MATRIX.T, m),
    "matmul-several": lambda m: ops.matmul(m, RANDOM.normal(size=(1, 4, 2)).astype("float32")),
    "dot": lambda m, v: [ops.dot(m, MATRIX), ops.dot(v, VECTOR)],
    "inner": lambda m: ops.inner(m, MATRIX.T),
    "tensordot": lambda m, v: [ops.tensordot(m, MATRIX, axes=1), ops.tensordot(v, CUBE, axes=[[1], [1]])],
    "where": lambda m: ops.where(m > 0, m, VECTOR),
    "batch-normalization": lambda m: ops.batch_normalization(m, VECTOR, SMALL, -1, VECTOR, SMALL),
    "layer-normalization": lambda m: [ops.layer_normalization(m), ops.rms_normalization(m)],
    "searchsorted": lambda v: ops.searchsorted(np.array([-1.0, 0.0, 1.0], "float32"), v),
    "unstack": lambda m: ops.unstack(m, axis=1),
    "normalize": lambda m: ops.normalize(m, axis=1),
    "isin": lambda ids: ops.isin(ids, [1, 3]),
    "slice-update": lambda m: ops.slice_update(m, [0, 1, 2], m[:, :2, :2]),
    "multi-hot": lambda ids: ops.multi_hot(ids, 4),
    "colours": lambda image: ops.image.rgb_to_grayscale(ops.sigmoid(image)),
    "crossentropy": lambda m: ops.categorical_crossentropy(ops.softmax(m), ops.softmax(-m)),
}


@bundled(16, "name", SAME)
def test_it_is_imported_where_it_is_the_same(name: str) -> None:
    keras_model = model(SAME[name])
    imported = graphspec.from_keras(keras_model)
    assert imported.weights is not None
    assert difference(imported.program, imported.weights, keras_model) < 1e-5, imported.text


def test_a_constant_is_a_node_of_its_own() -> None:
    keras.utils.clear_session()  # which numbers names
    kernel = np.array([[[[1.0]], [[0.5]]]], "float32")
    image = keras.Input((4, 4, 1), name="image")
    blurred = ops.conv(ops.conv(image, kernel), kernel)
    assert graphspec.from_keras(keras.Model(image, blurred), flat=True).text.split("nodes:\n")[1] == (
        "  conv_kernel:   {constant: [[[[1.0]], [[0.5]]]]}\n"
        "  conv:          {op: conv, from: [image, conv_kernel]}\n"
        "  conv_1_kernel: {constant: [[[[1.0]], [[0.5]]]]}\n"
        "  conv_1:        {op: conv, from: [conv, conv_1_kernel]}\n"
        "outputs: [conv_1]\n"
    )


REFUSED: dict[str, Callable[..., Any]] = {
    "take": lambda m, ids: ops.take(m, ids, axis=1),
    "take-of-all": lambda m, ids: ops.take(m, ids),
    "take-columns-of-a-table": lambda ids: ops.take(MATRIX, ids, axis=1),
    "dot": lambda m, v: ops.dot(m, v),
    "dot-before": lambda m: ops.dot(MATRIX.T, m),
    "inner": lambda m, v: ops.inner(m, v),
    "outer": lambda v: ops.outer(v, VECTOR),
    "tensordot": lambda m: ops.tensordot(m, m, axes=2),
    "tensordot-of-all": lambda v: ops.tensordot(v, MATRIX, axes=2),
    "vdot": lambda v: ops.vdot(v, v),
    "kron": lambda v: ops.kron(v, MATRIX),
    "ravel": lambda m: ops.ravel(m),
    "diag": lambda v: ops.diag(v),
    "scatter": lambda ids, v: ops.scatter(ids[:, :1], v, (4, 4)),
    "segment-sum": lambda m: ops.segment_sum(m, np.array([0, 0, 1, 1]), num_segments=2),
    "matmul-over-the-batch": lambda v: ops.matmul(MATRIX.T, v),
    "crossentropy-of-the-batch": lambda v: ops.categorical_crossentropy(
        ops.softmax(v), ops.softmax(-v), axis=0
    ),
    "joined-with-a-constant": lambda m: ops.concatenate([m, m, np.ones((1, 4, 4), "float32")], axis=1),
    "stacked-with-a-constant": lambda v: ops.hstack([v, v, np.ones((4, 1), "float32")]),
    "eig": lambda m: ops.real(ops.eig(m)[0]),
    "all-of-a-batch": lambda v: ops.max(v),
    "sorted-in-the-batch": lambda v: ops.sort(v, axis=0),
    "unstacked-batch": lambda m: ops.unstack(ops.reshape(m, (2, -1)))[1],
    "typed": lambda ids: ops.one_hot(ids, 4, dtype="int32"),
}


@bundled(16, "name", REFUSED)
def test_what_is_not_the_same_is_refused(name: str) -> None:
    with pytest.raises(SpecError) as raised:
        graphspec.from_keras(model(REFUSED[name]))
    (found,) = raised.value.diagnostics[:1]
    assert found.code == "import-unsupported" and found.help, found


def test_what_keras_cannot_save_is_told() -> None:
    x = keras.Input((4,), name="x")
    with pytest.raises(SpecError, match="Keras cannot save the model"):
        graphspec.from_keras(keras.Model(x, ops.clip(x, VECTOR, VECTOR + 1)))


def test_functions_are_found_by_their_classes() -> None:
    """A file names classes of Keras; each leads to the function that makes it."""
    for module in (core, image, linalg, math, nn, numpy):
        for name, function in vars(module).items():
            if (
                not inspect.isfunction(function)
                or name.startswith("_")
                or function.__module__ != module.__name__
            ):
                continue
            made = re.findall(
                r"\b([A-Z]\w+)\(.*?\)\s*\.symbolic_call", inspect.getsource(function), re.DOTALL
            )
            own = {made_name for made_name in made if name.replace("_", "") in made_name.lower()}
            assert {function_name(each) for each in own} <= {name}, name
