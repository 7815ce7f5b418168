"""The types of the results of activations."""

from __future__ import annotations

from graphspec.contract.activations import ActivationFunction, AlongAxis
from graphspec.contract.broadcasting import example_axis
from graphspec.contract.layer import LayerError
from graphspec.tensor import Tensor


def activated(x: Tensor, activation: ActivationFunction, argument: str = "activation") -> Tensor:
    """The type of `activation(x)`: a gated linear unit halves an axis."""
    if not isinstance(activation, AlongAxis):
        return x
    if x.rank < 2:
        raise LayerError(
            "wrong-rank",
            f"`{activation.word}` runs along an axis, and {x} has only the batch axis",
            inputs=(0,),
        )
    try:
        axis = example_axis(activation.word, activation.axis, x.rank)
    except LayerError as error:
        error.argument = argument  # which holds the axis
        raise
    if activation.word != "glu":
        return x
    size = x.shape[axis]
    if isinstance(size, int) and size % 2:
        raise LayerError(
            "shapes-differ",
            f"`glu` halves axis {activation.axis} of {x}, which is odd",
            argument=argument,
            inputs=(0,),
        )
    return x.with_shape(*x.shape[:axis], size // 2, *x.shape[axis + 1 :])


def need_keeping(x: Tensor, activation: ActivationFunction, argument: str, *, layer: str) -> None:
    """Refuses an activation inside a layer that would give something else than the type of its input."""
    if activated(x, activation, argument) != x:
        raise LayerError(
            "shapes-differ",
            f"`{activation.word}` changes the size of {x}, which {layer} needs as it is",
            help="use it after the layer: {layer: Activation, activation: " + activation.word + "}",
            argument=argument,
        )
