"""Functions of keras.ops that select elements, by index or by order.

Axes count the batch as 0. What would mix examples is refused.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from graphspec.contract.broadcasting import example_axis, stretch
from graphspec.contract.fields import Positive, as_tuple
from graphspec.contract.layer import Argument, Code, Example, LayerError, Leaf, Moved, Site
from graphspec.contract.proposals import misfit
from graphspec.contract.streaming import (
    Streaming,
    apart_from,
    elementwise,
    frame,
    padding,
    still,
    streamed_axes,
)
from graphspec.ops.operation import Operation, need_numbers
from graphspec.tensor import Dim, Tensor


def size_of_floats(x: Tensor, axis: int) -> int | None:
    """The size of an axis, which bounds indices into it; None where it is unknown or `x` has integers."""
    size = x.shape[axis]
    return size if isinstance(size, int) and not x.is_integer else None


class Take(Operation, spec_name="take", also="index_select"):
    """The elements at `indices` along an axis. A single index removes the axis, a list keeps it.

    A tensor of indices, [batch, ...], selects from each example by its own indices.
    """

    arguments = (Argument("x"), Argument("indices", required=False))

    indices: Annotated[int | tuple[int, ...] | None, BeforeValidator(as_tuple)] = None
    """Indices of the elements to take."""
    axis: int | None = None

    examples = (Example({"indices": 0, "axis": 1}, ((3, 4),)),)

    def infer(self, x: Tensor, indices_tensor: Tensor | None = None) -> Tensor:
        if (indices_tensor is None) == (self.indices is None):
            raise LayerError(
                "input-count",
                "`take` takes constant `indices`, or a tensor of them",
                help="write `indices: [0, 2]`, or from: [x, indices]",
            )
        if self.axis is None:
            raise LayerError(
                "missing-key",
                "`take` without `axis` would take from all examples of a batch",
                help="name the axis: `axis: 1`",
                argument="axis",
            )
        axis = example_axis(self.spec_name, self.axis, x.rank)
        if indices_tensor is not None:
            return self._by_tensor(x, indices_tensor, axis)
        assert self.indices is not None
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

    def _by_tensor(self, x: Tensor, indices: Tensor, axis: int) -> Tensor:
        if not indices.is_integer or indices.rank < 2:
            message = f"the indices of `take` are integers, [batch, ...], and not {indices}"
            raise LayerError("wrong-dtype", message, inputs=(1,))
        batch = stretch(x.shape[0], indices.shape[0])
        if batch is None:
            raise misfit(self.spec_name, (x, indices), 0, 1)
        return x.with_shape(batch, *x.shape[1:axis], *indices.shape[1:], *x.shape[axis + 1 :])

    def moves(self, x: Tensor, indices_tensor: Tensor | None = None) -> tuple[Moved, ...]:
        if indices_tensor is not None:
            return ()
        assert self.axis is not None and self.indices is not None
        size = x.shape[-1]
        if not isinstance(size, int):
            return ((),)
        if self.axis % x.rank != x.rank - 1:
            return (tuple(range(size)),)
        indices = self.indices if isinstance(self.indices, tuple) else (self.indices,)
        return (tuple(index % size for index in indices),)

    def limit_for(self, x: Tensor, indices: Tensor | None = None) -> int | None:
        return None if indices is None or self.axis is None else size_of_floats(x, self.axis)

    def indexed(self, x: Tensor, indices: Tensor | None = None) -> Dim | None:
        return None if indices is None or self.axis is None else x.shape[self.axis]

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        assert self.axis is not None
        x, indices = (*roles, None)[:2]
        axis = self.axis % len(x)
        if indices is not None and streamed_axes(indices) and streamed_axes(x):
            return None
        size = site.outputs[0].rank - len(x) + 1
        new = still(size) if indices is None else indices[1:]
        return apart_from(x, (axis,), (*x[:axis], *new, *x[axis + 1 :]))

    def code(self, site: Site) -> Code:
        assert self.axis is not None
        axis = self.axis % site.x.rank
        if self.indices is None:
            indices = "{indices}" if site.inputs[1].dtype == "int64" else "{indices}.long()"
            if site.inputs[1].shape[0] == 1:  # the same of each example
                return Code(f"{{x}}[{':, ' * axis}{indices}[0]]")
            if site.x.shape[0] == 1 and axis == 1:  # of one table
                return Code(f"{{x}}[0][{indices}]")
            return Code(f"take_each({{x}}, {indices}, {{axis}})", constants={"axis": axis})
        before = "..., " if self.axis == -1 else ":, " * axis
        return Code(f"{{x}}[{before}{{places}}]", constants={"places": self.indices})


class TakeAlongAxis(Operation, spec_name="take_along_axis", also="gather"):
    """The elements at `indices`, integers from 0 up, along an axis; other axes of size 1 broadcast."""

    arguments = (Argument("x"), Argument("indices"))

    axis: int

    examples = (Example({"axis": 1}, ((3, 4), (2, 4)), dtypes=("float32", "int64"), high=3),)

    def infer(self, x: Tensor, indices: Tensor) -> Tensor:
        if not indices.is_integer:
            message = f"`take_along_axis` takes integers as `indices`, and gets {indices}"
            raise LayerError("wrong-dtype", message, inputs=(1,))
        if x.rank != indices.rank:
            raise misfit(self.spec_name, (x, indices), 0, 1)
        axis = example_axis(self.spec_name, self.axis, x.rank)
        shape: list[Dim] = []
        for place, (size, count) in enumerate(zip(x.shape, indices.shape, strict=True)):
            met = count if place == axis else stretch(size, count)
            if met is None:
                raise misfit(self.spec_name, (x, indices), 0, 1)
            shape.append(met)
        return x.with_shape(*shape)

    def limit_for(self, x: Tensor, indices: Tensor) -> int | None:
        return size_of_floats(x, self.axis)

    def indexed(self, x: Tensor, indices: Tensor) -> Dim | None:
        return x.shape[self.axis]

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        along = apart_from(roles[0], (self.axis,))
        return along if along.kind == "whole" else elementwise(roles, site.x.rank)

    def code(self, site: Site) -> Code:
        indices = "{indices}" if site.inputs[1].dtype == "int64" else "{indices}.long()"
        return Code(f"{{x}}.take_along_dim({indices}, {{axis}})", constants={"axis": self.axis})


class Diff(Operation, spec_name="diff"):
    """The difference of each element along an axis and the one before it, `n` times over."""

    template = "{x}.diff({n}, {axis})"

    n: Positive = 1
    """How many times differences are taken."""
    axis: int = -1

    reads_padded = True

    def infer(self, x: Tensor) -> Tensor:
        need_numbers(self.spec_name, x)
        axis = example_axis(self.spec_name, self.axis, x.rank)
        size = x.shape[axis]
        if isinstance(size, int) and size <= self.n:
            message = f"axis {axis} of {x} has {size} elements, and `diff` takes {self.n} away"
            raise LayerError("window-too-large", message, argument="axis", inputs=(0,))
        return x.with_shape(*x.shape[:axis], size - self.n, *x.shape[axis + 1 :])

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        if roles[0][self.axis] == "padded":
            return frame(roles[0])
        return apart_from(roles[0], (self.axis,), remedy=f"pad before it: {padding(self.n)}")


class Sort(Operation, spec_name="sort"):
    """Sorts in ascending order along an axis."""

    template = "{x}.sort({axis}).values"

    axis: int = -1

    def infer(self, x: Tensor) -> Tensor:
        need_numbers(self.spec_name, x)
        example_axis(self.spec_name, self.axis, x.rank)
        return x

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return apart_from(roles[0], (self.axis,))


class Argsort(Sort, spec_name="argsort"):
    """The indices that sort an axis in ascending order, as int64; equal elements keep their order."""

    template = "{x}.argsort(dim={axis}, stable=True)"

    def infer(self, x: Tensor) -> Tensor:
        return super().infer(x).with_dtype("int64")


class TopK(Operation, spec_name="top_k", also="topk"):
    """The `k` largest of the last axis, descending if `sorted`; `indices`, int64, are their positions."""

    extra_outputs = ("indices",)
    template = "{x}.topk({k}, sorted={sorted})"
    optional = ("sorted",)

    k: Positive
    """Number of largest values."""
    sorted: bool = True
    """Whether the result is in descending order."""

    examples = (Example({"k": 2}, ((3, 4),)),)

    def infer(self, x: Tensor) -> tuple[Tensor, ...]:
        need_numbers(self.spec_name, x)
        if x.rank < 2:
            raise LayerError("wrong-rank", f"`top_k` takes `[batch, ..., size]`, and gets {x}", inputs=(0,))
        size = x.shape[-1]
        if isinstance(size, int) and size < self.k:
            message = f"the last axis of {x} has {size} elements, fewer than `k`"
            raise LayerError("out-of-range", message, argument="k")
        values = x.with_shape(*x.shape[:-1], self.k)
        return values, values.with_dtype("int64")

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        along = apart_from(roles[0], (-1,))
        return along if along.kind == "whole" else frame(roles[0], roles[0])


class OneHot(Operation, spec_name="one_hot"):
    """One-hot vectors along a new axis, of integers from 0 to `num_classes` - 1; of others, zeros."""

    num_classes: Positive
    axis: int = -1

    examples = (Example({"num_classes": 5}, ((3,),), dtype="int64", high=5),)

    def infer(self, x: Tensor) -> Tensor:
        if not x.is_integer:
            raise LayerError("wrong-dtype", f"`one_hot` takes integers and gets {x}", inputs=(0,))
        axis = example_axis(self.spec_name, self.axis, x.rank + 1)
        return Tensor((*x.shape[:axis], self.num_classes, *x.shape[axis:]))

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        axis, found = self.axis % (site.x.rank + 1), roles[0]
        return frame((*found[:axis], None, *found[axis:]))

    def code(self, site: Site) -> Code:
        constants: dict[str, Leaf] = {"num_classes": self.num_classes}
        text = "one_hot({x}, {num_classes})"
        if self.axis % (site.x.rank + 1) != site.x.rank:
            text, constants["axis"] = f"{text}.movedim(-1, {{axis}})", self.axis
        return Code(text, constants=constants)

    def limit(self) -> int | None:
        return self.num_classes


class _Several(Operation, abstract=True):
    """Parts of a tensor: `part0`, which is the node itself, `part1` and so on; `*` stands for all of them."""

    first_part = "part0"

    axis: int

    def output_names(self) -> tuple[str, ...]:
        return tuple(f"part{i}" for i in range(1, self.parts()))

    def parts(self) -> int:
        """The number of parts."""
        raise TypeError(f"{type(self).__name__} says no parts")

    def moves(self, x: Tensor) -> tuple[Moved, ...]:
        size, begin = x.shape[-1], 0
        if not isinstance(size, int):
            return ((),) * self.parts()
        if self.axis % x.rank != x.rank - 1:
            return (tuple(range(size)),) * self.parts()
        ranges = []
        for count in self.sizes(x, x.rank - 1):
            assert isinstance(count, int)
            ranges.append(tuple(range(begin, begin + count)))
            begin += count
        return tuple(ranges)

    def sizes(self, x: Tensor, axis: int) -> list[Dim]:
        """The parts' sizes along the axis."""
        raise TypeError(f"{type(self).__name__} says no sizes")

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        along = apart_from(roles[0], (self.axis,))
        if along.kind == "whole":
            return along
        axis = self.axis % site.x.rank
        gone = site.outputs[0].rank < site.x.rank
        found = (*roles[0][:axis], *roles[0][axis + 1 :]) if gone else roles[0]
        return frame(*[found] * self.parts())


class SplitOperation(_Several, spec_name="split", also="chunk"):
    """Splits an axis: into this many equal parts, or at a list of indices.

    The parts are `node.part0`, which is the node itself, `node.part1` and so on; `node.*` is all of them.
    """

    indices_or_sections: Annotated[
        Annotated[int, Field(ge=2)] | Annotated[tuple[Positive, ...], Field(min_length=1)],
        BeforeValidator(as_tuple),
    ]
    """Number of parts, or the index where each starts."""
    axis: int

    memory_layout = "any"
    examples = (Example({"indices_or_sections": 2, "axis": 1}, ((4, 3),)),)

    def parts(self) -> int:
        cuts = self.indices_or_sections
        return len(cuts) + 1 if isinstance(cuts, tuple) else cuts

    def infer(self, x: Tensor) -> tuple[Tensor, ...]:
        axis = example_axis(self.spec_name, self.axis, x.rank)
        return tuple(x.with_shape(*x.shape[:axis], s, *x.shape[axis + 1 :]) for s in self.sizes(x, axis))

    def sizes(self, x: Tensor, axis: int) -> list[Dim]:
        """The parts' sizes along the axis."""
        size, cuts = x.shape[axis], self.indices_or_sections
        if isinstance(cuts, int):
            if size // cuts * cuts != size:
                message = f"axis {axis} of {x} cannot be split into {cuts} equal parts"
                raise LayerError("shapes-differ", message, argument="indices_or_sections", inputs=(0,))
            return [size // cuts] * cuts
        if list(cuts) != sorted(set(cuts)) or (isinstance(size, int) and cuts[-1] >= size):
            message = f"the places to cut axis {axis} of {x} at rise, and lie within it"
            raise LayerError("out-of-range", message, argument="indices_or_sections")
        return [b - a for a, b in zip((0, *cuts), (*cuts, size), strict=True)]

    def code(self, site: Site) -> Code:
        constants: dict[str, Leaf] = {"cuts": self.indices_or_sections, "axis": site.axis(self.axis)}
        function = "chunk" if isinstance(self.indices_or_sections, int) else "tensor_split"
        return Code(f"{{x}}.{function}({{cuts}}, {{axis}})", constants=constants)


class Unstack(_Several, spec_name="unstack", also="unbind"):
    """The `num` slices along an axis, without that axis.

    The slices are `node.part0`, which is the node itself, `node.part1` and so on; `node.*` is all of them.
    """

    template = "{x}.unbind({axis})"

    num: Annotated[int, Field(ge=2)]
    """Number of slices."""
    axis: int

    examples = (Example({"num": 3, "axis": 1}, ((3, 4),)),)

    def parts(self) -> int:
        return self.num

    def infer(self, x: Tensor) -> tuple[Tensor, ...]:
        axis = example_axis(self.spec_name, self.axis, x.rank)
        if x.shape[axis] != self.num:
            message = f"axis {axis} of {x} has another size than `num`, {self.num}"
            raise LayerError("shapes-differ", message, argument="num", inputs=(0,))
        return (x.with_shape(*x.shape[:axis], *x.shape[axis + 1 :]),) * self.num

    def sizes(self, x: Tensor, axis: int) -> list[Dim]:
        return [1] * self.num
