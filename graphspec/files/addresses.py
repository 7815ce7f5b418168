"""Addresses of stores: a spec names none outside of the working directory without permission."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from graphspec.diagnostics import Diagnostic, SpecError
from graphspec.files.reading import is_within

LOCAL = ("", "file", "sqlite")
"""The schemes of stores that are files of this machine."""
SERVICES = ("databricks", "databricks-uc", "uc")
"""What MLflow takes for a server, though it looks like a path."""


def leaves(address: str) -> bool:
    """Whether what is written to an address leaves the working directory."""
    parts = urlsplit(address)
    if parts.scheme not in LOCAL or parts.netloc or address.lower() in SERVICES:
        return True
    path = unquote(parts.path)
    if parts.scheme == "sqlite":  # three slashes come before a relative path; SQLite has URLs of its own
        path = path.removeprefix("/")
        if path.startswith("file:"):
            return True
    return not is_within(Path(path), Path())


def need_permission(program: Any) -> None:
    """Raises `SpecError` (address-not-allowed) for callbacks that write to where the spec sends them."""
    if not program.allow_url and (refused := list(_refused(program))):
        raise SpecError(refused)


def _refused(program: Any) -> Iterator[Diagnostic]:
    for callback in program.training.callbacks:
        for key, address in callback.addresses():
            path = ("train", "callbacks", callback.name, key)
            message = f"`{callback.name}` would write to `{address}`, which a spec does by permission alone"
            help = "if it is yours, allow it: `--allow-url`; or leave it out"
            yield Diagnostic("address-not-allowed", message, program.span(path), help=help)
