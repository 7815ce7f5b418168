"""Checks that a spec accepts the values that `tune:` tries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from graphspec import compiler
from graphspec.diagnostics import Diagnostic, Diagnostics, Label, Span, become, unplaced
from graphspec.program import Program
from graphspec.settings import show
from graphspec.tune.config import Range

ALWAYS = frozenset({"unknown-param", "unknown-key", "wrong-type", "unknown-optimizer", "unknown-loss"})
"""Mistakes that no value of another key can mend."""
TRIES = 40
"""The most combinations that are tried before a value is a mistake."""


def check_search(
    program: Program, diagnostics: Diagnostics, preset: str | None, settings: Mapping[str, Any]
) -> None:
    """Reports the keys of `search` that the spec does not have, and the values that it does not accept: those
    that compile neither as the file is, nor with other values of the other keys.
    """
    search = program.tuning.search if program.tuning is not None else {}
    trying = Trying(program, search, preset, settings)
    for key, values in search.items():
        errors = list(trying.mistakes(key))
        if (help := trying.as_integers(key)) is not None and errors:
            told = f"`{key}` is an integer, and `float` draws numbers between {show(values.samples)}"
            wrong = _misfit(told, errors[0][1], program.span(("tune", "search", key)))
            diagnostics.add(replace(wrong, help=help))
            continue
        alike = len(errors) == len(values.samples) and len({problem.message for _, problem in errors}) == 1
        for index, problem in errors[: 1 if alike else None]:
            place = ("tune", "search", key, *(() if alike else (values.kind, index)))
            told = f"`{key}` cannot be {show(values.samples[index])}: {problem.message}"
            diagnostics.add(_misfit(told, problem, program.span(place, key=alike)))


@dataclass(frozen=True, slots=True)
class Trying:
    """Compiles a spec with values of its `search`."""

    program: Program
    search: Mapping[str, Range]
    preset: str | None
    settings: Mapping[str, Any]

    def mistakes(self, key: str) -> Iterator[tuple[int, Diagnostic]]:
        """The values of a key that are not legal, by their number, each with what is wrong."""
        for index, value in enumerate(self.search[key].samples):
            problem = self._problem({key: value})
            if problem is not None and (problem.code in ALWAYS or not self._mended(key, value)):
                yield index, replace(problem, message=problem.message.removeprefix(f"--set {key}: "))

    def as_integers(self, key: str) -> str | None:
        """The remedy for a range of numbers of a key that takes integers, with the same bounds."""
        values = self.search[key]
        low, high = values.samples[0], values.samples[-1]
        step = getattr(values, "step", None)
        if values.kind != "float" or not all(float(each or 1).is_integer() for each in (low, high, step)):
            return None
        if any(self._problem({key: int(each)}) is not None for each in (low, high)):
            return None
        if all(self._problem({key: each}) is None for each in (low + 0.5, low)):
            return None
        written = self.program.document["tune"]["search"][key]
        new = {"int" if name == "float" else name: item for name, item in written.items()}
        return become(new, f"write int: {show([int(low), int(high)])}")

    def _mended(self, key: str, value: Any) -> bool:
        """Whether a value compiles with other values of the other keys."""
        others = ({**some, key: value} for some in self._others(key))
        return any(self._problem(values) is None for values in islice(others, TRIES))

    def _others(self, key: str) -> Iterator[dict[str, Any]]:
        """Values of the other keys: one at a time, then of all together."""
        rest = {name: values.nearby for name, values in self.search.items() if name != key}
        for name, nearby in rest.items():
            yield from ({name: value} for value in nearby)
        for index in range(max(map(len, rest.values()), default=0)):
            yield {name: nearby[index % len(nearby)] for name, nearby in rest.items()}

    def _problem(self, values: Mapping[str, Any]) -> Diagnostic | None:
        """The first mistake of the spec with these values."""
        program = self.program
        shown = program.span(()).file
        text = program.sources[shown]  # as it was checked: it may not be saved
        diagnostics = Diagnostics()
        choices = compiler.Choices(preset=self.preset, settings={**self.settings, **values})
        compiler.check_text(text, shown, program.path, diagnostics, {}, choices)
        return next((problem for problem in diagnostics.sorted() if problem.severity == "error"), None)


def _misfit(message: str, problem: Diagnostic, place: Span) -> Diagnostic:
    """The mistake of a value at its place in `search`, with that where it goes."""
    label = (Label(problem.span, "where it goes"),) if problem.span is not None else ()
    return Diagnostic(problem.code, message, place, labels=label, help=unplaced(problem.help))
