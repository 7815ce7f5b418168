"""Collects diagnostics, and raises them once all are known."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from graphspec.diagnostics.diagnostic import OF_ROWS, OF_SPECS, Diagnostic, Span
from graphspec.diagnostics.remedy import Change, Remedy
from graphspec.diagnostics.text import split_lines


class SpecError(Exception):
    """An error in the spec; see `diagnostics`. Its text is the rendering without source lines."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        from graphspec.diagnostics.rendering import render

        self.diagnostics = tuple(dict.fromkeys(diagnostics))
        super().__init__("\n\n".join(render(diagnostic, {}) for diagnostic in self.diagnostics))

    def _repr_html_(self) -> str:
        from graphspec.diagnostics.notebook import preformatted

        return preformatted(str(self))


class TooManyMistakes(SpecError):
    """Ends a check whose errors are more than anyone reads: those that were found are collected."""


class Superseded(Exception):
    """Ends a check whose result nobody waits for any more."""


def fail(
    code: str, message: str, help: str | None = None, *notes: str, span: Span | None = None
) -> SpecError:
    """The error of one mistake, to be raised."""
    return SpecError([Diagnostic(code, message, span, help=help, notes=notes)])


MAX_ERRORS = 500
MEANT = re.compile(r"#\s*ok:\s*([a-z-]+(?:\s*,\s*[a-z-]+)*)")
"""The comment that silences warnings on its line: `# ok: dropout-last`."""
SILENCED = frozenset([*OF_SPECS, *OF_ROWS])
"""The warnings that a comment may silence."""


class Diagnostics:
    """Collects the diagnostics of all stages, so that one run reports every mistake. A check asks between
    its parts whether it is still `wanted`.
    """

    def __init__(self, wanted: Callable[[], bool] | None = None) -> None:
        self._wanted = wanted
        self._found: list[Diagnostic] = []
        self._errors = 0  # that were added

    def add(self, diagnostic: Diagnostic) -> None:
        """Raises `TooManyMistakes` if there are more errors than anyone reads."""
        self._found.append(diagnostic)
        self._errors += diagnostic.severity == "error"
        if self._errors >= MAX_ERRORS and diagnostic.severity == "error":
            raise TooManyMistakes(self.sorted())

    def go_on(self) -> None:
        """Raises `Superseded` if the check is not wanted any more."""
        if self._wanted is not None and not self._wanted():
            raise Superseded

    def withdraw(self, code: str, start: Span, end: Span) -> int:
        """Removes the diagnostics between two places of a file, because another explains them; returns their
        number.
        """
        before = len(self._found)
        self._found = [
            each
            for each in self._found
            if each.code != code or each.span is None or not start <= each.span <= end
        ]
        return before - len(self._found)

    def amend(self, change: Callable[[Diagnostic], Diagnostic]) -> None:
        """Replaces each diagnostic by what `change` makes of it."""
        self._found = [change(each) for each in self._found]

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[Diagnostic]:
        return iter(self._found)

    @property
    def errors(self) -> bool:
        return any(diagnostic.severity == "error" for diagnostic in self._found)

    @property
    def are_cut(self) -> bool:
        """Whether the check has ended with these, as there are more errors than anyone reads."""
        return self._errors >= MAX_ERRORS

    def sorted(self) -> list[Diagnostic]:
        """By file and place, those without a place first; of two with one code and place, the first found."""
        unique: dict[object, Diagnostic] = {}
        for diagnostic in self._found:
            key = (diagnostic.code, diagnostic.span or diagnostic.message)
            unique.setdefault(key, diagnostic)
        nowhere = Span("", 0, 0, 0, 0)
        return sorted(unique.values(), key=lambda diagnostic: diagnostic.span or nowhere)

    def silence(self, sources: Mapping[str, str], whole: bool = False) -> None:
        """Removes warnings whose code follows `# ok:` on their line; `sources` are texts by file.

        Where the `whole` of a program was looked at, a comment that silences nothing is reported.
        """
        meant = {(place.file, place.line, code): place for place, code in _comments(sources)}
        told = {_place(each): each for each in self._found}
        if whole:
            for key in sorted(key for key in meant.keys() - told.keys() if key[2] in OF_SPECS):
                self._found.append(_unused(key[2], meant[key]))
        self._found = [each for each in self._found if _place(each) not in meant]

    def raise_if_errors(self) -> None:
        if self.errors:
            raise SpecError(self.sorted())


def _place(diagnostic: Diagnostic) -> tuple[str, int, str] | None:
    """The line and the code of a warning."""
    span = diagnostic.span
    return (span.file, span.line, diagnostic.code) if diagnostic.severity == "warning" and span else None


def _comments(sources: Mapping[str, str]) -> Iterator[tuple[Span, str]]:
    """Each code after `# ok:`, and where the comment is."""
    for file, text in sources.items():
        for number, line in enumerate(split_lines(text), 1) if "ok:" in text else ():
            if (match := MEANT.search(line)) is not None:
                place = Span(file, number, match.start() + 1, number, match.end() + 1)
                yield from ((place, code) for code in re.split(r"\s*,\s*", match[1]) if code in SILENCED)


def _unused(code: str, place: Span) -> Diagnostic:
    message = f"`# ok: {code}` silences nothing: this line has no such warning"
    help = "remove it, or write it on the line of the warning"
    if place.end_column - place.column <= len(f"#  ok:  {code}"):  # the only code of its comment
        help = Remedy(help, Change("", where="comment"))
    return Diagnostic("unused-ok", message, place, severity="warning", help=help)
