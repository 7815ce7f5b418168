"""All that `graphspec check` finds: what compiling finds, and what is wrong with the data, weights and search
that a spec names.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from graphspec import compiler
from graphspec.diagnostics import Diagnostics, TooManyMistakes
from graphspec.elaborate import BodyElaborator, Context
from graphspec.program import Program
from graphspec.source import Document

NodesOfFile = BodyElaborator
"""What each node of a file has become."""


class Checked(NamedTuple):
    """What is read of a text: its values, its program where it has no mistake, and what each of its nodes has
    become.
    """

    document: Document | None = None
    program: Program | None = None
    body: NodesOfFile | None = None


def check_spec(
    spec: str | Path,
    diagnostics: Diagnostics,
    sources: dict[str, str],
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    allow_url: bool = False,
    data: bool = True,
) -> Program | None:
    """A spec's program, a path or YAML text; every mistake goes to `diagnostics`. With `allow_url`, data may
    be read from addresses; without `data` no file of data is opened.
    """
    program = compiler.check(spec, diagnostics, sources, preset=preset, settings=settings)
    if program is not None:
        program = replace(program, allow_url=allow_url)
    with suppress(TooManyMistakes):
        _check_beside(program, diagnostics, preset, settings, data)
    return program


def check_spec_text(
    text: str,
    shown: str,
    path: Path | None,
    diagnostics: Diagnostics,
    sources: dict[str, str],
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    data: bool = True,
) -> Checked:
    """The same of the text of a file that may not be saved, with what is read of it: diagnostics call it
    `shown`, its paths are relative to `path`.
    """
    document = compiler.read_spec(text, shown, diagnostics, sources)
    if document is None:
        return Checked()
    context = Context(diagnostics, path)
    choices = compiler.Choices(preset=preset, settings=settings or {})
    program = compiler.check_document(document, path, diagnostics, sources, choices, context)
    with suppress(TooManyMistakes):
        _check_beside(program, diagnostics, preset, settings, data)
    return Checked(document, program, context.body)


def _check_beside(
    program: Program | None,
    diagnostics: Diagnostics,
    preset: str | None,
    settings: Mapping[str, Any] | None,
    data: bool,
) -> None:
    """Checks the files beside a spec that compiles; imports only the code that the spec names."""
    if program is None:
        return
    folder = program.folder or Path()
    if program.data is not None and data:
        from graphspec.data.checking import check_files

        for mistake in check_files(program, folder):
            diagnostics.add(mistake)
    from graphspec.weights import check_weight_files

    check_weight_files(program.graph, program.path, diagnostics)
    if program.declared_training is not None:
        from graphspec.custom.adaptive import check_adaptive
        from graphspec.weights.trainable import check_trainable

        check_adaptive(program.graph, diagnostics)
        check_trainable(program, diagnostics)
    if program.tuning is not None:
        from graphspec.tune.checks import check_search

        check_search(program, diagnostics, preset, settings or {})
