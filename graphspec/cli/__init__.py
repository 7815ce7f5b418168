"""The command line.

Only what every command needs is imported here: a command imports the rest, and the commands of other files
are imported when they are named, so that `check` starts fast.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graphspec.cli.common import (
    AllowUrl,
    Commands,
    Json,
    Preset,
    Set,
    count_of,
    print_json,
    reporting,
    settings_of,
    show,
    spec_files,
)
from graphspec.cli.plugins import without_plugins
from graphspec.diagnostics.terminal import say

if TYPE_CHECKING:
    from graphspec.compiled_spec import Program
    from graphspec.diagnostics import Diagnostics

app = typer.Typer(
    name="graphspec",
    cls=Commands,
    help="Compile YAML specs to PyTorch modules, and train them.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """The entry point. Most of the time of `check` is its start: no plugin of pydantic's is searched for."""
    without_plugins()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(
                errors="backslashreplace"
            )  # a terminal without these letters is no reason to fail
    app()


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("-V", "--version", help="Print the version.")] = False,
) -> None:
    if version:
        from graphspec.version import __version__

        say(f"graphspec {__version__}")
        raise typer.Exit


@app.command()
def check(
    specs: Annotated[
        list[Path],
        typer.Argument(metavar="SPEC...", help="Spec files, directories of specs, or - for standard input."),
    ],
    rows: Annotated[
        bool, typer.Option("--data", help="Read the data as train does, and look at a batch.")
    ] = False,
    allow_url: AllowUrl = False,
    settings: Set = None,
    preset: Preset = None,
    as_json: Json = False,
) -> None:
    """Check specs for every mistake that shows without running them.

    Example: graphspec check specs/
    """
    from graphspec import compiler
    from graphspec.diagnostics import Diagnostics

    files, wrong, count = [], 0, 0
    sources: dict[str, str] = {}
    with reporting(as_json, sources):
        values = settings_of(settings, sources)
        for spec in spec_files(specs):
            diagnostics = Diagnostics()
            text = sys.stdin.read() + "\n" if str(spec) == "-" else spec
            program = compiler.check(text, diagnostics, sources, preset=preset, settings=values)
            if program is not None:
                program.allow_url = allow_url
                _check_around(program, spec.parent, diagnostics, rows)
                if program.tuning is not None:
                    from graphspec.tune.checks import check_search

                    check_search(program, diagnostics, preset, values)
            found = diagnostics.sorted()
            errors = sum(diagnostic.severity == "error" for diagnostic in found)
            wrong, count = wrong + bool(errors), count + errors
            files.append({"file": str(spec), "ok": not errors, "diagnostics": [d.to_json() for d in found]})
            if not as_json:
                show(found, sources, sys.stdout)
                if not errors:
                    say(f"{spec}: ok")
        if as_json:
            print_json({"ok": not wrong, "files": files})
        elif wrong:
            say(f"{count_of(count, 'error')} in {count_of(wrong, 'file')}")
        if wrong:
            raise typer.Exit(1)


def _check_around(program: Program, root: Path, diagnostics: Diagnostics, rows: bool) -> None:
    """Checks what a program needs besides its graph: data, whose paths are relative to `root`, and weights.
    With `rows`, those of the data, too.
    """
    from graphspec.diagnostics import SpecError
    from graphspec.weights import check_weight_files

    if program.data is not None:
        from graphspec.data.checking import check_files

        for mistake in check_files(program, root):
            diagnostics.add(mistake)
    check_weight_files(program.graph, program.path, diagnostics)
    if program.trains:
        from graphspec.custom.adaptive import check_adaptive
        from graphspec.weights.trainable import check_trainable

        check_adaptive(program.graph, diagnostics)
        check_trainable(program, diagnostics)
    if rows and not diagnostics.errors:
        from graphspec.train.loop import look

        try:
            told = look(program, root)
        except SpecError as error:
            told = error.diagnostics
        for each in told:
            diagnostics.add(each)
