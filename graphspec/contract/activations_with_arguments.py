"""Keras' activations that take an argument, but for `relu` and `softmax`."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from graphspec.contract.activations import ActivationFunction, AlongAxis, NotNegative
from graphspec.contract.fields import Finite


class ParametricFunction(ActivationFunction):
    """An activation with one argument, which PyTorch's `target` calls `keyword`.

    `default` is PyTorch's own.
    """

    target: ClassVar[str]
    keyword: ClassVar[str]
    default: ClassVar[float]

    @property
    def argument(self) -> float:
        """The value of the argument."""
        (name,) = type(self).model_fields
        return float(getattr(self, name))

    def expression(self, inplace: bool = False) -> str:
        if self.argument == self.default:
            return f"{self.target}({{x}})"
        return f"{self.target}({{x}}, {self.argument!r})"

    def callable(self, inplace: bool = False) -> str:
        if self.argument == self.default:
            return self.target
        return f"partial({self.target}, {self.keyword}={self.argument!r})"


class EluFunction(ParametricFunction, word="elu"):
    """`x` where it is positive, else `alpha * (exp(x) - 1)`."""

    target, keyword, default = "F.elu", "alpha", 1.0

    alpha: Finite = 1.0


class CeluFunction(ParametricFunction, word="celu"):
    """`x` where it is positive, else `alpha * (exp(x / alpha) - 1)`."""

    target, keyword, default = "F.celu", "alpha", 1.0

    alpha: Annotated[Finite, Field(gt=0)] = 1.0


class SoftShrinkFunction(ParametricFunction, word="soft_shrink"):
    """`x` shrunk towards 0 by `threshold`, and 0 within the threshold."""

    target, keyword, default = "F.softshrink", "lambd", 0.5

    threshold: NotNegative = 0.5


class HardShrinkFunction(ParametricFunction, word="hard_shrink"):
    """`x`, but 0 within `threshold` of 0."""

    target, keyword, default = "F.hardshrink", "lambd", 0.5

    threshold: NotNegative = 0.5


class LeakyReluFunction(ParametricFunction, word="leaky_relu"):
    """`x` where it is positive, else `negative_slope * x`."""

    target, keyword, default = "F.leaky_relu", "negative_slope", 0.01

    negative_slope: Finite = 0.2

    def callable(self, inplace: bool = False) -> str:
        return "leaky_relu" if self.negative_slope == 0.2 else super().callable(inplace)


class SquareplusFunction(ParametricFunction, word="squareplus"):
    """A smooth ReLU without exponentials: `(x + sqrt(x**2 + b)) / 2`."""

    target, keyword, default = "squareplus", "b", 4.0

    b: NotNegative = 4.0


class GeluFunction(ActivationFunction, word="gelu"):
    """The Gaussian error linear unit; `approximate` uses the tanh approximation."""

    approximate: bool = False

    def expression(self, inplace: bool = False) -> str:
        return 'F.gelu({x}, approximate="tanh")' if self.approximate else "F.gelu({x})"

    def callable(self, inplace: bool = False) -> str:
        return 'partial(F.gelu, approximate="tanh")' if self.approximate else "F.gelu"


class LogSoftmaxFunction(AlongAxis, word="log_softmax"):
    """The logarithm of the softmax along an axis."""

    inline, function, target = "{x}.log_softmax({axis})", "log_softmax", "nn.LogSoftmax({axis})"


class GluFunction(AlongAxis, word="glu"):
    """The first half of an axis, multiplied by the sigmoid of the second half."""

    inline, function, target = "F.glu({x}, {axis})", "glu", "nn.GLU({axis})"


class SparsemaxFunction(AlongAxis, word="sparsemax"):
    """The projection onto the probability simplex along an axis."""

    inline, function, target = "sparsemax({x}, {axis})", "sparsemax", "partial(sparsemax, dim={axis})"
