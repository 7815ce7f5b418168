"""Functions along axes: reductions, softmax, cumulative sums, sorting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from graphspec.convert.nodes import ConvertedValue
from graphspec.convert.pytorch.functions import handles
from graphspec.convert.pytorch.layout import Laid
from graphspec.convert.pytorch.pointwise import number, pair, scalar
from graphspec.convert.pytorch.shaping import alone, dims_of, resized, select
from graphspec.convert.pytorch.sizes import dtype_of, product
from graphspec.convert.pytorch.writer import NodeWriter
from graphspec.convert.refusals import Unsupported
from graphspec.diagnostics import by_word


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
    elif op in ("mean", "max") and gone == space and 3 <= rank <= 5:
        value = w.of(x, f"Global{'Average' if op == 'mean' else 'Max'}Pooling{rank - 2}D").value
    else:
        axis: Any = gone if len(gone) > 1 else -1 if gone[0] == rank - 1 else gone[0]
        value = w.of(x, op, axis=axis, **kwargs).value
    left = [j for j in range(rank) if j not in gone]
    axes = [
        () if i in places else tuple(left.index(j) for j in axis)
        for i, axis in enumerate(x.axes)
        if keep or i not in places
    ]
    shape = [1 if i in places else size for i, size in enumerate(x.shape) if keep or i not in places]
    dtype = dtype_of(out) if out is not None else x.dtype
    return Laid(value, tuple(x.sizes[j] for j in left), tuple(axes), tuple(shape), dtype)


@handles(
    *by_word(of="mean sum amax amin prod logsumexp any all argmax argmin nanmean nansum"),
)
def _reduce(
    w: NodeWriter, self: Laid, function: str, out: Any, dim: Any = None, keepdim: bool = False
) -> Laid:
    counted = self.dtype == "bool" and function in ("sum", "prod")
    x = w.cast(self, dtype_of(out)) if counted else self
    op = {"amax": "max", "amin": "min"}.get(function, function)
    return reduced(w, op, x, dims_of(dim, len(self.shape)), keepdim, out)


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
) -> Laid:
    places = dims_of(dim, len(self.shape))
    degrees = correction if correction is not None else 1
    degrees = degrees if unbiased else 0
    variance = reduced(w, "var", self, places, keepdim, out)
    if degrees:
        count = product(self.shape[i] for i in places)
        if not isinstance(count, int):
            raise Unsupported("an unbiased variance over an open size has no counterpart", "unbiased=False")
        variance = scalar(w, "multiply", variance, count / (count - degrees))
    return w.of(variance, "sqrt") if function == "std" else variance


@handles("var_mean", "std_mean")
def _var_mean(w: NodeWriter, self: Laid, function: str, out: Any, **given: Any) -> tuple[Laid, Laid]:
    spread = _var(w, self, function=function.removesuffix("_mean"), out=None, **given)
    given = {key: given[key] for key in ("dim", "keepdim") if key in given}
    return spread, _reduce(w, self, "mean", out[1], **given)


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
) -> Any:
    if other is not None:
        return pair(w, {"max": "maximum", "min": "minimum"}[function], self, number(other), out.shape)
    places = dims_of(dim, len(self.shape))
    if dim is None:
        return reduced(w, function, self, places, keepdim, out)
    return reduced(w, function, self, places, keepdim, None), reduced(
        w, f"arg{function}", self, places, keepdim, out[1]
    )


@handles("linalg_vector_norm", "norm")
def _norm(
    w: NodeWriter,
    self: Laid,
    out: Any,
    ord: Any = 2,
    p: Any = None,
    dim: Any = None,
    keepdim: bool = False,
) -> Laid:
    order = p if p is not None else ord
    arguments = {} if order == 2 else {"ord": order}
    return reduced(w, "norm", self, dims_of(dim, len(self.shape)), keepdim, out, **arguments)


@handles("softmax", "log_softmax", "_softmax", "_log_softmax")
def _softmax(w: NodeWriter, self: Laid, dim: int, function: str) -> Laid:
    i = dim % len(self.shape)
    x = alone(w, self, i)
    j = x.at(i)
    word = function.removeprefix("_")
    return w.of(x, "Activation", activation=word) if j == len(x.sizes) - 1 else w.of(x, word, axis=j)


@handles("cumsum", "cumprod")
def _cumulative(w: NodeWriter, self: Laid, dim: int, function: str, out: Any) -> Laid:
    i = dim % len(self.shape)
    x = w.cast(alone(w, self, i), dtype_of(out))  # PyTorch counts booleans
    return w.of(x, function, axis=x.at(i))


@handles("topk", "sort", "argsort")
def _ordered(
    w: NodeWriter,
    self: Laid,
    function: str,
    k: Any = None,
    dim: int = -1,
    largest: bool = True,
    descending: bool = False,
) -> Any:
    i = dim % len(self.shape)
    x = w.last(self, dim)
    if function == "topk":
        from_top, word, arguments = largest, "top_k", {"k": int(k)}
    else:
        from_top, word, arguments = not descending, "sort", {}
    source = x if from_top else _negative(w, x)
    node = w.node("op", word, arguments, [("x", source.value)], outputs=("indices",) if k else ())
    changed = {i: k} if k else {}
    values = resized(source, node, changed)
    if not from_top:
        values = _negative(w, values)
    if k:
        places = resized(source, node, changed, 1)
    else:
        places = resized(source, w.node("op", "argsort", {}, [("x", source.value)]), {})
    places = replace(places, dtype="int64")
    return places if function == "argsort" else (values, places)


def _negative(w: NodeWriter, x: Laid) -> Laid:
    if x.dtype == "bool":
        raise Unsupported("it sorts booleans", "sort them as integers")
    return w.of(x, "negative")


@handles("kthvalue", "median", "nanmedian")
def _placed(
    w: NodeWriter, self: Laid, function: str, k: int = 0, dim: Any = None, keepdim: bool = False
) -> Any:
    """The value at one place of a sorted axis; PyTorch's median is the lower of the middle two."""
    if dim is None or function == "nanmedian":
        raise Unsupported("it reduces over the examples of a batch", "give it `dim`")
    i = int(dim) % len(self.shape)
    size = self.shape[i]
    if not isinstance(size, int):
        raise Unsupported("it has its place in a size that stays open", "give the size a number in --input")
    results = _ordered(w, self, "sort", dim=i)
    place = k - 1 if function == "kthvalue" else (size - 1) // 2
    picked = [select(w, result, i, place) for result in results]
    return tuple(each.inserted(i) for each in picked) if keepdim else tuple(picked)


@handles("aminmax")
def _extremes(w: NodeWriter, self: Laid, out: Any, dim: Any = None, keepdim: bool = False) -> Any:
    places = dims_of(dim, len(self.shape))
    return tuple(
        reduced(w, op, self, places, keepdim, each) for op, each in zip(("min", "max"), out, strict=True)
    )


@handles("quantile")
def _quantile(
    w: NodeWriter,
    self: Laid,
    q: Any,
    out: Any,
    dim: Any = None,
    keepdim: bool = False,
    interpolation: str = "linear",
) -> Laid:
    share = number(q)
    if not isinstance(share, float):
        raise Unsupported("it takes several quantiles at once", "take one at a time, and stack them")
    arguments = {} if interpolation == "linear" else {"method": interpolation}
    return reduced(w, "quantile", self, dims_of(dim, len(self.shape)), keepdim, out, q=share, **arguments)


@handles("diagonal")
def _diagonal(w: NodeWriter, self: Laid, out: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Laid:
    x = w.natural(self)
    axes = [dim % len(x.shape) for dim in (dim1, dim2)]
    if 0 in axes:
        raise Unsupported("it reads the examples of a batch", "take the diagonal of other axes")
    arguments = {"offset": offset} if offset else {}
    node = w.node("op", "diagonal", {**arguments, "axis1": axes[0], "axis2": axes[1]}, [("x", x.value)])
    shape = tuple(out.shape)
    return Laid(ConvertedValue(node), shape, tuple((i,) for i in range(len(shape))), shape, x.dtype)
