"""A torch tensor as a value of a spec: which axes of the value each of its own axes consists of.

    torch [N, 64, 56, 56]      value [batch, 56, 56, 64]     axes ((0,), (3,), (1,), (2,))
    .flatten(2)                                              axes ((0,), (3,), (1, 2))
    .transpose(1, 2)                                         axes ((0,), (1, 2), (3,))

To permute, to insert or to drop axes of size 1, and to join axes costs nothing until a node needs them in
its own order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from graphspec.convert.nodes import ConvertedValue
from graphspec.convert.pytorch.sizes import Size, product, quotient
from graphspec.convert.refusals import Unsupported

Axes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Laid:
    """`sizes` are those of the value's axes, the batch first; `shape` is that of the torch tensor. An axis of
    `axes` that is empty has size 1, or is stretched to the size in `shape`. A tensor that is free is the same
    for every example: the first size of its value is 1, and no axis of `axes` has 0.
    """

    value: ConvertedValue
    sizes: tuple[Size, ...]
    axes: Axes
    shape: tuple[Size, ...]
    dtype: str = "float32"

    @property
    def batch(self) -> int:
        """The torch axis that has the batch in it, -1 where none has."""
        return next((i for i, axis in enumerate(self.axes) if 0 in axis), -1)

    @property
    def is_free(self) -> bool:
        """Whether it is the same for every example."""
        return self.batch < 0

    def stretched(self) -> list[int]:
        """The torch axes that are repeated without being in the value."""
        return [i for i, axis in enumerate(self.axes) if self.length(axis) != self.shape[i]]

    def length(self, axis: tuple[int, ...]) -> Size:
        """The size of an axis that consists of these."""
        return product(self.sizes[j] for j in axis)

    def sole(self, i: int) -> int | None:
        """The axis of the value that a torch axis is, None where it consists of several or of none."""
        real = self.real(i)
        return real[0] if len(real) == 1 else None

    def at(self, i: int) -> int:
        """The axis of the value that a torch axis is, where it is one."""
        axis = self.sole(i)
        assert axis is not None
        return axis

    def real(self, i: int) -> tuple[int, ...]:
        """The axes of the spec in a torch axis, without those of size 1, where there are others."""
        axis = self.axes[i]
        kept = tuple(j for j in axis if self.sizes[j] != 1)
        return kept or axis[:1]

    def permuted(self, order: Sequence[int]) -> Laid:
        """Its torch axes in another order."""
        return replace(
            self, axes=tuple(self.axes[i] for i in order), shape=tuple(self.shape[i] for i in order)
        )

    def without(self, dropped: Sequence[int]) -> Laid:
        """Without these torch axes, of size 1."""
        kept = [i for i in range(len(self.axes)) if i not in dropped or 0 in self.axes[i]]
        return self.permuted(kept)

    def inserted(self, place: int, size: Size = 1) -> Laid:
        """With one more torch axis of size 1, or stretched."""
        axes, shape = list(self.axes), list(self.shape)
        axes.insert(place, ())
        shape.insert(place, size)
        return replace(self, axes=tuple(axes), shape=tuple(shape))

    def regrouped(self, shape: Sequence[Size]) -> tuple[Axes, dict[int, list[Size]]]:
        """The axes of the tensor in another shape, and into which sizes axes of the value must be split for
        it. Parts of a split axis are numbered after all axes, in order: (j, part) is `len(sizes) + ...`.
        Raises `Unsupported`.
        """
        waiting = [(j, self.sizes[j]) for axis in self.axes for j in axis if self.sizes[j] != 1]
        ones = [j for axis in self.axes for j in axis if self.sizes[j] == 1]
        splits: dict[int, list[Size]] = {}
        groups: list[list[tuple[int, int]]] = []
        for size in shape:
            group: list[tuple[int, int]] = []
            rest = size
            while rest != 1:
                if not waiting:
                    raise Unsupported("a reshape of it is not understood", "reshape in smaller steps")
                j, here = waiting.pop(0)
                part = len(splits.get(j, ()))
                if (more := quotient(rest, here)) is not None:
                    if j in splits:
                        splits[j].append(here)
                    group.append((j, part))
                    rest = more
                elif (left := quotient(here, rest)) is not None:
                    if j == 0:
                        raise Unsupported(
                            "it mixes the examples of a batch",
                            "a spec treats each example by itself: keep the first axis as it is",
                        )
                    splits.setdefault(j, []).append(rest)
                    group.append((j, part))
                    waiting.insert(0, (j, left))
                    rest = 1
                else:
                    raise Unsupported(
                        f"its axes {list(self.shape)} do not fit the shape {list(shape)}",
                        "reshape to sizes that are products of its own",
                    )
            groups.append(group)
        starts, count = {}, 0
        for j in range(len(self.sizes)):
            starts[j] = count
            count += len(splits.get(j, (0,)))
        axes = [tuple(starts[j] + part for j, part in group) for group in groups]
        if 0 in ones:  # a batch of one
            axes[0] = (0, *axes[0])
        return tuple(axes), splits


def merged_axes(laid: Laid, groups: Sequence[tuple[int, ...]]) -> Axes:
    """The torch axes of `laid`, after its value got the axes `groups` after the batch."""
    number = {group: k + 1 for k, group in enumerate(groups) if group}
    axes = []
    for axis in laid.axes:
        left, now = [j for j in axis if j != 0 and laid.sizes[j] != 1], [0] if 0 in axis else []
        while left:
            group = next(
                (
                    g
                    for g in number
                    if tuple(j for j in g if laid.sizes[j] != 1)
                    == tuple(left[: len([j for j in g if laid.sizes[j] != 1])])
                    and any(laid.sizes[j] != 1 for j in g)
                ),
                None,
            )
            if group is None:
                raise Unsupported("its axes are joined in an order that is not understood", "")
            now.append(number[group])
            left = left[len([j for j in group if laid.sizes[j] != 1]) :]
        axes.append(tuple(now))
    return tuple(axes)
