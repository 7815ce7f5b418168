"""Tensors of a traced Keras model that no layer computes: weights that a custom layer adds itself, constants,
noise. Each is a layer that reads another tensor, whose values do not matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import count
from math import isqrt
from typing import Any

from graphspec.convert.tracing.live import inputs_of

SOURCE = "TracedSource"
"""The name of their class."""


@cache
def source_layer() -> Any:
    """The class. Keras is imported where it is asked for."""
    import keras

    class TracedSource(keras.layers.Layer):  # type: ignore[misc]
        def __init__(self, kind: str, shape: list[int], dtype: str, variable: Any = None, **more: Any):
            super().__init__(trainable=variable is None or variable.trainable, dtype="float32")
            self.told = {"kind": kind, "shape": shape, "of": dtype, **more}
            self.variable = variable
            self.built = True

        def compute_output_spec(self, x: Any) -> Any:
            return keras.KerasTensor(tuple(self.told["shape"]), self.told["of"])

        def get_config(self) -> dict[str, Any]:
            return {"name": self.name, "trainable": self.trainable, **self.told}

    assert TracedSource.__name__ == SOURCE
    return TracedSource


def primes_for(model: Any) -> Iterator[int]:
    """Numbers of examples that no size of a model is a multiple of: primes."""
    import keras

    sizes = {size for variable in model.variables for size in variable.shape}
    sizes |= {size for x in keras.tree.flatten(inputs_of(model, 1, frozenset())) for size in x.shape[1:]}
    for number in count(61, 2):
        prime = all(number % divisor for divisor in range(3, isqrt(number) + 1, 2))
        if prime and not any(size % number == 0 for size in sizes if size):
            yield number
