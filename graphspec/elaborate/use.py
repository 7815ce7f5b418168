"""One instance to be: what a node says of it, where each part is written, and what is fed to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from graphspec.diagnostics import Span, nearest
from graphspec.elaborate.body import BodyElaborator, expressions_in
from graphspec.elaborate.context import FAILED, Bound, Exports, Failed, Nothing
from graphspec.expressions import Expression, ExpressionError, parse_value
from graphspec.graph import Unit
from graphspec.schema import MISSING, Node
from graphspec.source import Path


@dataclass(eq=False, slots=True)
class NodeInputs:
    """What is fed to a node: by position, or by argument name. `listed` when the spec wrote a list or `*`."""

    positional: list[Bound] = field(default_factory=list)
    named: dict[str, list[Bound]] = field(default_factory=dict)
    listed: bool = False

    @property
    def broken(self) -> bool:
        """Whether a value of it has failed, so that its reader fails silently."""
        return any(isinstance(bound.value, Failed) for bound in self.all())

    def all(self) -> list[Bound]:
        return [*self.positional, *(bound for group in self.named.values() for bound in group)]


@dataclass(eq=False)
class NodeInstance:
    """One instance to be: the node's text and place, its number, its own arguments from a repeat list, and
    its feed.
    """

    run: BodyElaborator
    name: str
    node: Node
    path: Path
    index: int | None = None
    overrides: dict[str, Any] = field(default_factory=dict)
    feed: NodeInputs = field(default_factory=NodeInputs)
    exports: Exports = field(default_factory=Exports)
    unit: Unit | None = None  # the shared one, for a call
    given: dict[str, Any] = field(default_factory=dict)  # a shared entry's arguments, already evaluated
    count: int | None = None  # how many instances its node has

    @cached_property
    def span(self) -> Span:
        return self.run.body.document.key(self.path)

    @property
    def title(self) -> str:
        return self.name if self.index is None else f"{self.name}.{self.index}"

    def key_of(self, key: str) -> Span:
        """Where an argument's name is written."""
        varies = "repeat" if self.node.repeat is not MISSING else "parallel"
        path = (*self.path, varies, key) if key in self.overrides else (*self.path, key)
        return self.run.body.document.key(path)

    def span_of(self, *keys: str | int) -> Span:
        """Where an argument is written, a repeat list's included."""
        document = self.run.body.document
        if keys and keys[0] in self.overrides:
            where = "repeat" if self.node.repeat is not MISSING else "parallel"
            return document.span((*self.path, where, keys[0], self.index or 0))
        return document.span((*self.path, *keys))

    def error(self, code: str, span: Span | None, message: str, help: str | None = None, **more: Any) -> None:
        self.run.error(code, span, message, help, notes=(*more.pop("notes", ()), *self.notes), **more)

    @property
    def notes(self) -> tuple[str, ...]:
        """Which repetition an error is in."""
        return () if self.index is None else (f"in repetition {self.index} of `{self.name}`",)

    def flag(self, key: str, value: Any) -> bool | None:
        """The value of a key of the node that is true or false; None after an error."""
        return self.run.flag(value, (*self.path, key), self.index, self.notes)

    def arguments(self) -> dict[str, Any] | None:
        """The plain arguments of the instance; None where an expression failed. A repeat list's come over
        the node's.
        """
        if self.given:
            return dict(self.given)
        result = {}
        for key, value in self.node.extra.items():
            result[key] = self.run.evaluate(value, (*self.path, key), self.index)
        for key, value in self.overrides.items():
            if key != "from":
                result[key] = value
        return None if any(value is FAILED for value in result.values()) else result

    def expressions(self, arguments: dict[str, Any]) -> tuple[tuple[Expression, Any], ...]:
        """The expressions behind the arguments, for emission."""
        raw = {key: value for key, value in self.node.extra.items() if key not in self.overrides}
        found = list(expressions_in(raw, arguments))
        count = expression_in(self.node.repeat if self.node.repeat is not MISSING else self.node.parallel)
        return (*found, *([(count, self.count)] if count is not None and self.count is not None else ()))


def expression_in(value: Any) -> Expression | None:
    if not isinstance(value, str):
        return None
    try:
        parsed = parse_value(value)
    except ExpressionError:
        return None
    return parsed if isinstance(parsed, Expression) else None


def refuse_nothing(use: NodeInstance, bounds: list[Bound]) -> bool:
    """Reports inputs that were left out, for a reader that needs them."""
    for bound in bounds:
        if isinstance(bound.value, Nothing):
            use.error(
                "left-out",
                bound.span,
                f"`{use.name}` reads `{bound.text}`, which is left out here and is nothing",
                "give the reader a `when`, or the node an `else`",
            )
            return True
    return False


def near_help(word: str, names: list[str]) -> str | None:
    near = nearest(word, names)
    return (
        f"did you mean `{near}`?" if near else (f"one of: {', '.join(sorted(names)[:20])}" if names else None)
    )
