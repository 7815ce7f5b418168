"""Names and values as a first spec writes them."""

from __future__ import annotations

import re
from unicodedata import combining, normalize

from graphspec.source.scalars import resolve
from graphspec.source.writing import write_flow

TAKEN = (
    "index",
    "logits",
    "batch",
    "facts",
    "kinds",
    "kind_vectors",
    "many_kinds",
    "many_kinds_vectors",
    "many_kinds_flat",
    "many_kinds_codes",
    "kind_codes",
    "all",
    "hidden",
    "drop",
    "exact",
    "exact_vectors",
    "exact_flat",
    "exact_codes",
)
"""Names that have a meaning in the language, or in what is written here."""


def word(name: str, instead: str = "column") -> str:
    """An identifier for a column's name; `instead` where the name has no letter or digit of ASCII."""
    unaccented = "".join(c for c in normalize("NFKD", name.replace("ß", "ss")) if not combining(c))
    identifier = re.sub(r"\W+", "_", unaccented, flags=re.ASCII).strip("_") or instead
    is_value = not isinstance(resolve(identifier), str)  # true, null
    return f"c_{identifier}" if is_value or identifier[0].isdigit() or identifier in TAKEN else identifier


def on_a_line(name: str) -> str:
    """A name in a comment."""
    return name if name.isprintable() else ascii(name)[1:-1]


def flow(value: object) -> str:
    """A value on one line of YAML; a dollar sign in it is no reference. Keys have none."""
    return write_flow(_literal(value))


def _literal(value: object) -> object:
    if isinstance(value, dict):
        return {key: _literal(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_literal(each) for each in value]
    return value.replace("$", "$$") if isinstance(value, str) else value
