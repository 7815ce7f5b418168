"""The command line.

Only what every command needs is imported here: a command imports the rest, and the commands of other files
are imported when they are named, so that `check` starts fast.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphspec.cli.common import (
    AllowUrl,
    Commands,
    Json,
    Preset,
    Set,
    answer,
    count_of,
    print_json,
    reporting,
    settings_of,
    show,
    spec_files,
)
from graphspec.cli.plugins import without_plugins
from graphspec.diagnostics.terminal import say, without_failing

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
    without_failing()
    app()


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("-V", "--version", help="Print the version.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --version: also those of the language and of JSON documents.")
    ] = False,
) -> None:
    if version:
        from graphspec.version import LANGUAGE, __version__

        answer(as_json, f"graphspec {__version__}", graphspec=__version__, language=LANGUAGE)
        raise typer.Exit


@app.command()
def check(
    specs: Annotated[
        list[Path],
        typer.Argument(metavar="SPEC...", help="Spec files, directories of specs, or - for standard input."),
    ],
    rows: Annotated[bool, typer.Option("--data", help="Read all of the data, and inspect a batch.")] = False,
    allow_url: AllowUrl = False,
    fix: Annotated[bool, typer.Option("--fix", help="Fix mistakes that have only one remedy.")] = False,
    unsafe: Annotated[
        bool,
        typer.Option("--unsafe-fixes", help="Also apply remedies that may not be what you meant."),
    ] = False,
    diff: Annotated[
        bool, typer.Option("--diff", help="Print what --fix would change, and write nothing.")
    ] = False,
    settings: Set = None,
    preset: Preset = None,
    as_json: Json = False,
) -> None:
    """Check specs for mistakes, without running them.

    Example: graphspec check specs/ --fix
    """
    from graphspec.diagnostics import Diagnostics
    from graphspec.fixing.checking import check_spec

    files, wrong, count = [], 0, 0
    sources: dict[str, str] = {}
    with reporting(as_json, sources):
        values = settings_of(settings, sources)
        for spec in spec_files(specs):
            fixes: dict[str, Any] = {}
            if fix or unsafe or diff:
                from graphspec.cli.fixing import fix_file

                fixes = fix_file(spec, unsafe, diff, as_json, preset, values)
            diagnostics = Diagnostics()
            text = sys.stdin.read() + "\n" if str(spec) == "-" else spec
            program = check_spec(text, diagnostics, sources, preset, values, allow_url)
            if rows and program is not None and not diagnostics.errors:
                _look(program, spec.parent, diagnostics)
            problems = diagnostics.sorted()
            errors = sum(diagnostic.severity == "error" for diagnostic in problems)
            wrong, count = wrong + bool(errors), count + errors
            if as_json:
                from graphspec.cli.fixing import as_values

                values_found = [as_values(each, sources) for each in problems]
                files.append({"file": str(spec), "ok": not errors, **fixes, "diagnostics": values_found})
            else:
                show(problems, sources, sys.stdout)
                if not errors:
                    say(f"{spec}: ok")
        if as_json:
            print_json({"ok": not wrong, "files": files})
        elif wrong:
            say(f"{count_of(count, 'error')} in {count_of(wrong, 'file')}")
        if wrong:
            raise typer.Exit(1)


def _look(program: Program, root: Path, diagnostics: Diagnostics) -> None:
    """Reads the data, whose paths are relative to `root`, and looks at a batch."""
    from graphspec.diagnostics import SpecError
    from graphspec.train.preparation import look

    try:
        told = look(program, root)
    except SpecError as error:
        told = error.diagnostics
    for each in told:
        diagnostics.add(each)
