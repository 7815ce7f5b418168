"""The variables of one `forward`: how each value is read, and which name is free for the next."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from graphspec import names
from graphspec.emit.lifetimes import Bindings
from graphspec.graph import Op, Value
from graphspec.passes.layout import TO_FIRST, convert

TEMPORARIES = ("x", "y")


@dataclass(eq=False, slots=True)
class Scope:
    """Values by the text that reads them.

    `reads` holds the steps at which a value is read; a step is one statement, or one loop; `step` is the one
    at hand. A variable may be written anew once all values that it holds have been read for the last time.
    """

    space: names.Namespace
    step: int = 0
    bindings: Bindings = field(default_factory=Bindings)
    reads: dict[Value, list[int]] = field(default_factory=dict)
    text: dict[Value, str] = field(default_factory=dict)
    first: dict[Value, bool] = field(default_factory=dict)  # whether channels lie at axis 1
    inputs: set[Value] = field(default_factory=set)
    _holds: dict[str, set[Value]] = field(default_factory=dict)
    _variable: dict[Value, str] = field(default_factory=dict)
    _items: set[str] = field(default_factory=set)

    def bind(self, value: Value, variable: str, first: bool, text: str | None = None) -> None:
        """Says that a variable now holds a value alone, read as `text`."""
        self._holds[variable] = {value}
        self.bindings.assign(variable, value, self.step)
        self._read_as(value, variable, first, text or variable)

    def also(self, value: Value, variable: str, first: bool, text: str | None = None) -> None:
        """Says that a variable holds this value, too: an item of its list, say."""
        self.bindings.add(variable, value, self.step, held=True)
        self._holds.setdefault(variable, set()).add(value)
        self._read_as(value, variable, first, text or variable)

    def _read_as(self, value: Value, variable: str, first: bool, text: str) -> None:
        self._variable[value], self.text[value], self.first[value] = variable, text, first

    def alias(self, source: Value, value: Value) -> None:
        """Says that a value is another one."""
        variable = self._variable[source]
        self.bindings.add(variable, value, self.step, held=False)
        self._holds.setdefault(variable, set()).add(value)
        self._read_as(value, variable, self.first[source], self.text[source])

    def variable(self, value: Value) -> str:
        """The variable that a value lies in."""
        return self._variable[value]

    def attribute(self, value: Value, text: str) -> None:
        """Says that a value is an attribute of the module, in the spec's order."""
        self._read_as(value, text, False, text)

    def free(self, variable: str) -> bool:
        """Whether nothing after this step reads what a variable holds."""
        return not any(
            read > self.step for value in self._holds.get(variable, ()) for read in self.reads.get(value, ())
        )

    def name(self, value: Value, word: str, taken: Iterable[str] = ()) -> str:
        """The variable for a value made at this step: a temporary where the next step alone reads it, else
        its node's name. Of two temporaries, the one that lets go of more memory.
        """
        if set(self.reads.get(value, ())) <= {self.step + 1}:
            free = [word for word in TEMPORARIES if word not in taken and self.free(word)]
            if free:
                return max(free, key=self._released)
        return self.claim(word)

    def _released(self, variable: str) -> int:
        """The bytes that are freed once a variable holds something else. The caller keeps what came in."""
        held = self._holds.get(variable, set())
        return 0 if held & self.inputs else self.bindings.held(variable)

    def item(self, word: str) -> str:
        """The variable of a loop, which another loop may have had before."""
        if word not in self._items:
            self._items.add(word := self.claim(word))
        return word

    def claim(self, word: str) -> str:
        """A name of its own."""
        return self.space.claim(names.local(word))

    def read(self, value: Value, first: bool | None = None) -> str:
        """The expression that reads a value, in the memory order asked for."""
        return turned(self.text[value], value.tensor.rank, self.first[value], first)


def turned(text: str, rank: int, first: bool, wish: bool | None) -> str:
    """An expression in the memory order that is wished for."""
    return text if wish is None or wish == first or rank not in TO_FIRST else convert(text, rank, wish)


def read_steps(
    ops: Iterable[tuple[int, Op]], outputs: Iterable[Value], passed: set[Op], end: int
) -> dict[Value, list[int]]:
    """The steps at which each value is read. `passed` are left-out ops, whose readers read their input."""
    reads: dict[Value, list[int]] = {}
    for value in outputs:
        reads.setdefault(value, []).append(end)
    for step, op in reversed(list(ops)):
        if op in passed:
            reads.setdefault(op.inputs[0], []).extend(reads.get(op.output, ()))
            continue
        for value in op.inputs:
            reads.setdefault(value, []).append(step)
    return reads
