"""Functions of keras.ops that bring elements into other shapes.

Axes count the batch as 0; what would mix examples is refused.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator

from graphspec.layers.base import Code, Example, LayerError, Site
from graphspec.layers.broadcasting import example_axes
from graphspec.layers.core import _as_tuple
from graphspec.layers.operations import Operation
from graphspec.layers.reductions import Axis
from graphspec.tensor import Dim, Tensor, product


class Reshape(Operation, spec_name="reshape"):
    """The same elements in another shape, whose first size, -1, is the batch."""

    newshape: Annotated[tuple[int, ...], BeforeValidator(_as_tuple)]

    examples = (Example({"newshape": [-1, 3, 4]}, ((12,),)), Example({"newshape": [-1, 12]}, ((2, 3, 2),)))

    def infer(self, x: Tensor) -> Tensor:
        sizes = self.newshape[1:]
        if not self.newshape or self.newshape[0] not in (-1, x.shape[0]) or any(size < 1 for size in sizes):
            raise LayerError(
                "out-of-range",
                f"`newshape` starts with -1, the batch, and goes on with sizes of an example, "
                f"not {list(self.newshape)}",
                help="where a size of an example is to follow from the others: "
                "{layer: Reshape, from: {input0}, target_shape: [-1, ...]}",
                argument="newshape",
            )
        if product(x.shape[1:]) != product(sizes):
            raise LayerError(
                "shapes-differ",
                f"{x} has {product(x.shape[1:])} elements an example, and {list(sizes)} has {product(sizes)}",
                argument="newshape",
                inputs=(0,),
            )
        return x.with_shape(x.shape[0], *sizes)

    def code(self, site: Site) -> Code:
        return Code("{x}.reshape({newshape})", constants={"newshape": self.newshape})


class Transpose(Operation, spec_name="transpose"):
    """The axes in another order; the batch stays first."""

    axes: Annotated[tuple[int, ...] | None, BeforeValidator(_as_tuple)] = None

    examples = (Example({"axes": [0, 2, 1]}, ((3, 4),)), Example({"axes": [0, -1, 1, 2]}, ((2, 3, 4),)))

    def order(self, x: Tensor) -> tuple[int, ...]:
        """The axes as positive numbers."""
        axes = () if self.axes is None else self.axes
        positive = tuple(axis % x.rank for axis in axes if -x.rank <= axis < x.rank)
        if positive[:1] != (0,) or sorted(positive) != list(range(x.rank)):
            others = [0, *range(x.rank - 1, 0, -1)]
            raise LayerError(
                "out-of-range",
                f"`axes` holds every axis of {x} once, 0 (the batch) first"
                + ("" if self.axes is None else f", not {list(axes)}"),
                help=f"for example `axes: {others}`",
                argument="axes",
            )
        return positive

    def infer(self, x: Tensor) -> Tensor:
        return x.with_shape(*(x.shape[axis] for axis in self.order(x)))

    def code(self, site: Site) -> Code:
        return Code("{x}.permute({axes})", constants={"axes": self.order(site.x)})


class ExpandDims(Operation, spec_name="expand_dims"):
    """New axes of size 1, at these places of the result."""

    axis: Annotated[int | tuple[int, ...], BeforeValidator(_as_tuple)]

    examples = (
        Example({"axis": 1}, ((3, 4),)),
        Example({"axis": -1}, ((3, 4),)),
        Example({"axis": [1, -1]}, ((4,),)),
    )

    def infer(self, x: Tensor) -> Tensor:
        shape: list[Dim] = list(x.shape)
        for axis in self.places(x):
            shape.insert(axis, 1)
        return x.with_shape(*shape)

    def places(self, x: Tensor) -> list[int]:
        """The places of the new axes in the result, in order."""
        count = len(self.axis) if isinstance(self.axis, tuple) else 1
        return example_axes(self.spec_name, self.axis, x.rank + count)

    def code(self, site: Site) -> Code:
        if isinstance(self.axis, int):
            return Code("{x}.unsqueeze({axis})", constants={"axis": self.axis})
        places = {f"axis{i}": place for i, place in enumerate(self.places(site.x))}
        return Code("{x}" + "".join(f".unsqueeze({{{name}}})" for name in places), constants=places)


class Squeeze(Operation, spec_name="squeeze"):
    """Without axes of size 1: those of `axis`, or all whose size is known to be 1, but the batch."""

    axis: Axis = None

    examples = (
        Example({"axis": 1}, ((1, 4),)),
        Example({"axis": [1, -1]}, ((1, 4, 1),)),
        Example({}, ((1, 4, 1),)),
    )

    def axes(self, x: Tensor) -> list[int]:
        """The axes to leave out, in order."""
        if self.axis is None:
            return [i for i, size in enumerate(x.shape) if i and size == 1]
        axes = example_axes(self.spec_name, self.axis, x.rank)
        for axis in axes:
            if x.shape[axis] != 1:
                raise LayerError(
                    "shapes-differ",
                    f"`squeeze` takes axes of size 1 away, and axis {axis} of {x} has size {x.shape[axis]}",
                    argument="axis",
                    inputs=(0,),
                )
        return axes

    def infer(self, x: Tensor) -> Tensor:
        axes = self.axes(x)
        return x.with_shape(*(size for i, size in enumerate(x.shape) if i not in axes))

    def code(self, site: Site) -> Code:
        axes = self.axes(site.x)
        if not axes:
            return Code("{x}")
        return Code("{x}.squeeze({axis})", constants={"axis": axes[0] if len(axes) == 1 else tuple(axes)})
