"""Keras' activations: what each becomes in PyTorch. Most of those that take an argument are in
`activations_with_arguments.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import new_class
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field

from graphspec.contract.fields import Finite
from graphspec.contract.named import NamedValue

NotNegative = Annotated[Finite, Field(ge=0)]


class ActivationFunction(NamedValue, family="activation"):
    """A function that is applied to a layer's result, or called inside the layer; null is `linear`.

    `inline` is an expression of `{x}`; `function` is the same as a callable. `overwriting` are the two forms
    that overwrite their input, if PyTorch can do so at no cost to gradients.
    """

    synonyms = {
        "none": "null",
        "identity": "linear",
        "logistic": "sigmoid",
        "lrelu": "leaky_relu",
        "logsoftmax": "log_softmax",
        "softrelu": "softplus",
    }
    nullable = True

    inline: ClassVar[str] = ""
    function: ClassVar[str] = ""
    overwriting: ClassVar[tuple[str, str] | None] = None
    along_axis: ClassVar[bool] = False  # it runs along its `axis`; others look at each element alone

    @classmethod
    def parse(cls, value: Any) -> Any:
        return super().parse("linear" if value is None else value)

    def expression(self, inplace: bool = False) -> str:
        """An expression of `{x}`. With `inplace` it overwrites `x`, if there is such a form."""
        return self.overwriting[0] if inplace and self.overwriting else self.inline

    def callable(self, inplace: bool = False) -> str:
        """The same activation as a callable."""
        return self.overwriting[1] if inplace and self.overwriting else self.function

    def with_axis(self, place: Callable[[int], int]) -> ActivationFunction:
        """The same in another memory order: `place` maps an axis of the spec to that in memory."""
        return self

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes that it runs along."""
        return (getattr(self, "axis", -1),) if self.along_axis else ()

    @property
    def ending(self) -> str | None:
        """Its name, if that determines the range of its values."""
        return self.word


ACTIVATIONS = ActivationFunction.members


def _without_arguments(word: str, doc: str, function: str, inline: str = "", aliases: str = "") -> None:
    """An activation without arguments, whose class is made when a spec names it."""
    ACTIVATIONS.announce((word, *aliases.split()), partial(_make, word, doc, function, inline, aliases))


def _make(word: str, doc: str, function: str, inline: str, aliases: str) -> None:
    body = {
        "__doc__": doc,
        "__module__": __name__,
        "function": function,
        "inline": inline or f"{function}({{x}})",
    }
    name = "".join(part.capitalize() for part in word.split("_")) + "Function"
    options = {"word": word, "aliases": aliases}
    new_class(name, (ActivationFunction,), options, lambda space: space.update(body))


for _row in (
    ("linear", "`x` itself.", "nn.Identity()", "{x}"),
    ("relu6", "`x` between 0 and 6.", "F.relu6"),
    ("selu", "The self-normalizing exponential linear unit.", "F.selu"),
    ("silu", "`x * sigmoid(x)`.", "F.silu", "", "swish"),
    ("hard_silu", "`x * relu6(x + 3) / 6`.", "F.hardswish", "", "hard_swish"),
    ("mish", "`x * tanh(softplus(x))`.", "F.mish"),
    ("softplus", "`log(1 + exp(x))`.", "F.softplus"),
    ("softsign", "`x / (1 + abs(x))`.", "F.softsign"),
    ("log_sigmoid", "The logarithm of the sigmoid.", "F.logsigmoid"),
    ("hard_sigmoid", "`relu6(x + 3) / 6`.", "F.hardsigmoid"),
    ("hard_tanh", "`x` between -1 and 1.", "F.hardtanh"),
    ("tanh_shrink", "`x - tanh(x)`.", "F.tanhshrink"),
    ("sigmoid", "`1 / (1 + exp(-x))`.", "torch.sigmoid", "{x}.sigmoid()"),
    ("tanh", "The hyperbolic tangent.", "torch.tanh", "{x}.tanh()"),
    ("exponential", "`exp(x)`.", "torch.exp", "{x}.exp()"),
    ("sparse_plus", "0 below -1, `x` above 1, and a parabola between.", "sparse_plus"),
    ("sparse_sigmoid", "0 below -1, 1 above 1, and `(x + 1) / 2` between.", "sparse_sigmoid"),
):
    _without_arguments(*_row)


class ReluFunction(ActivationFunction, word="relu"):
    """`x` above `threshold`, at most `max_value`; `negative_slope * (x - threshold)` below."""

    inline, function = "F.relu({x})", "F.relu"
    overwriting = ("F.relu({x}, inplace=True)", "F.relu_")

    negative_slope: NotNegative = 0.0
    max_value: NotNegative | None = None
    threshold: NotNegative = 0.0

    @property
    def is_plain(self) -> bool:
        """Whether it is the ReLU without options."""
        return (self.negative_slope, self.max_value, self.threshold) == (0, None, 0)

    def expression(self, inplace: bool = False) -> str:
        if self.is_plain:
            return super().expression(inplace)
        text, arguments = rectified(self.negative_slope, self.max_value, self.threshold)
        for name, value in arguments.items():
            text = text.replace(f"{{{name}}}", repr(value))
        return text

    def callable(self, inplace: bool = False) -> str:
        slope, threshold, most = self.negative_slope, self.threshold, self.max_value
        if self.is_plain:
            return super().callable(inplace)
        if most is None and not threshold:
            return f"partial(F.leaky_relu, negative_slope={slope!r})"
        if most is None and not slope:
            return f"partial(F.threshold, threshold={threshold!r}, value=0.0)"
        if not slope and not threshold:
            return "F.relu6" if most == 6 else f"partial(torch.clamp, min=0.0, max={most!r})"
        arguments = {"negative_slope": slope or None, "max_value": most, "threshold": threshold or None}
        written = ", ".join(f"{name}={value!r}" for name, value in arguments.items() if value is not None)
        return f"partial(rectified, {written})"

    @property
    def ending(self) -> str | None:
        return self.word if self.is_plain else None


def rectified(slope: float, most: float | None, threshold: float) -> tuple[str, dict[str, float]]:
    """Keras' ReLU as an expression of `{x}` and constants, and these constants."""
    constants: dict[str, float] = {}
    if slope and threshold:
        text = "thresholded_leaky_relu({x}, {slope}, {threshold})"
        constants = {"slope": float(slope), "threshold": float(threshold)}
    elif slope:
        text, constants = "F.leaky_relu({x}, {slope})", {"slope": float(slope)}
    elif threshold:
        text, constants = "F.threshold({x}, {threshold}, 0.0)", {"threshold": float(threshold)}
    elif most is not None:
        if most == 6:
            return "F.relu6({x})", {}
        return "{x}.clamp(0.0, {max_value})", {"max_value": float(most)}
    else:
        return "F.relu({x})", {}
    if most is not None:
        text += ".clamp(max={max_value})"
        constants["max_value"] = float(most)
    return text, constants


class AlongAxis(ActivationFunction):
    """An activation along an axis, where the batch is axis 0.

    `target` is the PyTorch function or module that takes the axis as `dim`.
    """

    along_axis = True
    target: ClassVar[str]

    axis: int = -1

    def expression(self, inplace: bool = False) -> str:
        return self.inline.replace("{axis}", repr(self.axis))

    def callable(self, inplace: bool = False) -> str:
        return self.function if self.axis == -1 else self.target.replace("{axis}", repr(self.axis))

    def with_axis(self, place: Callable[[int], int]) -> Self:
        return type(self)(axis=place(self.axis))

    @property
    def ending(self) -> str | None:
        return self.word if self.axis == -1 else None  # a loss takes logits along the last axis


class SoftmaxFunction(AlongAxis, word="softmax"):
    """The softmax along an axis."""

    inline, function, target = "{x}.softmax({axis})", "softmax", "nn.Softmax({axis})"


LINEAR: ActivationFunction = ActivationFunction.parse("linear")
RELU: ActivationFunction = ActivationFunction.parse("relu")
TANH: ActivationFunction = ActivationFunction.parse("tanh")
SIGMOID: ActivationFunction = ActivationFunction.parse("sigmoid")
