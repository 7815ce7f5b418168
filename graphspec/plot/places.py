"""The sources of boxes: the YAML of a node, and the lines of Python compiled from it."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from typing import Any

from graphspec.diagnostics import Diagnostics, Span
from graphspec.elaborated import BaseProgram
from graphspec.plot.picture import Box
from graphspec.source import Document, read


class Places:
    """The sources of boxes, numbered in the order of requests."""

    def __init__(self, program: BaseProgram):
        self._file = program.graph.definition.file
        self._documents: dict[str, Document | None] = {}
        self._ends: dict[str, dict[int, int]] = {}
        self._sources = program.sources
        self._code: dict[Span, list[tuple[int, str]]] = defaultdict(list)
        lines = program.source.split("\n")
        emitted = program.emitted
        for number, place in emitted.places.items():
            for span in {place, *emitted.nodes.get(number, ())}:
                self._code[span].append((number, lines[number - 1]))
        self.digits = len(str(len(lines)))
        """Of the largest line number."""
        self._numbers: dict[Span, int] = {}

    def numbers(self, box: Box) -> list[int]:
        """The numbers of a box's sources in `listed`."""
        spans = list(box.spans)
        if box.kind in ("input", "output") and (document := self._document(self._file)) is not None:
            section = f"{box.kind}s"
            listed = isinstance(document.value[section], list)  # `outputs: [a, b]`
            spans.append(document.key((section,) if listed else (section, box.name)))
        return [self._numbers.setdefault(span, len(self._numbers)) for span in spans]

    def listed(self) -> list[dict[str, Any]]:
        """For each source its name, its YAML, and its lines of Python with their numbers."""
        return [
            {"place": f"{span.file}:{span.line}", "text": self._yaml(span), "code": self._python(span)}
            for span in self._numbers
        ]

    def _python(self, span: Span) -> list[tuple[int, str]]:
        return sorted(self._code.get(span, []))

    def _document(self, file: str) -> Document | None:
        if file not in self._documents:
            self._documents[file] = read(self._sources[file], file, Diagnostics())
        return self._documents[file]

    def _yaml(self, span: Span) -> str:
        """The text from a key to the end of its value, without its indentation."""
        document = self._document(span.file)
        if document is None:
            return ""
        if span.file not in self._ends:
            self._ends[span.file] = document.value_ends()
        line = document.lines[span.line - 1]
        start = line + span.column - 1
        text = document.text[start : self._ends[span.file].get(start, start)]
        lines = textwrap.dedent(" " * (start - line) + text).rstrip().splitlines()
        while len(lines) > 1 and lines[-1].lstrip().startswith("#"):
            lines.pop()  # lines that belong to the next key
        return "\n".join(lines)
