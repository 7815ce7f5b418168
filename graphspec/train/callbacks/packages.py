"""Packages that only some callbacks need."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from graphspec.diagnostics import fail


@contextmanager
def needed(callback: str, extra: str) -> Iterator[None]:
    """Turns an ImportError into a diagnostic that names the package to install."""
    try:
        yield
    except ImportError as error:
        message = f"the callback `{callback}` needs a package that is not installed: {error.name or error}"
        help = f'pip install "graphspec[{extra}]"'
        raise fail("package-missing", message, help) from None
