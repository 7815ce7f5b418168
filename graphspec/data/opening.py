"""Which files a program's `data:` names, and the places of the spec that ask for them. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphspec.data.files import DataFile, format_of
from graphspec.data.mistakes import fail
from graphspec.diagnostics import Span


@dataclass(frozen=True, slots=True)
class Opening:
    """A file of `data:`, and the place of the spec that names it."""

    path: Path
    options: DataFile
    span: Span | None = None
    within: Path | None = None
    """The directory that its links may not leave."""


def opening(
    program: Any, key: str, file: DataFile | None, root: Path | None, path: Path | None = None
) -> Opening | None:
    """The file under a key of `data:`; `path`, from the command line, replaces it and may lie anywhere.

    It is read with the options of the one that it replaces, where both are of one format. Raises `SpecError`
    (data-outside).
    """
    if path is not None:
        same = file is not None and format_of(path.name) == file.format
        return Opening(path, file if same and file is not None else DataFile(path=str(path)))
    if file is None:
        return None
    root, span = root or Path(), program.span(("data", key))
    full = root / file.path
    if not full.resolve().is_relative_to(root.resolve()):
        help = "move it beside the spec, or name it with `--data`"
        message = f"`{file.path}` lies outside the directory of the spec"
        raise fail("data-outside", message, help, span=span)
    return Opening(full, file, span, root)


def spans_of(program: Any) -> dict[str, Span | None]:
    """Where the spec asks for each field: the inputs, and the outputs or their targets."""
    spans = {name: program.span(("inputs", name), True) for name in program.inputs}
    for name, output in program.outputs.items():
        key = ("outputs", name) if output.target == name else ("outputs", name, "target")
        spans.setdefault(output.target, program.span(key, True))
    return spans
