"""Where a function of keras.ops and the op of a spec are the same, though only the op knows of examples.

To Keras the batch is an axis like others: `take` reads the same indices in every example, `conv` has one
kernel for all. A spec does to each example what Keras does to whole tensors. Both are equal where what is
beside the batch is a constant: it has no batch in Keras, and in a spec one of size 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphspec.contract.arrays import as_array, shape_of
from graphspec.contract.keras_names import PER_EXAMPLE
from graphspec.convert.layouts import Lone
from graphspec.convert.refusals import Unsupported
from graphspec.diagnostics import by_word

BESIDE_CONSTANT = by_word(
    x="batch_normalization",
    inputs="conv depthwise_conv separable_conv",
    x1="dot inner tensordot",
    indices="take",
)
"""Ops that are the same as Keras' where this argument is the only tensor, and the others are constants."""
BESIDE_IMAGES = {"transform": 2, "start_points": 3, "end_points": 3}
"""Tensors beside images, with the axes that they have where there is one for each image."""
ALIGNED = frozenset(["average", "cross", "ldexp", "matmul", "take_along_axis", "where"])
"""Ops whose tensors meet by their last axes, so that a constant with fewer axes has no batch."""
INSTEAD = {
    **dict.fromkeys(
        ("conv", "depthwise_conv", "separable_conv"),
        "a kernel that a spec computes belongs to one example: make it a constant, or the weight of a layer",
    ),
    "take": "{op: take, from: [x, indices], axis: 1} picks in each example by its own indices; the rows of a "
    "table are {layer: Embedding}",
    "dot": "{op: dot, from: [x1, x2]} multiplies each example's two tensors",
    "outer": "{op: outer, from: [x1, x2]} multiplies each example's two vectors",
    "ravel": "{op: ravel} makes one vector of each example",
    "diag": "{op: diagonal, axis1: 1, axis2: 2} reads each example's diagonal",
}
"""Replacements in a spec for each function."""


def depth(value: Any) -> int:
    """How many axes a nested list, or a tensor without a batch, has."""
    if isinstance(value, Lone):
        return value.depth
    try:
        return len(shape_of(as_array(value)))
    except ValueError as error:
        raise Unsupported(f"a spec cannot hold a constant tensor: {error}", "pass numbers") from None


def check(name: str, tensors: Sequence[str], constants: Mapping[str, Any], arguments: dict[str, Any]) -> None:
    """Refuses what an op does to each example, and Keras to the batch. `tensors` names the arguments that are
    tensors, `constants` has those without a batch. Changes the axes in `arguments` to those of a spec.
    """
    if name == "take" and "x" in constants:
        _from_table(constants["x"], arguments)
        return
    if name not in PER_EXAMPLE and name not in BESIDE_CONSTANT:
        return
    if name == "take" and "indices" in arguments:
        return
    if list(tensors) != [BESIDE_CONSTANT.get(name)]:
        raise Unsupported(
            f"`{name}` of Keras treats the batch axis like any other, and in a spec applies to each example",
            INSTEAD.get(name, f"write this part by hand: {{op: {name}}} does it to each example"),
        )
    if name == "tensordot" and isinstance(arguments.get("axes"), list):
        left, right = (side if isinstance(side, list) else [side] for side in arguments["axes"])
        arguments["axes"] = [left, [axis + 1 if axis >= 0 else axis for axis in right]]


def _from_table(table: Any, arguments: dict[str, Any]) -> None:
    """Rows of a constant by a tensor: along its first axis, which a spec counts as 1."""
    axes, axis = depth(table), arguments.get("axis")
    if not (axis in (0, -axes) or (axis is None and axes == 1)):
        raise Unsupported(
            "it takes from a constant along another axis than the first, which puts the batch elsewhere",
            "transpose the constant, and take along axis 0",
        )
    arguments["axis"] = 1


def beside_batch(value: Any, rank: int | None) -> Any:
    """A constant without the axis that meets the batch, where it has one. Raises `Unsupported`."""
    axes = depth(value)
    if rank is None or axes < rank:
        return value
    if axes > rank or len(value) != 1:
        help = "give it the axes of one example, or one more of size 1"
        raise Unsupported("a constant tensor has a value for each example of the batch", help)
    return value[0]
