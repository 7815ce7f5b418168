"""Merges: layers that combine several tensors into one.

Tensors of different ranks are aligned after the batch axis: the smaller one gets axes of size 1 there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator

from graphspec.contract.broadcasting import (
    aligned,
    example_axis,
    promote,
    shared_memory,
    stretch,
    to_float,
    unsqueezed,
)
from graphspec.contract.fields import as_tuple
from graphspec.contract.layer import Code, Example, Layer, LayerError, Memory, Site
from graphspec.contract.masks import either, filled_for_extreme, filled_for_product, joined
from graphspec.contract.proposals import misfit, propose
from graphspec.contract.streaming import Streaming, ahead, apart_from, contracted, elementwise
from graphspec.tensor import Dim, Tensor, product

CHAINED = 4
"""Up to this many inputs a sum is written with operators; longer lists are summed as lists."""

NESTED = 20
"""Calls of two that are nested in one another, where there are more inputs in pairs."""


class _Merge(Layer, kind="merge", abstract=True):
    """A merge of any number of inputs; `most_inputs` bounds it."""

    variadic = True
    most_inputs: ClassVar[int | None] = None

    def need_count(self, inputs: tuple[Tensor, ...]) -> None:
        """Refuses too few or too many inputs."""
        least, most = self.least_inputs, self.most_inputs
        if len(inputs) < least or (most is not None and len(inputs) > most):
            wanted = str(most) if least == most else f"at least {least}"
            message = f"`{self.spec_name}` takes {wanted} inputs and gets {len(inputs)}"
            raise LayerError("input-count", message, argument="from")


class _ElementwiseMerge(_Merge, abstract=True):
    """Combines tensors elementwise. Sizes of 1 broadcast, and so does the batch axis of a parameter."""

    def infer(self, *inputs: Tensor) -> Tensor:
        self.need_count(inputs)
        rank = max(x.rank for x in inputs)
        shape: list[Dim] = [1] * rank
        for position, x in enumerate(inputs):
            for axis, size in enumerate(aligned(x, rank).shape):
                met = stretch(shape[axis], size)
                if met is None:
                    sizes = [aligned(other, rank).shape[axis] for other in inputs[:position]]
                    other = next(i for i, before in enumerate(sizes) if stretch(before, size) is None)
                    raise misfit(self.spec_name, inputs, other, position)
                shape[axis] = met
        return Tensor(tuple(shape), self.result(promote(*(x.dtype for x in inputs))))

    def mask(self, inputs: tuple[Any, ...], masks: tuple[Any, ...]) -> Any:
        return either(masks)

    def result(self, dtype: str) -> str:
        """The dtype of the output, given the promoted dtype of the inputs."""
        return dtype

    def memory(self, *inputs: Tensor) -> Memory:
        return shared_memory(*inputs)

    def terms(self, site: Site) -> list[str]:
        """A template for each input, with the axes that it lacks added; after a batch axis of 1, PyTorch adds
        them.
        """
        rank = site.outputs[0].rank
        return [
            unsqueezed(str(i), rank - x.rank if x.shape[0] != 1 else 0) for i, x in enumerate(site.inputs)
        ]

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return elementwise(roles, site.outputs[0].rank)

    def flops(self, site: Site) -> Dim:
        return product(site.outputs[0].shape[1:]) * max(len(site.inputs) - 1, 0)


def _sum(merge: _ElementwiseMerge, site: Site) -> str:
    """The sum of the inputs as an expression."""
    alike = len({x.rank for x in site.inputs}) == 1 and all(x.dtype != "bool" for x in site.inputs)
    if len(site.inputs) > CHAINED and alike:
        return "torch.stack({list}).sum(0)" if _stacks(site) else "sum({list})"
    return " + ".join(merge.terms(site))


def _stacks(site: Site) -> bool:
    """Whether all inputs are floats of one shape: summing a stack of integers changes their type."""
    return len({x.shape for x in site.inputs}) == 1 and all("float" in x.dtype for x in site.inputs)


class Add(_ElementwiseMerge, spec_name="add", also="sum"):
    """The sum of all inputs."""

    examples = (Example({}, ((7,), (7,))),)

    def code(self, site: Site) -> Code:
        return Code(_sum(self, site), whole="torch.stack({list}).sum(0)" if _stacks(site) else "")


class Subtract(_ElementwiseMerge, spec_name="subtract", also="sub"):
    """The first input minus the second."""

    least_inputs = 2
    most_inputs = 2
    examples = (Example({}, ((7,), (7,))),)

    def infer(self, *inputs: Tensor) -> Tensor:
        output = super().infer(*inputs)
        for position, x in enumerate(inputs):
            if x.dtype == "bool":
                raise LayerError(
                    "wrong-dtype",
                    f"`subtract` takes numbers, and {{input{position}}} is {x}",
                    help=f"make numbers of it: {{op: cast, from: {{input{position}}}, dtype: float32}}",
                    inputs=(position,),
                )
        return output

    def code(self, site: Site) -> Code:
        return Code(" - ".join(self.terms(site)))


class Multiply(_ElementwiseMerge, spec_name="multiply", also="mul"):
    """The product of all inputs."""

    examples = (Example({}, ((7,), (7,))),)

    def masked(self, inputs: tuple[Any, ...], masks: tuple[Any, ...]) -> tuple[Any, ...]:
        return filled_for_product(inputs, masks)

    def code(self, site: Site) -> Code:
        return Code(" * ".join(self.terms(site)))


class Average(_ElementwiseMerge, spec_name="average", also="mean avg"):
    """The mean of all inputs; integers give floats."""

    examples = (Example({}, ((7,), (7,))),)

    def result(self, dtype: str) -> str:
        return to_float(dtype)

    def code(self, site: Site) -> Code:
        total = _sum(self, site)
        if total.startswith("torch.stack"):
            return Code("torch.stack({list}).mean(0)")
        text = f"({total}) / {{count}}" if " + " in total else f"{total} / {{count}}"
        whole = "torch.stack({list}).mean(0)" if _stacks(site) else ""
        return Code(text, constants={"count": len(site.inputs)}, whole=whole)

    def flops(self, site: Site) -> Dim:
        return product(site.outputs[0].shape[1:]) * len(site.inputs)


class _ExtremeMerge(_ElementwiseMerge, abstract=True):
    function: ClassVar[str]

    def masked(self, inputs: tuple[Any, ...], masks: tuple[Any, ...]) -> tuple[Any, ...]:
        return filled_for_extreme(inputs, masks)

    def code(self, site: Site) -> Code:
        terms = self.terms(site)
        while len(terms) > NESTED:  # pairs, pairs of pairs: Python nests at most 200 parentheses
            pairs = [terms[start : start + 2] for start in range(0, len(terms), 2)]
            terms = [reduce(self._call, pair) for pair in pairs]
        return Code(reduce(self._call, terms))

    def _call(self, left: str, right: str) -> str:
        return f"{self.function}({left}, {right})"


class Maximum(_ExtremeMerge, spec_name="maximum", also="max"):
    """The maximum of all inputs, elementwise."""

    function = "torch.maximum"
    examples = (Example({}, ((7,), (7,))),)


class Minimum(_ExtremeMerge, spec_name="minimum", also="min"):
    """The minimum of all inputs, elementwise."""

    function = "torch.minimum"
    examples = (Example({}, ((7,), (7,))),)


def _joined(merge: _Merge, inputs: tuple[Tensor, ...], skip: int | None) -> list[Dim]:
    """The shape that all inputs share, except along the axis `skip`; only a batch axis of 1 broadcasts."""
    shape = list(inputs[0].shape)
    for position, x in enumerate(inputs):
        if x.rank != inputs[0].rank:
            raise misfit(merge.spec_name, inputs, 0, position, skip)
        for axis, size in enumerate(x.shape):
            met = stretch(shape[axis], size) if axis == 0 else size if size == shape[axis] else None
            if met is None and axis != skip:
                raise misfit(merge.spec_name, inputs, 0, position, skip)
            if axis == 0 and met is not None:
                shape[0] = met
    return shape


def _stretched_list(site: Site) -> str:
    """The list of inputs as an expression, each broadcast to the batch axis of the output."""
    batches = [x.shape[0] for x in site.inputs]
    full = next((i for i, batch in enumerate(batches) if batch != 1), None)
    if full is None or 1 not in batches:
        return "{list}"
    terms = []
    for i, x in enumerate(site.inputs):
        kept = ", ".join(["-1"] * (x.rank - 1))
        terms.append(f"{{{i}}}.expand({{{full}}}.shape[0], {kept})" if x.shape[0] == 1 else f"{{{i}}}")
    return f"[{', '.join(terms)}]"


class Concatenate(_Merge, spec_name="concatenate", also="concat cat"):
    """Concatenates all inputs along an axis; along the other axes their sizes are equal."""

    memory_layout = "any"
    keeps = True

    axis: int = -1

    examples = (Example({}, ((3,), (4,))),)

    def infer(self, *inputs: Tensor) -> Tensor:
        self.need_count(inputs)
        axis = example_axis(self.spec_name, self.axis, inputs[0].rank)
        shape = _joined(self, inputs, axis)
        shape[axis] = sum((x.shape[axis] for x in inputs[1:]), inputs[0].shape[axis])
        return Tensor(tuple(shape), promote(*(x.dtype for x in inputs)))

    def counted(self, output: Tensor, inputs: Sequence[Tensor], counts: Sequence[int]) -> Tensor:
        axis = example_axis(self.spec_name, self.axis, output.rank)
        shape = list(output.shape)
        sizes = [x.shape[axis] * count for count, x in zip(counts, inputs, strict=True)]
        shape[axis] = sum(sizes[1:], sizes[0])
        return output.with_shape(*shape)

    def mask(self, inputs: tuple[Any, ...], masks: tuple[Any, ...]) -> Any:
        return joined(inputs, masks, self.axis)

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        axis = example_axis(self.spec_name, self.axis, site.outputs[0].rank)
        if any(each[axis] is not None for each in roles):
            found = next(each for each in roles if each[axis] is not None)
            help = "join them along the features, or let steps attend: `from: {query: steps, value: others}`"
            return apart_from(found, (axis,), remedy=help)
        return elementwise(roles, site.outputs[0].rank)

    def code(self, site: Site) -> Code:
        if len(site.inputs) == 1:
            return Code("{0}")
        return Code(f"torch.cat({_stretched_list(site)}, {{axis}})", constants={"axis": site.axis(self.axis)})


class Stack(_Merge, spec_name="stack"):
    """Stacks all inputs, of one shape, along a new axis. Axis 0 is the batch, so the default is 1."""

    keeps = True

    axis: int = 1

    examples = (Example({"axis": 1}, ((3,), (3,))),)

    def infer(self, *inputs: Tensor) -> Tensor:
        self.need_count(inputs)
        axis = example_axis(self.spec_name, self.axis, inputs[0].rank + 1)
        shape = _joined(self, inputs, None)
        shape.insert(axis, len(inputs))
        return Tensor(tuple(shape), promote(*(x.dtype for x in inputs)))

    def counted(self, output: Tensor, inputs: Sequence[Tensor], counts: Sequence[int]) -> Tensor:
        axis = example_axis(self.spec_name, self.axis, output.rank)
        return output.with_shape(*output.shape[:axis], sum(counts[1:], counts[0]), *output.shape[axis + 1 :])

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        together = elementwise(roles, site.outputs[0].rank - 1)
        axis, found = self.axis % site.outputs[0].rank, together.outputs[0] or ()
        return replace(together, outputs=((*found[:axis], None, *found[axis:]),))

    def code(self, site: Site) -> Code:
        return Code(f"torch.stack({_stretched_list(site)}, {{axis}})", constants={"axis": self.axis})


Axes = Annotated[int | tuple[int, int], BeforeValidator(as_tuple)]


class Dot(_Merge, spec_name="dot"):
    """The product of two tensors, summed over one axis of each; `normalize` makes it a cosine similarity.

    The output has the batch, the other axes of the first input, then those of the second, or one of size 1.
    """

    least_inputs = 2
    most_inputs = 2

    axes: Axes
    """Axes whose products are summed: one of each input, or one for both."""
    normalize: bool = False
    """Whether vectors are normalized to length 1 first."""

    examples = (Example({"axes": 1}, ((7,), (7,))),)

    def infer(self, *inputs: Tensor) -> Tensor:
        self.need_count(inputs)
        first, second = self._axes(inputs)
        a, b = inputs
        if not a.is_float or a.dtype != b.dtype:
            message = f"`dot` takes two tensors of one float type, not {a} and {b}"
            raise LayerError("wrong-dtype", message, inputs=(0, 1))
        if stretch(a.shape[0], b.shape[0]) is None or a.shape[first] != b.shape[second]:
            raise LayerError(
                "shapes-differ",
                f"`dot` sums over axis {first} of {{input0}} and axis {second} of {{input1}}, "
                f"whose sizes differ: {a} and {b}",
                help=self._help(a, b),
                inputs=(0, 1),
            )
        kept = [
            *(size for axis, size in enumerate(a.shape) if axis not in (0, first)),
            *(size for axis, size in enumerate(b.shape) if axis not in (0, second)),
        ]
        batch = b.shape[0] if a.shape[0] == 1 else a.shape[0]
        return a.with_shape(batch, *(kept or [1]))

    def _axes(self, inputs: tuple[Tensor, ...]) -> tuple[int, int]:
        pair = (self.axes, self.axes) if isinstance(self.axes, int) else self.axes
        for position, (axis, x) in enumerate(zip(pair, inputs, strict=True)):
            if not -x.rank <= axis < x.rank or axis % x.rank == 0:
                raise LayerError(
                    "out-of-range",
                    f"`dot` cannot sum over axis {axis} of {{input{position}}}, {x}: "
                    f"its axes are 1 to {x.rank - 1}, and 0 is the batch",
                    argument="axes",
                )
        return pair[0] % inputs[0].rank, pair[1] % inputs[1].rank

    @staticmethod
    def _help(a: Tensor, b: Tensor) -> str | None:
        for i, size in enumerate(a.shape[1:], 1):
            for j, other in enumerate(b.shape[1:], 1):
                if size == other:
                    return f"sum over axes of one size: `axes: [{i}, {j}]`"
        return propose((a, b), 0, 1)

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        a, b = site.inputs
        first, second = self._axes(site.inputs)
        left, output = _equation(a.rank, b.rank, first, second).split("->")
        if self.normalize and (roles[0][first] or roles[1][second]):
            return ahead()
        output += "z" * (site.outputs[0].rank - len(output))
        return contracted(left.split(","), output, roles)

    def code(self, site: Site) -> Code:
        a, b = site.inputs
        first, second = self._axes(site.inputs)
        left, right = "{0}", "{1}"
        constants: dict[str, int] = {}
        if self.normalize:
            left, right = "F.normalize({0}, dim={axis0}, eps=1e-7)", "F.normalize({1}, dim={axis1}, eps=1e-7)"
            constants = {"axis0": first, "axis1": second}
        if a.rank == b.rank == 2:
            return Code(f"({left} * {right}).sum(1, keepdim=True)", constants=constants)
        if a.rank == b.rank == 3:
            left += "" if first == 2 else ".mT"
            right += "" if second == 1 else ".mT"
            return Code(f"{left} @ {right}", constants=constants)
        equation = _equation(a.rank, b.rank, first, second)
        return Code(f'torch.einsum("{equation}", {left}, {right})', constants=constants)

    def flops(self, site: Site) -> Dim:
        a, b = site.inputs
        first, _ = self._axes(site.inputs)
        cost: Dim = product(site.outputs[0].shape[1:]) * a.shape[first] * 2
        return cost + (product(a.shape[1:]) + product(b.shape[1:])) * 3 if self.normalize else cost


def _equation(rank_a: int, rank_b: int, first: int, second: int) -> str:
    """The einsum equation of a dot: `n` is the batch, `k` the summed axis."""
    letters = iter("abcdefghij")
    left = ["n" if axis == 0 else "k" if axis == first else next(letters) for axis in range(rank_a)]
    right = ["n" if axis == 0 else "k" if axis == second else next(letters) for axis in range(rank_b)]
    kept = [letter for letter in (*left, *right[1:]) if letter != "k"]
    return f"{''.join(left)},{''.join(right)}->{''.join(kept)}"
