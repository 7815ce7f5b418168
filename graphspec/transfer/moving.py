"""Conversions of a tensor from a file to a weight."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from graphspec.contract.layer import Weight
from graphspec.train.penalties import from_keras
from graphspec.transfer.rules import ORDERS


class MoveError(ValueError):
    """Raised when a tensor cannot be converted, with the reason."""


@dataclass(frozen=True, slots=True)
class MovedPart:
    """The elements from `start`, `length` of them, along an axis; within each of so many equal `groups`.
    Heads of `head_size` elements that alternate are put one after the other.
    """

    start: int
    length: int
    whole: int
    axis: int = 0
    groups: int = 1
    head_size: int | None = None


@dataclass(frozen=True, slots=True)
class Flat:
    """Columns that stand for the elements of a tensor of `sizes`, channels last, and lie in the order of
    `axes`, letters of its axes.
    """

    sizes: tuple[int, ...]
    axes: tuple[str, ...]

    @property
    def changes(self) -> bool:
        """Whether another order of columns comes out."""
        kept = [axis for axis, size in zip(self.spec_order, self.sizes, strict=True) if size > 1]
        return kept != [axis for axis in self.axes if axis in kept]

    @property
    def spec_order(self) -> str:
        return {2: "lc", 3: "hwc", 4: "dhwc"}[len(self.sizes)]


Count = Annotated[int, Field(ge=0, le=1 << 48)]


class Record(BaseModel):
    """A part of what a file says of its tensors."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class TensorView(Record):
    """Elements of a tensor: from the one with number `start`, as many as `sizes` says along axes with these
    steps between them, in the `shape` that they have in the end.
    """

    source: str
    start: Count
    sizes: Annotated[tuple[Count, ...], Field(strict=False)]
    strides: Annotated[tuple[int, ...], Field(strict=False)]
    shape: Annotated[tuple[Count, ...], Field(strict=False)]

    def of(self, tensor: Tensor) -> Tensor:
        """These elements as floats. Raises `MoveError`."""
        reach = [(size - 1) * stride for size, stride in zip(self.sizes, self.strides, strict=True)]
        low = self.start + sum(step for step in reach if step < 0)
        high = self.start + sum(step for step in reach if step > 0)
        if low < 0 or high >= tensor.numel() or math.prod(self.sizes) != math.prod(self.shape):
            raise MoveError(f"it has no elements {low} to {high}")
        flat = tensor.contiguous().flatten()
        if any(stride < 0 for stride in self.strides) and math.prod(self.sizes) <= flat.numel():
            places = torch.tensor(self.start)
            for size, stride in zip(self.sizes, self.strides, strict=True):
                places = places.unsqueeze(-1) + torch.arange(size) * stride
            flat = flat[places.flatten().to(flat.device)]
        else:
            flat = flat.as_strided(self.sizes, self.strides, self.start)
        return flat.reshape(self.shape).float()


@dataclass(frozen=True, slots=True)
class Move:
    """The conversion of the sources of a weight, in this order: `views` of them, from Keras' layout, or
    summed or joined along `axis`, transposed or permuted, cut, columns reordered, rows shortened to a norm of
    `longest`.
    """

    views: tuple[TensorView, ...] = ()

    keras: Weight | None = None
    sum: bool = False
    axis: int = 0
    transpose: bool = False
    permute: tuple[int, ...] | None = None
    part: MovedPart | None = None
    flat: Flat | None = None
    shape: tuple[int, ...] | None = None  # what it is at the end, where axes of size 1 come or go
    longest: float | None = None

    def words(self, axes: int) -> list[str]:
        """The conversion of a weight with this many axes, as text."""
        steps = ["rearranged"] if any(len(view.sizes) > 1 or view.start for view in self.views) else []
        steps += ["summed"] if self.sum else []
        steps += ["from Keras' layout"] if self.keras is not None and changes_layout(self.keras) else []
        steps += ["transposed"] if self.transpose and axes == 2 else []
        steps += [f"axes {list(self.permute)}"] if self.permute and axes == len(self.permute) else []
        if self.part is not None:
            steps.append(f"{self.part.start}:{self.part.start + self.part.length} of {self.part.whole}")
            steps += [] if self.part.head_size is None else [f"heads of {self.part.head_size} apart"]
        if self.flat is not None and self.flat.changes:
            steps.append(f"columns {''.join(self.flat.axes)} to {self.flat.spec_order}")
        steps += ["reshaped"] if self.shape is not None and not self.views else []
        steps += [f"rows of a norm up to {self.longest:g}"] if self.longest is not None else []
        return steps

    def apply(self, tensors: Sequence[Tensor]) -> Tensor:
        """Converts the sources to a tensor. Raises `MoveError`."""
        try:
            return self._apply(tensors)
        except (RuntimeError, IndexError, ValueError) as error:
            if isinstance(error, MoveError):
                raise
            raise MoveError(str(error).splitlines()[0]) from None

    def _apply(self, tensors: Sequence[Tensor]) -> Tensor:
        if self.views:
            tensors = [view.of(tensor) for view, tensor in zip(self.views, tensors, strict=True)]
        value = tensors[0]
        if len(tensors) > 1:
            value = sum(tensors[1:], value) if self.sum else torch.cat(list(tensors), self.axis)
        if self.keras is not None:
            value = from_keras(self.keras, value)
        if self.transpose and value.dim() == 2:
            value = value.T
        if self.permute is not None and value.dim() == len(self.permute):
            value = value.permute(self.permute)
        if self.part is not None:
            value = cut(value, self.part)
        value = value if self.flat is None else reorder(value, self.flat)
        value = value if self.shape is None else value.reshape(self.shape)
        return value if self.longest is None else value.renorm(2, 0, self.longest)


def changes_layout(weight: Weight) -> bool:
    """Whether Keras stores a weight in another layout."""
    return weight.permute is not None or weight.gates is not None or weight.unmerged is not None


def cut(value: Tensor, part: MovedPart) -> Tensor:
    """One part of a tensor. Raises `MoveError`."""
    if value.shape[part.axis] != part.whole:
        message = (
            f"its axis {part.axis} has the size {value.shape[part.axis]}, and the parts together {part.whole}"
        )
        raise MoveError(message)
    if part.head_size is not None:
        if part.length % part.head_size:
            raise MoveError(f"heads of {part.head_size} do not divide its {part.length}")
        found = cut(value, replace(part, head_size=None))
        apart: Tensor = found.unflatten(part.axis, (part.head_size, -1))
        return apart.transpose(part.axis, part.axis + 1).flatten(part.axis, part.axis + 1)
    if part.groups == 1:
        return value.narrow(part.axis, part.start, part.length)
    if any(size % part.groups for size in (part.start, part.length, part.whole)):
        raise MoveError(f"{part.groups} groups do not divide the parts")
    blocks: Tensor = value.unflatten(part.axis, (part.groups, -1))
    each = blocks.narrow(part.axis + 1, part.start // part.groups, part.length // part.groups)
    return each.flatten(part.axis, part.axis + 1)


def reorder(value: Tensor, flat: Flat) -> Tensor:
    """A kernel [units, columns] with its columns in the order of the spec. Raises `MoveError`."""
    sizes = dict(zip(flat.spec_order, flat.sizes, strict=True))
    if value.dim() != 2 or value.shape[1] != math.prod(flat.sizes):
        raise MoveError(f"it has no columns for {' x '.join(map(str, flat.sizes))}")
    apart: Tensor = value.unflatten(1, [sizes[axis] for axis in flat.axes])
    return apart.permute(0, *(1 + flat.axes.index(axis) for axis in flat.spec_order)).flatten(1)


def order_of(word: str) -> tuple[str, ...]:
    """The axes of an order such as chw."""
    return ORDERS[word]


def channels_first(sizes: Sequence[int]) -> tuple[str, ...]:
    """The order in which PyTorch flattens a tensor of these sizes."""
    spec_order = Flat(tuple(sizes), ()).spec_order
    return (spec_order[-1], *spec_order[:-1])
