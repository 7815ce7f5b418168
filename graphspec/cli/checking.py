"""The command `graphspec check`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphspec.cli.printing import count_of, print_json, show
from graphspec.diagnostics.terminal import say

if TYPE_CHECKING:
    from graphspec.diagnostics import Diagnostics
    from graphspec.program import Program


def check_files(
    specs: Iterable[Path],
    sources: dict[str, str],
    settings: Mapping[str, Any] | None = None,
    preset: str | None = None,
    allow_url: bool = False,
    data: bool | None = None,
    fix: Callable[[Path], Mapping[str, Any]] | None = None,
    against: Path | None = None,
    as_json: bool = False,
) -> bool:
    """Prints the mistakes in specs, and how one differs in meaning from that `against`. Returns whether
    there is nothing to tell.

    `-` is standard input; with `data` all of it is read, by default only headers, if it is false nothing;
    `fix` mends a file first, and returns what the document of `as_json` says of it.
    """
    from graphspec.diagnostics import Diagnostics
    from graphspec.diagnostics.collecting import MAX_ERRORS
    from graphspec.fixing.checking import check_spec

    files, wrong, count, cut = [], 0, 0, False
    for spec in specs:
        fixes = fix(spec) if fix is not None else {}
        diagnostics = Diagnostics()
        text = sys.stdin.read() + "\n" if str(spec) == "-" else spec
        program = check_spec(text, diagnostics, sources, preset, settings, allow_url, data is not False)
        unread = data is False and program is not None and program.data is not None
        if data and program is not None and not diagnostics.errors:
            _look(program, spec.parent, diagnostics)
        told = None
        if against is not None and program is not None and not diagnostics.errors:
            told = _hints(program, against, sources)
        problems = diagnostics.sorted()
        errors = sum(diagnostic.severity == "error" for diagnostic in problems)
        wrong, count, cut = wrong + bool(errors or told), count + errors, cut or diagnostics.are_cut
        if as_json:
            from graphspec.cli.fixing import as_values

            values = [as_values(each, sources) for each in problems]
            left: dict[str, Any] = {"not_checked": ["data"]} if unread else {}
            left |= {"more": True} if diagnostics.are_cut else {}
            left |= {"against": {"same": not told, "hints": told}} if told is not None else {}
            files.append({"file": str(spec), "ok": not errors, **fixes, **left, "diagnostics": values})
        else:
            show(problems, sources, sys.stdout)
            if not errors:
                say(f"{spec}: ok" + ("; not checked: data" if unread else ""))
            if told is not None:
                say(f"{spec}: {'not yet as' if told else 'means the same as'} {against}")
                for hint in told:
                    say(f"hint: {hint}")
    if as_json:
        print_json({"ok": not wrong, "files": files})
    elif count:
        more = f"; a check ends after {MAX_ERRORS} in a file, so there may be more" if cut else ""
        say(f"{count_of(count, 'error')} in {count_of(wrong, 'file')}{more}")
    return not wrong


def _hints(program: Program, against: Path, sources: dict[str, str]) -> list[str]:
    """How an answer differs from its solution. Raises `SpecError` where that has mistakes."""
    from graphspec import compiler
    from graphspec.compare.meaning import hints
    from graphspec.diagnostics import Diagnostics

    diagnostics = Diagnostics()
    solution = compiler.check(against, diagnostics, sources)
    diagnostics.raise_if_errors()
    assert solution is not None
    return hints(program, solution)


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
