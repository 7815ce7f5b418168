"""Functions of keras.ops that give a tensor another shape, whose sizes may have names."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator

from graphspec.contract.fields import NamedSize, as_tuple
from graphspec.contract.layer import Argument, Code, Example, LayerError, Moved, Site
from graphspec.contract.streaming import Streaming, frame, reshaped
from graphspec.layers.reshaping import Reshape, size_code
from graphspec.ops.operation import Operation
from graphspec.tensor import Dim, Tensor, product, quotient, show_size


class ReshapeOperation(Operation, spec_name="reshape", also="view view_as reshape_as"):
    """The same elements in another shape, whose first size, -1, is the batch.

    A size may be a name from the shapes of the inputs, where `x` or the tensor `like` has it: `[-1, length,
    64]`.
    """

    keeps = True
    arguments = (Argument("x"), Argument("like", required=False))
    named_sizes = ("newshape",)

    newshape: Annotated[tuple[int | NamedSize, ...], BeforeValidator(as_tuple)]
    """Sizes of the output; -1 is inferred."""

    examples = (Example({"newshape": [-1, 3, 4]}, ((12,),)),)

    def infer(self, x: Tensor, like: Tensor | None = None) -> Tensor:
        sizes = self.newshape[1:]
        small = any(isinstance(size, int) and size < 1 for size in sizes)
        if not self.newshape or self.newshape[0] not in (-1, x.shape[0]) or small:
            raise LayerError(
                "out-of-range",
                f"`newshape` starts with -1, the batch, followed by the sizes of an example, "
                f"not {_shown(self.newshape)}",
                help=self._remedy(x),
                argument="newshape",
            )
        if product(x.shape[1:]) != product(sizes):
            raise LayerError(
                "shapes-differ",
                f"{x} has {show_size(product(x.shape[1:]))} elements an example, "
                f"and {_shown(sizes)} has {product(sizes)}",
                help=self._remedy(x),
                argument="newshape",
                inputs=(0,),
            )
        if like is not None and all(_size(x, like, size) for size in sizes):
            return x.with_shape(x.shape[0], *sizes)
        try:
            return self._layer().infer(x)
        except LayerError as error:
            error.argument = "newshape"
            raise

    def _remedy(self, x: Tensor) -> str | None:
        """The shape that is meant by one without the batch, or in which -1 is a size of an example."""
        total, sizes = product(x.shape[1:]), list(self.newshape)
        if any(isinstance(size, int) and size < 1 and size != -1 for size in sizes):
            return None
        for meant in (sizes, sizes[1:]) if sizes[:1] == [-1] else (sizes,):
            rest = quotient(total, product(size for size in meant if size != -1))
            if rest is None or meant.count(-1) > 1 or (-1 not in meant and rest != 1):
                continue
            filled = tuple(rest if size == -1 else size for size in meant)
            if not any("?" in str(size) for size in filled):
                return f"write {_shown((-1, *filled))}: the first is the batch"
            return f"{{layer: Reshape, target_shape: {_shown(tuple(meant))}}} infers a size without a name"
        return None

    def _layer(self) -> Reshape:
        """The layer that does the same."""
        return Reshape(target_shape=self.newshape[1:])

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return reshaped(site.x, roles[0], site.outputs[0])

    def code(self, site: Site) -> Code:
        known = tuple(size for size in self.newshape if isinstance(size, int))
        if len(known) < len(self.newshape):
            x, like = site.inputs
            if like is None:
                return self._layer().code(site)
            sizes = [_size(x, like, size) or "-1" for size in self.newshape[1:]]
            return Code(f"{{x}}.reshape({{x}}.shape[0], {', '.join(sizes)})")
        return Code("{x}.reshape({newshape})", constants={"newshape": known})


class BroadcastTo(Operation, spec_name="broadcast_to", also="expand"):
    """Broadcasts to a shape, whose first size, -1, is the batch: that of `like` where there is one.

    A size may be a name from the shapes of the inputs, where `x` or the tensor `like` has it: `[-1, length,
    8]`.
    """

    arguments = (Argument("x"), Argument("like", required=False))
    named_sizes = ("shape",)

    shape: Annotated[tuple[int | NamedSize, ...], BeforeValidator(as_tuple)]

    examples = (Example({"shape": [-1, 3, 4]}, ((1, 4),)),)

    def moves(self, x: Tensor, like: Tensor | None = None) -> tuple[Moved, ...]:
        return ("same",) if x.is_integer else ()

    def infer(self, x: Tensor, like: Tensor | None = None) -> Tensor:
        sizes: tuple[Dim, ...] = self.shape[1:]
        small = any(isinstance(size, int) and size < 1 for size in sizes)
        if self.shape[:1] != (-1,) or len(self.shape) != x.rank or small:
            raise LayerError(
                "out-of-range",
                f"`shape` starts with -1, the batch, followed by a size for each axis of {x}, "
                f"not {_shown(self.shape)}",
                help=self._remedy(x),
                argument="shape",
            )
        if any(x_size not in (1, size) for x_size, size in zip(x.shape[1:], sizes, strict=True)):
            message = f"{x} cannot be broadcast to {_shown(self.shape)}: only sizes of 1 can"
            raise LayerError("shapes-differ", message, argument="shape", inputs=(0,))
        for size in sizes:
            if _size(x, like, size) is None:
                raise LayerError(
                    "unknown-size",
                    f"{x if like is None else like} does not tell the size `{size}`",
                    help="name a tensor with an axis of this size: {op: broadcast_to, like: node, ...}",
                    argument="shape",
                )
        return x.with_shape(self._batch(x, like), *sizes)

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        x, like = site.inputs
        others = {} if like is None else dict(zip(like.shape[1:], roles[1][1:], strict=True))
        pairs = zip(x.shape, site.outputs[0].shape, roles[0], strict=True)
        return frame(tuple(role if old == new else others.get(new) for old, new, role in pairs))

    @staticmethod
    def _batch(x: Tensor, like: Tensor | None) -> Dim:
        """The size of the batch: `x` of learned or constant values has one of 1."""
        return x.shape[0] if like is None or x.shape[0] != 1 else like.shape[0]

    def _remedy(self, x: Tensor) -> str:
        """What to write for a shape without the batch, with a number for it, or with -1 for other sizes."""
        sizes = self.shape if len(self.shape) == x.rank - 1 else self.shape[1:]
        if len(sizes) != x.rank - 1:
            return "new axes: {op: expand_dims, from: {input0}, axis: 1}"
        kept = [x_size if size == -1 else size for size, x_size in zip(sizes, x.shape[1:], strict=True)]
        return f"write {_shown((-1, *kept))}"

    def code(self, site: Site) -> Code:
        known = tuple(size for size in self.shape if isinstance(size, int))
        x, like = site.inputs
        batch = "{like}.shape[0]" if self._batch(x, like) != x.shape[0] else "-1"
        if len(known) < len(self.shape) or batch != "-1":
            sizes = [_size(x, like, size) or "-1" for size in self.shape[1:]]
            return Code(f"{{x}}.expand({', '.join([batch, *sizes])})")
        return Code("{x}.expand({shape})", constants={"shape": known})


def _size(x: Tensor, like: Tensor | None, size: Dim) -> str | None:
    """The code for a size; None where neither tensor has it."""
    known = size_code(x, size)
    return size_code(like, size, "like") if known is None and like is not None else known


def _shown(sizes: tuple[Dim, ...]) -> str:
    """A shape as a spec writes it."""
    return f"[{', '.join(map(str, sizes))}]"
