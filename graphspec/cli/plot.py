"""`plot`: a spec as a picture."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from graphspec.cli.common import Json, Preset, Set, Spec, compiling, print_json, replacing

DIRECTIONS = ("down", "right")


def plot(
    spec: Spec,
    output: Annotated[
        str,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Where to: .svg .png .pdf .html .mmd; - for SVG to stdout."
        ),
    ],
    depth: Annotated[
        int | None,
        typer.Option("--depth", metavar="N", min=0, help="Open blocks and models N levels deep; 0: none."),
    ] = None,
    expand: Annotated[
        bool, typer.Option("--expand", help="Open all blocks and models, not as many as stay readable.")
    ] = False,
    direction: Annotated[
        str | None,
        typer.Option("--direction", metavar="down|right", help="Where the data flows to. [default: down]"),
    ] = None,
    slide: Annotated[
        bool,
        typer.Option(
            "--slide", help="Fill a slide of 16:9; take the depth and direction that are read best."
        ),
    ] = False,
    settings: Set = None,
    preset: Preset = None,
    as_json: Json = False,
) -> None:
    """Draw the graph: a picture, a page to explore, or Mermaid.

    Example: graphspec plot specs/resnet50.yaml --depth 1 -o resnet50.svg
    """
    from graphspec.plot import CONVERTED, converted
    from graphspec.plot import plot as drawn

    path = None if output == "-" else Path(output)
    suffix = _suffix(path, slide)
    if direction not in (None, *DIRECTIONS):
        raise typer.BadParameter(f"`{direction}` is not down or right", param_hint="--direction")
    if depth is not None and expand:
        raise typer.BadParameter("one of `--depth` and `--expand`", param_hint="--depth")
    if path is None and as_json:
        raise typer.BadParameter("`-` and `--json` both take stdout", param_hint="-o")
    with compiling(spec, settings, preset, as_json) as program:
        right = None if direction is None else direction == "right"
        text = drawn(program, ".svg" if suffix in CONVERTED else suffix, expand, depth, right, slide)
        data = converted(text, suffix) if suffix in CONVERTED else text.encode()
        if path is None:
            sys.stdout.write(text)
            return
        with replacing(path) as temporary:
            temporary.write_bytes(data)
        if as_json:
            print_json({"ok": True, "file": str(path)})
        else:
            typer.echo(f"wrote {path}")


def _suffix(path: Path | None, slide: bool) -> str:
    """What kind of file is drawn. Raises `BadParameter` for a path that cannot be one."""
    from graphspec.plot import PICTURES, SUFFIXES

    if path is None:
        return ".svg"
    known = PICTURES if slide else SUFFIXES
    if path.suffix not in known:
        kinds = f"{', '.join(known[:-1])} or {known[-1]}"
        why = "; a slide is a picture" if slide else ""
        raise typer.BadParameter(f"{path} is no {kinds}; the suffix says what is drawn{why}", param_hint="-o")
    if path.is_dir():
        raise typer.BadParameter(f"{path} is a directory", param_hint="-o")
    if not path.parent.is_dir():
        raise typer.BadParameter(f"there is no directory {path.parent}", param_hint="-o")
    return path.suffix
