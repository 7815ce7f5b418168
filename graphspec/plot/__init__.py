"""Draws a program: as SVG, an interactive page, or Mermaid. The same spec gives the same bytes."""

from __future__ import annotations

from graphspec.elaborated import BaseProgram

CONVERTED = (".png", ".pdf")
"""The kinds of files that are made of an SVG file."""
PICTURES = (".svg", *CONVERTED)
"""The kinds that show one view, which can be of the size of a slide."""
SUFFIXES = (*PICTURES, ".html", ".mmd")
"""The kinds of files that there are."""


def plot(
    program: BaseProgram,
    suffix: str,
    *,
    expand: bool = False,
    depth: int | None = None,
    right: bool | None = None,
    slide: bool = False,
) -> str:
    """The text of a picture of a program. The suffix of its file selects SVG, an HTML page, or Mermaid.

    By default blocks and models are open while the picture stays readable; `expand` opens all of them, and
    `depth` opens those of the outermost `depth` levels. On the page the reader can open and close them. The
    picture runs down, or to the `right`. An SVG for a `slide` is 16:9, and chooses a depth and a direction
    that are not given. Raises ValueError for another suffix.
    """
    from graphspec.plot.html import html
    from graphspec.plot.mermaid import mermaid
    from graphspec.plot.picture import depth_of, draw, unfold
    from graphspec.plot.sections import cut
    from graphspec.plot.slide import choose
    from graphspec.plot.svg import slide_svg, svg

    body = cut(draw(program))
    if slide and suffix == ".svg":
        depths = [depth_of(body)] if expand else range(depth_of(body) + 1) if depth is None else [depth]
        return slide_svg(choose(body, (False, True) if right is None else (right,), depths), program.name)
    unfold(body, expand, depth)
    kinds = {
        ".svg": lambda: svg(body, program.name, right is True),
        ".html": lambda: html(body, program, right is True, fixed=expand or depth is not None),
        ".mmd": lambda: mermaid(body, right is True),
    }
    if suffix not in kinds:
        raise ValueError(f"{suffix} is not one of {', '.join(kinds)}")
    return kinds[suffix]()


def converted(svg: str, suffix: str) -> bytes:
    """Converts an SVG file to .png or .pdf. Raises `SpecError` (package-missing) without the extra `plot`."""
    from graphspec.plot.raster import converted

    return converted(svg, suffix)
