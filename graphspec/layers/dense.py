"""Dense: a fully connected layer."""

from __future__ import annotations

from typing import Any

from graphspec.contract.activation_types import activated
from graphspec.contract.activations import LINEAR, ActivationFunction
from graphspec.contract.fields import Positive
from graphspec.contract.initializers import Initializer, Zeros, need_fillable
from graphspec.contract.input_checks import known_channels, need_float
from graphspec.contract.layer import Code, Example, Layer, LayerError, Linear, ModuleCall, Site, Weight
from graphspec.contract.penalties import Constraint, Regularizer
from graphspec.contract.streaming import Streaming, apart_from
from graphspec.contract.variance_scaling import GlorotUniform
from graphspec.tensor import Dim, Tensor, product


class Dense(Layer, also="Linear LazyLinear FullyConnected"):
    """A fully connected layer over the last axis: `activation(x @ kernel + bias)`."""

    supports_masking = True

    units: Positive
    activation: ActivationFunction = LINEAR
    use_bias: bool = True
    kernel_initializer: Initializer = GlorotUniform()
    bias_initializer: Initializer = Zeros()
    kernel_regularizer: Regularizer | None = None
    bias_regularizer: Regularizer | None = None
    activity_regularizer: Regularizer | None = None
    kernel_constraint: Constraint | None = None
    bias_constraint: Constraint | None = None

    examples = (Example({"units": 5}, ((7,),)),)

    def infer(self, x: Tensor) -> Tensor:
        need_float(x, layer="Dense")
        if x.rank < 2:
            raise LayerError(
                "wrong-rank", f"Dense takes at least one axis besides the batch, and gets {x}", inputs=(0,)
            )
        known_channels(x, layer="Dense")
        need_fillable(self, bias_initializer=1)
        return activated(x.with_shape(*x.shape[:-1], self.units), self.activation)

    def weights(self, x: Tensor) -> tuple[Weight, ...]:
        features = known_channels(x, layer="Dense")
        kernel = Weight(
            "weight",
            (self.units, features),
            "kernel",
            (1, 0),
            initializer=self.kernel_initializer.statement(),
        )
        bias = Weight("bias", (self.units,), "bias", initializer=self.bias_initializer.vector_statement())
        return (kernel, bias) if self.use_bias else (kernel,)

    def linear(self) -> Linear:
        return Linear(width="units")

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return apart_from(roles[0], (-1, *self.activation.axes))

    def code(self, site: Site) -> Code:
        features = known_channels(site.x, layer="Dense")
        construct = ModuleCall(
            "nn.Linear",
            {"in_features": features, "out_features": self.units},
            {"bias": (self.use_bias, True)},
        )
        return Code("{self}({x})", construct, activation=self.activation.with_axis(site.axis))

    def flops(self, site: Site) -> Dim:
        outputs = product(site.x.shape[1:-1]) * self.units
        return outputs * (2 * known_channels(site.x, layer="Dense") + self.use_bias)
