"""Modules that differ in one argument, as a comprehension over it."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from graphspec.emit.code import equal, name


@dataclass(frozen=True, slots=True)
class Series:
    """The first of several calls, and the values of the only argument in which they differ.

    `key` is the argument's position, or its keyword.
    """

    call: ast.Call
    key: int | str
    values: list[ast.expr]

    def over(self, word: str) -> ast.GeneratorExp:
        """The calls, as a comprehension over that argument, named `word`."""
        args, keywords = list(self.call.args), list(self.call.keywords)
        if isinstance(self.key, int):
            args[self.key] = name(word)
        else:
            keywords = [ast.keyword(self.key, name(word)) if k.arg == self.key else k for k in keywords]
        return over(ast.Call(self.call.func, args, keywords), word, ast.Tuple(self.values, ast.Load()))


def over(element: ast.expr, word: str, source: ast.expr) -> ast.GeneratorExp:
    """`element for word in source`."""
    return ast.GeneratorExp(element, [ast.comprehension(ast.Name(word, ast.Store()), source, [], 0)])


def series_of(items: list[ast.expr]) -> Series | None:
    """The series of two or more expressions, if they are calls that differ in only one argument."""
    calls = [item for item in items if isinstance(item, ast.Call)]
    if len(calls) < len(items) or len(calls) < 2 or not all(equal(c.func, calls[0].func) for c in calls):
        return None
    rows = [_arguments(each) for each in calls]
    if any(row.keys() != rows[0].keys() for row in rows):
        return None
    differing = [key for key, value in rows[0].items() if not all(equal(row[key], value) for row in rows)]
    if len(differing) != 1:
        return None
    (key,) = differing
    return Series(calls[0], key, [row[key] for row in rows])


def _arguments(call: ast.Call) -> dict[int | str, ast.expr]:
    """The arguments of a call by position or keyword."""
    return {**dict(enumerate(call.args)), **{each.arg: each.value for each in call.keywords if each.arg}}
