"""`plot`: a spec as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from graphspec.cli.build import write
from graphspec.cli.common import Json, Preset, Set, Spec, compiling, print_json


def plot(
    spec: Spec,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="FILE", help="Where to: .svg, .html, or .mmd for Mermaid."),
    ],
    expand: Annotated[
        bool, typer.Option("--expand", help="Open all blocks and models, not as many as stay readable.")
    ] = False,
    settings: Set = None,
    preset: Preset = None,
    as_json: Json = False,
) -> None:
    """Draw the graph: a picture, a page to explore, or Mermaid."""
    from graphspec.plot import SUFFIXES
    from graphspec.plot import plot as drawn

    if output.suffix not in SUFFIXES:
        known = f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
        raise typer.BadParameter(f"{output} is no {known}; the suffix says what is drawn", param_hint="-o")
    if output.is_dir():
        raise typer.BadParameter(f"{output} is a directory", param_hint="-o")
    if not output.parent.is_dir():
        raise typer.BadParameter(f"there is no directory {output.parent}", param_hint="-o")
    with compiling(spec, settings, preset, as_json) as program:
        write(output, drawn(program, output.suffix, expand))
        if as_json:
            print_json({"ok": True, "file": str(output)})
        else:
            typer.echo(f"wrote {output}")
