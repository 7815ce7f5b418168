"""Functions of keras.ops along axes: sums and their kin, selection, other shapes, products of matrices.

Axes count the batch as 0; what would mix examples is refused.
"""

from __future__ import annotations

import re
from typing import Annotated, ClassVar

from pydantic import BeforeValidator

from graphspec.layers.base import Argument, Code, Example, LayerError, Leaf, Ref, Site
from graphspec.layers.broadcasting import example_axis, stretch, to_float
from graphspec.layers.core import _as_tuple
from graphspec.layers.operations import Operation, meet, need_numbers
from graphspec.tensor import Dim, Tensor, product

Axis = Annotated[int | tuple[int, ...] | None, BeforeValidator(_as_tuple)]


def _axes(name: str, axis: int | tuple[int, ...], rank: int) -> list[int]:
    """Axes as positive numbers in order, none twice."""
    axes = sorted(example_axis(name, a, rank) for a in (axis if isinstance(axis, tuple) else (axis,)))
    if len(set(axes)) != len(axes):
        raise LayerError("out-of-range", f"`{name}` gets the same axis twice", argument="axis")
    return axes


class _Reduction(Operation, abstract=True):
    """One number out of all along one or more axes."""

    method: ClassVar[str]

    axis: Axis = None
    keepdims: bool = False

    examples = (
        Example({"axis": 1}, ((3, 4),)),
        Example({"axis": -1, "keepdims": True}, ((3, 4),)),
        Example({"axis": [1, 2]}, ((3, 4, 2),)),
        Example({"axis": 1}, ((3, 4),), dtype="int32", high=9),
    )

    def infer(self, x: Tensor) -> Tensor:
        need_numbers(self.spec_name, x)
        if self.axis is None or self.axis == ():
            others = list(range(1, x.rank))
            raise LayerError(
                "missing-key",
                f"`{self.spec_name}` without `axis` would take the examples of a batch together",
                help=f"say which axes: `axis: {others if len(others) > 1 else 1}`",
                argument="axis",
            )
        axes = _axes(self.spec_name, self.axis, x.rank)
        kept = [1 if i in axes else s for i, s in enumerate(x.shape) if self.keepdims or i not in axes]
        return Tensor(tuple(kept), self.result(x.dtype))

    def result(self, dtype: str) -> str:
        """The dtype of the output."""
        return dtype

    def code(self, site: Site) -> Code:
        assert self.axis is not None
        constants: dict[str, Leaf] = {"axis": self.axis}
        keywords = ", keepdim=True" if self.keepdims else ""
        if self.method in ("sum", "mean") and not site.x.is_float and site.x.dtype != "int64":
            keywords += ", dtype={dtype}"
            constants["dtype"] = Ref(f"torch.{site.outputs[0].dtype}")
        elif self.method == "mean" and not site.x.is_float:
            keywords += ", dtype={dtype}"
            constants["dtype"] = Ref("torch.float32")
        return Code(f"{{x}}.{self.method}({{axis}}{keywords})", constants=constants)

    def flops(self, site: Site) -> Dim:
        return product(site.x.shape[1:])


class Sum(_Reduction, spec_name="sum"):
    """The sum along axes."""

    method = "sum"

    def result(self, dtype: str) -> str:
        return "int32" if dtype in ("uint8", "int8", "int16") else dtype


class Mean(_Reduction, spec_name="mean"):
    """The mean along axes; integers give floats."""

    method = "mean"

    def result(self, dtype: str) -> str:
        return to_float(dtype)


class Max(_Reduction, spec_name="max"):
    """The largest along axes."""

    method = "amax"


class Min(_Reduction, spec_name="min"):
    """The smallest along axes."""

    method = "amin"


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


class Reshape(Operation, spec_name="reshape"):
    """The same elements in another shape, whose first size, -1, is the batch."""

    newshape: Annotated[tuple[int, ...], BeforeValidator(_as_tuple)]

    examples = (Example({"newshape": [-1, 3, 4]}, ((12,),)), Example({"newshape": [-1, 12]}, ((2, 3, 2),)))

    def infer(self, x: Tensor) -> Tensor:
        sizes = self.newshape[1:]
        if not self.newshape or self.newshape[0] not in (-1, x.shape[0]) or any(size < 1 for size in sizes):
            raise LayerError(
                "out-of-range",
                f"`newshape` starts with -1, the batch, and goes on with sizes of an example, "
                f"not {list(self.newshape)}",
                help="where a size of an example is to follow from the others: "
                "{layer: Reshape, from: {input0}, target_shape: [-1, ...]}",
                argument="newshape",
            )
        if product(x.shape[1:]) != product(sizes):
            raise LayerError(
                "shapes-differ",
                f"{x} has {product(x.shape[1:])} elements an example, and {list(sizes)} has {product(sizes)}",
                argument="newshape",
                inputs=(0,),
            )
        return x.with_shape(x.shape[0], *sizes)

    def code(self, site: Site) -> Code:
        return Code("{x}.reshape({newshape})", constants={"newshape": self.newshape})


class Transpose(Operation, spec_name="transpose"):
    """The axes in another order; the batch stays first."""

    axes: Annotated[tuple[int, ...] | None, BeforeValidator(_as_tuple)] = None

    examples = (Example({"axes": [0, 2, 1]}, ((3, 4),)), Example({"axes": [0, -1, 1, 2]}, ((2, 3, 4),)))

    def order(self, x: Tensor) -> tuple[int, ...]:
        """The axes as positive numbers."""
        axes = () if self.axes is None else self.axes
        positive = tuple(axis % x.rank for axis in axes if -x.rank <= axis < x.rank)
        if positive[:1] != (0,) or sorted(positive) != list(range(x.rank)):
            others = [0, *range(x.rank - 1, 0, -1)]
            raise LayerError(
                "out-of-range",
                f"`axes` holds every axis of {x} once, 0 (the batch) first"
                + ("" if self.axes is None else f", not {list(axes)}"),
                help=f"for example `axes: {others}`",
                argument="axes",
            )
        return positive

    def infer(self, x: Tensor) -> Tensor:
        return x.with_shape(*(x.shape[axis] for axis in self.order(x)))

    def code(self, site: Site) -> Code:
        return Code("{x}.permute({axes})", constants={"axes": self.order(site.x)})


class ExpandDims(Operation, spec_name="expand_dims"):
    """New axes of size 1, at these places of the result."""

    axis: Annotated[int | tuple[int, ...], BeforeValidator(_as_tuple)]

    examples = (
        Example({"axis": 1}, ((3, 4),)),
        Example({"axis": -1}, ((3, 4),)),
        Example({"axis": [1, -1]}, ((4,),)),
    )

    def infer(self, x: Tensor) -> Tensor:
        shape: list[Dim] = list(x.shape)
        for axis in self.places(x):
            shape.insert(axis, 1)
        return x.with_shape(*shape)

    def places(self, x: Tensor) -> list[int]:
        """The places of the new axes in the result, in order."""
        count = len(self.axis) if isinstance(self.axis, tuple) else 1
        return _axes(self.spec_name, self.axis, x.rank + count)

    def code(self, site: Site) -> Code:
        if isinstance(self.axis, int):
            return Code("{x}.unsqueeze({axis})", constants={"axis": self.axis})
        places = {f"axis{i}": place for i, place in enumerate(self.places(site.x))}
        return Code("{x}" + "".join(f".unsqueeze({{{name}}})" for name in places), constants=places)


class Squeeze(Operation, spec_name="squeeze"):
    """Without axes of size 1: those of `axis`, or all whose size is known to be 1, but the batch."""

    axis: Axis = None

    examples = (
        Example({"axis": 1}, ((1, 4),)),
        Example({"axis": [1, -1]}, ((1, 4, 1),)),
        Example({}, ((1, 4, 1),)),
    )

    def axes(self, x: Tensor) -> list[int]:
        """The axes to leave out, in order."""
        if self.axis is None:
            return [i for i, size in enumerate(x.shape) if i and size == 1]
        axes = _axes(self.spec_name, self.axis, x.rank)
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

    def code(self, site: Site) -> Code:
        axes = self.axes(site.x)
        if not axes:
            return Code("{x}")
        return Code("{x}.squeeze({axis})", constants={"axis": axes[0] if len(axes) == 1 else tuple(axes)})


def _need_floats(name: str, *inputs: Tensor) -> None:
    """Refuses all but floats of one type, which is what PyTorch multiplies everywhere."""
    for position, x in enumerate(inputs):
        if not x.is_float or x.dtype != inputs[0].dtype:
            raise LayerError(
                "wrong-dtype",
                f"`{name}` takes floats of one type, and gets " + " and ".join(str(x) for x in inputs),
                help=f"{{op: cast, from: {{input{position}}}, dtype: float32}} gives others",
                inputs=(position,),
            )


class Matmul(Operation, spec_name="matmul"):
    """Products of matrices, the last two axes of each tensor; the axes before meet as in `multiply`."""

    arguments = (Argument("x1"), Argument("x2"))

    examples = (
        Example({}, ((3, 4), (4, 5))),
        Example({}, ((2, 3, 4), (2, 4, 5))),
        Example({}, ((2, 3, 4), (1, 4, 5))),
    )

    def infer(self, x1: Tensor, x2: Tensor) -> Tensor:
        _need_floats(self.spec_name, x1, x2)
        for position, x in enumerate((x1, x2)):
            if x.rank < 3:
                raise LayerError(
                    "wrong-rank",
                    f"`matmul` takes three axes or more, with the batch, and {{input{position}}} is {x}",
                    help="vectors: {merge: dot, axes: 1}; a learned matrix: {layer: Dense, units: ...}",
                    inputs=(position,),
                )
        if x1.shape[-1] != x2.shape[-2]:
            raise LayerError(
                "shapes-differ",
                f"`matmul` needs as many columns in {{input0}}, {x1}, as rows in {{input1}}, {x2}",
                help="turn one of them: {op: transpose, axes: [0, 2, 1]}"
                if x1.rank == x2.rank == 3
                else None,
                inputs=(0, 1),
            )
        before = meet(self.spec_name, x1, x2, spare=2)
        return x1.with_shape(*before, x1.shape[-2], x2.shape[-1])

    def code(self, site: Site) -> Code:
        return Code("{x1} @ {x2}")

    def flops(self, site: Site) -> Dim:
        return product(site.outputs[0].shape[1:]) * site.inputs[0].shape[-1] * 2


class Einsum(Operation, spec_name="einsum"):
    """Einstein's sum: `bij,bjk->bik`. Every input's first letter is the output's first: the batch."""

    variadic = True

    subscripts: str

    examples = (
        Example({"subscripts": "bij,bjk->bik"}, ((3, 4), (4, 5))),
        Example({"subscripts": "bhqd,bhkd->bhqk"}, ((2, 3, 4), (2, 5, 4))),
        Example({"subscripts": "bij->bj"}, ((3, 4),)),
        Example({"subscripts": "bi,bj,bk->bijk"}, ((2,), (3,), (4,))),
    )

    def infer(self, *inputs: Tensor) -> Tensor:
        _need_floats(self.spec_name, *inputs)
        labels, output = self.parse(inputs)
        sizes: dict[str, Dim] = {}
        for position, (letters, x) in enumerate(zip(labels, inputs, strict=True)):
            for axis, (letter, size) in enumerate(zip(letters, x.shape, strict=True)):
                known = sizes.setdefault(letter, size)
                met = stretch(known, size) if axis == 0 else known if known == size else None
                if met is None:
                    raise LayerError(
                        "shapes-differ",
                        f"`{letter}` of `{self.subscripts}` is {known}, and {size} in {{input{position}}}",
                        argument="subscripts",
                        inputs=(position,),
                    )
                sizes[letter] = met
        return inputs[0].with_shape(*(sizes[letter] for letter in output))

    def parse(self, inputs: tuple[Tensor, ...]) -> tuple[list[str], str]:
        """The letters of each input and of the output. Raises `LayerError`."""
        if not re.fullmatch(r"[a-zA-Z]+(,[a-zA-Z]+)*->[a-zA-Z]+", self.subscripts):
            raise self._refuse("is not of the form `bij,bjk->bik`: letters, commas and an arrow")
        left, output = self.subscripts.split("->")
        labels = left.split(",")
        if len(labels) != len(inputs):
            raise self._refuse(f"is for {len(labels)} inputs, and there are {len(inputs)}")
        for position, (letters, x) in enumerate(zip(labels, inputs, strict=True)):
            if len(letters) != x.rank or len(set(letters)) != len(letters):
                raise self._refuse(f"needs a letter of its own for each axis of {{input{position}}}, {x}")
            if letters[0] != output[0] or output[0] in letters[1:]:
                raise self._refuse("must begin every input and the output with the same letter, the batch")
        if len(set(output)) != len(output) or not set(output) <= set(left):
            raise self._refuse("has a letter twice in the output, or one that no input has")
        return labels, output

    def _refuse(self, what: str) -> LayerError:
        return LayerError("out-of-range", f"`{self.subscripts[:80]}` {what}", argument="subscripts")

    def code(self, site: Site) -> Code:
        return Code("torch.einsum({subscripts}, {*})", constants={"subscripts": self.subscripts})

    def flops(self, site: Site) -> Dim:
        labels, output = self.parse(site.inputs)
        sizes: dict[str, Dim] = {}
        for letters, x in zip(labels, site.inputs, strict=True):
            sizes |= dict(zip(letters, x.shape, strict=True))
        return product(size for letter, size in sizes.items() if letter != output[0]) * len(labels)
