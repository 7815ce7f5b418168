"""Search functions of keras.ops."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from graphspec.contract.fields import Finite, Positive, as_tuple
from graphspec.contract.input_checks import need_float, need_in_range
from graphspec.contract.layer import Argument, Code, Example, LayerError, Leaf, Site
from graphspec.ops.operation import Operation, UnaryOperation, need_numbers
from graphspec.ops.selection import size_of_floats
from graphspec.tensor import Dim, Tensor, product

Numbers = Annotated[tuple[Finite, ...], BeforeValidator(as_tuple), Field(min_length=1)]
"""Constants, at least one."""


class Digitize(UnaryOperation, spec_name="digitize"):
    """The index of the bin of `x`, as int64: the number of ascending `bins` that are at most `x`."""

    template = "torch.bucketize({x}.contiguous(), {x}.new_tensor({bins}), right=True)"

    bins: Numbers
    """Lower edges of the bins, in rising order."""

    examples = (Example({"bins": [-0.5, 0.0, 1.0]}, ((3, 4),)),)

    def infer(self, x: Tensor) -> Tensor:
        need_float(x, layer="`digitize`")
        if list(self.bins) != sorted(self.bins):
            raise LayerError("out-of-range", "`bins` rise", argument="bins")
        return x.with_dtype("int64")


class Searchsorted(UnaryOperation, spec_name="searchsorted"):
    """The index, int64, where `values` fit into ascending `sorted_sequence`; `side` decides among equals."""

    arguments = (Argument("values"),)

    sorted_sequence: Numbers
    """Numbers in rising order."""
    side: Literal["left", "right"] = "left"
    """On which side of equal numbers."""

    examples = (Example({"sorted_sequence": [-0.5, 0.0, 1.0]}, ((3, 4),)),)

    def infer(self, values: Tensor) -> Tensor:
        need_float(values, layer="`searchsorted`")
        if list(self.sorted_sequence) != sorted(self.sorted_sequence):
            raise LayerError("out-of-range", "`sorted_sequence` rises", argument="sorted_sequence")
        return values.with_dtype("int64")

    def code(self, site: Site) -> Code:
        constants: dict[str, Leaf] = {"sequence": self.sorted_sequence}
        right = ", right=True" if self.side == "right" else ""
        text = f"torch.bucketize({{values}}.contiguous(), {{values}}.new_tensor({{sequence}}){right})"
        return Code(text, constants=constants)


class Isin(UnaryOperation, spec_name="isin"):
    """Whether `x1` is one of the constants `x2`; `invert` negates it."""

    template = "torch.isin({x1}, {x1}.new_tensor({x2}), invert={invert})"
    optional = ("invert",)
    arguments = (Argument("x1"),)

    x2: Annotated[tuple[int | Finite, ...], BeforeValidator(as_tuple), Field(min_length=1)]
    invert: bool = False

    examples = (Example({"x2": [1, 3]}, ((3, 4),), dtype="int32", high=5),)

    def infer(self, x1: Tensor) -> Tensor:
        need_numbers(self.spec_name, x1)
        if not x1.is_float:
            integers = tuple(value for value in self.x2 if isinstance(value, int))
            if len(integers) < len(self.x2):
                raise LayerError("out-of-range", f"the elements of {x1} are integers", argument="x2")
            need_in_range(x1.dtype, integers, layer="`isin`", argument="x2")
        return x1.with_dtype("bool")


class InTopK(Operation, spec_name="in_top_k"):
    """Whether the class at `targets` is among the `k` largest of its row of `predictions`."""

    arguments = (Argument("targets"), Argument("predictions"))

    k: Positive
    """Number of largest values to consider."""

    examples = (Example({"k": 2}, ((), (5,)), dtypes=("int64", "float32"), high=5),)

    def infer(self, targets: Tensor, predictions: Tensor) -> Tensor:
        if not targets.is_integer:
            message = f"`in_top_k` takes integers as `targets`, and gets {targets}"
            raise LayerError("wrong-dtype", message, inputs=(0,))
        if not predictions.is_float:
            message = f"`in_top_k` takes floats as `predictions`, and gets {predictions}"
            raise LayerError("wrong-dtype", message, inputs=(1,))
        if targets.rank != 1 or predictions.rank != 2 or targets.shape[0] != predictions.shape[0]:
            message = f"`in_top_k` takes `[batch]` and `[batch, classes]`, and gets {targets}, {predictions}"
            raise LayerError("wrong-rank", message, inputs=(0, 1))
        classes = predictions.shape[1]
        if isinstance(classes, int) and classes < self.k:
            message = f"{predictions} has {classes} classes, fewer than `k`"
            raise LayerError("out-of-range", message, argument="k")
        return targets.with_dtype("bool")

    def limit_for(self, targets: Tensor, predictions: Tensor) -> int | None:
        return size_of_floats(predictions, 1)

    def indexed(self, targets: Tensor, predictions: Tensor) -> Dim | None:
        return predictions.shape[1]

    def code(self, site: Site) -> Code:
        targets = "{targets}" if site.x.dtype == "int64" else "{targets}.long()"
        taken = f"{{predictions}}.gather(1, {targets}[:, None])"
        constants: dict[str, Leaf] = {"k": self.k}
        return Code(f"({taken} >= {{predictions}}.topk({{k}}).values).any(1)", constants=constants)

    def flops(self, site: Site) -> Dim:
        return product(site.inputs[1].shape[1:])
