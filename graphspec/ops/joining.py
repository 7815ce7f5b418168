"""Functions of keras.ops that join tensors. The merges of these names do the same, and pass masks on."""

from __future__ import annotations

from typing import Any, ClassVar

from graphspec.contract.layer import Code, Example, Site
from graphspec.contract.proposals import misfit
from graphspec.layers.merging import Concatenate, Stack
from graphspec.ops.operation import Operation
from graphspec.tensor import Dim, Tensor


class ConcatenateOperation(Concatenate, kind="op", spec_name="concatenate", also="concat cat"):
    """Concatenates tensors along an axis, the last by default; along other axes their sizes are equal."""

    def mask(self, inputs: tuple[Any, ...], masks: tuple[Any, ...]) -> Any:
        return None


class StackOperation(Stack, kind="op", spec_name="stack"):
    """Stacks tensors of one shape along a new axis. Axis 0 is the batch, so the new axis is 1 by default."""


class _Beside(Operation, abstract=True):
    """A concatenation along an axis."""

    variadic = True
    least_inputs = 2
    keeps = True
    axis: ClassVar[int]

    def infer(self, *xs: Tensor) -> Tensor:
        shapes = [(*x.shape, 1) if x.rank == self.axis else x.shape for x in xs]
        for position, (x, shape) in enumerate(zip(xs, shapes, strict=True)):
            alike = len(shape) > self.axis and without(shape, self.axis) == without(shapes[0], self.axis)
            if not alike or x.rank != xs[0].rank or x.dtype != xs[0].dtype:
                raise misfit(self.spec_name, xs, 0, position)
        total: Dim = 0
        for shape in shapes:
            total = total + shape[self.axis]
        first = shapes[0]
        return xs[0].with_shape(*first[: self.axis], total, *first[self.axis + 1 :])

    def code(self, site: Site) -> Code:
        if site.x.rank == self.axis:
            return Code("torch.stack([{*}], -1)")
        return Code(f"torch.cat([{{*}}], {self.axis})")


def without(shape: tuple[Dim, ...], axis: int) -> tuple[Dim, ...]:
    """The shape without one axis."""
    return (*shape[:axis], *shape[axis + 1 :])


class Hstack(_Beside, spec_name="hstack"):
    """Concatenates tensors along axis 1, the first after the batch."""

    axis = 1
    examples = (Example({}, ((3,), (4,))),)


class Dstack(_Beside, spec_name="dstack"):
    """Concatenates tensors along axis 2; vectors get this axis."""

    axis = 2
    examples = (Example({}, ((3,), (3,))),)
