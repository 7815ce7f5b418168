"""`fmt`: spec files in the one layout."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from graphspec.cli.common import Json, spec_files
from graphspec.cli.fixing import difference, rewrite
from graphspec.cli.printing import count_of, print_json, reporting
from graphspec.diagnostics.terminal import say


def fmt(
    specs: Annotated[
        list[Path],
        typer.Argument(metavar="SPEC...", help="Spec files, directories of specs, or - for standard input."),
    ],
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit with 1 if a file would change.")
    ] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Like --check, and print what would change.")] = False,
    as_json: Json = False,
) -> None:
    """Format specs in the layout of the gallery.

    Only white space changes; comments, values and their order stay.

    Example: graphspec fmt specs/
    """
    from graphspec.files.whole import sweep

    files: list[dict[str, Any]] = []
    sources: dict[str, str] = {}
    with reporting(as_json, sources):
        found = [*spec_files(specs)]
        if not (check or diff):
            sweep(found)
        for spec in found:
            files.append({"file": str(spec), **_format(spec, check or diff, diff, as_json, sources)})
    changed, left = sum(each["changed"] for each in files), sum(each["left"] for each in files)
    failed = bool(left or (changed and (check or diff)))
    if as_json:
        print_json({"ok": not failed, "files": files})
    elif str(specs[0]) != "-" or check or diff:
        done, right = "would change" if check or diff else "changed", len(files) - changed - left
        kept = f", {count_of(left, 'file')} left" if left else ""
        say(f"{count_of(changed, 'file')} {done}, {count_of(right, 'file')} as they should be{kept}")
    if failed:
        raise typer.Exit(1)


def _format(spec: Path, keep: bool, diff: bool, quiet: bool, sources: dict[str, str]) -> dict[str, Any]:
    """Whether a file has `changed`: it gets the layout, unless it is to be kept; and whether it is `left` as
    it is, because the layout does not hold what it holds. Raises `SpecError`.
    """
    from graphspec.diagnostics import SpecError
    from graphspec.diagnostics.foreign_terms import other_file
    from graphspec.formatting import laid_out

    if (mistake := other_file(spec)) is not None:
        raise SpecError([mistake])
    before = text_of(spec, sources)

    formatted, right = laid_out(before)
    after = before if formatted is None else formatted
    told: dict[str, Any] = {"changed": after != before, "left": not right}
    if diff:
        told["diff"] = difference(before, after, str(spec))
    if not right and not quiet:
        why = "the layout would change its values or its comments"
        say(f"{spec}: left as it is: {why}", sys.stderr)
    if str(spec) == "-" and not keep:
        say(after, end="")
    elif after != before:
        if diff and not quiet:
            say(told["diff"], end="")
        elif not keep:
            rewrite(spec, after)
            if not quiet:
                say(f"{spec}: formatted")
    return told


def text_of(spec: Path, sources: dict[str, str]) -> str:
    """The text of a file. Raises `SpecError` where it cannot be read as YAML."""
    from graphspec.diagnostics import Diagnostics, SpecError, fail
    from graphspec.files.reading import content
    from graphspec.formatting.layout import unreadable
    from graphspec.source import read

    try:
        raw: str | bytes = sys.stdin.read() if str(spec) == "-" else content(spec)
    except OSError as error:
        message = f"`{spec}` cannot be read: {error.strerror or error}"
        raise fail("spec-missing", message) from None
    sources[str(spec)] = raw if isinstance(raw, str) else raw.decode("utf-8", "replace")
    diagnostics = Diagnostics()
    read(raw, str(spec), diagnostics)
    if wrong := unreadable(diagnostics):
        raise SpecError(wrong)
    return sources[str(spec)]
