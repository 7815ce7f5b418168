"""What `--set` changes in a document before it is read."""

from __future__ import annotations

import copy
from typing import Any

from graphspec.diagnostics import Diagnostic, Diagnostics, did_you_mean
from graphspec.objectives.settings import show
from graphspec.schema import Spec
from graphspec.source import Document
from graphspec.source import Path as Keys

NAMED = ("inputs", "blocks", "shared", "nodes")
"""Sections whose entries `--set` may change, but not add."""


def override(
    document: Document,
    key: str,
    value: Any,
    params: dict[str, Any],
    diagnostics: Diagnostics,
    place: tuple[Document, Keys] | None,
) -> None:
    """Applies one `--set`: a param by its name, or a dotted path into the file; `place` is where it is
    written.
    """
    head, *rest = key.split(".")
    if place is not None:
        steps = (int(step) if step.isdigit() else step for step in rest)
        document.grafts[(head, *steps) if rest else ("params", head)] = place

    def error(message: str, help: str | None = None) -> None:
        span = place[0].key(place[1]) if place is not None else None
        diagnostics.add(Diagnostic("unknown-key", message, span, help=help))

    if not rest:
        params[head] = value
        if isinstance(declared := document.value.get("params"), dict) and head in declared:
            declared[head] = value
        return
    if head not in Spec.model_fields:
        listed = f"a path begins with one of: {', '.join(Spec.model_fields)}"
        error(f"a spec has no `{head}`", did_you_mean(head, Spec.model_fields, listed))
        return
    value, parent = copy.deepcopy(value), document.value
    for position, step in enumerate([head, *rest[:-1]]):
        if isinstance(parent, dict):
            item = parent.get(step)
            if item is None and position == 1 and head in NAMED:
                there = ", ".join(map(str, parent))
                help = did_you_mean(
                    step, parent, f"`{head}` has: {there}" if there else f"the spec has no `{head}`"
                )
                error(f"`{head}` has no `{step}`", help)
                return
            if item is None:
                item = parent[step] = {}
            elif isinstance(item, str) and step in ("optimizer", "loss"):
                item = parent[step] = {"name": item}
        elif isinstance(parent, list) and step.isdigit() and int(step) < len(parent):
            item = parent[int(step)]
        else:
            where = ".".join([head, *rest][: position + 1])
            error(f"`{where}` is {show(parent)}, and has nothing below it")
            return
        parent = item
    if isinstance(parent, dict):
        parent[rest[-1]] = value
    elif isinstance(parent, list) and rest[-1].isdigit() and int(rest[-1]) < len(parent):
        parent[int(rest[-1])] = value
    else:
        error("there is nothing of that name to set")
