"""Broadcasting of shapes (axes of size 1), and promotion of dtypes as in Keras."""

from __future__ import annotations

from graphspec.contract.layer import LayerError, Memory
from graphspec.tensor import Dim, Tensor

_INTEGERS = ("bool", "uint8", "int8", "int16", "int32", "int64")


def stretch(a: Dim, b: Dim) -> Dim | None:
    """The size of an axis where two tensors meet; None where neither is 1 and they are not the same."""
    if a == b or b == 1:
        return a
    return b if a == 1 else None


def promote(*dtypes: str) -> str:
    """The dtype of an elementwise result: floats win over integers, wide over narrow."""
    result = dtypes[0]
    for dtype in dtypes[1:]:
        result = _promote_two(result, dtype)
    return result


def _promote_two(a: str, b: str) -> str:
    if a == b:
        return a
    floats = sorted({dtype for dtype in (a, b) if "float" in dtype}, key=_bits)
    if floats:
        return "float32" if {*floats} == {"bfloat16", "float16"} else floats[-1]
    if "uint8" in (a, b) and "int8" in (a, b):
        return "int16"
    return max(a, b, key=lambda dtype: _INTEGERS.index(dtype) if dtype in _INTEGERS else len(_INTEGERS))


def _bits(dtype: str) -> int:
    return int(dtype.lstrip("abcdefghijklmnopqrstuvwxyz") or 0)


def to_float(dtype: str) -> str:
    """The dtype of a division or a mean: floats stay, everything else becomes `float32`."""
    return dtype if "float" in dtype else "float32"


def shared_memory(*inputs: Tensor | None) -> Memory:
    """The memory layout that an elementwise function of several tensors needs: any if all have one rank, but
    for those of one element and fewer axes, which meet any tensor in any order of axes.
    """
    tensors = [x for x in inputs if x is not None]
    most = max((x.rank for x in tensors), default=0)
    return "any" if all(x.rank == most or x.is_single for x in tensors) else "spec"


def unsqueezed(name: str, missing: int) -> str:
    """A template for input `name` with `missing` axes of size 1 after the batch axis."""
    return f"{{{name}}}[:{', None' * missing}]" if missing else f"{{{name}}}"


ACROSS_EXAMPLES = "a loss compares the examples of a batch: {loss: in_batch_softmax, from: [query, key]}"
"""The remedy for products of an example with others."""


def aligned(tensor: Tensor, rank: int) -> Tensor:
    """The same tensor with axes of size 1 after the batch axis, up to `rank` axes."""
    return tensor.with_shape(*tensor.shape[:1], *[1] * (rank - tensor.rank), *tensor.shape[1:])


def example_axis(name: str, axis: int, rank: int, argument: str = "axis") -> int:
    """An axis counted from 0, the batch, or from the end, as a positive number. Refuses the batch."""
    if not -rank <= axis < rank:
        raise LayerError(
            "out-of-range",
            f"`{name}` has no axis {axis} here: there are axes 0 (the batch) to {rank - 1}",
            argument=argument,
        )
    if axis % rank == 0:
        raise LayerError(
            "out-of-range",
            f"axis 0 is the batch, and `{name}` may not mix examples",
            help=f"count from 1, or from the end: `{argument}: {1 if rank == 2 else -1}`",
            argument=argument,
        )
    return axis % rank


def example_axes(
    name: str, axis: int | tuple[int, ...], rank: int, argument: str = "axis"
) -> tuple[int, ...]:
    """Axes as positive numbers in order, at least one and none twice."""
    axis_list = axis if isinstance(axis, tuple) else (axis,)
    axes = tuple(sorted(example_axis(name, each, rank, argument) for each in axis_list))
    if not axes or len(set(axes)) != len(axes):
        wrong = "gets the same axis twice" if axes else "needs at least one axis"
        raise LayerError("out-of-range", f"`{name}` {wrong}", help="-1 is the last axis", argument=argument)
    return axes


def without_axis(name: str, x: Tensor, many: bool = False) -> LayerError:
    """The error of a function that, without an axis, would run over the batch; `many` axes may be said."""
    others = list(range(1, x.rank))
    return LayerError(
        "missing-key",
        f"`{name}` without `axis` would mix the examples of a batch",
        help=f"name the axes: `axis: {others}`" if many and len(others) > 1 else "name the axis: `axis: 1`",
        argument="axis",
    )
