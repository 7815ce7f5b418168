"""A page of the reference: what is said of something that has a name."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from graphspec.contract import REGISTRY
from graphspec.contract.activations import ActivationFunction
from graphspec.contract.initializers import Initializer
from graphspec.settings import show

SHOWN = 6
"""Words of a list of legal ones that a page shows."""


def width() -> int:
    """Columns of a page: those of the terminal, if it has fewer than 100."""
    return max(40, min(100, shutil.get_terminal_size((100, 24)).columns))


def narrowed(text: str) -> str:
    """A text whose lines fit a terminal that has fewer than 100 columns."""
    if (columns := width()) == 100:
        return text
    return "\n".join("\n".join(textwrap.wrap(line, columns)) for line in text.split("\n"))


@dataclass(frozen=True, slots=True)
class Parameter:
    """An argument of a layer, as a spec writes it."""

    name: str
    type: str
    required: bool
    default: Any
    meaning: str
    """The meaning, in a sentence without a full stop."""

    def to_json(self) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "name": self.name,
            "doc": self.meaning,
            "type": self.type,
            "required": self.required,
        }
        return entry if self.required else {**entry, "default": self.default}

    def lines(self, wide: int) -> Iterator[str]:
        """The lines of its page, after its name in a column that is as `wide`."""
        given = "required" if self.required else f"default: {show(self.default)}"
        before, below = f"  {self.name:<{wide}}  ", " " * (wide + 4)
        for text in filter(None, (self.meaning, f"{folded(self.type)}  [{given}]")):
            yield from textwrap.wrap(
                text, width(), initial_indent=before, subsequent_indent=below, break_long_words=False
            )
            before = below


@dataclass(frozen=True, slots=True)
class ReferenceEntry:
    """The reference entry of a name: a layer, merge or op, or another word."""

    name: str
    kind: str
    family: str
    doc: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    also: tuple[str, ...] = ()
    """Other names of it, here or in other libraries."""
    example: str = ""
    source: str = ""
    """Its text in the language, of a block of the library."""

    @property
    def line(self) -> str:
        """The first sentence of its description."""
        return self.doc.partition("\n")[0]

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind,
            "family": self.family,
            "doc": self.doc,
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
            "arguments": [parameter.to_json() for parameter in self.parameters],
            "also": list(self.also),
            "example": self.example,
            **({"source": self.source} if self.source else {}),
        }

    def text(self) -> str:
        """Its page of the reference."""
        head = f"{self.name} ({self.kind})"
        if self.kind in REGISTRY or self.source:
            required = "".join(f", {p.name}: ..." for p in self.parameters if p.required)
            head = f"{{{self.kind}: {self.name}{required}}}"
        lines = [head, "", narrowed(self.doc), ""]
        for title, names in (("inputs", self.inputs), ("outputs", self.outputs), ("also called", self.also)):
            if names:
                lines += textwrap.wrap(f"{title}: {', '.join(names)}", width(), subsequent_indent="  ")
        if self.parameters:
            wide = max(len(p.name) for p in self.parameters)
            lines.append("arguments:")
            for parameter in self.parameters:
                lines += parameter.lines(wide)
        if self.example:
            lines.append(f"example: {self.example}")
        if self.source:
            lines += ["", self.source]
        return "\n".join(lines).replace("\n\n\n", "\n\n")


def folded(kind: str) -> str:
    """A type whose words are more than one reads, cut short where each of them has a page of its own."""
    words, dots, rest = kind.partition(" or ")
    listed = words.split(", ")
    if len(listed) <= SHOWN + 2 or not {*Initializer.members, *ActivationFunction.members}.issuperset(listed):
        return kind
    return f"{', '.join(listed[:SHOWN])}, ... ({len(listed)} words){dots}{rest}"
