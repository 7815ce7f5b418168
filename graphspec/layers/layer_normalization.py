"""Normalizations of each example on its own: layer, group, root mean square and unit normalization."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from graphspec.contract.axes import Axes
from graphspec.contract.broadcasting import example_axes, example_axis
from graphspec.contract.initializers import Initializer, Ones, Zeros, need_fillable
from graphspec.contract.input_checks import known_channels, need_float
from graphspec.contract.layer import Code, Example, Layer, LayerError, Leaf, Memory, ModuleCall, Site, Weight
from graphspec.contract.penalties import Constraint, Regularizer
from graphspec.contract.streaming import Streaming, apart_from
from graphspec.tensor import Tensor, product
from graphspec.traced import float_of


def brief(axes: tuple[int, ...]) -> Leaf:
    """Axes as people write them: a single axis without brackets."""
    return axes[0] if len(axes) == 1 else axes


def affine(
    scale: Initializer | None, center: Initializer | None, shape: tuple[int, ...], name: str = "gamma"
) -> tuple[Weight, ...]:
    """The weight and the bias, if used, in Keras' layout. PyTorch's initial values are Keras' defaults."""
    rows = (("weight", name, scale, Ones()), ("bias", "beta", center, Zeros()))
    return tuple(
        Weight(key, shape, keras, initializer="" if fill == default else fill.unturned(len(shape)))
        for key, keras, fill, default in rows
        if fill is not None
    )


class _OverAxes(Layer, abstract=True):
    """The base of normalizations along any axes of an example. PyTorch's run along the last ones."""

    flops_per_input = 8

    axis: Axes = -1

    def infer(self, x: Tensor) -> Tensor:
        need_float(x, layer=self.spec_name)
        self.shape(x)
        return x

    def axes(self, x: Tensor) -> tuple[int, ...]:
        """The axes in order, counted from 0."""
        return example_axes(self.spec_name, self.axis, x.rank)

    def shape(self, x: Tensor) -> tuple[int, ...]:
        """The sizes of the axes."""
        name = self.spec_name
        return tuple(
            known_channels(x, axis, layer=name, what=f"size of axis {axis}") for axis in self.axes(x)
        )

    def placed(self, site: Site, construct: ModuleCall) -> Code:
        """A call of a module that normalizes the last axes."""
        axes = self.axes(site.x)
        last = tuple(range(-len(axes), 0))
        if axes == tuple(range(site.x.rank))[-len(axes) :]:
            return Code("{self}({x})", construct)
        text = "{self}({x}.movedim({axis}, {last})).movedim({last}, {axis})"
        return Code(text, construct, {"axis": brief(axes), "last": brief(last)})

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return apart_from(roles[0], self.axes(site.x))


class LayerNormalization(_OverAxes, also="LayerNorm"):
    """Normalizes each example to mean 0 and variance 1 along `axis`, then scales and shifts each element."""

    supports_masking = True

    epsilon: float = 0.001
    center: bool = True
    scale: bool = True
    beta_initializer: Initializer = Zeros()
    gamma_initializer: Initializer = Ones()
    beta_regularizer: Regularizer | None = None
    gamma_regularizer: Regularizer | None = None
    beta_constraint: Constraint | None = None
    gamma_constraint: Constraint | None = None

    examples = (Example({}, ((5,),)),)

    def infer(self, x: Tensor) -> Tensor:
        super().infer(x)
        rank = len(self.axes(x))
        need_fillable(
            self,
            **({"gamma_initializer": rank} if self.scale else {}),
            **({"beta_initializer": rank} if self.center else {}),
        )
        return x

    def fills(self) -> tuple[Initializer | None, Initializer | None]:
        """The initializers of the weight and the bias; None where there is none."""
        return self.gamma_initializer if self.scale else None, self.beta_initializer if self.center else None

    def weights(self, x: Tensor) -> tuple[Weight, ...]:
        return affine(*self.fills(), self.shape(x))

    def code(self, site: Site) -> Code:
        shape = self.shape(site.x)
        target = "nn.LayerNorm"
        keyword: dict[str, tuple[Leaf, Leaf]] = {"eps": (float_of(self.epsilon), 1e-05)}
        if self.center and not self.scale:
            target = "CenteredLayerNorm"
            keyword["eps"] = (float_of(self.epsilon), None)
        else:
            keyword["elementwise_affine"] = (self.scale, True)
            keyword["bias"] = (self.center or not self.scale, True)
        construct = ModuleCall(target, {"normalized_shape": brief(shape)}, keyword)
        return self.placed(site, construct)


class RMSNormalization(_OverAxes, also="RMSNorm"):
    """Divides each example by its root mean square along `axis`, then scales each element."""

    flops_per_input = 4

    epsilon: float = 1e-6

    examples = (Example({}, ((5,),)),)

    def weights(self, x: Tensor) -> tuple[Weight, ...]:
        return affine(Ones(), None, self.shape(x), name="scale")

    def code(self, site: Site) -> Code:
        normalized = {"normalized_shape": brief(self.shape(site.x))}
        construct = ModuleCall("nn.RMSNorm", normalized, {"eps": (float_of(self.epsilon), None)})
        return self.placed(site, construct)


class UnitNormalization(Layer):
    """Divides each example by its Euclidean norm along `axis`."""

    memory_layout = "any"
    flops_per_input = 3
    supports_masking = True

    axis: Axes = -1

    examples = (Example({}, ((5,),)),)

    def infer(self, x: Tensor) -> Tensor:
        need_float(x, layer="UnitNormalization")
        example_axes(self.spec_name, self.axis, x.rank)
        return x

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return apart_from(roles[0], example_axes(self.spec_name, self.axis, site.x.rank))

    def code(self, site: Site) -> Code:
        axes = self.axis if isinstance(self.axis, tuple) else (self.axis,)
        return Code(
            "F.normalize({x}, dim={axis})", constants={"axis": brief(tuple(site.axis(axis) for axis in axes))}
        )


class GroupNormalization(Layer, also="GroupNorm"):
    """Normalizes each group of an example's channels to mean 0 and variance 1, then scales and shifts them.

    `groups: -1` makes each channel a group: instance normalization.
    """

    flops_per_input = 8
    supports_masking = True

    groups: Annotated[int, Field(ge=-1)] = 32
    """Number of groups of channels; -1 for one group per channel."""
    axis: int = -1
    epsilon: float = 0.001
    center: bool = True
    scale: bool = True
    beta_initializer: Initializer = Zeros()
    gamma_initializer: Initializer = Ones()
    beta_regularizer: Regularizer | None = None
    gamma_regularizer: Regularizer | None = None
    beta_constraint: Constraint | None = None
    gamma_constraint: Constraint | None = None

    examples = (Example({}, ((32,),)),)

    def infer(self, x: Tensor) -> Tensor:
        need_float(x, layer="GroupNormalization")
        example_axis(self.spec_name, self.axis, x.rank)
        channels = known_channels(x, self.axis, layer="GroupNormalization")
        if self.groups == 0 or channels % self.groups:
            divisors = [n for n in range(1, channels + 1) if channels % n == 0]
            near = min(divisors, key=lambda n: abs(n - self.groups))
            written = "groups" in self.model_fields_set
            raise LayerError(
                "out-of-range",
                f"{self.groups} groups{'' if written else ', the default,'} do not divide the {channels} "
                f"channels of {x}",
                help=f"for example `groups: {near}`; -1 makes each channel a group",
                argument="groups" if written else None,
                inputs=(0,),
            )
        need_fillable(self, beta_initializer=1, gamma_initializer=1)
        return x

    def fills(self) -> tuple[Initializer | None, Initializer | None]:
        """The initializers of the weight and the bias; None where there is none."""
        return self.gamma_initializer if self.scale else None, self.beta_initializer if self.center else None

    def weights(self, x: Tensor) -> tuple[Weight, ...]:
        return affine(*self.fills(), (known_channels(x, self.axis, layer="GroupNormalization"),))

    def memory(self, x: Tensor) -> Memory:
        return "first" if x.rank > 2 and self.axis % x.rank == x.rank - 1 else "spec"

    def module(self, x: Tensor) -> ModuleCall:
        """PyTorch's module where it covers the case: weight and bias or neither, several values per group."""
        channels = known_channels(x, self.axis, layer="GroupNormalization")
        groups = channels if self.groups == -1 else self.groups
        values = product(size for axis, size in enumerate(x.shape) if axis not in (0, self.axis % x.rank))
        several = groups < channels or (isinstance(values, int) and values > 1)
        counts = {"num_groups": groups, "num_channels": channels}
        if self.center == self.scale and several:
            eps = (float_of(self.epsilon), 1e-05)
            return ModuleCall("nn.GroupNorm", counts, {"eps": eps, "affine": (self.scale, True)})
        flags = {"center": (self.center, True), "scale": (self.scale, True)}
        return ModuleCall("GroupNorm", counts, {"eps": (float_of(self.epsilon), None), **flags})

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return apart_from(
            roles[0], range(1, site.x.rank), remedy="LayerNormalization takes each step by itself"
        )

    def code(self, site: Site) -> Code:
        construct = self.module(site.x)
        axis = site.axis(self.axis) % site.x.rank
        x = "{x}" if axis == 1 else "{x}.movedim({axis}, 1)"
        if site.x.rank > 3 and (self.scale or self.center):
            x = f"for_group_norm({x})"
        if axis == 1:
            return Code(f"{{self}}({x})", construct)
        return Code(f"{{self}}({x}).movedim(1, {{axis}})", construct, {"axis": axis})
