"""Reads a live Keras model: which layers are code of the user's, where their weights are held. Afterwards all
is as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from typing import Any

from graphspec.diagnostics import fail
from graphspec.language.schema import MISSING


def is_own_class(kind: type) -> bool:
    """Whether a class is not one of Keras, nor of this package."""
    return kind.__module__.split(".")[0] not in ("keras", "tf_keras", "builtins", "graphspec")


def is_own(layer: Any) -> bool:
    """Whether a layer's class is not one of Keras."""
    return is_own_class(type(layer))


def trains_itself(kind: type) -> bool:
    """Whether a model's class has methods of its own that train it."""
    import keras

    methods = ("train_step", "test_step", "predict_step", "compute_loss", "compile", "fit")
    return any(getattr(kind, word, None) is not getattr(keras.Model, word) for word in methods)


def is_function(value: Any) -> bool:
    """Whether an activation is a function of the user's, or one of keras.ops that differs from the activation
    of its name, which is what a file would say.
    """
    module = getattr(value, "__module__", None)
    if not callable(value) or not isinstance(module, str):
        return False
    return module.split(".")[0] != "keras" or (module.startswith("keras.src.ops") and _differs(value))


def _differs(function: Any) -> bool:
    import keras
    import numpy as np

    named = getattr(keras.activations, getattr(function, "__name__", ""), None)
    if named is None:
        return True
    x = np.linspace(-4, 4, 12, dtype="float32").reshape(3, 4)
    one, other = (keras.ops.convert_to_numpy(each(x)) for each in (function, named))
    return not np.allclose(one, other, atol=1e-6)


def function_of(layer: Any) -> str | None:
    """The argument of one of Keras' layers that is a function of the user's, which a file names by a word."""
    words = ("activation", "recurrent_activation")
    return next((word for word in words if is_function(getattr(layer, word, None))), None)


def parts_of(layer: Any) -> Iterator[Any]:
    """One of Keras' layers, the layers that it runs, and theirs: cells, and what it is around."""
    yield layer
    both = [getattr(layer, word, None) for word in ("forward_layer", "backward_layer")]
    around = both if any(both) else [getattr(layer, "layer", None)]  # Bidirectional runs copies
    for inner in (*around, getattr(layer, "cell", None), *(getattr(layer, "cells", None) or ())):
        if inner is not None:
            yield from parts_of(inner)


def is_opaque(layer: Any) -> bool:
    """Whether a layer is code that has to be run: of the user's, or a model that holds such a layer."""
    import keras

    if is_own(layer) or type(layer).__name__ == "Lambda":
        return True
    if not isinstance(layer, keras.Model):
        return False
    return any(is_opaque(inner) or function_of(inner) is not None for inner in layer.layers)


def has_code(model: Any) -> bool:
    """Whether there is code of the user's in a model."""
    return is_opaque(model) or any(
        is_opaque(layer) or function_of(layer) is not None
        for layer in model._flatten_layers(include_self=False)
    )


def attribute_of(owner: Any, layer: Any) -> str | None:
    """The name by which a layer holds another: `attention`, or `blocks_2` in a list."""
    held: dict[str, Any] = {**vars(owner), **vars(owner).get("_modules", {})}  # where torch keeps layers
    for word, value in held.items():
        if word.startswith("_"):
            continue
        if value is layer:
            return word
        if isinstance(value, (list, tuple)):
            for number, item in enumerate(value):
                if item is layer:
                    return f"{word}_{number}"
    return None


class TrainingAsked:
    """`training` as a custom layer is given it: false, and known to have been asked."""

    def __init__(self, told: Callable[[], None]):
        self.told = told

    def __bool__(self) -> bool:
        self.told()
        return False


@contextmanager
def replaced(owner: Any, word: str, value: Any) -> Iterator[None]:
    """A context in which an attribute is another."""
    before = vars(owner).get(word, MISSING)
    put = (
        type.__setattr__
        if isinstance(owner, type)
        else lambda _, word, value: vars(owner).update({word: value})
    )
    put(owner, word, value)
    try:
        yield
    finally:
        if before is not MISSING:
            put(owner, word, before)
        elif isinstance(owner, type):
            delattr(owner, word)
        else:
            del vars(owner)[word]


@contextmanager
def swapped(layer: Any, tensor: Callable[[Any, str], Any]) -> Iterator[None]:
    """A context in which a layer holds symbolic tensors in the place of the weights that it adds itself."""
    import keras

    variables = [*layer._trainable_variables, *layer._non_trainable_variables]
    floats = {id(variable) for variable in variables if "float" in str(variable.dtype)}

    def replaced(value: Any, word: str) -> Any:
        if isinstance(value, keras.Variable):
            return tensor(value, word) if id(value) in floats else value
        if isinstance(value, dict):
            return {key: replaced(item, f"{word}_{key}") for key, item in value.items()}
        return [replaced(item, f"{word}_{number}") for number, item in enumerate(value)]

    def holds(value: Any) -> bool:
        if isinstance(value, (list, tuple)):
            return any(map(holds, value))
        if isinstance(value, Mapping):
            return any(map(holds, value.values()))
        return isinstance(value, keras.Variable) and id(value) in floats

    space = vars(layer)
    hidden = ("_trainable_variables", "_non_trainable_variables", "_tracker")
    before = {word: value for word, value in space.items() if word not in hidden and holds(value)}
    space.update({word: replaced(value, word.strip("_")) for word, value in before.items()})
    try:
        yield
    finally:
        space.update(before)


@contextmanager
def kept(model: Any) -> Iterator[None]:
    """A context after which the layers of a model are in the graphs that they were in."""
    layers = {id(layer): layer for layer in model._flatten_layers()}
    for layer in list(layers.values()):
        layers |= {id(operation): operation for operation in getattr(layer, "operations", None) or ()}
    nodes = [(layer, list(layer._inbound_nodes), list(layer._outbound_nodes)) for layer in layers.values()]
    try:
        yield
    finally:
        for layer, inbound, outbound in nodes:
            layer._inbound_nodes[:] = inbound
            layer._outbound_nodes[:] = outbound


def inputs_of(model: Any, batch: int, integers: frozenset[int]) -> Any:
    """Inputs of a model, as it is called with them, for a batch of so many examples. Of a class that says no
    types, those with these numbers are integers.
    """
    import keras

    numbers = count()

    def made(shape: Any, dtype: str, name: str | None) -> Any:
        dtype = "int32" if next(numbers) in integers else dtype
        return keras.Input(batch_shape=(batch, *shape[1:]), dtype=dtype, name=name)

    structure = getattr(model, "_inputs_struct", None)
    if structure is None and getattr(model, "_functional", None) is not None:
        structure = model._functional._inputs_struct
    if structure is not None:
        return keras.tree.map_structure(lambda x: made(x.shape, x.dtype, x.name), structure)
    shapes = getattr(model, "_build_shapes_dict", None)
    if not shapes:
        raise fail(
            "import-unsupported",
            f"the model is a custom class `{type(model).__name__}` that was never called: it has no shapes",
            "call it once on an example, or build it with keras.Model(inputs, outputs)",
        )
    first = next(iter(shapes.values()))
    if isinstance(first, tuple) and all(size is None or isinstance(size, int) for size in first):
        return made(first, "float32", "x")
    if isinstance(first, Mapping):
        return {key: made(shape, "float32", str(key)) for key, shape in first.items()}
    return [made(shape, "float32", f"x{number}") for number, shape in enumerate(first)]
