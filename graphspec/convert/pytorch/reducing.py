"""Functions along axes: reductions, softmax, cumulative sums, sorting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from graphspec.convert.nodes import ConvertedValue
from graphspec.convert.pytorch.functions import HANDLERS, handles
from graphspec.convert.pytorch.layout import Laid
from graphspec.convert.pytorch.shaping import alone, dims_of, resized
from graphspec.convert.pytorch.writer import NodeWriter
from graphspec.convert.refusals import Unsupported

REDUCTIONS = {
    "mean": "mean",
    "sum": "sum",
    "amax": "max",
    "amin": "min",
    "prod": "prod",
    "logsumexp": "logsumexp",
    "any": "any",
    "all": "all",
}


def reduced(
    w: NodeWriter, op: str, x: Laid, places: Sequence[int], keep: bool, out: Any, **kwargs: Any
) -> Laid:
    """An op that reduces torch axes."""
    x = w.solid(x)
    if any(0 in x.axes[i] for i in places):
        raise Unsupported("it reduces over the examples of a batch", "reduce over the axes of one example")
    gone = sorted(j for i in places for j in x.axes[i])
    rank = len(x.sizes)
    space = list(range(1, rank - 1))
    if not gone:
        value = x.value
    elif op == "mean" and gone == space and 3 <= rank <= 5 and not kwargs:
        value = ConvertedValue(w.node("layer", f"GlobalAveragePooling{rank - 2}D", {}, [("x", x.value)]))
    elif op == "max" and gone == space and 3 <= rank <= 5 and not kwargs:
        value = ConvertedValue(w.node("layer", f"GlobalMaxPooling{rank - 2}D", {}, [("x", x.value)]))
    else:
        axis: Any = gone if len(gone) > 1 else -1 if gone[0] == rank - 1 else gone[0]
        value = ConvertedValue(w.node("op", op, {"axis": axis, **kwargs}, [("x", x.value)]))
    left = [j for j in range(rank) if j not in gone]
    axes = [
        () if i in places else tuple(left.index(j) for j in axis)
        for i, axis in enumerate(x.axes)
        if keep or i not in places
    ]
    shape = [1 if i in places else size for i, size in enumerate(x.shape) if keep or i not in places]
    dtype = str(out.dtype).removeprefix("torch.") if out is not None else x.dtype
    return Laid(value, tuple(x.sizes[j] for j in left), tuple(axes), tuple(shape), dtype)


@handles(*REDUCTIONS)
def _reduce(
    w: NodeWriter, self: Laid, *, function: str, out: Any, dim: Any = None, keepdim: bool = False, **_: Any
) -> Laid:
    counted = self.dtype == "bool" and function in ("sum", "prod")
    x = HANDLERS["to"](w, self, out=out) if counted else self
    return reduced(w, REDUCTIONS[function], x, dims_of(dim, len(self.shape)), keepdim, out)


@handles("var", "std")
def _var(
    w: NodeWriter,
    self: Laid,
    *,
    function: str,
    out: Any,
    dim: Any = None,
    keepdim: bool = False,
    unbiased: Any = True,
    correction: Any = 1,
    **_: Any,
) -> Laid:
    places = dims_of(dim, len(self.shape))
    degrees = correction if correction is not None else 1
    degrees = degrees if unbiased else 0
    variance = reduced(w, "var", self, places, keepdim, out)
    if degrees:
        from graphspec.convert.pytorch.pointwise import scalar
        from graphspec.convert.pytorch.sizes import product

        count = product(self.shape[i] for i in places)
        if not isinstance(count, int):
            raise Unsupported("an unbiased variance over an open size has no counterpart", "unbiased=False")
        variance = scalar(w, "multiply", variance, count / (count - degrees))
    return w.make("op", "sqrt", {}, [("x", variance.value)], variance) if function == "std" else variance


@handles("max", "min")
def _most(
    w: NodeWriter,
    self: Laid,
    *,
    function: str,
    out: Any,
    other: Any = None,
    dim: Any = None,
    keepdim: bool = False,
    **_: Any,
) -> Any:
    if other is not None:
        from graphspec.convert.pytorch.pointwise import number, pair

        return pair(w, {"max": "maximum", "min": "minimum"}[function], self, number(other), out.shape)
    places = dims_of(dim, len(self.shape))
    if dim is None:
        return reduced(w, function, self, places, keepdim, out)
    return reduced(w, function, self, places, keepdim, None), reduced(
        w, f"arg{function}", self, places, keepdim, out[1]
    )


@handles("argmax", "argmin")
def _arg(
    w: NodeWriter, self: Laid, *, function: str, out: Any, dim: Any = None, keepdim: bool = False, **_: Any
) -> Laid:
    return reduced(w, function, self, dims_of(dim, len(self.shape)), keepdim, out)


@handles("linalg_vector_norm", "norm")
def _norm(
    w: NodeWriter,
    self: Laid,
    out: Any,
    ord: Any = 2,
    p: Any = None,
    dim: Any = None,
    keepdim: bool = False,
    **_: Any,
) -> Laid:
    order = p if p is not None else ord
    arguments = {} if order == 2 else {"ord": order}
    return reduced(w, "norm", self, dims_of(dim, len(self.shape)), keepdim, out, **arguments)


@handles("softmax", "log_softmax", "_softmax", "_log_softmax")
def _softmax(w: NodeWriter, self: Laid, dim: int, function: str, **_: Any) -> Laid:
    i = dim % len(self.shape)
    x = alone(w, self, i)
    j = x.at(i)
    word = function.removeprefix("_")
    if j == len(x.sizes) - 1:
        return w.make("layer", "Activation", {"activation": word}, [("x", x.value)], x)
    return w.make("op", word, {"axis": j}, [("x", x.value)], x)


@handles("cumsum", "cumprod")
def _cumulative(w: NodeWriter, self: Laid, dim: int, function: str, out: Any, **_: Any) -> Laid:
    x = alone(w, self, dim % len(self.shape))
    word = str(out.dtype).removeprefix("torch.")
    if x.dtype != word:  # PyTorch counts booleans
        x = replace(w.make("op", "cast", {"dtype": word}, [("x", x.value)], x), dtype=word)
    axis = x.sole(dim % len(self.shape))
    cumulative = w.make("op", function, {"axis": axis}, [("x", x.value)], x)
    return replace(cumulative, dtype=str(out.dtype).removeprefix("torch."))


@handles("topk", "sort", "argsort")
def _ordered(
    w: NodeWriter,
    self: Laid,
    out: Any,
    function: str,
    k: Any = None,
    dim: int = -1,
    largest: bool = True,
    descending: bool = False,
    **_: Any,
) -> Any:
    x = w.last(self, dim)
    if function != "topk" or not largest:
        raise Unsupported(f"`{function}` of these arguments has no counterpart", "use topk")
    node = w.node("op", "top_k", {"k": int(k)}, [("x", x.value)], outputs=("indices",))
    i = dim % len(self.shape)
    values = resized(x, node, {i: k})
    return values, replace(resized(x, node, {i: k}, 1), dtype="int64")
