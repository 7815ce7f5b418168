"""Checks of layers' inputs, which raise `LayerError`."""

from __future__ import annotations

from graphspec.contract.layer import LayerError
from graphspec.tensor import Tensor


def known_channels(tensor: Tensor, axis: int = -1, *, layer: str, what: str = "channels") -> int:
    """The size of an axis that a weight depends on. Raises `LayerError` if it is symbolic."""
    size = tensor.shape[axis]
    if isinstance(size, int):
        return size
    raise LayerError(
        "unknown-size",
        f"{layer} needs to know the {what} of its input, and here they are `{size}` of {tensor}",
        help="write a number for this size in `inputs`, or pool or flatten the axis away before",
        inputs=(0,),
    )


def need_rank(tensor: Tensor, rank: int, *, layer: str, shape: str) -> None:
    """Refuses a tensor of another rank, which counts the batch axis.

    `shape` describes the expected shape: `[height, width, channels]`.
    """
    if tensor.rank != rank:
        sizes = tensor.shape[1:]
        image = rank == 4 and len(sizes) == 2 and all(isinstance(size, int) and size > 4 for size in sizes)
        gray = f"a gray image has one channel: shape: [{', '.join(map(str, sizes))}, 1]"
        if len(set(sizes)) == 2:
            gray = f"steps with features take {layer.replace('2D', '1D')}; {gray}"
        raise LayerError(
            "wrong-rank",
            f"{layer} takes {rank} axes, `[batch, {shape[1:]}`, and gets {tensor.rank}: {tensor}",
            help=gray if image else None,
            inputs=(0,),
        )


def need_mask(
    mask: Tensor | None, x: Tensor, *, layer: str, position: int = 1, any_rank: bool = False
) -> None:
    """Refuses a mask that is not boolean [batch, steps] for `x` [batch, steps, features].

    With `any_rank` there may be more axes between batch and features. `position` is that of the mask among
    the inputs.
    """
    if mask is None:
        return
    if mask.dtype != "bool":
        raise LayerError(
            "wrong-dtype",
            f"the mask of {layer} is boolean, and {{input{position}}} is {mask}",
            help="{op: not_equal, from: ..., x2: 0} gives one",
            inputs=(position,),
        )
    if (x.rank < 3 if any_rank else x.rank != 3) or mask.shape[1:] != x.shape[1:-1]:
        rule = "all axes of its input but the last" if any_rank else "one value a step"
        raise LayerError(
            "shapes-differ",
            f"the mask of {layer} has {rule}, `[batch, steps]` for `[batch, steps, features]`; "
            f"{{input{position}}} is {mask}, for {x}",
            inputs=(0, position),
        )


def need_float(tensor: Tensor, *, layer: str) -> None:
    """Refuses integers for a layer that multiplies by float weights."""
    if not tensor.is_float:
        raise LayerError(
            "wrong-dtype",
            f"{layer} takes floats and gets {tensor}",
            help="integers become vectors through `Embedding`, "
            "or floats through `{op: cast, dtype: float32}`",
            inputs=(0,),
        )


def need_features(x: Tensor, *, layer: str) -> None:
    """Refuses what is no sequence of vectors of floats."""
    need_float(x, layer=layer)
    if x.rank < 3:
        message = f"{layer} takes `[batch, length, features]`, and gets {x}"
        raise LayerError("wrong-rank", message, inputs=(0,))


def need_in_range(dtype: str, values: tuple[int, ...], *, layer: str, argument: str) -> None:
    """Refuses constants that an integer type cannot hold."""
    bits = int(dtype.lstrip("uint"))
    low, high = (0, 2**bits - 1) if dtype.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    for value in values:
        if not low <= value <= high:
            message = f"{layer} of {dtype} takes constants from {low} to {high}"
            raise LayerError("out-of-range", message, argument=argument)
