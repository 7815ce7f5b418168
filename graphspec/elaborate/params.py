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
) -> dict[str, Any] | None:
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
            context.error(
                "cycle",
                document.span(here),
                f"params depend on one another in a circle: {chain}",
                notes=notes,
            )
            failures.add(name)
            return
        active.append(name)
        try:
            needed = [other for other in names_in(declared[name]) if other in declared]
            for other in needed:
                resolve(other)
            if not any(other in failures for other in needed):
                values[name] = evaluate(declared[name], {**outer, **values}, channels)
        except ExpressionError as error:
            context.expression_error(error, document, here, notes)
            failures.add(name)
        active.pop()
        if name not in values:
            failures.add(name)

    failures: set[str] = set()
    for name in declared:
        resolve(name)
    return None if failures else values
