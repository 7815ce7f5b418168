"""Tensors of Keras' graphs: what they are, what is computed of them, and functions of Keras that stop short
of symbolic ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from graphspec.convert.tracing.sources import SOURCE


class Untraceable(Exception):
    """Raised where code cannot be a graph; the layer that it belongs to is told."""


class CountsExamples(Untraceable):
    """A number is in the code that is the number of examples, or by chance like it."""


def as_tensor(operation: Any, x: Any) -> Any:
    """`convert_to_tensor` of a tensor."""
    import keras

    same = operation.dtype is None or keras.backend.standardize_dtype(operation.dtype) == x.dtype
    return x if same else keras.ops.cast(x, operation.dtype)


def masks_of(layer: Any, args: Any, kwargs: Any) -> dict[str, Any]:
    """The masks that Keras hands to a layer beside its tensors, as arguments: a spec carries those alone that
    its own layers make.
    """
    import keras
    from keras.src.backend import get_keras_mask

    try:
        arguments = layer._call_signature.bind(*args, **kwargs).arguments
    except TypeError:
        return {}
    read = {word: x for word, x in arguments.items() if any(map(is_symbolic, keras.tree.flatten(x)))}
    read = {word: x for word, x in read.items() if not word.endswith("mask")}
    names = {word: f"{word}_mask" if len(read) > 1 else "mask" for word in read}
    if list(read) == ["query"]:
        names["query"] = "query_mask"
    masks = {}
    for word, x in read.items():
        mask = keras.tree.map_structure(get_keras_mask, x)
        there = any(item is not None for item in keras.tree.flatten(mask))
        taken = names[word] in layer._call_signature.parameters and arguments.get(names[word]) is None
        if there and taken:
            masks[names[word]] = mask
    return masks


def einsum_shape(operation: Any, *tensors: Any) -> Any:
    """The shape of an einsum; Keras' own rule confuses some capital letters."""
    from keras.src import backend

    return backend.compute_output_spec(operation.call, *tensors)


def spelled(subscripts: str, ranks: list[int]) -> str:
    """Subscripts of tensors with so many axes, with letters in the place of `...`."""
    text = subscripts.replace(" ", "")
    if "..." not in text:
        return text
    left, arrow, right = text.partition("->")
    free = [letter for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if letter not in text]
    parts = left.split(",")
    hidden = [rank - len(part.replace("...", "")) for part, rank in zip(parts, ranks, strict=True)]
    most = free[: max(size for size, part in zip(hidden, parts, strict=True) if "..." in part)]
    parts = [
        part.replace("...", "".join(most[len(most) - size :]))
        for part, size in zip(parts, hidden, strict=True)
    ]
    return ",".join(parts) + arrow + right.replace("...", "".join(most))


def are_indices(tensor: Any) -> bool:
    """Whether all that reads a tensor, or a part of it, looks something up by it."""
    is_index = False
    for node in tensor._keras_history.operation._outbound_nodes:
        if not any(x is tensor for x in node.input_tensors):
            continue
        kind = type(node.operation).__name__
        if kind == SOURCE:
            continue
        last = node.input_tensors[-1] is tensor
        moves = kind in ("GetItem", "Reshape", "Squeeze", "ExpandDims", "NotEqual", "FloorDivide", "Mod")
        if kind == "Embedding" or (kind == "Take" and last) or looks_up(node.operation):
            is_index = True
        elif kind == "NotEqual" or (moves and all(map(are_indices, node.outputs))):
            is_index = is_index or kind != "NotEqual"
        else:
            return False
    return is_index


def looks_up(layer: Any) -> bool:
    """Whether a model inside the model begins with an embedding."""
    inner = getattr(layer, "layers", None) or ()
    first = next((each for each in inner if type(each).__name__ != "InputLayer"), None)
    return type(first).__name__ == "Embedding"


def leaves(value: Any) -> Iterator[Any]:
    """The tensors that a tensor of torch with a gradient was computed of."""
    waiting, done = [getattr(value, "grad_fn", None)], set()
    if waiting == [None]:
        yield value
    while waiting:
        function = waiting.pop()
        if function is None or function in done:
            continue
        done.add(function)
        if hasattr(function, "variable"):
            yield function.variable
        waiting += [before for before, _ in function.next_functions]


def picked(x: Any, key: Any) -> Any:
    """The selection of an index: also of None alone, which Keras knows of tensors with numbers only."""
    import keras

    return keras.ops.get_item(x, (None, Ellipsis) if key is None else key)


def is_symbolic(value: Any) -> bool:
    """Whether a value is a tensor of a graph."""
    import keras

    return isinstance(value, keras.KerasTensor)


def is_array(value: Any) -> bool:
    """Whether a value is a tensor with numbers."""
    import keras
    import numpy as np

    return isinstance(value, (np.ndarray, np.generic, keras.Variable)) or keras.ops.is_tensor(value)


def nodes_of(outputs: list[Any], inputs: set[int]) -> Iterator[Any]:
    """The calls that outputs need, each once."""
    done: set[int] = set()
    waiting = list(outputs)
    while waiting:
        operation, index, _ = waiting.pop()._keras_history
        if operation is None or id(operation) in inputs:
            continue
        node = operation._inbound_nodes[index]
        if id(node) not in done:
            done.add(id(node))
            yield node
            waiting += node.input_tensors
