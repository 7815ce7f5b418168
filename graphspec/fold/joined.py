"""Layers on one input joined into one layer whose output is split, for inference only."""

from __future__ import annotations

from graphspec.contract.activations import LINEAR, ActivationFunction
from graphspec.contract.layer import Code, Layer, Memory, Site, Weight
from graphspec.layers.activations import Activation
from graphspec.tensor import Dim, Tensor


class Joined(Layer, abstract=True):
    """`layer`, whose output channels are cut into pieces of `sizes`, each an output named in `names`.

    `activation` is applied to the whole before it is cut, so it runs over each element alone.
    """

    layer: Layer
    sizes: tuple[int, ...]
    names: tuple[str, ...]
    activation: ActivationFunction = LINEAR

    def infer(self, x: Tensor) -> tuple[Tensor, ...]:
        joined = self.layer.infer(x)
        assert isinstance(joined, Tensor)
        axis = self._axis(joined.rank)
        return tuple(
            joined.with_shape(*joined.shape[:axis], size, *joined.shape[axis + 1 :]) for size in self.sizes
        )

    def output_names(self) -> tuple[str, ...]:
        return self.names[1:]

    def output_activation(self) -> str | None:
        return None

    def _axis(self, rank: int) -> int:
        return channel_axis(self.layer, rank)

    def weights(self, x: Tensor) -> tuple[Weight, ...]:
        return self.layer.weights(x)

    def memory(self, x: Tensor) -> Memory:
        return self.layer.memory(x)

    def _site(self, site: Site) -> Site:
        joined = self.layer.infer(site.x)
        assert isinstance(joined, Tensor)
        return Site(site.inputs, (joined,), site.channels_first)

    def code(self, site: Site) -> Code:
        inner = self.layer.code(self._site(site))
        call = self.activation.expression(inplace=True).replace("{x}", inner.call)
        rank = site.x.rank
        axis = 1 if site.channels_first or self._axis(rank) == 1 < rank - 1 else -1
        return Code(
            f"{call}.split({{sizes}}, {{axis}})",
            inner.construct,
            {"sizes": self.sizes, "axis": axis},
        )

    def flops(self, site: Site) -> Dim:
        return self.layer.flops(self._site(site))


def channel_axis(layer: Layer, rank: int) -> int:
    """The axis, from 0, of a linear layer's output channels in a tensor of this rank."""
    return 1 if getattr(layer, "data_format", "channels_last") == "channels_first" else rank - 1


def without_activation(layer: Layer, **fields: object) -> Layer:
    """A linear layer without its activation, with some fields changed."""
    return layer.model_copy(update={"activation": LINEAR, **fields})


def activation_of(layer: Layer) -> ActivationFunction:
    """The activation of a linear layer."""
    activation: ActivationFunction = getattr(layer, "activation", LINEAR)
    return activation


def alone(activation: ActivationFunction) -> Layer:
    """An activation as a separate layer."""
    return Activation(activation=activation)


def of_each_element(activation: ActivationFunction) -> bool:
    """Whether an activation is elementwise."""
    return not activation.along_axis
