"""The command line.

Only what every command needs is imported here: a command imports the rest, and the commands of other files
are imported when they are named, so that `check` starts fast.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Annotated

import typer

from graphspec.cli.common import (
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
    settings: Set = None,
    preset: Preset = None,
    as_json: Json = False,
) -> None:
    """Check specs for every mistake that shows without running them.

    Example: graphspec check specs/
    """
    from graphspec import compiler
    from graphspec.diagnostics import Diagnostics, SpecError

    files, wrong, count = [], 0, 0
    sources: dict[str, str] = {}
    with reporting(as_json, sources):
        values = settings_of(settings, sources)
        for spec in spec_files(specs):
            diagnostics = Diagnostics()
            text = sys.stdin.read() + "\n" if str(spec) == "-" else spec
            program = compiler.check(text, diagnostics, sources, preset=preset, settings=values)
            if program is not None and program.data is not None:
                from graphspec.data.checking import check_files

                for mistake in check_files(program, spec.parent):
                    diagnostics.add(mistake)
            if program is not None:
                from graphspec.weights import check_weight_files

                check_weight_files(program.graph, program.path, diagnostics)
            if program is not None and program.trains:
                from graphspec.custom.adaptive import check_adaptive

                check_adaptive(program.graph, diagnostics)
                from graphspec.weights.trainable import check_trainable

                check_trainable(program, diagnostics)
            if rows and program is not None and not diagnostics.errors:
                from graphspec.train.loop import look

                try:
                    told = look(program, spec.parent)
                except SpecError as error:
                    told = error.diagnostics
                for each in told:
                    diagnostics.add(each)
            if program is not None and program.tuning is not None:
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
