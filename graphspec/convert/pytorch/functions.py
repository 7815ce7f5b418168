"""PyTorch's functions by their names: what each becomes. A function here takes the writer and the arguments by the names of PyTorch's schema."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Handler = Callable[..., Any]
HANDLERS: dict[str, Handler] = {}
"""By the name of the function, without the underscore of those in place."""
PICKS = frozenset(
    "view reshape permute transpose t slice select squeeze unsqueeze flatten unflatten contiguous detach clone alias "
    "split chunk unbind swapaxes movedim _unsafe_view narrow swapdims adjoint mT detach_ "
    "lift_fresh_copy".split()
)
"""Functions that only pick and arrange elements: of parameters they are parameters again."""


def handles(*names: str) -> Callable[[Handler], Handler]:
    """Registers the function that translates these functions of PyTorch."""

    def register(handler: Handler) -> Handler:
        for name in names:
            HANDLERS[name] = handler
        return handler

    return register
