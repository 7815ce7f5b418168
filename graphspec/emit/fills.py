"""The statements that fill one weight in several instances, as one: over the numbers in which they differ."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from graphspec.emit.code import HOLE, name, number_in, template


class Differ(Exception):
    """Two statements differ in more than numbers."""


@dataclass(frozen=True, slots=True)
class CommonFill:
    """A statement with the placeholders `{w}`, the weight, and those of `numbers`: the number of each of the
    statements that it stands for.
    """

    text: str
    numbers: dict[str, list[float]] = field(default_factory=dict)


def common_fill(texts: Sequence[str]) -> CommonFill | None:
    """One statement for several; None where they differ in more than numbers."""
    if len(set(texts)) == 1:
        return CommonFill(texts[0])
    numbers: dict[str, list[float]] = {}
    try:
        tree = _merged([template(text) for text in texts], numbers)
    except Differ:
        return None
    return CommonFill(re.sub(rf"{HOLE}(\w+)", r"{\1}", ast.unparse(tree)), numbers)


def _merged(nodes: Sequence[Any], numbers: dict[str, list[float]]) -> Any:
    """Parts of several statements as one."""
    first = nodes[0]
    constants = [number for node in nodes if (number := number_in(node)) is not None]
    if len(constants) == len(nodes):
        return first if len(set(constants)) == 1 else _placeholder(constants, numbers)
    if isinstance(first, list) and all(isinstance(node, list) and len(node) == len(first) for node in nodes):
        return [_merged(items, numbers) for items in zip(*nodes, strict=True)]
    if not all(type(node) is type(first) for node in nodes):
        raise Differ
    if isinstance(first, ast.AST):
        fields = {key: [getattr(node, key) for node in nodes] for key in first._fields}
        return type(first)(**{key: _merged(values, numbers) for key, values in fields.items()})
    if any(node != first for node in nodes):
        raise Differ
    return first


def _placeholder(values: list[float], numbers: dict[str, list[float]]) -> ast.expr:
    """The placeholder of a number, or a whole multiple of one that is there: the bounds of a truncated normal
    are twice its deviation.
    """
    for word, known in numbers.items():
        factors = {x / y if y else None for x, y in zip(values, known, strict=True)}
        (factor, *others) = factors
        if not others and factor is not None and factor == int(factor):
            return template(f"{factor!r} * {{{word}}}")
    word = f"number{len(numbers)}"
    numbers[word] = values
    return name(f"{HOLE}{word}")
