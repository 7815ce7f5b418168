"""Values given to keys of a spec from outside of its file, each with the text that gives it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from graphspec.diagnostics import Diagnostic, Diagnostics
from graphspec.source import Document, Path, read
from graphspec.source.writing import write_flow

COMMAND_LINE = "<command line>"
EXAMPLE = "write a number, such as "
"""How the help begins that has an example of a number."""
IN_PYTHON = "<settings>"
"""The name of overrides in diagnostics, where files have their names."""


class Overrides(dict[str, Any]):
    """Values by param or dotted path. `places` has the document of each and the path of its value there."""

    def __init__(self) -> None:
        super().__init__()
        self.places: dict[str, tuple[Document, Path]] = {}


def from_command_line(pairs: Iterable[tuple[str, str]], sources: dict[str, str]) -> Overrides:
    """The values of `--set key=text`, each text read as YAML. Raises `SpecError` for what is not YAML, and
    `ValueError` for what is not one value.
    """
    return _read([(f"--set {key}=", key, text) for key, text in pairs], COMMAND_LINE, sources)


def from_python(values: Mapping[str, Any], sources: dict[str, str]) -> Overrides:
    """The values of a mapping, which are plain data."""
    overrides = _read(
        [(f"{key}: ", key, write_flow(value)) for key, value in values.items()], IN_PYTHON, sources
    )
    overrides.update(values)
    return overrides


def in_options(diagnostic: Diagnostic, sources: Mapping[str, str]) -> Diagnostic:
    """A diagnostic at a value of `--set`, its example written as that option."""
    span, help = diagnostic.span, diagnostic.help or ""
    example = help.removeprefix(EXAMPLE)
    if span is None or span.file != COMMAND_LINE or example == help:
        return diagnostic
    option, _, _ = sources[COMMAND_LINE].split("\n")[span.line - 1].partition("=")
    at_start = span.column == len(option) + 2
    return replace(diagnostic, help=f"write a number: {option}={example}") if at_start else diagnostic


def _read(lines: list[tuple[str, str, str]], file: str, sources: dict[str, str]) -> Overrides:
    """Overrides that are shown as lines of a file: what is before each value, its key, its text."""
    overrides, diagnostics = Overrides(), Diagnostics()
    if not lines:
        return overrides
    sources[file] = "\n".join(prefix + text for prefix, _, text in lines)
    for number, (prefix, key, text) in enumerate(lines):
        # A key of the prefix's length, so that the value has its column.
        name = "v" * (len(prefix) - 2)
        document = read("\n" * number + f"{name}: {text}", file, diagnostics)
        diagnostics.raise_if_errors()
        if document is None or set(document.value) != {name}:
            raise ValueError(f"`{text}` is not one value")
        _, _, value = document.root[2][name]
        at = number + prefix.index(key)
        document.root[2][name] = (at, at + len(key), value)
        overrides[key] = document.value[name]
        overrides.places[key] = (document, (name,))
    return overrides
