"""Tensors of a traced Keras model that no layer computes: weights that a custom layer adds itself, constants,
noise. Each is a layer that reads another tensor, whose values do not matter.
"""

from __future__ import annotations

from functools import cache
from typing import Any

SOURCE = "TracedSource"
"""The name of their class."""
PRIMES = (61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157)


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


def prime_for(model: Any) -> int:
    """A number of examples that no size of a model is a multiple of."""
    sizes = {size for variable in model.variables for size in variable.shape}
    sizes |= {size for x in getattr(model, "inputs", None) or () for size in x.shape if size}
    return next(prime for prime in PRIMES if not any(size % prime == 0 for size in sizes if size))
