"""PyTorch's functions by their names: what each becomes.

A handler takes the writer, and the arguments by the names of PyTorch's schema.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from graphspec.diagnostics import by_word

Handler = Callable[..., Any]
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
"""Random functions that take of a tensor its shape."""
DROPOUTS = frozenset(by_word(of="dropout native_dropout feature_dropout alpha_dropout feature_alpha_dropout"))


def word_of(node: fx.Node) -> str:
    """The name of PyTorch's function that a node calls, without the underscore of those in place; or ""."""
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        return target._schema.name.partition("::")[2].removesuffix("_")
    return ""


def is_random(node: fx.Node) -> bool:
    """Whether it draws random numbers."""
    target = node.target
    return isinstance(target, torch._ops.OpOverload) and torch.Tag.nondeterministic_seeded in target.tags


def depends(node: fx.Node, data: set[fx.Node]) -> bool:
    """Whether the elements of a node depend on data: not those of what is made in the shape of a tensor."""
    if not isinstance(node.meta.get("val"), (Tensor, list, tuple)):
        return isinstance(node.target, torch._ops.HigherOrderOperator)
    shaped = word_of(node) in CREATES or word_of(node) in SHAPED
    return not shaped and any(each in data for each in node.all_input_nodes)


def known(target: Any) -> bool:
    """Whether a function has a handler, or needs none: it makes a tensor, or gives a number."""
    name = target._schema.name.partition("::")[2]
    word = name.removesuffix("_") if not name.startswith("_") else name
    made = not any("Tensor" in str(argument.type) for argument in target._schema.arguments)
    return word in HANDLERS or word in CREATES or made or name.startswith(("sym_", "_assert"))


def handles(*names: str) -> Callable[[Handler], Handler]:
    """Registers the function that translates these functions of PyTorch."""

    def register(handler: Handler) -> Handler:
        for name in names:
            HANDLERS[name] = handler
        return handler

    return register
