"""Keras' activations: what each becomes in PyTorch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from graphspec.contract.helpers import helper
from graphspec.contract.layer import LayerError
from graphspec.tensor import Tensor


@dataclass(frozen=True, slots=True)
class ActivationCode:
    """`inline` is an expression of `{x}` and, for those that run over an axis, `{axis}`; `function` is the
    same as a callable. `inplace` are the two that overwrite their input, where PyTorch can do so at no cost
    to gradients.
    """

    inline: str
    function: str
    helpers: tuple[str, ...] = ()
    axis: bool = False
    inplace: tuple[str, str] | None = None

    def written(self, inplace: bool) -> ActivationCode:
        """The same, as it overwrites its input if that is asked for, and if there is a way."""
        if not inplace or self.inplace is None:
            return self
        return replace(self, inline=self.inplace[0], function=self.inplace[1])


def _plain(name: str) -> ActivationCode:
    return ActivationCode(f"{name}({{x}})", name)


ACTIVATIONS: dict[str, ActivationCode] = {
    "linear": ActivationCode("{x}", "nn.Identity()"),
    "relu": ActivationCode("F.relu({x})", "F.relu", inplace=("F.relu({x}, inplace=True)", "F.relu_")),
    "relu6": _plain("F.relu6"),
    "elu": _plain("F.elu"),
    "selu": _plain("F.selu"),
    "celu": _plain("F.celu"),
    "gelu": _plain("F.gelu"),
    "silu": _plain("F.silu"),
    "swish": _plain("F.silu"),
    "hard_silu": _plain("F.hardswish"),
    "hard_swish": _plain("F.hardswish"),
    "mish": _plain("F.mish"),
    "softplus": _plain("F.softplus"),
    "softsign": _plain("F.softsign"),
    "log_sigmoid": _plain("F.logsigmoid"),
    "hard_sigmoid": _plain("F.hardsigmoid"),
    "hard_tanh": _plain("F.hardtanh"),
    "soft_shrink": _plain("F.softshrink"),
    "hard_shrink": _plain("F.hardshrink"),
    "tanh_shrink": _plain("F.tanhshrink"),
    "sigmoid": ActivationCode("{x}.sigmoid()", "torch.sigmoid"),
    "tanh": ActivationCode("{x}.tanh()", "torch.tanh"),
    "exponential": ActivationCode("{x}.exp()", "torch.exp"),
}


def _helped(keras: str, source: str, inline: str | None = None, axis: bool = False) -> None:
    name = source.removeprefix("def ").partition("(")[0]
    helper(name, source)
    ACTIVATIONS[keras] = ActivationCode(inline or f"{name}({{x}})", name, () if inline else (name,), axis)


_helped(
    "leaky_relu",
    '''
def leaky_relu(x: Tensor) -> Tensor:
    """Keras' leaky ReLU, whose slope is 0.2."""
    return F.leaky_relu(x, 0.2)
'''.strip(),
    "F.leaky_relu({x}, 0.2)",
)
_helped(
    "softmax",
    '''
def softmax(x: Tensor) -> Tensor:
    """Softmax over the last axis."""
    return x.softmax(-1)
'''.strip(),
    "{x}.softmax({axis})",
    axis=True,
)
_helped(
    "log_softmax",
    '''
def log_softmax(x: Tensor) -> Tensor:
    """Logarithm of the softmax over the last axis."""
    return x.log_softmax(-1)
'''.strip(),
    "{x}.log_softmax({axis})",
    axis=True,
)
_helped(
    "glu",
    '''
def glu(x: Tensor) -> Tensor:
    """Gated linear unit over the last axis."""
    return F.glu(x, -1)
'''.strip(),
    "F.glu({x}, {axis})",
    axis=True,
)
_helped(
    "squareplus",
    '''
def squareplus(x: Tensor) -> Tensor:
    """A smooth ReLU without exponentials: (x + sqrt(x^2 + 4)) / 2."""
    return (x + (x * x + 4).sqrt()) / 2
'''.strip(),
)
_helped(
    "sparse_plus",
    '''
def sparse_plus(x: Tensor) -> Tensor:
    """0 below -1, x above 1, and (x + 1)^2 / 4 between."""
    return torch.where(x <= -1, 0.0, torch.where(x >= 1, x, (x + 1).square() / 4))
'''.strip(),
)
_helped(
    "sparse_sigmoid",
    '''
def sparse_sigmoid(x: Tensor) -> Tensor:
    """0 below -1, 1 above 1, and (x + 1) / 2 between."""
    return ((x + 1) / 2).clamp(0, 1)
'''.strip(),
)
_helped(
    "sparsemax",
    '''
def sparsemax(x: Tensor, dim: int = -1) -> Tensor:
    """Projection onto the probability simplex along an axis (Martins and Astudillo, 2016)."""
    ordered = x.sort(dim, descending=True).values
    sums = ordered.cumsum(dim) - 1
    shape = [-1 if axis == dim % x.dim() else 1 for axis in range(x.dim())]
    rank = torch.arange(1, x.shape[dim] + 1, device=x.device, dtype=x.dtype).view(shape)
    support = (ordered * rank > sums).sum(dim, keepdim=True)
    return (x - sums.gather(dim, support - 1) / support).clamp(min=0)
'''.strip(),
    axis=True,
)
ACTIVATIONS["sparsemax"] = ActivationCode("sparsemax({x}, {axis})", "sparsemax", ("sparsemax",), axis=True)


def _known(name: str) -> str:
    if name not in ACTIVATIONS:
        raise PydanticCustomError(
            "unknown_name",
            "unknown activation",
            {"word": name, "legal": sorted(ACTIVATIONS), "what": "activation"},
        )
    return name


def _none_is_linear(name: Any) -> Any:
    return "linear" if name is None else name


ActivationName = Annotated[
    str,
    BeforeValidator(_none_is_linear),
    AfterValidator(_known),
    WithJsonSchema({"enum": [*sorted(ACTIVATIONS), None]}),
]
"""The type of an `activation` argument: a name of Keras' activations; null is `linear`."""


def activated(x: Tensor, activation: str) -> Tensor:
    """The type of `activation(x)`: a gated linear unit halves the last axis."""
    code = ACTIVATIONS[activation]
    if code.axis and x.rank < 2:
        raise LayerError(
            "wrong-rank",
            f"`{activation}` runs along the last axis, and {x} has none beside the batch",
            inputs=(0,),
        )
    if activation != "glu":
        return x
    size = x.shape[-1]
    if isinstance(size, int) and size % 2:
        raise LayerError(
            "shapes-differ",
            f"`glu` halves the last axis, and {x} has an odd one",
            argument="activation",
            inputs=(0,),
        )
    return x.with_shape(*x.shape[:-1], size // 2)
