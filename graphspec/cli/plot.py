"""`plot`: a spec as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from graphspec.cli.common import Json, Preset, Set, Spec, compiling, misuse, one_of
from graphspec.cli.outputs import Force, check_output, marked, need_apart_from, need_place, of_format, write
from graphspec.cli.printing import answer
from graphspec.diagnostics.terminal import say

DIRECTIONS = ("down", "right")


def plot(
    spec: Spec,
    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Output file: .svg .png .pdf .html .mmd; - writes SVG to stdout.",
        ),
    ],
    depth: Annotated[
        int | None,
        typer.Option("--depth", metavar="N", min=0, help="Open blocks and models to N levels; 0: none."),
    ] = None,
    expand: Annotated[
        bool, typer.Option("--expand", help="Open all blocks and models. [default: as many as are readable]")
    ] = False,
    direction: Annotated[
        str | None,
        one_of("--direction", words="down|right", help="Direction of the data flow. [default: down]"),
    ] = None,
    slide: Annotated[
        bool,
        typer.Option("--slide", help="Fit a 16:9 slide, with the depth and direction that read best."),
    ] = False,
    force: Force = False,
    settings: Set = None,
    preset: Preset = None,
    as_json: Json = False,
) -> None:
    """Draw the graph as a picture, an interactive page or Mermaid.

    Example: graphspec plot specs/resnet50.yaml --depth 1 -o resnet50.svg
    """
    from graphspec.plot import CONVERTED, converted
    from graphspec.plot import plot as drawn

    path = None if output == "-" else Path(output)
    suffix = _suffix(path, slide)
    if path is not None:
        check_output(path, of_format(suffix[1:]), force, [spec])
        need_place(path)
    if direction not in (None, *DIRECTIONS):
        raise misuse("--direction", f"`{direction}` is not down or right")
    if depth is not None and expand:
        raise misuse("--depth", "give `--depth` or `--expand`, not both")
    if path is None and as_json:
        raise misuse("-o", "`-` and `--json` both write to stdout")
    with compiling(spec, settings, preset, as_json) as program:
        need_apart_from(program, path)
        right = None if direction is None else direction == "right"
        kind = ".svg" if suffix in CONVERTED else suffix
        text = drawn(program, kind, expand=expand, depth=depth, right=right, slide=slide)
        data = converted(text, suffix) if suffix in CONVERTED else text.encode()
        if path is None:
            say(text, end="")
            return
        write(path, marked(data, suffix[1:]))
        answer(as_json, f"wrote {path}", file=str(path))


def _suffix(path: Path | None, slide: bool) -> str:
    """The suffix of the picture. Raises `BadParameter` for an invalid path."""
    from graphspec.plot import PICTURES, SUFFIXES

    if path is None:
        return ".svg"
    known = PICTURES if slide else SUFFIXES
    if path.suffix not in known:
        kinds = f"{', '.join(known[:-1])} or {known[-1]}"
        why = "; a slide is a picture" if slide else ""
        raise misuse("-o", f"{path} does not end in {kinds}; the suffix selects the format{why}")
    return path.suffix
