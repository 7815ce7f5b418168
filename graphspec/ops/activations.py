"""The activation functions of keras.ops, and their arguments."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from graphspec.contract.activations import ActivationFunction
from graphspec.contract.broadcasting import example_axis
from graphspec.contract.fields import Finite
from graphspec.contract.input_checks import need_float
from graphspec.contract.layer import Code, Example, LayerError, Leaf, Site
from graphspec.contract.streaming import Role, Streaming, apart_from
from graphspec.ops.operation import UnaryOperation, row, table
from graphspec.tensor import Tensor
from graphspec.traced import float_of


class _Activation(UnaryOperation, abstract=True):
    """One of Keras' activation functions."""

    examples: ClassVar[tuple[Example, ...]] = (Example({}, ((3, 4),)),)

    def infer(self, x: Tensor) -> Tensor:
        need_float(x, layer=f"`{self.spec_name}`")
        return x

    def code(self, site: Site) -> Code:
        return Code("{x}", activation=ActivationFunction.parse(self.spec_name))


table(
    __name__,
    UnaryOperation,
    row(
        "relu",
        "`x` where it is positive, else 0.",
        function="relu",
        floats=False,
        examples=_Activation.examples,
    ),
    row("tanh", "The hyperbolic tangent.", function="tanh", examples=_Activation.examples),
)


class Sigmoid(UnaryOperation, spec_name="sigmoid"):
    """`1 / (1 + exp(-x))`."""

    function = "sigmoid"
    examples = (Example({}, ((3, 4),)),)

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


class _Parametric(_Activation, abstract=True):
    """An activation with one argument, which is the second argument of PyTorch's function `torch`."""

    torch: ClassVar[str]

    def code(self, site: Site) -> Code:
        (name,) = type(self).model_fields
        return Code(f"{self.torch}({{x}}, {{{name}}})", constants={name: float(getattr(self, name))})


class Elu(_Parametric, spec_name="elu"):
    """`x` where it is positive, else `alpha * (exp(x) - 1)`."""

    alpha: Finite = 1.0

    torch = "F.elu"
    examples = (Example({}, ((3, 4),)),)


class Celu(_Parametric, spec_name="celu"):
    """`x` where it is positive, else `alpha * (exp(x / alpha) - 1)`."""

    alpha: Annotated[Finite, Field(gt=0)] = 1.0

    torch = "F.celu"
    examples = (Example({}, ((3, 4),)),)


class LeakyRelu(_Parametric, spec_name="leaky_relu"):
    """`x` where it is positive, else `negative_slope * x`."""

    negative_slope: Finite = 0.2

    torch = "F.leaky_relu"
    examples = (Example({}, ((3, 4),)),)


class SoftShrink(_Parametric, spec_name="soft_shrink"):
    """`x` shrunk towards 0 by `threshold`, and 0 within the threshold."""

    threshold: Annotated[Finite, Field(ge=0)] = 0.5

    torch = "F.softshrink"
    examples = (Example({}, ((3, 4),)),)


class HardShrink(_Parametric, spec_name="hard_shrink"):
    """`x`, but 0 within `threshold` of 0."""

    threshold: Annotated[Finite, Field(ge=0)] = 0.5

    torch = "F.hardshrink"
    examples = (Example({}, ((3, 4),)),)


class Threshold(_Activation, spec_name="threshold"):
    """`x` where it is above `threshold`, else `default_value`."""

    threshold: Finite
    default_value: Finite
    """Output where the input is not above `threshold`."""

    examples = (Example({"threshold": 0.5, "default_value": -1.0}, ((3, 4),)),)

    def code(self, site: Site) -> Code:
        constants: dict[str, Leaf] = {
            "threshold": float_of(self.threshold),
            "default_value": float_of(self.default_value),
        }
        return Code("F.threshold({x}, {threshold}, {default_value})", constants=constants)


class Gelu(_Activation, spec_name="gelu"):
    """The Gaussian error linear unit; `approximate` uses the tanh approximation."""

    approximate: bool = True

    examples = (Example({}, ((3, 4),)),)

    def code(self, site: Site) -> Code:
        return Code('F.gelu({x}, approximate="tanh")' if self.approximate else "F.gelu({x})")


class Squareplus(_Activation, spec_name="squareplus"):
    """A smooth ReLU without exponentials: `(x + sqrt(x**2 + b)) / 2`."""

    b: Finite = 4

    examples = (Example({}, ((3, 4),)),)

    def code(self, site: Site) -> Code:
        return Code("({x} + ({x} * {x} + {b}).sqrt()) / 2", constants={"b": self.b})


class _Along(_Activation, abstract=True):
    """An activation along one axis."""

    unless: ClassVar[Role] = "low"  # what makes no difference, of steps that are ahead

    axis: int = -1

    examples = (Example({}, ((3, 4),)),)

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
