"""`build`: a spec's model as a file."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from graphspec.cli.common import Json, Preset, Set, Spec, compiling, print_json, running


def build(
    spec: Spec,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Where to, - for stdout. [default: SPEC's name in ., with .py]",
        ),
    ] = None,
    format: Annotated[
        str, typer.Option("--format", metavar="py", help="py: a Python file that needs torch only.")
    ] = "py",
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite a file that graphspec did not write.")
    ] = False,
    no_check: Annotated[
        bool, typer.Option("--no-check", help="Without the forward pass: for models larger than memory.")
    ] = False,
    settings: Set = None,
    preset: Preset = None,
    as_json: Json = False,
) -> None:
    """Write the model as PyTorch, after one forward pass has proved it."""
    if format != "py":
        raise typer.BadParameter(f"this version writes py, not {format}", param_hint="--format")
    path = None if output == "-" else Path(output or f"{spec.stem}.py")
    if path is not None:
        check_target(path, force)
    with compiling(spec, settings, preset, as_json) as program:
        source = program.source
        if not no_check:
            help = "`--no-check` writes the file without running it"
            with running(program, "build-failed", "the forward pass fails", help):
                program.module()(*program.example_inputs().values())
        if path is not None:
            write(path, source)
        if as_json:
            print_json({"ok": True, "file": str(path) if path else None, "source": None if path else source})
        else:
            typer.echo(f"wrote {path}" if path else source, nl=path is not None)


def check_target(path: Path, force: bool) -> None:
    """Refuses to write over a file that this command did not write."""
    if path.is_dir():
        raise typer.BadParameter(f"{path} is a directory", param_hint="-o")
    if not path.parent.is_dir():
        raise typer.BadParameter(f"there is no directory {path.parent}", param_hint="-o")
    if path.exists() and not force:
        with path.open(encoding="utf-8", errors="replace") as stream:
            head = stream.read(2000)
        if head and not re.match(r'"""[^"]+: [^"]+ -> [^"]+"""', head):  # as every emitted file begins
            raise typer.BadParameter(
                f"{path} exists and is not graphspec's; --force overwrites it", param_hint="-o"
            )


def write(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be written: {error.strerror}", param_hint="-o") from None
    finally:
        temporary.unlink(missing_ok=True)
