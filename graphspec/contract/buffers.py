"""Constants in a module: the types of tensors that a spec contains, and the buffers that hold them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from graphspec.contract.arrays import Nested, elements, kind_of, natural_dtype, shape_of
from graphspec.contract.input_checks import need_in_range
from graphspec.contract.layer import Code, Layer, LayerError, Leaf, ModuleCall, Ref, Site
from graphspec.tensor import Dim, Tensor

BUFFER = "nn.Buffer({module}, persistent=False)"
"""A tensor that moves with its module, and is no part of its state dict."""


def met(array: Any, other: Tensor) -> Tensor:
    """The type of a list of numbers that is combined with the tensor `other`; its batch axis is 1.

    Like a number, it takes the dtype of `other`, unless `other` has integers and the list has floats.
    """
    dtype = other.dtype if kind_of(array) is not float or other.is_float else "float32"
    sizes: tuple[Dim, ...] = shape_of(array)
    return Tensor((1, *sizes), dtype)


def buffer(array: Nested, dtype: str) -> ModuleCall:
    """The construction of a buffer for a list of numbers or booleans."""
    dtype_leaf: Leaf = None if dtype == natural_dtype(array) else Ref(f"torch.{dtype}")
    return ModuleCall("torch.tensor", {"values": array}, {"dtype": (dtype_leaf, None)}, around=BUFFER)


LARGEST = {"float16": 65504.0, "bfloat16": 3.38953139e38, "float32": 3.4028234663852886e38}
"""The largest numbers of the types of floats; those of float64 are Python's own."""


def need_held(dtype: str, values: Iterable[Any], argument: str) -> None:
    """Refuses numbers that a type cannot hold. Types of floats hold infinity."""
    numbers = tuple(values)
    if dtype.startswith(("int", "uint")):
        need_in_range(dtype, numbers, layer="a constant", argument=argument)
    most = LARGEST.get(dtype)
    for number in numbers:
        if most is not None and most < abs(number) < math.inf:
            message = f"{number} is too large for {dtype}, whose largest number is {most:.4g}"
            raise LayerError("out-of-range", message, argument=argument)


class ConstantTensor(Layer, abstract=True):
    """A constant tensor with a batch axis of 1. `values` are nested lists, a number or a boolean."""

    arguments = ()

    values: Any
    dtype: str

    def infer(self) -> Tensor:
        kind = kind_of(self.values)
        if (kind is bool) != (self.dtype == "bool"):
            what = "booleans" if kind is bool else "numbers"
            raise LayerError("wrong-dtype", f"a constant of {self.dtype} has no {what}", argument="dtype")
        type = Tensor((1, *shape_of(self.values)), self.dtype)
        if kind is float and not type.is_float:
            message = f"a constant of {self.dtype} holds integers, and some of these are floats"
            raise LayerError("wrong-dtype", message, argument="dtype")
        need_held(self.dtype, elements(self.values), "constant")
        return type

    def numbers_below(self) -> Dim | None:
        return max(elements(self.values)) + 1 if self.dtype.startswith(("int", "uint")) else None

    def code(self, site: Site) -> Code:
        return Code("{self}", buffer(Nested((self.values,)), self.dtype))
