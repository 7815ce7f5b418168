"""Constants in a module: the types of tensors that a spec writes out, and the buffers that hold them."""

from __future__ import annotations

from typing import Any

from graphspec.contract.arrays import Nested, elements, kind_of, natural_dtype, shape_of
from graphspec.contract.input_checks import need_in_range
from graphspec.contract.layer import Code, Construct, Layer, LayerError, Leaf, Ref, Site
from graphspec.tensor import Dim, Tensor

BUFFER = "nn.Buffer({module}, persistent=False)"
"""A tensor that moves with its module, and is no part of its state dict."""


def met(array: Any, other: Tensor) -> Tensor:
    """The type of a list that stands in the place of a tensor beside `other`: of its dtype, as a number is,
    unless floats meet integers; with a batch axis of 1.
    """
    dtype = other.dtype if kind_of(array) is not float or other.is_float else "float32"
    sizes: tuple[Dim, ...] = shape_of(array)
    return Tensor((1, *sizes), dtype)


def buffer(array: Nested, dtype: str) -> Construct:
    """What holds a list of numbers or booleans in a module."""
    given: Leaf = None if dtype == natural_dtype(array) else Ref(f"torch.{dtype}")
    return Construct("torch.tensor", {"values": array}, {"dtype": (given, None)}, around=BUFFER)


class ConstantTensor(Layer, abstract=True):
    """A tensor that never changes, its batch axis 1. `values` are nested lists, a number or a boolean."""

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
        if type.is_integer:
            need_in_range(self.dtype, tuple(elements(self.values)), layer="a constant", argument="constant")
        return type

    def numbers_below(self) -> Dim | None:
        return max(elements(self.values)) + 1 if self.dtype.startswith(("int", "uint")) else None

    def code(self, site: Site) -> Code:
        return Code("{self}", buffer(Nested((self.values,)), self.dtype))
