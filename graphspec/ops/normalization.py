"""Functions of keras.ops that normalize vectors, to unit norm or to mean 0 and variance 1."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, ClassVar

from pydantic import Field

from graphspec.contract.axes import Axes
from graphspec.contract.broadcasting import example_axes, example_axis, stretch
from graphspec.contract.fields import Finite
from graphspec.contract.input_checks import need_float
from graphspec.contract.layer import Argument, Code, Example, LayerError, Leaf, Site
from graphspec.contract.streaming import Streaming, apart_from, without
from graphspec.ops.operation import Operation
from graphspec.tensor import Tensor
from graphspec.traced import float_of

Small = Annotated[Finite, Field(gt=0)]


class _Normalizing(Operation, abstract=True):
    """The base of the normalizations."""

    flops_per_input = 4

    axis: Axes = -1

    def infer(self, x: Tensor) -> Tensor:
        need_float(x, layer=f"`{self.spec_name}`")
        example_axes(self.spec_name, self.axis, x.rank)
        return x

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return apart_from(roles[0], example_axes(self.spec_name, self.axis, site.x.rank))


class Normalize(_Normalizing, spec_name="normalize"):
    """Divides vectors along an axis by their norm of order `order`, or by `epsilon` where it is larger."""

    template = "F.normalize({x}, {order}, {axis}, {epsilon})"

    axis: int = -1
    order: Annotated[int, Field(ge=1)] = 2
    """Order of the norm."""
    epsilon: Small = 1e-7


class _AlongAxes(_Normalizing, abstract=True):
    """A normalization along one or more axes. PyTorch's own functions run along the last ones."""

    epsilon: Small = 1e-7

    function: ClassVar[str]
    written: ClassVar[str]

    def code(self, site: Site) -> Code:
        axes = example_axes(self.spec_name, self.axis, site.x.rank)
        constants: dict[str, Leaf] = {"epsilon": float_of(self.epsilon)}
        if axes == tuple(range(site.x.rank - len(axes), site.x.rank)):
            constants["last"] = -len(axes)
            return Code(
                f"{self.function}({{x}}, {{x}}.shape[{{last}}:], eps={{epsilon}})", constants=constants
            )
        return Code(self.written, constants={**constants, "axis": self.axis})


class LayerNormalize(_AlongAxes, spec_name="layer_normalization"):
    """Normalizes to mean 0, variance 1 on axes. For `gamma` and `beta`, a `multiply` and an `add` follow."""

    function = "F.layer_norm"
    written = (
        "({x} - {x}.mean({axis}, keepdim=True)) "
        "* ({x}.var({axis}, correction=0, keepdim=True) + {epsilon}).rsqrt()"
    )


class RMSNormalize(_AlongAxes, spec_name="rms_normalization"):
    """Divides by the root mean square along axes. For `scale`, a `multiply` follows."""

    function = "F.rms_norm"
    written = "{x} * ({x}.square().mean({axis}, keepdim=True) + {epsilon}).rsqrt()"


class Moments(Operation, spec_name="moments"):
    """The mean along axes. The output `variance` is the variance, without Bessel's correction."""

    extra_outputs = ("variance",)
    template = "torch.var_mean({x}, {axes}, correction=0, keepdim={keepdims})[::-1]"
    optional = ("keepdims",)
    flops_per_input = 4

    axes: Axes
    """Axes that it applies to."""
    keepdims: bool = False

    examples = (Example({"axes": 1}, ((3, 4),)),)

    def infer(self, x: Tensor) -> tuple[Tensor, ...]:
        need_float(x, layer="`moments`")
        axes = example_axes(self.spec_name, self.axes, x.rank, "axes")
        kept = [1 if i in axes else s for i, s in enumerate(x.shape) if self.keepdims or i not in axes]
        return (x.with_shape(*kept),) * 2

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        found = without(roles[0], example_axes(self.spec_name, self.axes, site.x.rank), self.keepdims)
        return replace(found, outputs=found.outputs * 2)


class BatchNormalizationOperation(Operation, spec_name="batch_normalization"):
    """`(x - mean) / sqrt(variance + epsilon) * scale + offset`, with each tensor [batch, channels].

    `axis` is the axis of the channels.
    """

    flops_per_input = 5
    arguments = (
        Argument("x"),
        Argument("mean"),
        Argument("variance"),
        Argument("offset", required=False),
        Argument("scale", required=False),
    )

    axis: int
    epsilon: Small = 0.001

    examples = (Example({"axis": -1, "epsilon": 9.0}, ((3, 4), (4,), (4,))),)

    def infer(self, x: Tensor, *others: Tensor | None) -> Tensor:
        need_float(x, layer="`batch_normalization`")
        axis = example_axis(self.spec_name, self.axis, x.rank)
        for position, each in enumerate(others, 1):
            if each is None:
                continue
            fits = each.rank == 2 and each.shape[1] == x.shape[axis] and each.dtype == x.dtype
            if not fits or stretch(x.shape[0], each.shape[0]) != x.shape[0]:
                name = self.arguments[position].name
                message = f"`{name}` is [batch, {x.shape[axis]}] here, and {{input{position}}} is {each}"
                raise LayerError("shapes-differ", message, inputs=(position,))
        return x

    def code(self, site: Site) -> Code:
        rank, operands = site.x.rank, (*site.inputs, None, None)[:5]
        axis = self.axis % rank
        index = "" if rank == 2 else f"[:{', None' * (axis - 1)}, :{', None' * (rank - axis - 1)}]"
        text = f"({{x}} - {{mean}}{index}) * ({{variance}}{index} + {{epsilon}}).rsqrt()"
        text += f" * {{scale}}{index}" if operands[4] is not None else ""
        text += f" + {{offset}}{index}" if operands[3] is not None else ""
        return Code(text, constants={"epsilon": self.epsilon})
