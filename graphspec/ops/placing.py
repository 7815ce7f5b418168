"""Functions of keras.ops that write elements: slices, scattered indices, segments.

keras.ops applies one set of indices to a whole tensor. These apply each example's own indices to it.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from graphspec.contract.broadcasting import stretch
from graphspec.contract.fields import Positive, as_tuple
from graphspec.contract.layer import Argument, Code, Example, LayerError, Leaf, Site
from graphspec.contract.proposals import misfit
from graphspec.ops.matrices import need_floats
from graphspec.ops.operation import Operation, need_numbers, row, size_or_like, table
from graphspec.ops.selection import size_of_floats
from graphspec.tensor import Dim, Tensor

Starts = Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(as_tuple)]


def _check_starts(op: Operation, starts: tuple[int, ...], x: Tensor) -> None:
    if len(starts) != x.rank or starts[0] != 0:
        raise LayerError(
            "out-of-range",
            f"`start_indices` holds a place for each axis of {x}, 0 for the batch, not {list(starts)}",
            argument="start_indices",
        )


def _check_end(op: Operation, argument: str, axis: int, start: int, size: Dim, of: Dim, x: Tensor) -> None:
    if isinstance(of, int) and isinstance(size, int) and start + size > of:
        message = f"`{op.spec_name}` goes to {start + size} along axis {axis}, and {x} has {of} there"
        raise LayerError("out-of-range", message, argument=argument)


class SliceOperation(Operation, spec_name="slice"):
    """A slice of this `shape` that starts at `start_indices`. For the batch, they have 0 and -1 (all).

    Along other axes, -1 is all that follows.
    """

    start_indices: Starts
    shape: Annotated[tuple[int, ...], BeforeValidator(as_tuple)]

    examples = (Example({"start_indices": [0, 1, 0], "shape": [-1, 2, 3]}, ((4, 5),)),)

    def infer(self, x: Tensor) -> Tensor:
        _check_starts(self, self.start_indices, x)
        if len(self.shape) != x.rank or self.shape[0] not in (-1, x.shape[0]) or 0 in self.shape:
            message = f"`shape` holds a size for each axis of {x}, -1 for the batch, not {list(self.shape)}"
            raise LayerError("out-of-range", message, argument="shape")
        sizes: list[Dim] = [x.shape[0]]
        for axis in range(1, x.rank):
            start, size = self.start_indices[axis], self.shape[axis]
            left = x.shape[axis] - start
            if isinstance(left, int) and left < 1:
                message = f"axis {axis} of {x} has nothing from {start} on"
                raise LayerError("out-of-range", message, argument="start_indices")
            _check_end(self, "shape", axis, start, size, x.shape[axis], x)
            sizes.append(left if size == -1 else size)
        return x.with_shape(*sizes)

    def code(self, site: Site) -> Code:
        words = [":"]
        for start, size, length in zip(self.start_indices[1:], self.shape[1:], site.x.shape[1:], strict=True):
            first = str(start) if start else ""
            words.append(f"{first}:" if size == -1 or start + size == length else f"{first}:{start + size}")
        while len(words) > 1 and words[-1] == ":":
            words.pop()
        return Code(f"{{x}}[{', '.join(words)}]" if len(words) > 1 else "{x}")


class SliceUpdate(Operation, spec_name="slice_update"):
    """The first tensor, with `updates` in place of the slice at `start_indices` (0 for the batch)."""

    arguments = (Argument("inputs"), Argument("updates"))

    start_indices: Starts

    examples = (Example({"start_indices": [0, 1, 2]}, ((4, 5), (2, 3))),)

    def infer(self, inputs: Tensor, updates: Tensor) -> Tensor:
        _check_starts(self, self.start_indices, inputs)
        if updates.rank != inputs.rank or updates.dtype != inputs.dtype:
            raise misfit(self.spec_name, (inputs, updates), 0, 1)
        if stretch(inputs.shape[0], updates.shape[0]) != inputs.shape[0]:
            raise misfit(self.spec_name, (inputs, updates), 0, 1)
        for axis in range(1, inputs.rank):
            size, of = updates.shape[axis], inputs.shape[axis]
            _check_end(self, "start_indices", axis, self.start_indices[axis], size, of, inputs)
        return inputs

    def code(self, site: Site) -> Code:
        starts = {f"start{i}": start for i, start in enumerate(self.start_indices[1:])}
        text = ", ".join(f"{{{name}}}" for name in starts)
        return Code(f"put_slice({{inputs}}, {{updates}}, {text})", constants=starts)


def _check_indices(name: str, indices: Tensor, values: Tensor, shape: tuple[Dim, ...]) -> None:
    """Refuses indices [batch, n, axes] and values [batch, n, ...] that do not fit examples of this shape."""
    if not indices.is_integer or indices.rank != 3 or not isinstance(indices.shape[2], int):
        message = f"the indices of `{name}` are integers, [batch, n, axes], and not {indices}"
        raise LayerError("wrong-dtype", message, inputs=(0,))
    axes = indices.shape[2]
    if axes > len(shape):
        message = f"the indices of `{name}` are for {axes} axes of an example, which has {len(shape)}"
        raise LayerError("out-of-range", message, inputs=(0,))
    if values.shape[1:] != (indices.shape[1], *shape[axes:]):
        wanted = ", ".join(str(size) for size in ("batch", indices.shape[1], *shape[axes:]))
        message = f"the values of `{name}` must be [{wanted}], and are {values}"
        raise LayerError("shapes-differ", message, inputs=(0, 1))


def _long(word: str, x: Tensor) -> str:
    return f"{{{word}}}" if x.dtype == "int64" else f"{{{word}}}.long()"


class Scatter(Operation, spec_name="scatter"):
    """Zeros in the `shape` of an example, with its values added at its indices, [batch, n, axes]."""

    arguments = (Argument("indices"), Argument("values"))

    shape: Annotated[tuple[Positive, ...], BeforeValidator(as_tuple)]

    examples = (Example({"shape": [4]}, ((5, 1), (5,)), dtypes=("int64", "float32"), high=4),)

    def infer(self, indices: Tensor, values: Tensor) -> Tensor:
        _check_indices(self.spec_name, indices, values, self.shape)
        if stretch(indices.shape[0], values.shape[0]) != values.shape[0]:
            raise misfit(self.spec_name, (indices, values), 0, 1)
        return values.with_shape(values.shape[0], *self.shape)

    def limit_for(self, indices: Tensor, values: Tensor) -> int | None:
        assert isinstance(indices.shape[2], int)
        return None if values.is_integer else min(self.shape[: indices.shape[2]])

    def code(self, site: Site) -> Code:
        sizes: dict[str, Leaf] = {f"size{i}": size for i, size in enumerate(self.shape)}
        zeros = f"{{values}}.new_zeros({{values}}.shape[0], {', '.join(f'{{{name}}}' for name in sizes)})"
        indices = _long("indices", site.inputs[0])
        text = f"put_each({zeros}, {indices}, {{values}}, accumulate=True)"
        return Code(text, constants=sizes)


class ScatterUpdate(Operation, spec_name="scatter_update"):
    """Each example, with `updates` written at its `indices`, [batch, n, axes]; `reduction: add` adds them."""

    arguments = (Argument("inputs"), Argument("indices"), Argument("updates"))

    reduction: Literal["add"] | None = None
    """`add` adds the updates; by default they replace."""

    examples = (
        Example({"reduction": "add"}, ((4,), (5, 1), (5,)), dtypes=("float32", "int64", "float32"), high=4),
    )

    def infer(self, inputs: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
        _check_indices(self.spec_name, indices, updates, inputs.shape[1:])
        sizes = [stretch(inputs.shape[0], x.shape[0]) for x in (indices, updates)]
        if sizes != [inputs.shape[0]] * 2 or inputs.dtype != updates.dtype:
            raise misfit(self.spec_name, (inputs, indices, updates), 0, 2)
        return inputs

    def limit_for(self, inputs: Tensor, indices: Tensor, updates: Tensor) -> int | None:
        assert isinstance(indices.shape[2], int)
        sizes = [size_of_floats(inputs, axis) for axis in range(1, indices.shape[2] + 1)]
        return min((size for size in sizes if size is not None), default=None)

    def code(self, site: Site) -> Code:
        added = ", accumulate=True" if self.reduction else ""
        text = f"put_each({{inputs}}, {_long('indices', site.inputs[1])}, {{updates}}{added})"
        return Code(text)


class _Segments(Operation, abstract=True):
    """A reduction of the elements along axis 1 with equal ids: [batch, groups, ...].

    Ids below 0, and from the number of groups on, are ignored.
    """

    flops_per_input = 1
    arguments = (Argument("data"), Argument("segment_ids"), Argument("like", required=False))
    reduce: ClassVar[str]
    empty: ClassVar[float]

    num_segments: Positive | None = None
    """How many groups there are; or `like` names a tensor that has one at each place of axis 1."""
    sorted: bool = False  # whether the ids ascend; it has no effect
    """Whether the ids rise; it changes nothing."""

    examples = (Example({"num_segments": 3}, ((6, 2), (6,)), dtypes=("float32", "int64"), high=3),)

    def infer(self, data: Tensor, segment_ids: Tensor, like: Tensor | None = None) -> Tensor:
        need_floats(self.spec_name, data)
        need_numbers(self.spec_name, data)
        if not segment_ids.is_integer or segment_ids.rank != 2:
            message = f"`segment_ids` are integers, [batch, n], and not {segment_ids}"
            raise LayerError("wrong-dtype", message, inputs=(1,))
        if data.rank < 2 or data.shape[:2] != segment_ids.shape:
            raise misfit(self.spec_name, (data, segment_ids), 0, 1)
        groups = size_or_like(self, "num_segments", like, 2)
        return data.with_shape(data.shape[0], groups, *data.shape[2:])

    def code(self, site: Site) -> Code:
        constants: dict[str, Leaf] = {"reduce": self.reduce, "empty": self.empty}
        count = "{like}.shape[1]"
        if self.num_segments is not None:
            count, constants["count"] = "{count}", self.num_segments
        ids = _long("segment_ids", site.inputs[1])
        text = f"reduce_segments({{data}}, {ids}, {count}, {{reduce}}, {{empty}})"
        return Code(text, constants=constants)


table(
    __name__,
    _Segments,
    row(
        "segment_sum",
        "The sum of each example's elements with equal ids; 0 of none.",
        reduce="sum",
        empty=0.0,
    ),
    row(
        "segment_prod",
        "The product of each example's elements with equal ids; 1 of none.",
        reduce="prod",
        empty=1.0,
    ),
    row(
        "segment_max",
        "The maximum of each example's elements with equal ids; -infinity of none.",
        reduce="amax",
        empty=float("-inf"),
    ),
    row(
        "segment_min",
        "The minimum of each example's elements with equal ids; infinity of none.",
        reduce="amin",
        empty=float("inf"),
    ),
)
