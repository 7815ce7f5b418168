"""Processes of one machine that read a table together: each reads a share, and all come to the same.

A mistake that one of them finds is raised in all of them, the one that a single process would find first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from graphspec.diagnostics import Diagnostic, SpecError

T = TypeVar("T")
V = TypeVar("V")
Found = tuple[int, T]
"""What was found in a part of a table, and the row that the part begins with."""


class Processes(Protocol):
    """Those that read together: this one is `rank` of `size`, counted from 0."""

    @property
    def rank(self) -> int: ...

    @property
    def size(self) -> int: ...

    def gather(self, value: V) -> list[V]:
        """The value of each process, in order of rank. All call this, and wait for one another."""
        ...


@dataclass(frozen=True, slots=True)
class Alone:
    """A process that reads everything itself."""

    rank: int = 0
    size: int = 1

    def gather(self, value: V) -> list[V]:
        return [value]


ALONE = Alone()


def in_order(
    processes: Processes, chunks: Iterable[tuple[int, Any]], work: Callable[[int, Any], T]
) -> list[Found[T]]:
    """The result of `work` for each chunk (the row it begins with, and its rows) of all processes, in the
    order of rows. Raises the first `SpecError` in that order, in every process.
    """
    done: list[Found[T]] = []
    mistake: Found[tuple[Diagnostic, ...]] | None = None
    row = 0
    try:
        for first, part in chunks:
            row = first
            done.append((first, work(first, part)))
            row = first + len(part)
    except SpecError as error:
        mistake = (row, tuple(error.diagnostics))
    found = processes.gather((done, mistake))
    first_of(wrong for _, wrong in found)
    return sorted((one for each, _ in found for one in each), key=lambda one: one[0])


def first_of(mistakes: Iterable[Found[tuple[Diagnostic, ...]] | None]) -> None:
    """Raises the mistakes that come first by their row; the first of them where rows are equal."""
    wrong = [mistake for mistake in mistakes if mistake is not None]
    if wrong:
        raise SpecError(min(wrong, key=lambda mistake: mistake[0])[1])


def agreed(processes: Processes, call: Callable[[], T]) -> list[T]:
    """The result of a call in each process. Raises the first `SpecError` by rank, in every process."""
    result: list[T] = []
    mistake: Found[tuple[Diagnostic, ...]] | None = None
    try:
        result.append(call())
    except SpecError as error:
        mistake = (0, tuple(error.diagnostics))
    found = processes.gather((result, mistake))
    first_of(wrong for _, wrong in found)
    return [one for each, _ in found for one in each]
