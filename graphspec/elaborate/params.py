"""Parameters: given values over declared ones, which may use one another in any order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from graphspec.elaborate.context import Context
from graphspec.expressions import ExpressionError, evaluate, names_in
from graphspec.source import Document, Path


def resolve_params(
    context: Context,
    document: Document,
    path: Path,
    declared: Mapping[str, Any],
    given: Mapping[str, Any],
    outer: Mapping[str, Any],
    channels: Callable[[str], int] | None,
    notes: tuple[str, ...] = (),
    unknown: frozenset[str] = frozenset(),
) -> tuple[dict[str, Any], frozenset[str]]:
    """The values of a body's own params. `outer` is what its expressions see beside them. None where one
    failed (reported).

    A param that is `required` and not given is left out: its absence is the caller's to report.
    """
    values: dict[str, Any] = {}
    active: list[str] = []

    def resolve(name: str) -> None:
        if name in values or name in failures:
            return
        if name in given:
            values[name] = given[name]
            return
        if declared[name] == "required":
            return
        here = (*path, "params", name)
        if name in active:
            chain = " -> ".join([*active[active.index(name) :], name])
            message = f"params depend on one another in a circle: {chain}"
            context.error("cycle", document.span(here), message, "give one of them a value", notes=notes)
            failures.update(active[active.index(name) :])
            return
        active.append(name)
        try:
            needed = names_in(declared[name])
            for other in needed & declared.keys():
                resolve(other)
            if not needed & failures:
                values[name] = evaluate(declared[name], {**outer, **values}, channels)
        except ExpressionError as error:
            context.expression_error(error, document, here, notes)
            failures.add(name)
        active.pop()
        if name not in values:
            failures.add(name)

    failures: set[str] = set(unknown)
    for name in declared:
        resolve(name)
    return values, frozenset(failures)
