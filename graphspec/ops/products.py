"""Products of keras.ops of tensors other than matrices, for each example.

keras.ops multiplies two whole tensors. These multiply the two tensors of each example: the axes after the
batch.
"""

from __future__ import annotations

from string import ascii_lowercase
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from graphspec.contract.broadcasting import example_axis, stretch
from graphspec.contract.fields import as_tuple
from graphspec.contract.layer import Argument, Code, Example, LayerError, Site
from graphspec.contract.proposals import misfit
from graphspec.contract.streaming import Streaming, contracted
from graphspec.ops.matrices import einsum, need_floats, need_matrices
from graphspec.ops.operation import Operation, meet
from graphspec.tensor import Dim, Tensor, product

LETTERS = ascii_lowercase.replace("b", "")


class _Contraction(Operation, abstract=True):
    """Products of the elements of two tensors of each example, summed over pairs of axes."""

    arguments = (Argument("x1"), Argument("x2"))

    def pairs(self, x1: Tensor, x2: Tensor) -> list[tuple[int, int]]:
        """The pairs of axes that are summed over, one axis of each tensor."""
        raise TypeError(f"{type(self).__name__} says no pairs")

    def infer(self, x1: Tensor, x2: Tensor) -> Tensor:
        need_floats(self.spec_name, x1, x2)
        batch = stretch(x1.shape[0], x2.shape[0])
        pairs = self.pairs(x1, x2)
        if batch is None or any(x1.shape[a] != x2.shape[b] for a, b in pairs):
            raise misfit(self.spec_name, (x1, x2), 0, 1)
        left, right = ({pair[side] for pair in pairs} for side in (0, 1))
        kept = [size for i, size in enumerate(x1.shape) if i and i not in left]
        kept += [size for i, size in enumerate(x2.shape) if i and i not in right]
        return x1.with_shape(batch, *kept)

    def equation(self, x1: Tensor, x2: Tensor) -> str:
        """The einsum equation; `b` is the batch."""
        first = ["b", *LETTERS[: x1.rank - 1]]
        second = ["b", *LETTERS[x1.rank - 1 : x1.rank + x2.rank - 2]]
        summed = set()
        for a, b in self.pairs(x1, x2):
            second[b] = first[a]
            summed.add(first[a])
        out = [letter for letter in (*first, *second[1:]) if letter not in summed]
        return f"{''.join(first)},{''.join(second)}->{''.join(out)}"

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        left, output = self.equation(*site.inputs).split("->")
        return contracted(left.split(","), output, roles)

    def code(self, site: Site) -> Code:
        return einsum(self.equation(*site.inputs), site, ["{x1}", "{x2}"])

    def flops(self, site: Site) -> Dim:
        x1, x2 = site.inputs
        summed = product(x1.shape[a] for a, _ in self.pairs(x1, x2))
        return product(site.outputs[0].shape[1:]) * summed * 2


class DotOperation(_Contraction, spec_name="dot"):
    """The dot product of the two tensors of each example.

    It sums over the last axis of the first, and over the second to last axis of the second, or its only axis.
    """

    examples = (Example({}, ((3,), (3,))),)

    def pairs(self, x1: Tensor, x2: Tensor) -> list[tuple[int, int]]:
        if min(x1.rank, x2.rank) < 2:
            raise misfit(self.spec_name, (x1, x2), 0, 1)
        return [(x1.rank - 1, max(x2.rank - 2, 1))]


class Inner(_Contraction, spec_name="inner"):
    """The inner product of the two tensors of each example: summed over the last axis of both."""

    examples = (Example({}, ((3,), (3,))),)

    def pairs(self, x1: Tensor, x2: Tensor) -> list[tuple[int, int]]:
        if min(x1.rank, x2.rank) < 2:
            raise misfit(self.spec_name, (x1, x2), 0, 1)
        return [(x1.rank - 1, x2.rank - 1)]


class Outer(_Contraction, spec_name="outer"):
    """The outer product of the two tensors of each example, as vectors."""

    examples = (Example({}, ((3,), (4,))),)

    def pairs(self, x1: Tensor, x2: Tensor) -> list[tuple[int, int]]:
        for position, x in enumerate((x1, x2)):
            if x.rank != 2:
                message = f"`outer` takes vectors, [batch, size], and {{input{position}}} is {x}"
                help = f"make a vector of it: {{op: ravel, from: {{input{position}}}}}"
                raise LayerError("wrong-rank", message, help=help, inputs=(position,))
        return []


def _axes(value: Any) -> Any:
    """Pairs of axes: a number of axes, or two lists; a single axis becomes a list."""
    value = as_tuple(value)
    return (
        tuple(as_tuple(side) if isinstance(side, list) else side for side in value)
        if isinstance(value, tuple)
        else value
    )


Side = Annotated[int | tuple[int, ...], BeforeValidator(as_tuple)]


class Tensordot(_Contraction, spec_name="tensordot"):
    """The products of the two tensors of each example, summed over `axes`.

    A number is that many last axes of the first tensor and first axes of the second. Two lists are axes of
    each, counted with the batch as 0.
    """

    axes: Annotated[int, Field(ge=0)] | Annotated[tuple[Side, Side], BeforeValidator(_axes)] = 2
    """Axes whose products are summed: their number, or a list for each input."""

    examples = (Example({}, ((2, 3, 4), (3, 4, 5))),)

    def pairs(self, x1: Tensor, x2: Tensor) -> list[tuple[int, int]]:
        if isinstance(self.axes, int):
            if self.axes >= min(x1.rank, x2.rank):
                message = f"`axes: {self.axes}` is more than the example's of {x1} and {x2}"
                help = f"at most {min(x1.rank, x2.rank) - 1}: the batch axis does not count"
                raise LayerError("out-of-range", message, help=help, argument="axes")
            return [(x1.rank - self.axes + i, 1 + i) for i in range(self.axes)]
        sides = [side if isinstance(side, tuple) else (side,) for side in self.axes]
        if len(sides[0]) != len(sides[1]):
            raise LayerError("out-of-range", "`axes` holds two lists of one length", argument="axes")
        left = [example_axis(self.spec_name, axis, x1.rank, "axes") for axis in sides[0]]
        right = [example_axis(self.spec_name, axis, x2.rank, "axes") for axis in sides[1]]
        return list(zip(left, right, strict=True))


class Vdot(Operation, spec_name="vdot"):
    """The sum of the elementwise products of the two tensors of each example."""

    flops_per_input = 2
    arguments = (Argument("x1"), Argument("x2"))
    examples = (Example({}, ((3,), (3,))),)

    def infer(self, x1: Tensor, x2: Tensor) -> Tensor:
        need_floats(self.spec_name, x1, x2)
        batch = stretch(x1.shape[0], x2.shape[0])
        if batch is None or x1.shape[1:] != x2.shape[1:]:
            raise misfit(self.spec_name, (x1, x2), 0, 1)
        return x1.with_shape(batch)

    def code(self, site: Site) -> Code:
        if site.x.rank < 3:
            return Code("({x1} * {x2}).sum(1)" if site.x.rank == 2 else "{x1} * {x2}")
        return Code("({x1} * {x2}).flatten(1).sum(1)")


class Kron(Operation, spec_name="kron"):
    """The Kronecker product of the two tensors of each example, which have one rank."""

    flops_per_output = 1
    arguments = (Argument("x1"), Argument("x2"))
    examples = (Example({}, ((3,), (2,))),)

    def infer(self, x1: Tensor, x2: Tensor) -> Tensor:
        need_floats(self.spec_name, x1, x2)
        batch = stretch(x1.shape[0], x2.shape[0])
        if batch is None or x1.rank != x2.rank or x1.rank < 2:
            raise misfit(self.spec_name, (x1, x2), 0, 1)
        return x1.with_shape(batch, *(a * b for a, b in zip(x1.shape[1:], x2.shape[1:], strict=True)))

    def code(self, site: Site) -> Code:
        rank = site.x.rank - 1
        first, second = LETTERS[:rank], LETTERS[rank : 2 * rank]
        both = "".join(a + b for a, b in zip(first, second, strict=True))
        merged = "".join(f".flatten({axis}, {axis + 1})" for axis in range(1, rank + 1))
        return einsum(f"b{first},b{second}->b{both}", site, ["{x1}", "{x2}"], merged)


class Cdist(Operation, spec_name="cdist"):
    """The Euclidean distance between each vector of the first and of the second, along the last axis."""

    template = "torch.cdist({x}, {y})"
    halves = False
    arguments = (Argument("x"), Argument("y"))
    examples = (Example({}, ((3, 4), (5, 4))),)

    def infer(self, x: Tensor, y: Tensor) -> Tensor:
        need_floats(self.spec_name, x, y)
        for position, each in enumerate((x, y)):
            need_matrices(self.spec_name, each, position=position)
        if x.rank != y.rank or x.shape[-1] != y.shape[-1]:
            raise misfit(self.spec_name, (x, y), 0, 1)
        before = meet(self.spec_name, x, y, spare=2)
        return x.with_shape(*before, x.shape[-2], y.shape[-2])

    def flops(self, site: Site) -> Dim:
        return product(site.outputs[0].shape[1:]) * site.x.shape[-1] * 3
