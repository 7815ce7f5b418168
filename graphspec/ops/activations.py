"""The activation functions of keras.ops, and their arguments."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from graphspec.contract.activations import ActivationFunction
from graphspec.contract.broadcasting import example_axis
from graphspec.contract.fields import Finite
from graphspec.contract.input_checks import need_float
from graphspec.contract.layer import Code, Example, LayerError, Site
from graphspec.contract.streaming import Role, Streaming, apart_from
from graphspec.ops.operation import Operation, UnaryOperation, row, table
from graphspec.tensor import Tensor


class _Activation(UnaryOperation, abstract=True):
    """One of Keras' activation functions."""

    def infer(self, x: Tensor) -> Tensor:
        need_float(x, layer=f"`{self.spec_name}`")
        return x

    template = ""  # unless it is an expression of its own, Keras' function of this name

    def code(self, site: Site) -> Code:
        if self.template:
            return Operation.code(self, site)
        return Code("{x}", activation=ActivationFunction.parse(self.spec_name))


table(
    __name__,
    UnaryOperation,
    row("relu", "`x` where it is positive, else 0.", function="relu", floats=False),
    row("tanh", "The hyperbolic tangent.", function="tanh"),
)


class Sigmoid(UnaryOperation, spec_name="sigmoid"):
    """`1 / (1 + exp(-x))`."""

    function = "sigmoid"

    def output_activation(self) -> str | None:
        return self.function


table(
    __name__,
    _Activation,
    row("relu6", "`x` between 0 and 6."),
    row("selu", "The self-normalizing exponential linear unit."),
    row("silu", "`x * sigmoid(x)`."),
    row("swish", "`x * sigmoid(x)`."),
    row("hard_silu", "`x * relu6(x + 3) / 6`."),
    row("hard_swish", "`x * relu6(x + 3) / 6`."),
    row("hard_sigmoid", "`relu6(x + 3) / 6`."),
    row("hard_tanh", "`x` between -1 and 1."),
    row("log_sigmoid", "The logarithm of the sigmoid."),
    row("softplus", "`log(1 + exp(x))`."),
    row("softsign", "`x / (1 + abs(x))`."),
    row("tanh_shrink", "`x - tanh(x)`."),
    row("sparse_plus", "0 below -1, `x` above 1, and a parabola between."),
    row("sparse_sigmoid", "0 below -1, 1 above 1, and `(x + 1) / 2` between."),
)


class Elu(_Activation, spec_name="elu"):
    """`x` where it is positive, else `alpha * (exp(x) - 1)`."""

    template = "F.elu({x}, {alpha})"

    alpha: Finite = 1.0


class Celu(_Activation, spec_name="celu"):
    """`x` where it is positive, else `alpha * (exp(x / alpha) - 1)`."""

    template = "F.celu({x}, {alpha})"

    alpha: Annotated[Finite, Field(gt=0)] = 1.0


class LeakyRelu(_Activation, spec_name="leaky_relu"):
    """`x` where it is positive, else `negative_slope * x`."""

    template = "F.leaky_relu({x}, {negative_slope})"

    negative_slope: Finite = 0.2


class SoftShrink(_Activation, spec_name="soft_shrink"):
    """`x` shrunk towards 0 by `threshold`, and 0 within the threshold."""

    template = "F.softshrink({x}, {threshold})"

    threshold: Annotated[Finite, Field(ge=0)] = 0.5


class HardShrink(_Activation, spec_name="hard_shrink"):
    """`x`, but 0 within `threshold` of 0."""

    template = "F.hardshrink({x}, {threshold})"

    threshold: Annotated[Finite, Field(ge=0)] = 0.5


class Threshold(_Activation, spec_name="threshold"):
    """`x` where it is above `threshold`, else `default_value`."""

    template = "F.threshold({x}, {threshold}, {default_value})"

    threshold: Finite
    default_value: Finite
    """Output where the input is not above `threshold`."""

    examples = (Example({"threshold": 0.5, "default_value": -1.0}, ((3, 4),)),)


class Gelu(_Activation, spec_name="gelu"):
    """The Gaussian error linear unit; `approximate` uses the tanh approximation."""

    approximate: bool = True

    def code(self, site: Site) -> Code:
        return Code('F.gelu({x}, approximate="tanh")' if self.approximate else "F.gelu({x})")


class Squareplus(_Activation, spec_name="squareplus"):
    """A smooth ReLU without exponentials: `(x + sqrt(x**2 + b)) / 2`."""

    template = "({x} + ({x} * {x} + {b}).sqrt()) / 2"

    b: Finite = 4


class _Along(_Activation, abstract=True):
    """An activation along one axis."""

    unless: ClassVar[Role] = "low"  # what makes no difference, of steps that are ahead

    axis: int = -1

    def infer(self, x: Tensor) -> Tensor:
        example_axis(self.spec_name, self.axis, x.rank)
        return super().infer(x)

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return apart_from(roles[0], (self.axis,), unless=self.unless)

    def code(self, site: Site) -> Code:
        function = ActivationFunction.parse({"name": self.spec_name, "axis": site.axis(self.axis)})
        return Code("{x}", activation=function)

    def output_activation(self) -> str | None:
        return self.spec_name if self.axis == -1 else None  # a loss takes logits along the last axis only


table(
    __name__,
    _Along,
    row("softmax", "The softmax along an axis."),
    row("log_softmax", "The logarithm of the softmax along an axis."),
    row("sparsemax", "The projection onto the probability simplex along an axis."),
)


class Glu(_Along, spec_name="glu"):
    """The first half of an axis, multiplied by the sigmoid of the second half."""

    unless = None

    def infer(self, x: Tensor) -> Tensor:
        super().infer(x)
        axis = example_axis(self.spec_name, self.axis, x.rank)
        size = x.shape[axis]
        if isinstance(size, int) and size % 2:
            raise LayerError(
                "shapes-differ",
                f"`glu` halves axis {axis} of {x}, which is odd",
                argument="axis",
                inputs=(0,),
            )
        return x.with_shape(*x.shape[:axis], size // 2, *x.shape[axis + 1 :])
