"""The params, widths and conditions that random blocks are made of, as texts of expressions.

A width is a text in the scope that it is read in, so that two values of one width are known to have it
whatever the params are. A width that no text of the scope can say begins with `?`: it equals itself only.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

NAMES = {
    "width": ("width", "units"),
    "count": ("depth", "times"),
    "flag": ("deep", "wide"),
    "act": ("act",),
    "list": ("widths",),
    "factor": ("ratio",),
    "size": ("size",),
    "strides": ("strides",),
    "kind": ("kind",),
    "how": ("how",),
}
"""The params of each kind. A name has one kind in all scopes, so that one that shadows another fits."""
KINDS = {name: kind for kind, names in NAMES.items() for name in names}
ACTIVATIONS = ("relu", "linear", "tanh", "sigmoid", "gelu", "softmax", "leaky_relu")
MERGES = ("add", "add", "multiply", "average", "maximum")
ATOM = re.compile(r"\w+(\([a-z]\))?")
WORD = re.compile(r"channels\(\w+\)|\bgiven\(\w+\)|[A-Za-z_]\w*")
LONGEST = 60
"""Characters of a width. A longer one is as good as unknown."""


def written(text: str) -> Any:
    """An expression as a spec has it: a number, `$name` or `$(...)`."""
    if text.isdigit():
        return int(text)
    return f"${text}" if text.isidentifier() else f"$({text})"


def folded(text: str) -> str:
    """A text of numbers alone as its value."""
    return str(eval(text)) if re.fullmatch(r"[\d+*/() -]+", text) else text


def atom(text: str) -> str:
    return text if ATOM.fullmatch(text) else f"({text})"


@dataclass(frozen=True)
class Value:
    """What a body can read: by a reference, of a kind (`any` in a block for all), of a space and a width."""

    ref: str
    kind: str
    space: str
    width: str
    ending: str | None = None

    def like(self, other: Value) -> bool:
        return (self.kind, self.space, self.width) == (other.kind, other.space, other.width)

    @property
    def is_known(self) -> bool:
        return not self.width.startswith("?")


@dataclass
class Scope:
    """The params of a file, or of a block in it, declared as they are needed."""

    random: random.Random
    file: Scope | None = None
    params: dict[str, Any] = field(default_factory=dict)
    outer: set[str] = field(default_factory=set)
    """The params of the file that the block reads, which it must not declare."""
    kinds: list[str] = field(default_factory=list)
    """The blocks that any value of any kind may go through, of the file."""
    unknown: Iterator[int] = field(default_factory=count)

    @property
    def root(self) -> Scope:
        """The scope of the file."""
        return self.file or self

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def one(self, *items: Any) -> Any:
        return self.random.choice(items)

    def name(self, kind: str) -> str:
        """A param of a kind: one that is there, or a new one."""
        name = self.one(*NAMES[kind])
        if name in self.params or name in self.outer:
            return str(name)
        if self.file is not None and self.chance(0.5):
            self.outer.add(name)
            self.file.declare(name)
        else:
            self.declare(name)
        return str(name)

    def declare(self, name: str) -> None:
        if name not in self.params:
            self.params[name] = self.default(name)

    def default(self, name: str) -> Any:
        kind = KINDS[name]
        if self.file is not None and self.chance(0.3):
            return "required"
        if kind == "flag" and self.file is not None and self.chance(0.3):
            return f"$(channels(x) != {self.name('width')})"
        if kind == "width" and self.chance(0.3):
            others = [
                other for other in [*self.params, *self.outer] if KINDS[other] == kind and other != name
            ]
            if others:
                return written(self.one("2 * {}", "{}", "{} + 2").format(self.one(*others)))
        return self.literal(kind)

    def literal(self, kind: str) -> Any:
        if kind == "width":
            return self.one(2, 4, 4, 6)
        if kind == "count":
            return self.one(1, 1, 2, 3)
        if kind == "flag":
            return self.one(True, False)
        if kind == "act":
            return self.one(*ACTIVATIONS)
        if kind == "list":
            return [self.one(2, 4, 6) for _ in range(self.one(1, 2, 3))]
        if kind == "kind":
            return self.one(*self.root.kinds)
        if kind == "how":
            return self.one(*MERGES)
        return self.one(*{"factor": (2, 3), "size": (1, 3), "strides": (1, 2)}[kind])

    # --- expressions

    def count(self) -> tuple[str, int]:
        """A number of instances, and the least that it may be."""
        how = self.one("literal", "literal", "name", "less", "more")
        if how == "literal":
            number = self.one(0, 1, 2, 2, 3)
            return str(number), number
        name = self.name("count")
        return {"name": (name, 1), "less": (f"{name} - 1", 0), "more": (f"{name} + 1", 2)}[how]

    def condition(self, index: bool = False) -> str:
        if index and self.chance(0.7):
            name = self.name("count") if self.chance(0.2) else "1"
            return str(self.one("index > 0", "index == 0", "index != 1", "index % 2 == 0", f"index < {name}"))
        flag = self.name("flag")
        if self.chance(0.5):
            return str(self.one(flag, flag, f"not {flag}"))
        return str(
            self.one(
                f"{self.name('count')} > 1",
                f"{self.name('width')} > 4",
                f"{flag} or {self.name('count')} == 1",
            )
        )

    def activation(self) -> Any:
        return f"${self.name('act')}" if self.chance(0.3) else self.one(*ACTIVATIONS)

    def fresh(self) -> str:
        return f"?{next(self.unknown)}"

    def sum(self, *widths: str) -> str:
        """The width of a concatenation."""
        if any(width.startswith("?") for width in widths):
            return self.fresh()
        found = folded(" + ".join(atom(width) for width in widths))
        return found if len(found) <= LONGEST else self.fresh()

    def said(self, text: str, given: Mapping[str, str | None], inner: Scope) -> str:
        """A text of another block's scope in this one. `given` has what its params and `channels(...)` are
        here; None for what cannot be said.
        """
        lost = False

        def replaced(match: re.Match[str]) -> str:
            nonlocal lost
            word = match[0]
            if word == "sum":
                return word
            if word in given:
                found = given[word]
            elif word in inner.params and inner.file is not None:
                default = inner.params[word]
                found = self.said(bare(default), given, inner)
            elif word in inner.outer or inner.file is None:
                found = self.of_file(word)
            else:
                raise AssertionError(f"{word} in {text}")
            if found is None or found.startswith("?"):
                lost = True
                return "0"
            return atom(found)

        if text.startswith("?"):
            return self.fresh()
        found = folded(WORD.sub(replaced, text))
        return self.fresh() if lost or len(found) > LONGEST else found

    def of_file(self, name: str) -> str | None:
        """A param of the file, unless one of the block hides it."""
        if self.file is None:
            self.declare(name)
            return name
        if name in self.params:
            return None
        self.outer.add(name)
        self.file.declare(name)
        return name


def bare(value: Any) -> str:
    """An expression without its dollar."""
    text = str(value)
    return text[2:-1] if text.startswith("$(") else text.removeprefix("$")
