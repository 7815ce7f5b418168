"""`diff`: what changed from one spec to another."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from graphspec.cli.common import Json, Set, compiling, misuse
from graphspec.cli.printing import colors, print_json
from graphspec.diagnostics.terminal import say

Old = Annotated[Path, typer.Argument(metavar="A", help="A spec file, or a run directory.")]
New = Annotated[
    Path | None,
    typer.Argument(metavar="[B]", help="A spec file, or a run directory. [default: A]", show_default=False),
]
Presets = Annotated[
    list[str] | None,
    typer.Option("--preset", metavar="NAME", help="A preset of B; if given twice, the first is for A."),
]
ExitCode = Annotated[bool, typer.Option("--exit-code", help="Exit with 1 if they differ.")]


def diff(
    old: Old,
    new: New = None,
    exit_code: ExitCode = False,
    settings: Set = None,
    presets: Presets = None,
    as_json: Json = False,
) -> None:
    """Show what changed from one spec or run to another.

    --set and --preset apply to B.

    Example: graphspec diff runs/digits-1 specs/digits.yaml
    """
    chosen = list(presets or [])
    if len(chosen) > 2:
        raise misuse("--preset", "there are two specs, and so at most two presets")
    theirs, ours = [None] * (2 - len(chosen)) + chosen
    with (
        compiling(spec_of(old), None, theirs, as_json, warnings=False) as before,
        compiling(spec_of(new or old), settings, ours, as_json, warnings=False) as after,
    ):
        from graphspec.compare import compare
        from graphspec.compare.table import render

        comparison = compare(before, after)
        if as_json:
            print_json({"ok": True, **comparison.to_json()})
        else:
            say(render(comparison, colors(sys.stdout)), painted=True)
    if exit_code and not comparison.same:
        raise typer.Exit(1)


def spec_of(path: Path) -> Path:
    """The spec of a run's directory; another path is one itself."""
    from graphspec.files.run_files import SPEC

    return path / SPEC if (path / SPEC).is_file() else path
