"""Fourier transforms: a complex tensor is its real and its imaginary part."""

from __future__ import annotations

from typing import Any, NamedTuple

from graphspec.convert.nodes import ConvertedValue
from graphspec.convert.pytorch.functions import Out, handles, write
from graphspec.convert.pytorch.layout import Laid
from graphspec.convert.pytorch.pointwise import scalar
from graphspec.convert.pytorch.shaping import dims_of
from graphspec.convert.pytorch.writer import NodeWriter
from graphspec.convert.refusals import Unsupported


class Complex(NamedTuple):
    """Two tensors in one layout."""

    real: Laid
    imag: Laid


@handles("fft_fft", "fft_fft2", "fft_ifft2", "fft_rfft")
def _fft(
    w: NodeWriter,
    self: Laid | Complex,
    *,
    function: str,
    out: Any,
    n: Any = None,
    s: Any = None,
    dim: Any = -1,
    norm: Any = None,
) -> Complex:
    if n is not None or s is not None or norm not in (None, "backward"):
        raise Unsupported("a Fourier transform of another size or norm has no counterpart", "leave them out")
    x = self.real if isinstance(self, Complex) else self
    rank = len(x.shape)
    places = dims_of(dim, rank)
    front = [i for i in range(rank) if i not in places]
    order = [*front, *places]
    back = [order.index(i) for i in range(rank)]
    real = w.natural(x.permuted(order))
    word = function.removeprefix("fft_")
    reads = [("x", real.value)]
    if word != "rfft":
        if isinstance(self, Complex):
            imag = w.natural(self.imag.permuted(order))
        else:
            imag = scalar(w, "multiply", real, 0)
        reads = [("real", real.value), ("imag", imag.value)]
    node = w.node("op", word, {}, reads, outputs=("imag",))
    shape = tuple(out.shape[i] for i in order)
    parts = (Laid(ConvertedValue(node, k), (real.sizes[0], *shape[1:]), real.axes, shape) for k in (0, 1))
    return Complex(*(part.permuted(back) for part in parts))


@handles("real", "imag")
def _part(w: NodeWriter, self: Any, *, function: str) -> Laid:
    if isinstance(self, Laid):
        return self if function == "real" else scalar(w, "multiply", self, 0)
    part: Laid = getattr(self, function)
    return part


def magnitude(w: NodeWriter, x: Complex) -> Laid:
    """The absolute value, as the length of a vector: the gradient of its square root has none at 0."""
    pairs = write(w, "stack", tensors=list(x), out=Out((*x.real.shape, 2)), dim=-1)
    return write(w, "linalg_vector_norm", self=pairs, out=Out(x.real.shape), dim=[-1])


@handles("abs")
def _absolute(w: NodeWriter, self: Any) -> Laid:
    return magnitude(w, self) if isinstance(self, Complex) else w.of(self, "abs")
