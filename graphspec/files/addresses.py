"""Addresses of stores: whether they are outside of the working directory."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from graphspec.files.reading import is_within

LOCAL = ("", "file", "sqlite")
"""The schemes of stores that are files of this machine."""
SERVICES = ("databricks", "databricks-uc", "uc")
"""Words that MLflow reads as a server, though they look like paths."""


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
