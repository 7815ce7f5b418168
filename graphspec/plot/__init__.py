"""A program as a picture: SVG, a page to explore, Mermaid. The same bytes for the same spec."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from graphspec.compiler import Program

SUFFIXES = (".svg", ".html", ".mmd")
"""The kinds of files that `plot` writes."""


def plot(program: Program, suffix: str, expand: bool = False) -> str:
    """The text of a picture of a program: SVG, an HTML page, or Mermaid, as the suffix of its file says.

    Blocks and models are open while the picture stays readable, or all of them where it is to `expand`; on
    the page they can be opened and closed. Raises ValueError for another suffix.
    """
    from graphspec.plot.html import html
    from graphspec.plot.mermaid import mermaid
    from graphspec.plot.picture import draw, unfold
    from graphspec.plot.sections import cut
    from graphspec.plot.svg import svg

    if suffix not in SUFFIXES:
        raise ValueError(f"{suffix} is none of {', '.join(SUFFIXES)}")
    body = cut(draw(program))
    unfold(body, expand)
    if suffix == ".svg":
        return svg(body, program.name)
    return html(body, program) if suffix == ".html" else mermaid(body)
