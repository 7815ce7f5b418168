"""The commands, as typer runs them.

Only what every command needs is imported here: a command imports the rest, and the commands of other files
are imported when they are named.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from graphspec.cli.checking import check_files
from graphspec.cli.common import AllowUrl, Commands, Json, Preset, Set, misuse, settings_of, spec_files
from graphspec.cli.help import GroupedCommand
from graphspec.cli.printing import answer, reporting
from graphspec.diagnostics.terminal import say

app = typer.Typer(
    name="graphspec",
    cls=Commands,
    help="Compile YAML specs to PyTorch modules, and train them.\n\n"
    "Example: graphspec new first; graphspec train first.yaml",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("-V", "--version", help="Print the version.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --version: print the version of the language, too, as JSON.")
    ] = False,
) -> None:
    command = context.invoked_subcommand
    if as_json and command is not None and not version:
        raise misuse("--json", "options come after the command", f"write `graphspec {command} ... --json`")
    if version:
        from graphspec.version import LANGUAGE, __version__

        answer(as_json, f"graphspec {__version__}", graphspec=__version__, language=LANGUAGE)
        raise typer.Exit


@app.command(cls=GroupedCommand)
def check(
    specs: Annotated[
        list[Path],
        typer.Argument(metavar="SPEC...", help="Spec files, directories of specs, or - for standard input."),
    ],
    inspect: Annotated[
        bool, typer.Option("--inspect", help="Read all of the data, and inspect a batch.")
    ] = False,
    data: Annotated[bool, typer.Option("--data", hidden=True)] = False,
    no_data: Annotated[
        bool, typer.Option("--no-data", help="Open no file of data, not even for its header.")
    ] = False,
    allow_url: AllowUrl = False,
    fix: Annotated[bool, typer.Option("--fix", help="Fix mistakes that have only one remedy.")] = False,
    unsafe: Annotated[
        bool,
        typer.Option("--unsafe-fixes", help="Also apply remedies that may not be what you meant."),
    ] = False,
    diff: Annotated[
        bool, typer.Option("--diff", help="Print what --fix would change, and write nothing.")
    ] = False,
    against: Annotated[
        Path | None,
        typer.Option("--against", metavar="SOLUTION", help="Tell whether it means the same as this spec."),
    ] = None,
    settings: Set = None,
    preset: Preset = None,
    as_json: Json = False,
) -> None:
    """Check specs for mistakes, without running them.

    Example: graphspec check specs/ --fix
    """
    if data:
        say("`--data` is called `--inspect`", sys.stderr)
    inspect = inspect or data
    if inspect and no_data:
        raise misuse("--inspect", "it reads the data, and --no-data opens none")
    sources: dict[str, str] = {}
    with reporting(as_json, sources):
        values = settings_of(settings, sources)
        mend = None
        if fix or unsafe or diff:
            from graphspec.cli.fixing import fix_file

            mend = partial(
                fix_file,
                unsafe=unsafe,
                diff=diff,
                quiet=as_json,
                preset=preset,
                settings=values,
                data=not no_data,
            )
        reading = False if no_data else inspect or None
        files = list(spec_files(specs))
        if against is not None and len(files) != 1:
            raise misuse("--against", f"one spec is compared, and these are {len(files)}")
        if not check_files(files, sources, values, preset, allow_url, reading, mend, against, as_json):
            raise typer.Exit(1)
