"""How diagnostics are collected, and raised once all of them are known."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from graphspec.diagnostics.diagnostic import Diagnostic, Span
from graphspec.diagnostics.rendering import render, split_lines


class SpecError(Exception):
    """The spec is at fault: `diagnostics` says where. Its text is the rendering without source lines."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = tuple(dict.fromkeys(diagnostics))
        super().__init__("\n\n".join(render(diagnostic, {}) for diagnostic in self.diagnostics))


MAX_DIAGNOSTICS = 500
MEANT = re.compile(r"#\s*ok:\s*([a-z-]+(?:\s*,\s*[a-z-]+)*)")
"""The comment that silences warnings on its line: `# ok: dropout-last`."""


class Diagnostics:
    """Collects what all stages find, so that one run reports every mistake."""

    def __init__(self) -> None:
        self._found: list[Diagnostic] = []

    def add(self, diagnostic: Diagnostic) -> None:
        """Raises SpecError with all that was found when that is more than anyone reads."""
        self._found.append(diagnostic)
        if len(self._found) >= MAX_DIAGNOSTICS:
            raise SpecError(self.sorted())

    def withdraw(self, code: str, start: Span, end: Span) -> int:
        """Takes back what was found between two places of a file, for another mistake explains it; how many
        that were.
        """
        before = len(self._found)
        self._found = [
            each
            for each in self._found
            if each.code != code or each.span is None or not start <= each.span <= end
        ]
        return before - len(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[Diagnostic]:
        return iter(self._found)

    @property
    def errors(self) -> bool:
        return any(diagnostic.severity == "error" for diagnostic in self._found)

    def sorted(self) -> list[Diagnostic]:
        """By file and place, those without a place first; of two with one code and place, the first found."""
        unique: dict[object, Diagnostic] = {}
        for diagnostic in self._found:
            key = (diagnostic.code, diagnostic.span or diagnostic.message)
            unique.setdefault(key, diagnostic)
        nowhere = Span("", 0, 0, 0, 0)
        return sorted(unique.values(), key=lambda diagnostic: diagnostic.span or nowhere)

    def silence(self, sources: Mapping[str, str]) -> None:
        """Leaves out warnings whose code stands behind `# ok:` on their line; `sources` are texts by file."""
        lines = {file: split_lines(text) for file, text in sources.items()}
        self._found = [each for each in self._found if not _is_meant(each, lines)]

    def raise_if_errors(self) -> None:
        if self.errors:
            raise SpecError(self.sorted())


def _is_meant(diagnostic: Diagnostic, lines: Mapping[str, list[str]]) -> bool:
    """Whether the line of a warning says that it is meant."""
    span = diagnostic.span
    if diagnostic.severity != "warning" or span is None or span.file not in lines:
        return False
    found = MEANT.search(lines[span.file][span.line - 1])
    return found is not None and diagnostic.code in re.split(r"\s*,\s*", found[1])
