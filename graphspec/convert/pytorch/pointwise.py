"""Functions of single elements, and of two tensors elementwise."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import sympy
import torch

from graphspec.contract.registry import REGISTRY, Kind
from graphspec.convert.arguments import as_integer, shortest
from graphspec.convert.nodes import ConvertedValue
from graphspec.convert.pytorch.aligning import layout_of, together, value
from graphspec.convert.pytorch.functions import handles
from graphspec.convert.pytorch.layout import Laid
from graphspec.convert.pytorch.sizes import Size
from graphspec.convert.pytorch.writer import HIDING, Known, MaskedScores, NodeWriter
from graphspec.convert.refusals import Unsupported
from graphspec.diagnostics import by_word

ACTIVATIONS = {
    **by_word(hard_sigmoid="hardsigmoid", hard_silu="hardswish"),
    **{w: w for w in by_word(of="relu sigmoid tanh silu relu6 selu log_sigmoid softsign mish")},
}
OPS = by_word(
    of="abs exp expm1 exp2 log log1p log2 log10 sin cos tan sinh cosh asin acos atan asinh acosh atanh "
    "neg sign sqrt rsqrt square reciprocal erf erfc erfinv floor ceil round trunc isnan isinf isfinite "
    "isneginf isposinf logical_not bitwise_not rad2deg deg2rad sinc signbit i0"
)
"""Functions of one tensor that are ops under the same name, or one of the synonyms of an op."""
SAME = ["contiguous", "clone", "alias", "lift_fresh_copy", "lift_fresh", "positive"]
MERGES = by_word(of="add mul maximum minimum sub")
SPELLED = by_word(
    divide="true_divide",
    bitwise_and="__and__",
    bitwise_or="__or__",
    bitwise_xor="__xor__",
    bitwise_left_shift="__lshift__",
    bitwise_right_shift="__rshift__",
)
PAIRS = by_word(
    of="logical_and logical_or logical_xor bitwise_and bitwise_or bitwise_xor bitwise_left_shift "
    "bitwise_right_shift div pow eq ne lt le gt ge floor_divide remainder fmod atan2 hypot heaviside "
    "logaddexp logaddexp2 fmax fmin ldexp"
)


def our_word(form: Kind, function: str) -> str:
    """The name of the op or merge that a function of PyTorch is."""
    members, word = REGISTRY[form], SPELLED.get(function, function)
    return word if word in members else members.synonyms[word]


def activation(w: NodeWriter, x: Laid, word: str, **settings: Any) -> Laid:
    """A node `Activation`."""
    value: Any = {"name": word, **settings} if settings else word
    return w.make("layer", "Activation", {"activation": value}, [("x", x.value)], x)


@handles(*ACTIVATIONS)
def _activation(w: NodeWriter, self: Laid, *, function: str, **_: Any) -> Laid:
    return activation(w, self, ACTIVATIONS[function])


@handles("gelu")
def _gelu(w: NodeWriter, self: Laid, approximate: str = "none", **_: Any) -> Laid:
    return activation(w, self, "gelu", **({"approximate": True} if approximate == "tanh" else {}))


@handles("leaky_relu")
def _leaky_relu(w: NodeWriter, self: Laid, negative_slope: float, **_: Any) -> Laid:
    return w.make(
        "layer", "LeakyReLU", {"negative_slope": shortest(negative_slope)}, [("x", self.value)], self
    )


@handles("elu")
def _elu(w: NodeWriter, self: Laid, alpha: float, scale: float, input_scale: float, **_: Any) -> Laid:
    if (scale, input_scale) != (1, 1):
        raise Unsupported("its scale is not 1", "use selu, or multiply the result")
    if alpha == 1:
        return activation(w, self, "elu")
    return w.make("layer", "ELU", {"alpha": shortest(alpha)}, [("x", self.value)], self)


@handles("celu")
def _celu(w: NodeWriter, self: Laid, alpha: float, **_: Any) -> Laid:
    return activation(w, self, "celu", **({} if alpha == 1 else {"alpha": shortest(alpha)}))


@handles("softplus")
def _softplus(w: NodeWriter, self: Laid, beta: float, threshold: float, **_: Any) -> Laid:
    if beta == 1:
        return activation(w, self, "softplus")
    scaled = scalar(w, "multiply", self, beta)
    return scalar(w, "divide", activation(w, scaled, "softplus"), beta)


@handles("softshrink", "hardshrink")
def _shrink(w: NodeWriter, self: Laid, lambd: float, function: str, **_: Any) -> Laid:
    word = {"softshrink": "soft_shrink", "hardshrink": "hard_shrink"}[function]
    return activation(w, self, word, **({} if lambd == 0.5 else {"threshold": shortest(lambd)}))


@handles("hardtanh", "clamp", "clip")
def _clamp(
    w: NodeWriter,
    self: Laid,
    function: str,
    min_val: Any = None,
    max_val: Any = None,
    min: Any = None,
    max: Any = None,
    **_: Any,
) -> Laid:
    low, high = (min_val, max_val) if function == "hardtanh" else (number(min), number(max))
    if (low, high) == (0, 6):
        return activation(w, self, "relu6")
    if function == "hardtanh" and (low, high) == (-1, 1):
        return activation(w, self, "hard_tanh")
    if low is not None and high is not None:
        return w.make(
            "op", "clip", {"x_min": shortest(low), "x_max": shortest(high)}, [("x", self.value)], self
        )
    if low is not None:
        return activation(w, self, "relu") if low == 0 else scalar(w, "maximum", self, low)
    return scalar(w, "minimum", self, high)


@handles("clamp_min", "clamp_max")
def _clamp_one(w: NodeWriter, self: Laid, function: str, min: Any = None, max: Any = None, **_: Any) -> Laid:
    return scalar(
        w, "maximum" if function == "clamp_min" else "minimum", self, min if function == "clamp_min" else max
    )


@handles("glu")
def _glu(w: NodeWriter, self: Laid, dim: int, **_: Any) -> Laid:
    x = w.last(self, dim)
    halves = [size // 2 if i == dim % len(self.shape) else size for i, size in enumerate(x.shape)]
    sizes = (*x.sizes[:-1], x.sizes[-1] // 2)
    node = w.node("op", "glu", {}, [("x", x.value)])
    return replace(x, value=ConvertedValue(node), sizes=sizes, shape=tuple(halves))


@handles("prelu", "_prelu_kernel")
def _prelu(w: NodeWriter, self: Laid, weight: Any, **_: Any) -> Laid:
    if isinstance(weight, Laid):
        while len(weight.shape) < len(self.shape) - 1:
            weight = weight.inserted(len(weight.shape))
        low = pair(w, "multiply", scalar(w, "minimum", self, 0), weight, self.shape)
        return pair(w, "add", activation(w, self, "relu"), low, self.shape)
    x = w.spatial(self) if len(self.shape) > 2 else w.last(self, 1)
    one = weight.tensor.numel() == 1 != x.sizes[-1]
    shared = list(range(1, len(x.sizes) - (not one)))
    arguments = {"shared_axes": shared or None}
    alpha = weight.map(lambda t: t.reshape(-1))
    return w.make("layer", "PReLU", arguments, [("x", x.value)], x, weights={"weight": alpha})


@handles(*OPS)
def _op(w: NodeWriter, self: Laid, *, function: str, out: Any = None, **_: Any) -> Laid:
    dtype = self.dtype if out is None else str(out.dtype).removeprefix("torch.")
    return replace(w.make("op", our_word("op", function), {}, [("x", self.value)], self), dtype=dtype)


@handles(*SAME)
def _same(w: NodeWriter, self: Laid, **_: Any) -> Laid:
    return self


@handles("to", "_to_copy", "type_as", "float")
def _to(w: NodeWriter, self: Laid, out: Any = None, **_: Any) -> Laid:
    if out is None:
        return self
    word = str(out.dtype).removeprefix("torch.")
    if word == self.dtype:
        return self
    return replace(w.make("op", "cast", {"dtype": word}, [("x", self.value)], self), dtype=word)


@handles("dropout", "native_dropout", "feature_dropout", "alpha_dropout")
def _dropout(
    w: NodeWriter, input: Laid, p: float, function: str, train: bool, layer: Any = None, **_: Any
) -> Laid:
    if layer is not None:
        return _noise(w, input, *layer)
    if not p:
        return input
    if train:
        raise Unsupported("it drops values in inference, too", "give it `training=self.training`")
    if function == "feature_dropout":
        return _spatial(w, input, {"rate": shortest(p)})
    word = "AlphaDropout" if function == "alpha_dropout" else "Dropout"
    return w.make("layer", word, {"rate": shortest(p)}, [("x", input.value)], input)


def _spatial(w: NodeWriter, x: Laid, settings: dict[str, Any]) -> Laid:
    x = w.spatial(x)
    return w.make("layer", f"SpatialDropout{len(x.sizes) - 2}D", settings, [("x", x.value)], x)


def _noise(w: NodeWriter, x: Laid, layer: str, settings: dict[str, Any]) -> Laid:
    """What training adds. `noise` says along which axes values are dropped apart: the batch alone, in
    stochastic depth.
    """
    arguments = dict(settings)
    if layer == "SpatialDropout":
        return _spatial(w, x, arguments)
    if "noise" in arguments:
        apart = {
            j for axis, varies in zip(x.axes, arguments.pop("noise"), strict=True) for j in axis if varies
        }
        arguments["noise_shape"] = [None if j in apart else 1 for j in range(len(x.sizes))]
    return w.make("layer", layer, arguments, [("x", x.value)], x)


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
        return w.make("op", op, {"y": value}, [("x", x.value)], x)
    value = int(value) if isinstance(value, bool) else shortest(value)
    value = as_integer(value) if x.dtype.startswith("float") else value
    return w.make("op", op, {"x2" if second else "x1": value}, [("x1" if second else "x2", x.value)], x)


@handles(*MERGES, *PAIRS, *SPELLED, "rsub", "where", "masked_fill")
def _pair(
    w: NodeWriter,
    *,
    function: str,
    out: Any,
    self: Any = None,
    other: Any = None,
    alpha: Any = 1,
    rounding_mode: Any = None,
    **given: Any,
) -> Laid:
    if function in ("where", "masked_fill"):
        return _where(w, function, out, self, other, given)
    if function == "pow":
        other = given.get("exponent", other)
    if function == "rsub":
        self, other, function = other, self, "sub"
    self, other = number(self), number(other)
    if alpha != 1:
        if isinstance(other, Laid):
            other = scalar(w, "multiply", other, alpha)
        else:
            other = other.map(lambda t: t * alpha) if isinstance(other, Known) else other * alpha
    op = our_word("merge" if function in MERGES else "op", function)
    if rounding_mode is not None:
        op = "floor_divide" if rounding_mode == "floor" else op
    combined = pair(w, op, self, other, out.shape)
    combined = replace(combined, dtype=str(out.dtype).removeprefix("torch."))
    if rounding_mode == "trunc":
        return w.make("op", "trunc", {}, [("x", combined.value)], combined)
    return combined


def pair(w: NodeWriter, op: str, a: Any, b: Any, shape: tuple[Size, ...]) -> Laid:
    """`op` of two tensors, or of one and a number, that gives a torch tensor of this shape."""
    a, b = _uniform(a, b, shape), _uniform(b, a, shape)
    if not isinstance(b, (Laid, Known)):
        if op == "power" and b == 2:
            return w.make("op", "square", {}, [("x", a.value)], a)
        neutral = {"add": 0, "subtract": 0, "multiply": 1, "divide": 1, "power": 1}.get(op)
        return a if neutral is not None and b == neutral else scalar(w, op, a, b)
    if isinstance(b, Laid) and not isinstance(a, (Laid, Known)):
        if a == {"add": 0, "multiply": 1}.get(op):
            return b
        return scalar(w, op, b, a, second=False)
    merges = op in ("add", "multiply", "subtract", "maximum", "minimum")
    mask = w.constant(b)
    a, b = together(w, [a, b], shape, full=not merges)
    like = a if isinstance(a, Laid) else b
    reads = [value(w, a, like), value(w, b, like)]
    if merges:
        node = w.node("merge", op, {}, [("", read) for read in reads])
        if op == "add" and mask is not None:
            w.masked[node] = MaskedScores(reads[0], mask, shape[-2:])
    else:
        node = w.node("op", op, {}, [("", read) for read in reads])
    return replace(layout_of(a, b, shape), value=ConvertedValue(node))


def _uniform(x: Any, other: Any, shape: tuple[Size, ...]) -> Any:
    """The number that a constant holds everywhere, where the other operand has the shape of the result."""
    if not isinstance(x, Known) or not isinstance(other, Laid) or other.shape != tuple(shape):
        return x
    same = not x.names and x.tensor.numel() and bool((x.tensor == x.tensor.flatten()[0]).all())
    return x.tensor.flatten()[0].item() if same else x


def _where(w: NodeWriter, function: str, out: Any, self: Any, other: Any, arguments: dict[str, Any]) -> Laid:
    if function == "masked_fill":
        condition, yes, no = arguments["mask"], arguments["value"], self
    else:
        condition, yes, no = arguments["condition"], self, other
    condition, yes, no = number(condition), number(yes), number(no)
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
    like = next(x for x in placed if isinstance(x, Laid))
    reads = [(name, value(w, x, like)) for name, x in slots]
    node = w.node("op", "where", constants, reads)
    if chosen is not None and len(slots) == 2 and min(constants.values()) <= HIDING:
        seen = chosen.bool() if "x2" in constants else chosen.logical_not()
        w.masked[node] = MaskedScores(reads[1][1], seen, tuple(out.shape[-2:]))
    result = layout_of(placed[0], placed[-1], out.shape)
    for x in placed:
        result = layout_of(x, result, out.shape)
    return replace(result, value=ConvertedValue(node), dtype=str(out.dtype).removeprefix("torch."))


def finite(value: Any, dtype: torch.dtype) -> Any:
    """A number of a spec."""
    if isinstance(value, float) and math.isinf(value):
        return value
    return shortest(float(value)) if dtype.is_floating_point else value
