"""A remedy: a text for people that knows the change of the file which it stands for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from graphspec.diagnostics.diagnostic import Span

Where = Literal["place", "entry", "key", "comment", "line end", "lines", "value", "around", "merged"]


@dataclass(frozen=True, slots=True)
class Change:
    """The change that a remedy makes at the place of its diagnostic.

    `new` replaces the word `old`, which the place holds once, or else all of the place. With `entry` it
    replaces the `key: value` whose key or value the place is, and with `key` its key by each word of `new`,
    all with its value; with `comment` it replaces the blanks before the place, too; at the `line end` it is
    added to the first line of the place; with `lines` it begins each line of these ranges, from 1, both ends
    included. With `value` the value at the place, or of the entry whose key it is, becomes the plain `value`;
    with `around` the mapping or list that holds it does, and with `merged` the mapping there gets the entries
    of `value`; the entries in these keep their text.

    A change is `safe` if nothing else can have been meant; one with `only_for` only where the entry has one
    of these values. `new` may be a name that the spec has `declared`: the mistake may be there. A safe change
    keeps all numbers, unless it `drops` one that repeats a default. It is made `at` another place than that
    of the diagnostic, if one is given.
    """

    new: str
    old: str | None = None
    where: Where = "place"
    safe: bool = True
    lines: tuple[tuple[int, int], ...] = ()
    only_for: frozenset[str] | None = None
    declared: bool = False
    value: Any = None
    drops: bool = False
    at: Span | None = None


class Remedy(str):
    """The help of a diagnostic, with its change."""

    __slots__ = ("change",)
    change: Change

    def __new__(cls, text: str, change: Change) -> Remedy:
        remedy = super().__new__(cls, text)
        remedy.change = change
        return remedy

    def __getnewargs__(self) -> Any:
        return str(self), self.change


def write(new: str, beside: str = "", *, old: str | None = None, safe: bool = True) -> str:
    """`new` in place of the value at fault, or of its part `old`; `beside` is said after it."""
    return Remedy(f"write `{new}`{beside}", Change(new, old, safe=safe))


def write_value(new: str, beside: str = "", *, safe: bool = True) -> str:
    """The same for a number or a collection, which stands for itself in a text."""
    return Remedy(f"write {new}{beside}", Change(new, safe=safe))


def delete(reason: str = "", *, safe: bool = True, only_for: str = "", words: str = "") -> str:
    """Without the entry at fault, in these `words`. One that says what holds anyway has one of the words
    `only_for`.
    """
    change = Change("", where="entry", safe=safe, only_for=frozenset(only_for.split()) or None, drops=True)
    return Remedy(words or (f"delete it: {reason}" if reason else "delete it"), change)


def become(
    value: Any,
    words: str,
    *,
    around: bool = False,
    safe: bool = True,
    drops: bool = False,
    at: Span | None = None,
) -> str:
    """The value at fault, or what is `around` it, as another plain value; `words` say so. With `at` it is
    the value there.
    """
    where: Where = "around" if around else "value"
    return Remedy(words, Change("", where=where, value=value, safe=safe, drops=drops, at=at))


def gain(entries: dict[str, Any], words: str, *, safe: bool = True) -> str:
    """The mapping at fault, or of the key there, with these entries, too; `words` say so."""
    return Remedy(words, Change("", where="merged", value=entries, safe=safe, drops=True))


def moved(help: str | None, key: str, to: Span) -> str | None:
    """The same help, where it is a remedy that gives an entry to a mapping, which is the one at a place."""
    if not isinstance(help, Remedy) or help.change.where != "merged" or key not in help.change.value:
        return help
    return Remedy(help, replace(help.change, at=to))


def renamed(mapping: dict[str, Any], old: str, new: str, words: str, *, safe: bool = True) -> str:
    """The mapping around the place with another key for a value."""
    value = {new if key == old else key: item for key, item in mapping.items()}
    return become(value, words, around=True, safe=safe and new not in mapping)


def unplaced(help: str | None) -> str | None:
    """The same help for another place, where its change would be another one."""
    return None if help is None else str.__str__(help)


def keys(*names: str) -> str:
    """The value of the entry at fault under each of these keys."""
    return Remedy(f"use {' and '.join(f'`{name}`' for name in names)}", Change(" ".join(names), where="key"))


def declared_name(help: str | None) -> str | None:
    """The same help, where it is a remedy with a name that the spec declares."""
    return Remedy(help, replace(help.change, declared=True)) if isinstance(help, Remedy) else help


def erase(reason: str = "") -> str:
    """Without the characters at fault."""
    return Remedy(f"delete it{reason}", Change(""))
