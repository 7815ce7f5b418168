"""One bad spec for every code, each with what must be said about it: `# error: [code] column=7` on the line at fault."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from graphspec.compiler import check
from graphspec.diagnostics import CODES, Diagnostic, Diagnostics, render

BAD = Path(__file__).parent / "bad"
SPECS = sorted(BAD.glob("*.yaml"))
EXPECTED = re.compile(r"# error: \[([a-z-]+)\](?: column=(\d+))?")

Expectation = tuple[int, str, int | None]


def expectations(text: str) -> list[Expectation]:
    """Line, code and (where it is written) column of each diagnostic that the comments of a spec ask for."""
    return [
        (number, match[1], int(match[2]) if match[2] else None)
        for number, line in enumerate(text.splitlines(), 1)
        for match in EXPECTED.finditer(line)
    ]


def diagnose(spec: Path | str, **given: object) -> tuple[list[Diagnostic], dict[str, str]]:
    diagnostics, sources = Diagnostics(), dict[str, str]()
    check(spec, diagnostics, sources, **given)  # type: ignore[arg-type]
    return diagnostics.sorted(), sources


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_bad_spec(path: Path) -> None:
    found, sources = diagnose(path)
    expected = expectations(path.read_text())
    assert expected
    shown = "\n\n".join(render(diagnostic, sources) for diagnostic in found)
    assert len(found) == len(expected), shown
    for diagnostic, (line, code, column) in zip(found, expected, strict=True):
        span = diagnostic.span
        assert span is not None, shown
        assert (span.line, diagnostic.code) == (line, code), shown
        assert column is None or span.column == column, shown
        assert Path(span.file) == path, shown
