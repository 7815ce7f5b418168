"""A spec sends trackers nowhere outside of the working directory without permission."""

from __future__ import annotations

from collections.abc import Iterator

from graphspec.diagnostics import Diagnostic, SpecError
from graphspec.elaborated import BaseProgram


def need_permission(program: BaseProgram) -> None:
    """Raises `SpecError` (address-not-allowed) for callbacks that write to where the spec sends them."""
    if not program.allow_url and (refused := list(_refused(program))):
        raise SpecError(refused)


def _refused(program: BaseProgram) -> Iterator[Diagnostic]:
    for callback in program.training.callbacks:
        for key, address in callback.addresses():
            path = ("train", "callbacks", callback.name, key)
            message = f"`{callback.name}` would write to `{address}`, which a spec does by permission alone"
            help = "if it is yours, allow it: `--allow-url`; or leave it out"
            yield Diagnostic("address-not-allowed", message, program.span(path), help=help)
