"""`check --fix`: a spec file with its mistakes mended, and what a diagnostic's fix is as data."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graphspec.cli.common import misuse
from graphspec.cli.printing import count_of
from graphspec.diagnostics import Diagnostic, Diagnostics
from graphspec.diagnostics.terminal import say
from graphspec.fixing.edits import fix_of
from graphspec.fixing.rounds import fixed


def as_values(diagnostic: Diagnostic, sources: Mapping[str, str]) -> dict[str, Any]:
    """A diagnostic of `check --json`: with its fix, or null."""
    fix = fix_of(diagnostic, sources)
    return {**diagnostic.to_json(), "fix": fix.to_json() if fix is not None else None}


def fix_file(
    path: Path,
    unsafe: bool,
    diff: bool,
    quiet: bool,
    preset: str | None,
    settings: Mapping[str, Any],
    data: bool = True,
) -> dict[str, Any]:
    """Mends a file, or says with `diff` what would change; what `check --json` tells of it. Other values than
    texts stay. Without `data` no file of data is opened.
    """
    from graphspec.files import whole
    from graphspec.files.reading import content
    from graphspec.fixing.checking import check_spec_text

    if str(path) == "-":
        raise misuse("--fix", "standard input has no file to mend", "name one")
    try:
        before = content(path).decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return {"fixable": 0, "diff": ""} if diff else {"fixed": 0}  # check itself tells why

    def check(text: str) -> tuple[list[Diagnostic], dict[str, str]]:
        diagnostics, sources = Diagnostics(), dict[str, str]()
        check_spec_text(text, str(path), path, diagnostics, sources, preset, settings, data)
        return diagnostics.sorted(), sources

    if not diff:
        whole.sweep([path])
    result = fixed(before, str(path), check, unsafe)
    if diff:
        told = difference(before, result.text, str(path)) if result.count else ""
        if not quiet:
            say(told or f"{path}: `--fix` would change nothing\n", end="")
        return {"fixable": result.count, "diff": told}
    if result.count:
        rewrite(path, result.text)
    if result.count and not quiet:
        say(f"{path}: {count_of(result.count, 'mistake')} fixed")
    return {"fixed": result.count}


def rewrite(path: Path, text: str) -> None:
    """Writes a text in place of a file that is there."""
    from graphspec.files import whole

    try:
        whole.rewrite(path, text)
    except OSError as error:
        raise misuse("SPEC", f"{path} cannot be written: {error.strerror or error}") from None


UNENDED = "\n\\ No newline at end of file\n"


def difference(before: str, after: str, file: str) -> str:
    """A unified diff."""
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), file, file
    )
    return "".join(line if line.endswith("\n") else line + UNENDED for line in lines)
