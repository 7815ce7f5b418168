"""Checks that a spec accepts the values that `tune:` tries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphspec import compiler
from graphspec.compiled_spec import Program
from graphspec.diagnostics import Diagnostic, Diagnostics, Label
from graphspec.objectives.settings import show
from graphspec.tune.config import Range

ALWAYS = frozenset({"unknown-param", "unknown-key", "wrong-type", "unknown-optimizer", "unknown-loss"})
"""Mistakes that no other value of another key can mend."""
SAMPLES = 8
"""The most values of one key that are tried on the spec."""


def check_search(
    program: Program, diagnostics: Diagnostics, preset: str | None, settings: Mapping[str, Any]
) -> None:
    """Reports the keys of `search` that the spec does not have, or whose values it does not accept.

    It tries the values of a key one by one, and leaves everything else as it is in the file. A value that
    does not compile on its own may compile with other values of other keys. Only a key without any value that
    compiles is a mistake.
    """
    for key, values in program.tuning.search.items() if program.tuning is not None else ():
        _check_key(program, key, values, diagnostics, preset, settings)


def _check_key(
    program: Program,
    key: str,
    values: Range,
    diagnostics: Diagnostics,
    preset: str | None,
    settings: Mapping[str, Any],
) -> None:
    samples = values.samples[:SAMPLES]
    first: tuple[Any, Diagnostic] | None = None
    failed = 0
    for value in samples:
        problem = _problem(program, {**settings, key: value}, preset)
        if problem is None:
            continue
        failed += 1
        first = first or (value, problem)
        if problem.code in ALWAYS:
            first, failed = (value, problem), len(samples)
            break
    if first is None or failed < len(samples):
        return
    value, problem = first
    label = (Label(problem.span, "where it goes"),) if problem.span is not None else ()
    message = problem.message.removeprefix(f"--set {key}: ")
    diagnostics.add(
        Diagnostic(
            problem.code,
            f"`{key}` cannot be {show(value)}: {message}",
            program.span(("tune", "search", key), True),
            labels=label,
            help=problem.help,
        )
    )


def _problem(program: Program, settings: Mapping[str, Any], preset: str | None) -> Diagnostic | None:
    """The first mistake of the spec with these settings."""
    spec = program.path if program.path is not None else program.sources["<spec>"]
    found = Diagnostics()
    compiler.check(spec, found, {}, preset=preset, settings=settings)
    return next((problem for problem in found.sorted() if problem.severity == "error"), None)
