"""State shared by all bodies of an elaboration: files, diagnostics, the budget, and what was read."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from graphspec import std
from graphspec.contract import argument_names
from graphspec.contract.layer import Layer
from graphspec.declarations import Body, File, read_blocks, read_file
from graphspec.diagnostics import Diagnostic, Diagnostics, Label, Span
from graphspec.elaborate.references import sources
from graphspec.files.reading import content
from graphspec.graph import Definition
from graphspec.source import Document, read
from graphspec.tensor import Tensor

MAX_INSTANCES = 50_000
MAX_NESTING = 40
MAX_DEPTH = 80
"""Of nodes that wait for one another, in all bodies: by nesting, or by references that are computed."""


class OutOfBudget(Exception):
    """Raised when the elaboration exceeds its budget, after the diagnostic is added."""


@dataclass(slots=True)
class Reads:
    """Of one body's text, over all its instances: which nodes read which, and whether the outputs were
    reached.
    """

    body: Body
    sources: dict[str, list[str]]  # what the text of each node names
    edges: dict[str, set[str]] = field(default_factory=dict)  # reader ("" is an output) -> what it reads
    called: set[str] = field(default_factory=set)


class Context:
    """One elaboration of one program."""

    def __init__(
        self, diagnostics: Diagnostics, file: FilePath | None, symbols: frozenset[str] | None = None
    ):
        self.diagnostics, self.file = diagnostics, file
        self.symbols = (
            symbols  # params of the file that keep their names in formulas; None where none are kept
        )
        self.sources: dict[str, str] = {}
        self.locations: dict[str, FilePath] = {}  # a document's displayed name -> the file
        self.files: dict[FilePath, File | None] = {}
        self.libraries: dict[str, File] = {}
        self.reads: dict[Definition, Reads] = {}
        self.vocabularies: dict[str, dict[str, int | None]] = {}  # by file: `vocabulary(kinds)` -> its ids
        self.augmented: dict[str, tuple[list[dict[str, Any]], Tensor]] = {}  # `augment` of an input's images
        self.layers: dict[tuple[Any, ...], Layer] = {}  # by their arguments, as text
        self.applied: dict[tuple[Any, ...], Any] = {}  # the outputs of a layer on inputs of these types
        self.instances = 0
        self.depth = 0  # nodes that are being elaborated, each for the sake of the one before
        self.anonymous = 0
        self.body: Any = None  # the `BodyElaborator` of the file, once its elaboration begins

    def error(
        self,
        code: str,
        span: Span | None,
        message: str,
        help: str | None = None,
        *,
        label: str = "",
        labels: Iterable[Label] = (),
        notes: Iterable[str] = (),
    ) -> None:
        self.diagnostics.add(
            Diagnostic(code, message, span, label=label, labels=tuple(labels), notes=tuple(notes), help=help)
        )

    def count(self, span: Span | None) -> None:
        """Counts one instance against the budget. Reports and raises `OutOfBudget` when it is spent."""
        self.instances += 1
        if self.instances > MAX_INSTANCES:
            self.error("out-of-range", span, f"the spec expands to more than {MAX_INSTANCES:,} instances")
            raise OutOfBudget

    def fresh_size(self) -> str:
        """A name for a size that the spec leaves unnamed (`null`)."""
        self.anonymous += 1
        return f"?{self.anonymous}"

    def reads_of(self, definition: Definition, body: Body) -> Reads:
        if definition not in self.reads:
            self.reads[definition] = Reads(body, sources(body))
        return self.reads[definition]

    def model_file(
        self, name: str, base: Document, span: Span | None, open_files: tuple[str, ...]
    ) -> File | None:
        """The model file `name`, relative to the file that names it. Reports why it cannot be read."""
        if self.file is None:
            message = f"the model file `{name}` is relative to a spec that is not a file"
            self.error("model-missing", span, message, _pretrained(name))
            return None
        if "\0" in name:  # which no path has; what read the text has reported it
            return None
        root = FilePath(os.path.realpath(self.file.parent))
        path = FilePath(os.path.realpath(self.locations.get(base.file, self.file).parent / name))
        if not path.is_relative_to(root):
            help = "copy it below the directory of the spec that is built"
            self.error(
                "model-outside", span, f"the model file `{name}` lies outside the directory of the spec", help
            )
            return None
        shown = str(self.file.parent / path.relative_to(root))
        if shown in open_files:
            chain = " -> ".join((*open_files[open_files.index(shown) :], shown))
            self.error("model-recursive", span, f"the model file includes itself: {chain}")
            return None
        if path not in self.files:
            self.files[path] = self._read(path, shown, name, span)
        return self.files[path]

    def library(self, name: str) -> File | None:
        """The file of a block of the library, such as `std/rope`; None if it has none of this name."""
        if name in std.names() and name not in self.libraries:
            document = std.document(name)
            self.sources[name] = document.text
            self.libraries[name] = read_blocks(document, self.diagnostics)
        return self.libraries.get(name)

    def _read(self, path: FilePath, shown: str, name: str, span: Span | None) -> File | None:
        try:
            text = content(path)
        except OSError as error:
            others = sorted(p.name for p in path.parent.glob("*.yaml"))[:8] if path.parent.is_dir() else []
            known = any(other.startswith(path.stem) for other in others)
            help = f"files there: {', '.join(others)}" if others else None
            help = help if known else _pretrained(name) or help
            self.error(
                "model-missing",
                span,
                f"the model file `{name}` cannot be read: {error.strerror or error}",
                help,
            )
            return None
        document = read(text, shown, self.diagnostics, argument_names)
        self.sources[shown] = text.decode("utf-8", "replace")
        self.locations[shown] = path
        return read_file(document, path.stem, self.diagnostics) if document is not None else None


def _pretrained(name: str) -> str | None:
    """The remedy for the name of a model of Hugging Face, which is a folder once it was downloaded."""
    if FilePath(name).suffix in (".yaml", ".yml"):
        return None
    return f"`graphspec import huggingface FOLDER -o {FilePath(name).name}` makes a spec of such a model"
