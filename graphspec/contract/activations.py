"""Keras' activations: what each becomes in PyTorch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

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


def _written(name: str, inline: str = "") -> ActivationCode:
    """One that is a function of `graphspec/emitted/`, where no expression says it as briefly."""
    return ActivationCode(inline or f"{name}({{x}})", name)


ACTIVATIONS |= {
    "leaky_relu": _written("leaky_relu", "F.leaky_relu({x}, 0.2)"),
    "softmax": ActivationCode("{x}.softmax({axis})", "softmax", axis=True),
    "log_softmax": ActivationCode("{x}.log_softmax({axis})", "log_softmax", axis=True),
    "glu": ActivationCode("F.glu({x}, {axis})", "glu", axis=True),
    "squareplus": _written("squareplus"),
    "sparse_plus": _written("sparse_plus"),
    "sparse_sigmoid": _written("sparse_sigmoid"),
    "sparsemax": ActivationCode("sparsemax({x}, {axis})", "sparsemax", axis=True),
}


_SYNONYMS = {"none": "null", "identity": "linear", "logistic": "sigmoid", "lrelu": "leaky_relu"}
_SYNONYMS |= {"logsoftmax": "log_softmax", "softrelu": "softplus"}


def _known(name: str) -> str:
    if name not in ACTIVATIONS:
        raise PydanticCustomError(
            "unknown_name",
            "unknown activation",
            {
                "word": name,
                "legal": [*sorted(ACTIVATIONS), "null"],
                "what": "activation",
                "synonyms": _SYNONYMS,
            },
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
