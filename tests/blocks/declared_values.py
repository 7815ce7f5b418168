"""What a spec computes, from its text and the numbers of its weights alone: node by node, by other code than
graphspec's, in the order of axes that specs have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
import yaml
from torch import Tensor
from torch.nn import functional as F

from tests.blocks.declared import REFERENCE, Body, Scope, outputs_of
from tests.blocks.declared_layers import Shape

ACTIVATIONS: dict[str, Any] = {
    "linear": lambda x: x,
    "relu": lambda x: x.clamp(min=0),
    "tanh": torch.tanh,
    "sigmoid": lambda x: 1 / (1 + torch.exp(-x)),
    "softmax": lambda x: torch.softmax(x, -1),
    "gelu": lambda x: x * (1 + torch.erf(x / 2**0.5)) / 2,
    "leaky_relu": lambda x: torch.where(x < 0, 0.2 * x, x),
}
FUNCTIONS: dict[str, Any] = {
    **{name: ACTIVATIONS[name] for name in ("tanh", "sigmoid", "relu")},
    "sqrt": lambda x: x**0.5,
    "mean": lambda x, axis, keepdims: x.mean(axis, keepdim=keepdims),
    "true": True,
    "false": False,
}


class Known(tuple[int, ...]):
    """A shape without the batch, and the numbers that have it."""

    data: Tensor

    def __new__(cls, data: Tensor) -> Known:
        made = super().__new__(cls, data.shape[1:])
        made.data = data
        return made


class Unwritten(Exception):
    """A layer that is not written down here."""


def declared_values(
    text: str, state: Mapping[str, Tensor], inputs: Mapping[str, Tensor], preset: str | None = None
) -> dict[str, Tensor]:
    """The outputs of a spec for inputs with channels last. Raises `Unwritten`."""
    spec = yaml.load(text, yaml.CSafeLoader)
    raw = {**spec.get("params", {}), **(spec.get("presets", {})[preset] if preset else {})}
    scope = Scope(raw, {}, None, {})
    given = {name: partial(Known, x) for name, x in inputs.items()}

    class OfState(Values):
        weights = state

    body = OfState(spec, scope, "", given, {}, spec)
    body.file = body
    found: dict[str, Tensor] = {}
    for name, node in outputs_of(spec).items():
        value = body.read(node, scope)
        assert isinstance(value, Known)
        found[name] = value.data
    return found


class Values(Body):
    """A use of a file or a block whose values have numbers."""

    weights: ClassVar[Mapping[str, Tensor]] = {}

    def weight(self, path: str, name: str = "") -> Tensor:
        return self.weights[".".join(filter(None, (path, name)))]

    def biased(self, x: Tensor, path: str, arguments: dict[str, Any]) -> Tensor:
        return x + self.weight(path, "bias") if arguments.get("use_bias", True) else x

    def constant(self, value: list[float]) -> Shape:
        return Known(torch.tensor([value], dtype=torch.float32).double())

    def parameter(self, path: str, shape: tuple[int, ...]) -> Shape:
        return Known(self.weight(path).reshape(1, *shape))

    def merged(self, how: str, values: list[Any]) -> Shape:
        rank = max(map(len, values))
        full = [x.data.reshape(x.data.shape[0], *[1] * (rank - len(x)), *x.data.shape[1:]) for x in values]
        if how == "concatenate":
            sizes = torch.broadcast_shapes(*(each.shape[:-1] for each in full))
            return Known(torch.cat([each.expand(*sizes, each.shape[-1]) for each in full], -1))
        first, *rest = full
        for each in rest:
            match how:
                case "add" | "average":
                    first = first + each
                case "multiply":
                    first = first * each
                case "subtract":
                    first = first - each
                case "maximum":
                    first = torch.maximum(first, each)
                case "minimum":
                    first = torch.minimum(first, each)
                case _:
                    raise Unwritten(how)
        return Known(first / len(full) if how == "average" else first)

    def formula(self, text: str, values: list[Any], scope: Scope) -> Shape:
        left, names = [*values], dict[str, Tensor]()
        known = {**self.spec["nodes"], **self.inputs}
        text = re.sub(r"\$\(([^()]*)\)|\$(\w+)", lambda m: f"({scope.value(f'$({m[1] or m[2]})')!r})", text)

        def named(match: re.Match[str]) -> str:
            if match[0].split(".")[0] not in known:
                return match[0]
            names[f"_{len(names)}"] = left.pop(0).data
            return f"_{len(names) - 1}"

        text = REFERENCE.sub(named, text)
        return Known(eval(text, {"__builtins__": {}, **FUNCTIONS}, names))

    def op(self, name: str, arguments: dict[str, Any], x: Shape) -> Shape:
        assert isinstance(x, Known)
        data = x.data
        match name:
            case "negative":
                return Known(-data)
            case "tanh" | "relu":
                return Known(ACTIVATIONS[name](data))
            case "multiply":
                return Known(data * arguments["x2"])
            case "mean":
                return Known(data.mean(arguments["axis"]))
            case "take":
                return Known(data.select(arguments["axis"], arguments["indices"]))
            case "flip":
                return Known(data.flip(arguments["axis"]))
        raise Unwritten(name)

    def step(self, x: Shape) -> Shape:
        assert isinstance(x, Known)
        return Known(x.data.reshape(-1, *x.data.shape[2:]))

    def all_steps(self, x: Shape, inner: Shape) -> Shape:
        assert isinstance(x, Known) and isinstance(inner, Known)
        return Known(inner.data.reshape(*x.data.shape[:2], *inner.data.shape[1:]))

    def layer(self, path: str, name: str, arguments: dict[str, Any], x: Shape) -> Shape:
        assert isinstance(x, Known)
        for made in (self.pointwise, self.weighted, self.reshaped):
            if (found := made(path, name, arguments, x.data)) is not None:
                activation = arguments.get("activation", "linear") if name != "Activation" else "linear"
                if not isinstance(activation, str) or activation not in ACTIVATIONS:
                    raise Unwritten(str(activation))
                return Known(ACTIVATIONS[activation](found))
        raise Unwritten(name)

    def pointwise(self, path: str, name: str, arguments: dict[str, Any], x: Tensor) -> Tensor | None:
        """A layer that keeps the shape."""
        match name:
            case "Activation":
                if arguments["activation"] not in ACTIVATIONS:
                    raise Unwritten(str(arguments["activation"]))
                return ACTIVATIONS[arguments["activation"]](x)
            case "ReLU":
                return x.clamp(min=0)
            case "LeakyReLU":
                return torch.where(x < 0, x * arguments["negative_slope"], x)
            case "Dropout" | "Identity":
                return x
            case "Rescaling":
                return x * arguments["scale"]
            case "UnitNormalization":
                return x / x.square().sum(-1, keepdim=True).clamp(min=1e-12).sqrt()
            case "LayerNormalization":
                scaled = (x - x.mean(-1, keepdim=True)) / (x.var(-1, False, keepdim=True) + 1e-3).sqrt()
                return scaled * self.weight(path, "weight") + self.weight(path, "bias")
            case "RMSNormalization":
                return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * self.weight(path, "weight")
            case "GroupNormalization":
                groups = x.reshape(x.shape[0], -1, arguments["groups"], x.shape[-1] // arguments["groups"])
                centred = groups - groups.mean((1, 3), keepdim=True)
                scaled = (centred / (groups.var((1, 3), False, keepdim=True) + 1e-3).sqrt()).reshape(x.shape)
                return scaled * self.weight(path, "weight") + self.weight(path, "bias")
            case "BatchNormalization":
                mean, variance = self.weight(path, "running_mean"), self.weight(path, "running_var")
                scaled = (x - mean) / (variance + 1e-3).sqrt()
                return scaled * self.weight(path, "weight") + self.weight(path, "bias")
        return None

    def weighted(self, path: str, name: str, arguments: dict[str, Any], x: Tensor) -> Tensor | None:
        """A product, a table, or a convolution that pads with zeros to keep its sizes."""
        if name == "Dense":
            return self.biased(x @ self.weight(path, "weight").T, path, arguments)
        if name == "Embedding":
            return self.weight(path, "weight")[x]
        if name == "Bidirectional":
            wraps = arguments["wraps"]
            ahead = self.recurrent(path, wraps["layer"], wraps, x)
            return torch.cat(
                [ahead, self.recurrent(path, wraps["layer"], wraps, x.flip(1), "_reverse").flip(1)], -1
            )
        if name == "MultiHeadAttention":
            return self.attention(path, arguments, x)
        if name in ("GRU", "LSTM", "SimpleRNN"):
            return self.recurrent(path, name, arguments, x)
        if name not in ("Conv1D", "Conv2D", "DepthwiseConv1D", "DepthwiseConv2D"):
            return None
        kernel = self.weight(path, "weight")
        causal = arguments["padding"] == "causal"
        windows = windowed(x, kernel.shape[2:], arguments.get("strides", 1), 0.0, causal)
        rank = kernel.dim() - 2
        space, own = "hw"[:rank], "yz"[:rank]
        term = f"nc{space}{own},o{own}c" if not name.startswith("Depthwise") else f"nc{space}{own},c{own}"
        kernel = kernel[:, 0] if name.startswith("Depthwise") else kernel.movedim(1, -1)
        out = "c" if name.startswith("Depthwise") else "o"
        return self.biased(torch.einsum(f"{term}->n{space}{out}", windows, kernel), path, arguments)

    def attention(self, path: str, arguments: dict[str, Any], x: Tensor) -> Tensor:
        """Of a sequence to another, or to itself."""
        heads, width, memory = arguments["num_heads"], arguments["key_dim"], arguments["memory"].data
        query, key, value = (
            (read @ self.weight(path, f"{part}.weight").T + self.weight(path, f"{part}.bias"))
            .reshape(*read.shape[:2], heads, width)
            .transpose(1, 2)
            for part, read in (("query", x), ("key", memory), ("value", memory))
        )
        scores = torch.softmax(query @ key.transpose(2, 3) / width**0.5, -1)
        joined = (scores @ value).transpose(1, 2).reshape(*x.shape[:2], heads * width)
        return joined @ self.weight(path, "output.weight").T + self.weight(path, "output.bias")

    def recurrent(self, path: str, name: str, arguments: dict[str, Any], x: Tensor, end: str = "") -> Tensor:
        """One step after the other, from zeros; gates are in PyTorch's order."""
        own, back = self.weight(path, f"weight_ih_l0{end}"), self.weight(path, f"weight_hh_l0{end}")
        bias, sigmoid = self.weight(path, f"bias_ih_l0{end}"), ACTIVATIONS["sigmoid"]
        hidden = cell = x.new_zeros(x.shape[0], back.shape[1])
        steps = []
        for here in x.unbind(1):
            entering, kept = here @ own.T + bias, hidden @ back.T
            if name == "SimpleRNN":
                hidden = torch.tanh(entering + kept)
            elif name == "LSTM":
                into, forget, value, out = (entering + kept).chunk(4, -1)
                cell = sigmoid(forget) * cell + sigmoid(into) * torch.tanh(value)
                hidden = sigmoid(out) * torch.tanh(cell)
            else:
                reset, keep, new = entering.chunk(3, -1)
                kept = kept + self.weight(path, f"bias_hh_l0{end}")
                of_reset, of_keep, of_new = kept.chunk(3, -1)
                candidate = torch.tanh(new + sigmoid(reset + of_reset) * of_new)
                share = sigmoid(keep + of_keep)
                hidden = share * hidden + (1 - share) * candidate
            steps.append(hidden)
        return torch.stack(steps, 1) if arguments.get("return_sequences") else hidden

    def reshaped(self, path: str, name: str, arguments: dict[str, Any], x: Tensor) -> Tensor | None:
        """A layer without weights that makes another shape."""
        axes = tuple(range(1, x.dim() - 1))
        match name:
            case "GlobalMaxPooling1D":
                return x.amax(axes)
            case "GlobalAveragePooling1D" | "GlobalAveragePooling2D":
                return x.mean(axes, keepdim=arguments.get("keepdims", False))
            case "Permute":
                return x.permute(0, *arguments["dims"])
            case "RepeatVector":
                return x[:, None].expand(-1, arguments["n"], -1)
            case "Reshape":
                return x.reshape(x.shape[0], *arguments["target_shape"])
            case "UpSampling2D":
                return x.repeat_interleave(2, 1).repeat_interleave(2, 2)
            case "MaxPooling1D" | "MaxPooling2D" | "AveragePooling2D":
                return pooled(name, arguments, x)
        return None


def windowed(x: Tensor, sizes: Sequence[int], stride: int, filler: float, causal: bool = False) -> Tensor:
    """The windows of a value, which keep its sizes but for the stride: batch, channels, places, windows."""
    sides: list[int] = []
    for size, window in zip(reversed(x.shape[1:-1]), reversed(sizes), strict=True):
        missing = max((-(-size // stride) - 1) * stride + window - size, 0)
        before = window - 1 if causal else missing // 2
        sides += [before, 0 if causal else missing - before]
    windows = F.pad(x.movedim(-1, 1), sides, value=filler)
    for axis, window in enumerate(sizes, 2):
        windows = windows.unfold(axis, window, stride)
    return windows


def pooled(name: str, arguments: dict[str, Any], x: Tensor) -> Tensor:
    """The largest value of each window, or the mean of what is not padding."""
    if arguments.get("padding") != "same":
        raise Unwritten(f"{name} without padding")
    size = arguments.get("pool_size", 2)
    sizes, stride = [size] * (x.dim() - 2), arguments.get("strides", size)
    over = tuple(range(-len(sizes), 0))
    if name.startswith("Max"):
        return windowed(x, sizes, stride, -torch.inf).amax(over).movedim(1, -1)
    count = windowed(torch.ones_like(x), sizes, stride, 0.0).sum(over)
    return (windowed(x, sizes, stride, 0.0).sum(over) / count).movedim(1, -1)
