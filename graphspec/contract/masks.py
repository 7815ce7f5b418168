"""The masks that layers derive from tensors and from other masks.

A mask is boolean, [batch, steps]; false marks a step that readers skip.
"""

from __future__ import annotations

from typing import Any

from graphspec.contract.layer import Code, Derived, Layer, Site
from graphspec.contract.streaming import Streaming, elementwise, frame, without
from graphspec.tensor import Dim, Tensor


class MaskNotEqual(Layer, abstract=True, spec_name="not_equal"):
    """True where a tensor differs from `value`; with `steps`, where any feature of a step does."""

    value: float | int = 0
    steps: bool = False

    def infer(self, x: Tensor) -> Tensor:
        return Tensor(x.shape[:-1] if self.steps else x.shape, "bool")

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return without(roles[0], (-1,)) if self.steps else frame(roles[0])

    def code(self, site: Site) -> Code:
        value = self.value if site.x.is_float else int(self.value)
        return Code(
            "({x} != {value}).any(-1)" if self.steps else "{x} != {value}", constants={"value": value}
        )


class MaskAny(Layer, abstract=True, spec_name="logical_or"):
    """True where any of several masks is true: how Keras merges masks."""

    variadic = True

    def infer(self, *masks: Tensor) -> Tensor:
        return masks[0]

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return elementwise(roles, site.x.rank)

    def code(self, site: Site) -> Code:
        return Code(" | ".join(f"{{{position}}}" for position in range(len(site.inputs))))


class MaskConcat(Layer, abstract=True, spec_name="concatenate"):
    """The concatenation of masks along an axis."""

    axis: int
    variadic = True

    def infer(self, *masks: Tensor) -> Tensor:
        size: Dim = 0
        for mask in masks:
            size = size + mask.shape[self.axis]
        first = masks[0].shape
        return Tensor((*first[: self.axis], size, *first[self.axis + 1 :]), "bool")

    def code(self, site: Site) -> Code:
        return Code("torch.cat({list}, {axis})", constants={"axis": self.axis})


def either(masks: tuple[Any, ...]) -> Any:
    """The mask of a merge of several tensors; none if any of them has none."""
    if any(mask is None for mask in masks):
        return None
    return masks[0] if all(mask is masks[0] for mask in masks) else Derived(MaskAny(), masks)


def joined(inputs: tuple[Any, ...], masks: tuple[Any, ...], axis: int) -> Any:
    """The mask of a concatenation along an axis."""
    if axis % inputs[0].tensor.rank != 1:
        return either(masks)
    if all(mask is None for mask in masks):
        return None
    filled = tuple(
        Derived(AllSteps(), (x,)) if mask is None else mask for x, mask in zip(inputs, masks, strict=True)
    )
    return Derived(MaskConcat(axis=1), filled)


class Filled(Layer, abstract=True, spec_name="where"):
    """`x` where its mask is true, and another tensor or a number elsewhere."""

    value: float | None = None
    variadic = True

    def infer(self, x: Tensor, mask: Tensor, *other: Tensor) -> Tensor:
        return x

    def code(self, site: Site) -> Code:
        if self.value is None:
            return Code("torch.where({1}[..., None], {0}, {2})")
        return Code("{0}.masked_fill(~{1}[..., None], {value})", constants={"value": self.value})


class MaskFloats(Layer, abstract=True, spec_name="cast"):
    """1 where a mask is true, else 0, as one feature of each step, with the dtype of `like`."""

    variadic = True

    def infer(self, mask: Tensor, like: Tensor) -> Tensor:
        return Tensor((*mask.shape, 1), like.dtype)

    def code(self, site: Site) -> Code:
        return Code("{0}[..., None].to({1}.dtype)")


def filled_for_product(inputs: tuple[Any, ...], masks: tuple[Any, ...]) -> tuple[Any, ...]:
    """The factors, with 1 where they are masked. A step at which all are masked becomes 0."""
    ones = [
        x if m is None else Derived(Filled(value=1.0), (x, m)) for x, m in zip(inputs, masks, strict=True)
    ]
    if any(mask is None for mask in masks):
        return tuple(ones)
    first = Derived(Filled(), (inputs[0], masks[0], Derived(MaskFloats(), (either(masks), inputs[0]))))
    return (first, *ones[1:])


def filled_for_extreme(inputs: tuple[Any, ...], masks: tuple[Any, ...]) -> tuple[Any, ...]:
    """The operands, with the first unmasked operand where they are masked.

    Where all are masked, it is the first operand.
    """
    valid = inputs[0]
    for x, mask in reversed(list(zip(inputs, masks, strict=True))):
        valid = x if mask is None else Derived(Filled(), (x, mask, valid))
    return tuple(
        x if mask is None else Derived(Filled(), (x, mask, valid)) if position else valid
        for position, (x, mask) in enumerate(zip(inputs, masks, strict=True))
    )


class AllSteps(Layer, abstract=True, spec_name="ones"):
    """A mask that masks nothing, for a tensor of at least [batch, steps]."""

    def infer(self, x: Tensor) -> Tensor:
        return Tensor(x.shape[:2], "bool")

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return frame(roles[0][:2])

    def code(self, site: Site) -> Code:
        return Code("torch.ones({x}.shape[:2], dtype=torch.bool, device={x}.device)")
