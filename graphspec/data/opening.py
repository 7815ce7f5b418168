"""Which files a program's `data:` names, and the places of the spec that ask for them. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from graphspec.data import remote
from graphspec.data.features.plan import Fill
from graphspec.data.files import DataFile, alike
from graphspec.data.in_memory_source import Given
from graphspec.diagnostics import Span, fail
from graphspec.elaborated import BaseProgram
from graphspec.files.reading import is_within


@dataclass(frozen=True, slots=True)
class Opening:
    """A file of `data:`, and the place of the spec that names it."""

    path: Path | Given
    options: DataFile
    span: Span | None = None
    within: Path | None = None
    """The directory that its links may not leave."""


def opening(
    program: BaseProgram, root: Path | None, path: Path | DataFile | Given | None = None
) -> Opening | None:
    """The training data: a path from the command line, or else the file that `data:` names, if it does.
    Raises `SpecError` (data-outside).
    """
    if path is not None:
        return given_file(program, path)
    named = program.data.first if program.data is not None else None
    return spec_file(program, "train", named, root) if named is not None else None


def given_file(program: BaseProgram, path: Path | DataFile | Given) -> Opening:
    """Data from the command line, which may lie anywhere, in place of the training data. They are read with
    the options of these, where both are of one format, but for a delimiter that they have of their own.
    """
    if isinstance(path, DataFile):
        opened = given_file(program, Path(path.path))
        return replace(opened, options=opened.options.model_copy(update={"delimiter": path.delimiter}))
    named = program.data.first if program.data is not None else None
    same = named is not None and alike(path.name, named.path)
    return Opening(path, named if same and named is not None else DataFile(path=str(path)))


def spec_file(program: BaseProgram, key: str, file: DataFile, root: Path | None) -> Opening:
    """The file under a key of `data:`, `train.plain` of a source. Raises `SpecError` (data-outside)."""
    root, span = root or Path(), program.span(("data", *key.split(".")))
    if remote.is_remote(file.path):
        if not program.allow_url:
            message = f"`{file.path}` lies in object storage, which a spec reads by permission alone"
            raise fail(
                "data-outside", message, "allow it: `--allow-url`; or name it with `--data`", span=span
            )
        return Opening(Path(file.path), file, span)
    full = root / file.path
    if not is_within(full, root):
        help = "move it next to the spec, or name it with `--data`"
        message = f"`{file.path}` lies outside the directory of the spec"
        raise fail("data-outside", message, help, span=span)
    return Opening(full, file, span, root)


def named(program: BaseProgram) -> dict[str, str]:
    """The paths that a program's `data:` names, by their keys there."""
    files = program.data.files if program.data is not None else {}
    return {".".join(place): file.path for place, file in files.items()}


def spanner(program: BaseProgram) -> Callable[[Fill, str], Span | None]:
    """Where the spec of a program asks for a column: at its feature, or at the input or output it fills."""

    def span(fill: Fill, column: str) -> Span | None:
        name = fill.field
        if fill.feature is not None:
            path: tuple[str | int, ...] = ("data", "features", name)
            several = getattr(fill.feature, "columns", None)
            if several:
                which = (several.index(column),) if column in several else ()
                feature_span: Span | None = program.span((*path, "columns", *which))
            elif fill.feature.column is not None:
                feature_span = program.span((*path, "column"))
            else:
                feature_span = program.span(path, key=True)
            return feature_span
        if fill.output is None:
            return program.span(("inputs", name), key=True)
        key = ("outputs", fill.output) if name == fill.output else ("outputs", fill.output, "target")
        return program.span(key, key=True)

    return span
