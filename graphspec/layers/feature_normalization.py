"""Normalization by means and variances, given or those of training data."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from graphspec.contract.arrays import elements
from graphspec.contract.axes import Axes
from graphspec.contract.broadcasting import example_axes, to_float
from graphspec.contract.input_checks import known_channels
from graphspec.contract.layer import Code, Example, Layer, LayerError, Leaf, ModuleCall, Site, Weight
from graphspec.contract.learned import Learned, MeanAndVariance
from graphspec.contract.streaming import Streaming, apart_from
from graphspec.tensor import Tensor

Nested = float | tuple["Nested", ...]


def _numbers(value: Any) -> Nested:
    """A number or nested lists of numbers, as floats."""
    if isinstance(value, (list, tuple)):
        return tuple(_numbers(item) for item in value)
    if type(value) not in (int, float):
        raise PydanticCustomError("numbers_type", "a number or a list of numbers")
    return float(value)


_NUMBER = {"type": "number"}
Numbers = Annotated[
    Any,
    BeforeValidator(lambda value: None if value is None else _numbers(value)),
    WithJsonSchema({"anyOf": [_NUMBER, {"type": "array"}, {"type": "null"}]}),
]


class Normalization(Layer):
    """`(x - mean) / sqrt(variance)`, or the inverse with `invert`.

    Both are a number, or a list with a number for each index of `axis`, nested for several axes. Without them
    they are those of the training data, found before the first step.
    """

    flops_per_input = 2
    supports_masking = True
    halves = False

    axis: Axes | None = -1
    mean: Numbers = None
    """Mean of the training data."""
    variance: Numbers = None
    """Variance of the training data."""
    invert: bool = False

    examples = (Example({"mean": 0.5, "variance": 4.0}, ((3,),)),)

    def infer(self, x: Tensor) -> Tensor:
        if x.dtype == "bool":
            raise LayerError("wrong-dtype", f"Normalization takes numbers, and gets {x}", inputs=(0,))
        if self.adapts:
            self.shape(x)
            return x.with_dtype(to_float(x.dtype))
        for argument, other in (("mean", "variance"), ("variance", "mean")):
            if getattr(self, argument) is None:
                raise LayerError(
                    "missing-key",
                    f"Normalization needs `{argument}` as well as `{other}`",
                    help="give both, or none: then they are those of the training data",
                    argument=argument,
                )
            self.placed(argument, x)
        if any(number < 0 for number in elements(self.variance)):
            raise LayerError("out-of-range", "a `variance` is not negative", argument="variance")
        return x.with_dtype(to_float(x.dtype))

    @property
    def adapts(self) -> bool:
        """Whether mean and variance are those of the training data."""
        return self.mean is None and self.variance is None

    def axes(self, x: Tensor) -> tuple[int, ...]:
        """The axes along which means and variances differ, from 0."""
        return () if self.axis is None else example_axes("Normalization", self.axis, x.rank)

    def sizes(self, x: Tensor) -> tuple[int, ...]:
        """The sizes of these axes."""
        return tuple(
            known_channels(x, axis, layer="Normalization", what="size of `axis`") for axis in self.axes(x)
        )

    def shape(self, x: Tensor) -> tuple[int, ...]:
        """The shape of means and variances that broadcast to the input."""
        sizes = dict(zip(self.axes(x), self.sizes(x), strict=True))
        return tuple(sizes.get(axis, 1) for axis in range(min(sizes, default=x.rank), x.rank))

    def weights(self, x: Tensor) -> tuple[Weight, ...]:
        if not self.adapts:
            return ()
        return tuple(Weight(name, self.shape(x), name, trainable=False) for name in ("mean", "variance"))

    def learned(self, x: Tensor) -> Learned | None:
        return MeanAndVariance("mean", "variance", self.axes(x)) if self.adapts else None

    def placed(self, argument: str, x: Tensor) -> Nested:
        """The numbers, nested so that they broadcast to the input."""
        value: Nested = getattr(self, argument)
        if not isinstance(value, tuple):
            return value
        axes, shape = self.axes(x), self.sizes(x)
        if _shape(value) != shape:
            raise LayerError(
                "shapes-differ",
                f"`{argument}` is a number or {list(shape)} numbers for {x}, not {list(_shape(value) or ())}",
                argument=argument,
                inputs=(0,),
            )
        flat: list[Nested] = list(elements(value))
        for axis in reversed(range(axes[0], x.rank)):
            size = x.shape[axis] if axis in axes else 1
            assert isinstance(size, int)
            flat = [tuple(flat[i : i + size]) for i in range(0, len(flat), size)]
        return flat[0]

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return apart_from(roles[0], self.axes(site.x))

    def code(self, site: Site) -> Code:
        if self.adapts:
            construct = ModuleCall(
                "Standardization", {"shape": self.shape(site.x)}, {"invert": (self.invert, False)}
            )
            return Code("{self}({x})", construct)
        mean, variance = self.placed("mean", site.x), self.placed("variance", site.x)
        if not isinstance(mean, tuple) and not isinstance(variance, tuple):
            constants: dict[str, Leaf] = {"mean": mean, "std": max(math.sqrt(variance), 1e-7)}
            text = "{x} * {std} + {mean}" if self.invert else "({x} - {mean}) / {std}"
            return Code(text, constants=constants)
        construct = ModuleCall(
            "Normalization", {"mean": mean, "variance": variance}, {"invert": (self.invert, False)}
        )
        return Code("{self}({x})", construct)


def _shape(value: Nested) -> tuple[int, ...] | None:
    """The shape of nested lists; None if they are ragged."""
    if not isinstance(value, tuple):
        return ()
    inner = {_shape(item) for item in value}
    item_shape = inner.pop() if len(inner) == 1 else None
    return None if item_shape is None else (len(value), *item_shape)
