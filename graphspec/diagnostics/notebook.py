"""How objects are shown in notebooks: HTML without scripts or styles of its own."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from graphspec.diagnostics.text import plain


def preformatted(text: str) -> str:
    """A text whose columns are aligned by spaces."""
    return f'<pre style="line-height: 1.3; overflow-x: auto">{escape(text)}</pre>'


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table; numbers are rounded as on the console, None is empty."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(_cell(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><caption>{escape(title)}</caption><tr>{top}</tr>{body}</table>"


def _cell(value: object) -> str:
    if value is None or isinstance(value, list):
        return ""
    return plain(value) if isinstance(value, float) else str(value)
