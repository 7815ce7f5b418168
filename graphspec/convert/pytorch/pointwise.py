"""Functions of single elements, and of two tensors elementwise."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import sympy
import torch

from graphspec.contract import REGISTRY
from graphspec.contract.activations_with_arguments import ParametricFunction
from graphspec.convert.arguments import as_integer, shortest
from graphspec.convert.nodes import ConvertedValue
from graphspec.convert.pytorch.aligning import layout_of, together, value
from graphspec.convert.pytorch.functions import activation_of, handles, our_word, write
from graphspec.convert.pytorch.layout import Laid
from graphspec.convert.pytorch.sizes import Size, dtype_of
from graphspec.convert.pytorch.writer import HIDING, Known, MaskedScores, NodeWriter
from graphspec.convert.refusals import Unsupported

SAME = ["contiguous", "clone", "alias", "lift_fresh_copy", "lift_fresh", "positive"]


def activation(w: NodeWriter, x: Laid, word: str, **settings: Any) -> Laid:
    """A node `Activation`."""
    value: Any = {"name": word, **settings} if settings else word
    return w.of(x, "Activation", activation=value)


@handles("an activation")
def _activation(w: NodeWriter, self: Laid, *, function: str, **given: Any) -> Laid:
    cls = activation_of(function)
    assert cls is not None
    settings = {}
    if issubclass(cls, ParametricFunction):
        ((name, field),) = cls.model_fields.items()
        if given[cls.keyword] != field.default:
            settings[name] = shortest(given[cls.keyword])
    return activation(w, self, cls.word, **settings)


@handles("gelu")
def _gelu(w: NodeWriter, self: Laid, approximate: str = "none") -> Laid:
    return activation(w, self, "gelu", **({"approximate": True} if approximate == "tanh" else {}))


@handles("leaky_relu")
def _leaky_relu(w: NodeWriter, self: Laid, negative_slope: float) -> Laid:
    return w.of(self, "LeakyReLU", negative_slope=shortest(negative_slope))


@handles("rrelu")
def _rrelu(w: NodeWriter, self: Laid, lower: float, upper: float) -> Laid:
    return _leaky_relu(w, self, (lower + upper) / 2)


@handles("elu")
def _elu(w: NodeWriter, self: Laid, alpha: float, scale: float, input_scale: float) -> Laid:
    if (scale, input_scale) != (1, 1):
        raise Unsupported("its scale is not 1", "use selu, or multiply the result")
    return activation(w, self, "elu") if alpha == 1 else w.of(self, "ELU", alpha=shortest(alpha))


@handles("softplus")
def _softplus(w: NodeWriter, self: Laid, beta: float) -> Laid:
    if beta == 1:
        return activation(w, self, "softplus")
    scaled = scalar(w, "multiply", self, beta)
    return scalar(w, "divide", activation(w, scaled, "softplus"), beta)


@handles("hardtanh")
def _hardtanh(w: NodeWriter, self: Laid, out: Any, min_val: float, max_val: float) -> Laid:
    return (
        activation(w, self, "hard_tanh")
        if (min_val, max_val) == (-1, 1)
        else _clamp(w, self, out, min_val, max_val)
    )


@handles("clamp", "clip", "clamp_min", "clamp_max")
def _clamp(w: NodeWriter, self: Laid, out: Any, min: Any = None, max: Any = None) -> Laid:
    low, high = number(min), number(max)
    if (low, high) == (0, 6):
        return activation(w, self, "relu6")
    if (low, high) == (0, None):
        return activation(w, self, "relu")
    if all(bound is not None and not isinstance(bound, (Laid, Known)) for bound in (low, high)):
        return w.of(self, "clip", x_min=shortest(low), x_max=shortest(high))
    x = self
    for op, bound in (("maximum", low), ("minimum", high)):
        x = x if bound is None else pair(w, op, x, bound, out.shape)
    return x


@handles("glu")
def _glu(w: NodeWriter, self: Laid, dim: int) -> Laid:
    x = w.last(self, dim)
    halves = [size // 2 if i == dim % len(self.shape) else size for i, size in enumerate(x.shape)]
    sizes = (*x.sizes[:-1], x.sizes[-1] // 2)
    node = w.node("op", "glu", {}, [("x", x.value)])
    return replace(x, value=ConvertedValue(node), sizes=sizes, shape=tuple(halves))


@handles("prelu", "_prelu_kernel")
def _prelu(w: NodeWriter, self: Laid, weight: Any) -> Laid:
    if isinstance(weight, Laid):
        while len(weight.shape) < len(self.shape) - 1:
            weight = weight.inserted(len(weight.shape))
        low = pair(w, "multiply", scalar(w, "minimum", self, 0), weight, self.shape)
        return pair(w, "add", activation(w, self, "relu"), low, self.shape)
    x = w.spatial(self) if len(self.shape) > 2 else w.last(self, 1)
    one = weight.tensor.numel() == 1 != x.sizes[-1]
    shared = list(range(1, len(x.sizes) - (not one)))
    alpha = weight.map(lambda t: t.reshape(-1))
    return w.of(x, "PReLU", {"weight": alpha}, shared_axes=shared or None)


@handles("an op of one")
def _op(w: NodeWriter, self: Laid, *, function: str, out: Any = None, **given: Any) -> Laid:
    word, dtype = our_word("op", function), self.dtype if out is None else dtype_of(out)
    settings = {
        name: given[name] for name in REGISTRY["op"][word].model_fields if given.get(name) is not None
    }
    return replace(w.of(self, word, **settings), dtype=dtype)


@handles(*SAME)
def _same(w: NodeWriter, self: Laid) -> Laid:
    return self


@handles("to", "_to_copy", "type_as", "float")
def _to(w: NodeWriter, self: Laid, out: Any = None) -> Laid:
    return self if out is None else w.cast(self, dtype_of(out))


@handles("native_dropout")
def _native_dropout(
    w: NodeWriter, input: Laid, p: float, function: str, train: bool, layer: Any = None
) -> tuple[Laid, None]:
    return _dropout(w, input, p, function, train, layer), None


@handles("dropout", "feature_dropout", "alpha_dropout")
def _dropout(w: NodeWriter, input: Laid, p: float, function: str, train: bool, layer: Any = None) -> Laid:
    if layer is not None:
        return _noise(w, input, *layer)
    if not p:
        return input
    if train:
        raise Unsupported("it drops values in inference, too", "give it `training=self.training`")
    if function == "feature_dropout":
        return _spatial(w, input, {"rate": shortest(p)})
    return w.of(input, "AlphaDropout" if function == "alpha_dropout" else "Dropout", rate=shortest(p))


def _spatial(w: NodeWriter, x: Laid, settings: dict[str, Any]) -> Laid:
    x = w.spatial(x)
    return w.of(x, f"SpatialDropout{len(x.sizes) - 2}D", **settings)


def _noise(w: NodeWriter, x: Laid, layer: str, settings: dict[str, Any]) -> Laid:
    """The noise or dropout of training. `noise` lists the axes along which values are dropped apart: the
    batch alone, in stochastic depth.
    """
    arguments = dict(settings)
    if layer == "SpatialDropout":
        return _spatial(w, x, arguments)
    if "noise" in arguments:
        apart = {
            j for axis, varies in zip(x.axes, arguments.pop("noise"), strict=True) for j in axis if varies
        }
        arguments["noise_shape"] = [None if j in apart else 1 for j in range(len(x.sizes))]
    return w.of(x, layer, **arguments)


# --- two tensors


def number(value: Any) -> Any:
    """A known tensor of one element as a number."""
    if isinstance(value, Known) and value.tensor.numel() == 1 and not value.names:
        return value.tensor.item()
    return value


def scalar(w: NodeWriter, op: str, x: Laid, value: Any, second: bool = True) -> Laid:
    """An op of a tensor and a number, in this order or the other."""
    value = number(value)
    if isinstance(value, sympy.Expr):
        raise Unsupported(
            "it computes with a size that stays open",
            "give the size a number in --input, and leave that of the batch out of the module",
        )
    if op.startswith("bitwise_"):  # whose second integer is called `y`
        if isinstance(x, Laid) and x.dtype == "bool":
            raise Unsupported("it combines a boolean with a number", "compare both with `!= 0` first")
        return w.of(x, op, y=value)
    value = int(value) if isinstance(value, bool) else shortest(value)
    value = as_integer(value) if x.dtype.startswith("float") else value
    node = w.node("op", op, {"x2" if second else "x1": value}, [("x1" if second else "x2", x.value)])
    return replace(x, value=ConvertedValue(node))


@handles("an op of two")
def _pair(
    w: NodeWriter,
    self: Any,
    other: Any = None,
    *,
    function: str,
    out: Any,
    exponent: Any = None,
    values: Any = None,
    alpha: Any = 1,
    rounding_mode: Any = None,
) -> Laid:
    second = {"pow": exponent, "heaviside": values}.get(function, other)
    self, other = number(self), number(second)
    if alpha != 1:
        if isinstance(other, Laid):
            other = scalar(w, "multiply", other, alpha)
        else:
            other = other.map(lambda t: t * alpha) if isinstance(other, Known) else other * alpha
    merges = our_word("merge", function) in REGISTRY["merge"]
    op = our_word("merge" if merges else "op", "floor_divide" if rounding_mode == "floor" else function)
    combined = replace(pair(w, op, self, other, out.shape), dtype=dtype_of(out))
    return w.of(combined, "trunc") if rounding_mode == "trunc" else combined


@handles("rsub")
def _rsub(w: NodeWriter, self: Any, other: Any, out: Any, alpha: Any = 1) -> Laid:
    return _pair(w, other, self, function="sub", out=out, alpha=alpha)


def pair(w: NodeWriter, op: str, a: Any, b: Any, shape: tuple[Size, ...]) -> Laid:
    """`op` of two tensors, or of one and a number, that gives a torch tensor of this shape."""
    if isinstance(b, Laid) and b.shape == tuple(shape):
        a = uniform(a)
    elif isinstance(a, Laid) and a.shape == tuple(shape):
        b = uniform(b)
    if not isinstance(b, (Laid, Known)):
        if op == "power" and b == 2:
            return w.of(a, "square")
        neutral = {"add": 0, "subtract": 0, "multiply": 1, "divide": 1, "power": 1}.get(op)
        return a if neutral is not None and b == neutral else scalar(w, op, a, b)
    if isinstance(b, Laid) and not isinstance(a, (Laid, Known)):
        if a == {"add": 0, "multiply": 1}.get(op):
            return b
        return scalar(w, op, b, a, second=False)
    merges = op in ("add", "multiply", "subtract", "maximum", "minimum")
    mask = w.constant(b)
    a, b = together(w, [a, b], shape, full=not merges)
    reads = [value(w, a), value(w, b)]
    if merges:
        node = w.node("merge", op, {}, [("", read) for read in reads])
        if op == "add" and mask is not None:
            w.masked[node] = MaskedScores(reads[0], mask, shape[-2:])
    else:
        node = w.node("op", op, {}, [("", read) for read in reads])
    return replace(layout_of(a, b, shape), value=ConvertedValue(node))


def uniform(x: Any) -> Any:
    """The number that a constant holds everywhere."""
    if not isinstance(x, Known) or x.names or not x.tensor.numel():
        return x
    first = x.tensor.flatten()[0]
    return first.item() if bool((x.tensor == first).all()) else x


@handles("masked_fill")
def _masked_fill(w: NodeWriter, self: Any, mask: Any, value: Any, out: Any) -> Laid:
    return _where(w, mask, value, self, out)


@handles("where")
def _where(w: NodeWriter, condition: Any, self: Any, other: Any, out: Any) -> Laid:
    condition, yes, no = number(condition), number(self), number(other)
    if isinstance(condition, (bool, int)):
        chosen = yes if condition else no
        chosen = chosen if isinstance(chosen, (Laid, Known)) else Known(torch.tensor(chosen))
        return write(w, "expand", self=w.laid(chosen), out=out)
    chosen = w.constant(condition)
    operands = [x for x in (condition, yes, no) if isinstance(x, (Laid, Known))]
    aligned = iter(together(w, operands, out.shape, full=True))
    slots: list[tuple[str, Any]] = []
    constants: dict[str, Any] = {}
    placed = []
    for name, x in (("condition", condition), ("x1", yes), ("x2", no)):
        if isinstance(x, (Laid, Known)):
            placed.append(next(aligned))
            slots.append((name, placed[-1]))
        else:
            constants[name] = finite(x, out.dtype)
    reads = [(name, value(w, x)) for name, x in slots]
    node = w.node("op", "where", constants, reads)
    if chosen is not None and len(slots) == 2 and min(constants.values()) <= HIDING:
        seen = chosen.bool() if "x2" in constants else chosen.logical_not()
        w.masked[node] = MaskedScores(reads[1][1], seen, tuple(out.shape[-2:]))
    result = layout_of(placed[0], placed[-1], out.shape)
    for x in placed:
        result = layout_of(x, result, out.shape)
    return replace(result, value=ConvertedValue(node), dtype=dtype_of(out))


def finite(value: Any, dtype: torch.dtype) -> Any:
    """A number of a spec."""
    if isinstance(value, float) and math.isnan(value):
        raise Unsupported("it gives NaN for some elements", "give them a number")
    if isinstance(value, float) and math.isinf(value):
        return value
    return shortest(float(value)) if dtype.is_floating_point else value
