"""PyTorch's functions by their names: what each becomes.

A handler takes the writer, and those of the arguments that it names, as PyTorch's schema does.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor, fx
from torch.nn import functional as F

from graphspec.contract import REGISTRY
from graphspec.contract.activations import ACTIVATIONS, ActivationFunction
from graphspec.contract.registry import Kind
from graphspec.convert.pytorch.layout import Laid
from graphspec.diagnostics import by_word

Handler = Callable[..., Any]
HandlerT = TypeVar("HandlerT", bound=Handler)
HANDLERS: dict[str, Handler] = {}
"""By the name of the function, without the underscore of those in place."""
PICKS = frozenset(
    by_word(
        of="view reshape permute transpose t slice select expand squeeze unsqueeze flatten unflatten "
        "expand_as contiguous broadcast_to detach clone alias split chunk unbind swapaxes movedim "
        "_unsafe_view narrow swapdims adjoint mT detach_ lift_fresh_copy "
        "cat stack movedim flip roll"
    )
)
"""Functions that only pick and arrange elements: of parameters they are parameters again."""


CREATES = frozenset(
    by_word(of="new_zeros new_ones new_full new_empty zeros_like ones_like full_like empty_like")
)
"""Functions that make a tensor in the shape of another one."""


SHAPED = frozenset(by_word(of="rand_like randn_like randint_like bernoulli normal uniform exponential"))
"""Random functions that read the shape of a tensor."""
DROPOUTS = frozenset(by_word(of="dropout native_dropout feature_dropout alpha_dropout feature_alpha_dropout"))


def word_of(node: fx.Node) -> str:
    """The name of PyTorch's function that a node calls, without the underscore of those in place; or ""."""
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        return target._schema.name.partition("::")[2].removesuffix("_")
    return ""


CALLED_AS = {
    r"upsample_.*": "interpolate",
    r"im2col": "unfold",
    r"col2im": "fold",
    r"(unsafe_)?index|slice": "x[...]",
    r"(slice|select|as_strided|diagonal)_scatter|(unsafe_)?index_put(_impl)?|copy": "x[...] = ...",
    r"embedding_renorm": "embedding",
    r"embedding_bag_.*": "embedding_bag",
    r"to_copy": "to",
    r"(constant|reflection|replication)_pad.*": "pad",
    r"(\w*_)?convolution(_\w*)?": "conv",
    r"(\w*_)?batch_norm(_\w*)?": "batch_norm",
    r"(unsafe_)?masked_index(_put\w*)?": "x[...]",
    r"(thnn_)?(\w*_)?(lstm|gru|rnn)(_\w*)?_cell(_\w*)?": "RNNCell",
    r"weight_norm_.*": "weight_norm",
    r"transformer_encoder_layer.*": "TransformerEncoderLayer",
    r"\w*scaled_dot_product\w*": "scaled_dot_product_attention",
}
"""Users' names for functions that have other names inside PyTorch."""


def called_as(node: fx.Node) -> str:
    """The function of a node as users call it: what it is a part of, where PyTorch defines that by others."""
    word = str(node.meta.get(PART_OF) or word_of(node) or getattr(node.target, "__name__", node.target))
    word = word.strip("_")
    for pattern, name in CALLED_AS.items():
        if re.fullmatch(pattern, word):
            return name
    home, _, member = word.partition("_")
    if member and hasattr(getattr(torch, home, None), member):
        return f"{home}.{member}"
    parts = word.split("_")
    ends = ["_".join(parts[:stop]) for stop in range(len(parts), 0, -1)]
    starts = ["_".join(parts[start:]) for start in range(1, len(parts))]
    return next((each for each in [*ends, *starts] if _is_public(each)), "a function of PyTorch's own")


def _is_public(word: str) -> bool:
    homes = (torch, Tensor, F)
    return any(callable(getattr(home, each, None)) for home in homes for each in (word, f"{word}_"))


PART_OF = "part_of"
"""Under which nodes hold the name of the function that the user called."""


def is_random(node: fx.Node) -> bool:
    """Whether it draws random numbers."""
    target = node.target
    return isinstance(target, torch._ops.OpOverload) and torch.Tag.nondeterministic_seeded in target.tags


RANDOM_OF = frozenset(
    by_word(
        of="aten.bernoulli.default aten.bernoulli.Tensor aten.bernoulli_.Tensor aten.normal.Tensor_float "
        "aten.normal.float_Tensor aten.normal.Tensor_Tensor"
    )
)
"""Overloads of these that read a tensor's elements, not only its shape: probabilities, means, deviations."""


def of_shape(node: fx.Node) -> bool:
    """Whether a function reads only the shape of a tensor."""
    return word_of(node) in CREATES | SHAPED and str(node.target) not in RANDOM_OF


def argument(node: fx.Node, name: str) -> Any:
    """An argument by its name, or its default."""
    target: Any = node.target
    place = _place(node, name)
    value = node.kwargs.get(name, target._schema.arguments[place].default_value)
    return node.args[place] if place < len(node.args) else value


def put(node: fx.Node, name: str, value: Any) -> None:
    """Sets an argument by its name."""
    place = _place(node, name)
    if place < len(node.args):
        node.update_arg(place, value)
    else:
        node.update_kwarg(name, value)


def _place(node: fx.Node, name: str) -> int:
    target: Any = node.target
    return [each.name for each in target._schema.arguments].index(name)


def depends(node: fx.Node, data: set[fx.Node]) -> bool:
    """Whether the elements of a node depend on data: not those of what is made in the shape of a tensor."""
    if not isinstance(node.meta.get("val"), (Tensor, list, tuple)):
        return isinstance(node.target, torch._ops.HigherOrderOperator)
    return not of_shape(node) and any(each in data for each in node.all_input_nodes)


def asserts(target: Any) -> bool:
    """Whether a function only checks a value: it becomes nothing."""
    name: str = target._schema.name
    return name.partition("::")[2].startswith("_assert")


def known(target: Any) -> bool:
    """Whether a function has a handler, or needs none: it makes a tensor, gives a number, or checks one."""
    name = target._schema.name.partition("::")[2]
    word = name.removesuffix("_") if not name.startswith("_") else name
    makes_tensor = not any("Tensor" in str(argument.type) for argument in target._schema.arguments)
    plain = makes_tensor or name.startswith("sym_") or asserts(target)
    return plain or word in CREATES or handler_of(word) is not None


def handles(*names: str) -> Callable[[HandlerT], HandlerT]:
    """Registers the function that translates these functions of PyTorch."""

    def register(handler: HandlerT) -> HandlerT:
        HANDLERS.update(dict.fromkeys(names, handler))
        return handler

    return register


def handler_of(function: str) -> Handler | None:
    """The handler that translates a function: its own, or that of the op or activation that it is."""
    return HANDLERS.get(function) or derived(function)


SPELLED = {
    "true_divide": "divide",
    **{f"__{word}__": f"bitwise_{word}" for word in ("and", "or", "xor")},
    **{f"__{way[0]}shift__": f"bitwise_{way}_shift" for way in ("left", "right")},
}
"""Functions of two tensors that are ops by other names than their own and the synonyms of these."""


def our_word(form: Kind, function: str) -> str:
    """The name of the op or merge that a function of PyTorch is, or that function."""
    word = SPELLED.get(function, function)
    return word if word in REGISTRY[form] else REGISTRY[form].synonyms.get(word, word)


@cache
def derived(function: str) -> Handler | None:
    """A handler for an activation, or an op of single elements, derived from our classes."""
    if activation_of(function) is not None:
        return HANDLERS["an activation"]
    word = our_word("op", function)
    if word not in REGISTRY["op"]:
        return None
    cls = REGISTRY["op"][word]
    if [argument.name for argument in cls.arguments] == ["x"] and cls.flops_per_input == 1:
        packet = getattr(torch.ops.aten, function, None)
        schemas = [getattr(packet, name)._schema.arguments for name in packet.overloads()] if packet else []
        known = {each.name for schema in schemas for each in schema}
        return HANDLERS["an op of one"] if cls.model_fields.keys() <= known else None
    logic = word.startswith(("bitwise_", "logical_")) or word in ("heaviside", "ldexp")
    return HANDLERS["an op of two"] if logic or cls.model_fields.keys() == {"x1", "x2"} else None


def activation_of(function: str) -> type[ActivationFunction] | None:
    """The activation whose code calls a function."""
    plain = function.replace("_", "")
    for word, cls in ACTIVATIONS.items():
        called = getattr(cls, "target", cls.function)
        if called == f"F.{plain}" or (word == function and called.endswith(f".{plain}")):
            return cls
    return None


@dataclass(frozen=True, slots=True)
class Out:
    """The shape and the type of what a function gives, as PyTorch says."""

    shape: tuple[Any, ...]
    dtype: torch.dtype = torch.float32


def write(w: Any, function: str, /, *given: Any, **arguments: Any) -> Laid:
    """Writes what a function of PyTorch becomes; some of them give several tensors. Raises `Unsupported`."""
    handler = handler_of(function)
    assert handler is not None
    takes = _arguments(handler)
    if "self" in arguments and "self" not in takes and "input" in takes:
        arguments["input"] = arguments.pop("self")
    arguments["function"] = function
    taken = {name: value for name, value in arguments.items() if name in takes or "**" in takes}
    written: Laid = handler(w, *given, **taken)
    return written


@cache
def _arguments(handler: Handler) -> frozenset[str]:
    """The names of a handler's arguments, `**` where it takes all others, too."""
    parameters = inspect.signature(handler).parameters.values()
    return frozenset("**" if each.kind is each.VAR_KEYWORD else each.name for each in parameters)
