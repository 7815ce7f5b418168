"""Layers that change the shape or the order of axes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BeforeValidator

from graphspec.contract.fields import NamedSize, Positive, as_tuple
from graphspec.contract.input_checks import need_rank
from graphspec.contract.layer import Code, Example, Layer, LayerError, Leaf, Site
from graphspec.contract.streaming import Streaming, frame, moved, reshaped
from graphspec.contract.windows import DataFormat
from graphspec.diagnostics import delete
from graphspec.diagnostics.foreign_terms import ARGUMENTS
from graphspec.tensor import Dim, Shape, Tensor, product, quotient


class Flatten(Layer):
    """Merges all axes but the batch into one, in the spec's order (images: height, width, channels).

    With `data_format: channels_first`, axis 1 first moves to the end, as in Keras.
    """

    rearranges = True

    remedies = {
        **ARGUMENTS,
        "start_dim": delete("all axes but the batch become one", only_for="1"),
        "end_dim": delete("all axes but the batch become one", only_for="-1"),
    }

    data_format: DataFormat = "channels_last"

    examples = (Example({}, ((2, 3, 4),)),)

    def infer(self, x: Tensor) -> Tensor:
        return x.with_shape(x.shape[0], product(x.shape[1:]))

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        if self.data_format == "channels_first":
            return None
        return reshaped(site.x, roles[0], site.outputs[0])

    def code(self, site: Site) -> Code:
        if site.x.rank == 2:
            return Code("{x}")
        if site.x.rank > 2 and self.data_format == "channels_first":
            return Code("{x}.movedim(1, -1).flatten(1)")
        return Code("{x}.flatten(1)" if site.x.rank > 1 else "{x}.unsqueeze(1)")


def size_code(x: Tensor, size: Dim, name: str = "x") -> str | None:
    """The code for a size: an axis of the input `name`, or a multiple or a fraction of one; else None."""
    if isinstance(size, int):
        return str(size)
    for axis, axis_size in enumerate(x.shape[1:], 1):
        times, parts = quotient(size, axis_size), quotient(axis_size, size)
        if axis_size == size:
            return f"{{{name}}}.shape[{axis}]"
        if isinstance(times, int) and not isinstance(axis_size, int):
            return f"{{{name}}}.shape[{axis}] * {times}"
        if isinstance(parts, int):
            return f"{{{name}}}.shape[{axis}] // {parts}"
    return None


def _listed(sizes: Iterable[Dim]) -> str:
    """A shape as a spec writes it."""
    return f"[{', '.join(map(str, sizes))}]"


class Reshape(Layer, also="Unflatten"):
    """The same elements in another shape, in the spec's order. One size may be -1, which is inferred.

    A size may be a name from the shapes of the inputs, where the tensor has it along an axis: `[length, 8,
    64]`.
    """

    rearranges = True
    named_sizes = ("target_shape",)
    target_shape: Annotated[tuple[int | NamedSize, ...], BeforeValidator(as_tuple)]
    """Sizes of the output, without the batch; -1 is inferred."""

    examples = (Example({"target_shape": [3, 4]}, ((12,),)),)

    def infer(self, x: Tensor) -> Tensor:
        sizes: list[Dim] = list(self.target_shape)
        if sizes.count(-1) > 1 or any(isinstance(s, int) and (s == 0 or s < -1) for s in sizes):
            raise LayerError(
                "out-of-range",
                f"`target_shape` holds positive sizes and at most one -1, not {self._shown()}",
                argument="target_shape",
            )
        total, known = product(x.shape[1:]), product(s for s in sizes if s != -1)
        if -1 in sizes:
            rest = quotient(total, known)
            if rest is None:
                raise self._misfit(x, total)
            sizes[sizes.index(-1)] = rest
        elif known != total:
            raise self._misfit(x, total)
        unknown = [size for size in sizes if not isinstance(size, int) and size_code(x, size) is None]
        if len(unknown) > 1:
            raise LayerError(
                "unknown-size",
                f"{x} does not determine the sizes of `{unknown[0]}` and `{unknown[1]}` separately",
                help="name a tensor that has these axes: "
                f"{{op: reshape, from: {{input0}}, like: node, newshape: {_listed((-1, *sizes))}}}",
                argument="target_shape",
                inputs=(0,),
            )
        return x.with_shape(x.shape[0], *sizes)

    def _shown(self) -> str:
        return _listed(self.target_shape)

    def _misfit(self, x: Tensor, total: Dim) -> LayerError:
        return LayerError(
            "shapes-differ",
            f"{x} has {total} elements an example, which do not fill the shape {self._shown()}",
            argument="target_shape",
            inputs=(0,),
        )

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return reshaped(site.x, roles[0], site.outputs[0])

    def code(self, site: Site) -> Code:
        """Unchanged axes at both ends are left alone where the rest becomes one axis, or was one. What the
        spec leaves to be inferred is inferred in PyTorch, too.
        """
        before, after = site.x.shape, site.outputs[0].shape
        if len(before) == 1 or len(after) == 1:  # one element an example: axes of size 1 come or go
            ones = ", 1" * (len(after) - 1)
            return Code("{x}" if before == after else f"{{x}}.reshape(-1{ones})")
        written = self._with_inferred(after)
        if not site.settled and all(isinstance(size, int) for size in after[1:]):
            return self._flat(site.x, written)
        shorter = min(len(before), len(after))
        front = next((i for i in range(shorter) if before[i] != after[i]), shorter)
        behind = next((i for i in range(shorter - front) if before[-1 - i] != after[-1 - i]), shorter - front)
        old, new = before[front : len(before) - behind], written[front : len(after) - behind]
        if not old and new == (1,):
            return Code("{x}.unsqueeze({front})", constants={"front": front})
        if len(new) == 1 and len(old) > 1:
            last = len(before) - behind - 1
            if last == len(before) - 1:
                return Code("{x}.flatten({first})", constants={"first": front})
            return Code("{x}.flatten({first}, {last})", constants={"first": front, "last": last})
        if len(old) == 1 and len(new) > 1 and sum(not isinstance(size, int) for size in new) < 2:
            sizes = tuple(size if isinstance(size, int) else -1 for size in new)
            return Code("{x}.unflatten({first}, {sizes})", constants={"first": front, "sizes": sizes})
        if sum(not isinstance(size, int) for size in after[1:]) > 1:
            return Code(self._general(site.x, after))
        return self._flat(site.x, written)

    def _with_inferred(self, after: Shape) -> Shape:
        """The shape of the output with -1 in place of the size that the spec leaves to be inferred."""
        if -1 not in self.target_shape or not all(isinstance(size, int) for size in after[1:]):
            return after
        place = self.target_shape.index(-1) + 1
        return (*after[:place], -1, *after[place + 1 :])

    def _flat(self, x: Tensor, after: Shape) -> Code:
        flat = "{x}" if x.rank == 2 else "{x}.flatten(1)"
        shape: tuple[Leaf, ...] = tuple(size if isinstance(size, int) else -1 for size in after[1:])
        if len(shape) < 2:
            return Code(flat)
        return Code(flat + ".unflatten(1, {shape})", constants={"shape": shape})

    def _general(self, x: Tensor, after: Shape) -> str:
        """All sizes, by the axes of the input, except one that follows from the others."""
        sizes = [size_code(x, size) or "-1" for size in after[1:]]
        return f"{{x}}.reshape({', '.join(['{x}.shape[0]', *sizes])})"


class Permute(Layer):
    """Permutes the axes of an example to the order `dims`, which counts them from 1."""

    rearranges = True
    dims: Annotated[tuple[int, ...], BeforeValidator(as_tuple)]
    """The axes in their new order: 1 is the first after the batch."""

    examples = (Example({"dims": [2, 1]}, ((3, 4),)),)

    def infer(self, x: Tensor) -> Tensor:
        axes = list(range(1, x.rank))
        if sorted(self.dims) != axes:
            raise LayerError(
                "out-of-range",
                f"`dims` holds every axis of an example of {x} once, counted from 1, not {list(self.dims)}",
                help=self._remedy(axes),
                argument="dims",
                inputs=(0,),
            )
        return x.with_shape(x.shape[0], *(x.shape[axis] for axis in self.dims))

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return moved(roles[0], (0, *self.dims))

    def code(self, site: Site) -> Code:
        return Code("{x}.permute(*{dims})", constants={"dims": (0, *self.dims)})

    def _remedy(self, axes: list[int]) -> str | None:
        """Remedy for an order that begins with the batch, as PyTorch's do, or for another wrong one."""
        if self.dims[:1] == (0,) and sorted(self.dims[1:]) == axes:
            return f"leave out the batch: `dims: {list(self.dims[1:])}`"
        return f"for example `dims: {axes[::-1]}`" if axes else None


class RepeatVector(Layer):
    """Repeats the input at each of `n` steps."""

    template = "{x}.unsqueeze(1).expand(-1, {n}, -1)"

    n: Positive
    """Number of repetitions."""

    examples = (Example({"n": 3}, ((4,),)),)

    def infer(self, x: Tensor) -> Tensor:
        need_rank(x, 2, layer="RepeatVector", shape="[features]")
        return x.with_shape(x.shape[0], self.n, x.shape[1])


class Identity(Layer):
    """Returns its input."""

    template = "{x}"
    memory_layout = "any"
    supports_masking = True
    rearranges = True

    examples = (Example({}, ((4,),)),)

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return frame(roles[0])
