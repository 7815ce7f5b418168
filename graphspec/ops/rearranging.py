"""Functions of keras.ops that change the shape of a tensor or the order of its elements.

Axes count the batch as 0. What would mix examples is refused.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from graphspec.contract.broadcasting import ACROSS_EXAMPLES, example_axes, example_axis
from graphspec.contract.fields import Axis, Positive, Unbounded, as_tuple
from graphspec.contract.input_checks import need_float, need_in_range
from graphspec.contract.layer import Code, Example, Layer, LayerError, Leaf, Site
from graphspec.contract.stepping import padded_steps
from graphspec.contract.streaming import PADDED, Streaming, apart_from, moved
from graphspec.ops.operation import Operation, need_numbers
from graphspec.tensor import Dim, Tensor, product


class Transpose(Operation, spec_name="transpose", also="permute"):
    """Permutes the axes; the batch stays first."""

    keeps = True

    axes: Annotated[tuple[int, ...] | None, BeforeValidator(as_tuple)] = None
    """The axes in their new order."""

    examples = (Example({"axes": [0, 2, 1]}, ((3, 4),)),)

    def order(self, x: Tensor) -> tuple[int, ...]:
        """The axes as nonnegative numbers."""
        axes = () if self.axes is None else self.axes
        positive = tuple(axis % x.rank for axis in axes if -x.rank <= axis < x.rank)
        if positive[:1] != (0,) or sorted(positive) != list(range(x.rank)):
            others = [0, *range(x.rank - 1, 0, -1)]
            raise LayerError(
                "out-of-range",
                f"`axes` holds every axis of {x} once, 0 (the batch) first"
                + ("" if self.axes is None else f", not {list(axes)}"),
                help=f"for example `axes: {others}`" if x.rank > 2 else ACROSS_EXAMPLES,
                argument="axes",
            )
        return positive

    def infer(self, x: Tensor) -> Tensor:
        return x.with_shape(*(x.shape[axis] for axis in self.order(x)))

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return moved(roles[0], self.order(site.x))

    def code(self, site: Site) -> Code:
        return Code("{x}.permute(*{axes})", constants={"axes": self.order(site.x)})


class ExpandDims(Operation, spec_name="expand_dims", also="unsqueeze"):
    """Adds axes of size 1, at these positions of the result."""

    keeps = True

    axis: Annotated[int | tuple[int, ...], BeforeValidator(as_tuple)]

    examples = (Example({"axis": 1}, ((3, 4),)),)

    def infer(self, x: Tensor) -> Tensor:
        shape: list[Dim] = list(x.shape)
        for axis in self.places(x):
            shape.insert(axis, 1)
        return x.with_shape(*shape)

    def places(self, x: Tensor) -> tuple[int, ...]:
        """The positions of the new axes in the result, in order."""
        count = len(self.axis) if isinstance(self.axis, tuple) else 1
        return example_axes(self.spec_name, self.axis, x.rank + count)

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        axes = iter(range(site.x.rank))
        rank, places = site.outputs[0].rank, self.places(site.x)
        return moved(roles[0], [None if axis in places else next(axes) for axis in range(rank)])

    def code(self, site: Site) -> Code:
        if isinstance(self.axis, int):
            return Code("{x}.unsqueeze({axis})", constants={"axis": self.axis})
        places = {f"axis{i}": place for i, place in enumerate(self.places(site.x))}
        return Code("{x}" + "".join(f".unsqueeze({{{name}}})" for name in places), constants=places)


class Squeeze(Operation, spec_name="squeeze"):
    """Removes axes of size 1: those of `axis`, or all whose size is known to be 1, except the batch."""

    keeps = True

    axis: Axis = None

    examples = (Example({"axis": 1}, ((1, 4),)),)

    def axes(self, x: Tensor) -> tuple[int, ...]:
        """The axes to remove, in order."""
        if self.axis is None:
            return tuple(i for i, size in enumerate(x.shape) if i and size == 1)
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

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        gone = self.axes(site.x)
        return moved(roles[0], [axis for axis in range(site.x.rank) if axis not in gone])

    def code(self, site: Site) -> Code:
        axes = self.axes(site.x)
        if not axes:
            return Code("{x}")
        return Code("{x}.squeeze({axis})", constants={"axis": axes[0] if len(axes) == 1 else axes})


Places = Annotated[int | tuple[int, ...], BeforeValidator(as_tuple)]


class Swapaxes(Operation, spec_name="swapaxes"):
    """Swaps two axes."""

    template = "{x}.transpose({axis1}, {axis2})"
    keeps = True

    axis1: int
    axis2: int

    examples = (Example({"axis1": 1, "axis2": 2}, ((3, 4),)),)

    def infer(self, x: Tensor) -> Tensor:
        first = example_axis(self.spec_name, self.axis1, x.rank, "axis1")
        second = example_axis(self.spec_name, self.axis2, x.rank, "axis2")
        shape = list(x.shape)
        shape[first], shape[second] = shape[second], shape[first]
        return x.with_shape(*shape)

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        rank = site.x.rank
        order, a, b = list(range(rank)), self.axis1 % rank, self.axis2 % rank
        order[a], order[b] = b, a
        return moved(roles[0], order)


class Moveaxis(Operation, spec_name="moveaxis", also="movedim"):
    """Moves axes to other positions; the others keep their order."""

    template = "{x}.movedim({source}, {destination})"
    keeps = True

    source: Places
    """Old positions of the axes."""
    destination: Places
    """New positions of the axes."""

    examples = (Example({"source": 1, "destination": -1}, ((2, 3, 4),)),)

    def places(self, x: Tensor, argument: str) -> list[int]:
        """The axes of an argument as nonnegative numbers, in their order."""
        value = getattr(self, argument)
        values = value if isinstance(value, tuple) else (value,)
        axes = [example_axis(self.spec_name, axis, x.rank, argument) for axis in values]
        if len(set(axes)) != len(axes):
            raise LayerError("out-of-range", "`moveaxis` gets the same axis twice", argument=argument)
        return axes

    def infer(self, x: Tensor) -> Tensor:
        return x.with_shape(*(x.shape[axis] for axis in self.order(x)))

    def order(self, x: Tensor) -> list[int]:
        """The axes of the input in their new order."""
        source, destination = self.places(x, "source"), self.places(x, "destination")
        if len(source) != len(destination):
            message = f"`moveaxis` moves {len(source)} axes to {len(destination)} places"
            raise LayerError("out-of-range", message, argument="destination")
        order = [axis for axis in range(x.rank) if axis not in source]
        for place, axis in sorted(zip(destination, source, strict=True)):
            order.insert(place, axis)
        return order

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return moved(roles[0], self.order(site.x))


class Flip(Operation, spec_name="flip"):
    """Reverses the order of the elements along axes."""

    template = "{x}.flip({axis})"
    keeps = True

    axis: Places

    examples = (Example({"axis": 1}, ((3, 4),)),)

    def infer(self, x: Tensor) -> Tensor:
        example_axes(self.spec_name, self.axis, x.rank)
        return x

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        axes = self.axis if isinstance(self.axis, tuple) else (self.axis,)
        return apart_from(roles[0], axes, remedy="read the steps forwards")


class Roll(Operation, spec_name="roll"):
    """Shifts elements along axes; those shifted past the end reappear at the start."""

    template = "{x}.roll({shift}, {axis})"
    keeps = True

    shift: Places
    """Number of places that elements move."""
    axis: Places

    examples = (Example({"shift": 1, "axis": 1}, ((3, 4),)),)

    def infer(self, x: Tensor) -> Tensor:
        axes = self.axis if isinstance(self.axis, tuple) else (self.axis,)
        for axis in axes:
            example_axis(self.spec_name, axis, x.rank)
        if len(axes) != (len(self.shift) if isinstance(self.shift, tuple) else 1):
            raise LayerError("out-of-range", "`roll` needs a `shift` for each `axis`", argument="shift")
        return x

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        axes = self.axis if isinstance(self.axis, tuple) else (self.axis,)
        return apart_from(roles[0], axes, remedy=PADDED)


class Repeat(Operation, spec_name="repeat", also="repeat_interleave"):
    """Repeats each element along an axis `repeats` times."""

    template = "{x}.repeat_interleave({repeats}, {axis})"
    keeps = True

    repeats: Positive
    axis: int

    examples = (Example({"repeats": 2, "axis": 1}, ((3, 4),)),)

    def infer(self, x: Tensor) -> Tensor:
        axis = example_axis(self.spec_name, self.axis, x.rank)
        return x.with_shape(*x.shape[:axis], x.shape[axis] * self.repeats, *x.shape[axis + 1 :])

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return apart_from(roles[0], (self.axis,))


class Tile(Operation, spec_name="tile"):
    """Repeats the whole tensor `repeats` times along each of the last axes."""

    keeps = True

    repeats: Annotated[Positive | tuple[Positive, ...], BeforeValidator(as_tuple)]

    examples = (Example({"repeats": [1, 2, 1]}, ((3, 4),)),)

    def counts(self, x: Tensor) -> tuple[int, ...]:
        """The number of repeats of each axis."""
        repeat_counts = self.repeats if isinstance(self.repeats, tuple) else (self.repeats,)
        counts = (*[1] * (x.rank - len(repeat_counts)), *repeat_counts)
        if len(counts) != x.rank or counts[0] != 1:
            raise LayerError(
                "out-of-range",
                f"`repeats` holds a number for each axis of {x}, 1 for the batch, not {list(repeat_counts)}",
                argument="repeats",
            )
        return counts

    def infer(self, x: Tensor) -> Tensor:
        return x.with_shape(*(size * count for size, count in zip(x.shape, self.counts(x), strict=True)))

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        counts = self.counts(site.x)
        return apart_from(roles[0], [axis for axis, count in enumerate(counts) if count > 1])

    def code(self, site: Site) -> Code:
        return Code("{x}.tile({repeats})", constants={"repeats": self.counts(site.x)})


def _pairs(value: Any) -> Any:
    items = as_tuple(value)
    return tuple(as_tuple(item) for item in items) if isinstance(items, tuple) else items


NotNegative = Annotated[int, Field(ge=0)]


class Pad(Operation, spec_name="pad"):
    """Pads each axis by `[before, after]`, the batch by `[0, 0]`: constant, mirrored or edge values."""

    pad_width: Annotated[tuple[tuple[NotNegative, NotNegative], ...], BeforeValidator(_pairs)]
    """Padding before and after each axis; the batch has [0, 0]."""
    mode: Literal["constant", "reflect", "edge"] = "constant"
    """What the padding holds: `constant` values, a `reflect`ion, or the values of the `edge`."""
    constant_values: int | Unbounded | None = None
    """Value of the padding."""

    examples = (Example({"pad_width": [[0, 0], [1, 2], [0, 0]]}, ((3, 4),)),)

    def infer(self, x: Tensor) -> Tensor:
        need_numbers(self.spec_name, x)
        if len(self.pad_width) != x.rank or self.pad_width[0] != (0, 0):
            raise LayerError(
                "out-of-range",
                f"`pad_width` holds a pair for each axis of {x}, [0, 0] for the batch",
                help=f"for example `pad_width: {[[0, 0], *[[1, 1]] * (x.rank - 1)]}`",
                argument="pad_width",
            )
        if self.mode != "constant":
            self._check_copied(x)
        elif x.is_integer and self.constant_values is not None:
            self._check_held(x, self.constant_values)
        sizes = zip(x.shape, self.pad_width, strict=True)
        return x.with_shape(*(before + size + behind for size, (before, behind) in sizes))

    def _check_held(self, x: Tensor, value: float) -> None:
        if not isinstance(value, int):
            message = f"`pad` puts {value} around {x}, which holds integers"
            raise LayerError("wrong-dtype", message, argument="constant_values")
        need_in_range(x.dtype, (value,), layer="`pad`", argument="constant_values")

    def _check_copied(self, x: Tensor) -> None:
        need_float(x, layer=f"`pad` with `{self.mode}`")
        if x.rank > 4:
            message = f"`pad` with `{self.mode}` takes at most 4 axes, with the batch, and gets {x}"
            raise LayerError("wrong-rank", message, inputs=(0,))
        if self.constant_values is not None:
            message = f"`pad` with `{self.mode}` takes no `constant_values`"
            raise LayerError("out-of-range", message, argument="constant_values")
        if self.mode == "edge":
            return
        for size, pair in zip(x.shape, self.pad_width, strict=True):
            if isinstance(size, int) and max(pair) >= size:
                message = f"`pad` mirrors fewer elements than there are, and {x} has {size} of them"
                raise LayerError("window-too-large", message, argument="pad_width", inputs=(0,))

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        def others(axis: int) -> Layer:
            kept = tuple((0, 0) if axis == place else pad for place, pad in enumerate(self.pad_width))
            return self.model_copy(update={"pad_width": kept})

        zeros = self.mode == "constant" and not self.constant_values
        return padded_steps(site.x, roles[0], self.pad_width, others) if zeros else None

    def shortest(self, x: Tensor) -> tuple[tuple[Dim, int], ...]:
        if self.mode != "reflect":
            return ()
        return tuple((size, max(pair) + 1) for size, pair in zip(x.shape, self.pad_width, strict=True))

    def code(self, site: Site) -> Code:
        pads = [side for pair in reversed(self.pad_width[1:]) for side in pair]
        if self.mode != "constant":
            kind = "reflect" if self.mode == "reflect" else "replicate"
            return Code(f'F.pad({{x}}, {{pads}}, "{kind}")', constants={"pads": tuple(pads)})
        while pads[-2:] == [0, 0]:
            del pads[-2:]
        constants: dict[str, Leaf] = {"pads": tuple(pads)}
        if not self.constant_values:
            return Code("F.pad({x}, {pads})", constants=constants)
        return Code(
            "F.pad({x}, {pads}, value={value})", constants={**constants, "value": self.constant_values}
        )


class Rot90(Operation, spec_name="rot90"):
    """Rotates by `k` quarter turns, from the first of two axes towards the second."""

    template = "{x}.rot90({k}, {axes})"

    k: int = 1
    """Number of quarter turns."""
    axes: Annotated[tuple[int, int], BeforeValidator(as_tuple)]
    """The two axes of the plane that is rotated."""

    examples = (Example({"axes": [1, 2]}, ((3, 4),)),)

    def infer(self, x: Tensor) -> Tensor:
        a, b = (example_axis(self.spec_name, axis, x.rank, "axes") for axis in self.axes)
        if a == b:
            raise LayerError("out-of-range", f"`rot90` needs two axes, and both are {a}", argument="axes")
        shape = list(x.shape)
        if self.k % 2:
            shape[a], shape[b] = shape[b], shape[a]
        return x.with_shape(*shape)


class ExtractSequences(Operation, spec_name="extract_sequences"):
    """Windows of `sequence_length`, every `sequence_stride` along the last axis, on a new axis before it."""

    template = "{x}.unfold(-1, {sequence_length}, {sequence_stride})"

    sequence_length: Positive
    sequence_stride: Positive

    examples = (Example({"sequence_length": 4, "sequence_stride": 2}, ((11,),)),)

    def infer(self, x: Tensor) -> Tensor:
        if x.rank < 2:
            message = f"`extract_sequences` takes `[batch, ..., steps]`, and gets {x}"
            raise LayerError("wrong-rank", message, inputs=(0,))
        steps = x.shape[-1]
        if isinstance(steps, int) and steps < self.sequence_length:
            message = f"the last axis of {x} has {steps} steps, fewer than `sequence_length`"
            raise LayerError("window-too-large", message, argument="sequence_length", inputs=(0,))
        count = (steps - self.sequence_length) // self.sequence_stride + 1
        return x.with_shape(*x.shape[:-1], count, self.sequence_length)


class Ravel(Operation, spec_name="ravel"):
    """Flattens each example to a vector."""

    keeps = True

    def infer(self, x: Tensor) -> Tensor:
        return x.with_shape(x.shape[0], product(x.shape[1:]))

    def code(self, site: Site) -> Code:
        return Code({1: "{x}[:, None]", 2: "{x}"}.get(site.x.rank, "{x}.flatten(1)"))


class Diag(Operation, spec_name="diag"):
    """The matrix with each example's vector on diagonal `k`; or diagonal `k` of each example's matrix."""

    k: int = 0

    examples = (Example({}, ((3,),)),)

    def infer(self, x: Tensor) -> Tensor:
        need_numbers(self.spec_name, x)
        if x.rank == 2:
            size = x.shape[1] + abs(self.k)
            return x.with_shape(x.shape[0], size, size)
        if x.rank != 3:
            message = f"`diag` takes vectors and matrices, [batch, size] and [batch, rows, columns], not {x}"
            raise LayerError("wrong-rank", message, inputs=(0,))
        _, rows, columns = x.shape
        if not isinstance(rows, int) or not isinstance(columns, int):
            message = f"`diag` needs to know the sizes of {x}"
            raise LayerError("unknown-size", message, inputs=(0,))
        length = min(rows + min(self.k, 0), columns - max(self.k, 0))
        if length < 1:
            raise LayerError("out-of-range", f"{x} has no diagonal {self.k}", argument="k")
        return x.with_shape(x.shape[0], length)

    def code(self, site: Site) -> Code:
        shift, constants = ("{k}", {"k": self.k}) if self.k else ("", {})
        if site.x.rank == 2:
            return Code(f"{{x}}.diag_embed({shift})", constants=constants)
        return Code(f"{{x}}.diagonal({shift or '0'}, 1, 2)", constants=constants)


class Diagflat(Diag, spec_name="diagflat"):
    """The matrix with all elements of each example on diagonal `k`."""

    def infer(self, x: Tensor) -> Tensor:
        return super().infer(x.with_shape(x.shape[0], product(x.shape[1:])))

    def code(self, site: Site) -> Code:
        shift, constants = ("{k}", {"k": self.k}) if self.k else ("", {})
        flat = "{x}" if site.x.rank == 2 else "{x}.flatten(1)" if site.x.rank > 2 else "{x}.unsqueeze(1)"
        return Code(f"{flat}.diag_embed({shift})", constants=constants)
