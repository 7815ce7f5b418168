"""Functions of keras.ops that pick elements: by index, by rank, at random places of a sequence.

Axes count the batch as 0; what would mix examples is refused.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator

from graphspec.layers.base import Code, Example, LayerError, Site
from graphspec.layers.broadcasting import example_axis
from graphspec.layers.core import _as_tuple
from graphspec.layers.operations import Operation
from graphspec.tensor import Tensor


class Take(Operation, spec_name="take"):
    """The elements at `indices` along an axis; one index takes the axis away, a list does not."""

    indices: Annotated[int | tuple[int, ...], BeforeValidator(_as_tuple)]
    axis: int | None = None

    examples = (
        Example({"indices": 0, "axis": 1}, ((3, 4),)),
        Example({"indices": -1, "axis": -1}, ((3, 4),)),
        Example({"indices": [2, 0, 2], "axis": 1}, ((3, 4),)),
        Example({"indices": 1, "axis": 2}, ((3, 4, 2),), dtype="int32", high=9),
    )

    def infer(self, x: Tensor) -> Tensor:
        if self.axis is None:
            raise LayerError(
                "missing-key",
                "`take` without `axis` would take from all examples of a batch",
                help="say along which axis: `axis: 1`",
                argument="axis",
            )
        axis = example_axis(self.spec_name, self.axis, x.rank)
        size = x.shape[axis]
        indices = self.indices if isinstance(self.indices, tuple) else (self.indices,)
        outside = [i for i in indices if isinstance(size, int) and not -size <= i < size]
        if outside or not indices:
            what = f"no element {outside[0]}" if outside else "no element to take"
            raise LayerError(
                "out-of-range", f"axis {axis} of {x} has {size} elements and {what}", argument="indices"
            )
        taken = (len(indices),) if isinstance(self.indices, tuple) else ()
        return x.with_shape(*x.shape[:axis], *taken, *x.shape[axis + 1 :])

    def code(self, site: Site) -> Code:
        assert self.axis is not None
        before = "..., " if self.axis == -1 else ":, " * (self.axis % site.x.rank)
        return Code(f"{{x}}[{before}{{indices}}]", constants={"indices": self.indices})
