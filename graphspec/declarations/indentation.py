"""Lines that are not indented: YAML reads them as siblings of the key that they belong to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import Any

from graphspec.diagnostics import Change, Diagnostic, Diagnostics, Label, Remedy, Span
from graphspec.language.schema import FORMS, NODE_KEYS, Block, Input, Output, Spec
from graphspec.source import Document, Path

_SECTIONS = (
    "params",
    "presets",
    "inputs",
    "blocks",
    "shared",
    "nodes",
    "outputs",
    "data",
    "train",
    "tune",
    "generate",
)


def indented(document: Document, diagnostics: Diagnostics) -> tuple[Document, bool]:
    """The document as if indented correctly, every value with its own place, and whether lines of it are
    lost. All lines are reported as one error.
    """
    moved: list[tuple[Path, Path]] = []
    value = _nested(document.value, (), lambda key, item: key not in Spec.model_fields, _SECTIONS, moved)
    for section, inner in (("inputs", Input), ("outputs", Output), ("blocks", Block)):
        keys = {field.alias or name for name, field in inner.model_fields.items()}
        _below(value, section, lambda key, item, keys=keys: key in keys, moved)  # type: ignore[misc]
    for section in ("shared", "nodes"):
        _below(value, section, _of_a_node, moved)
    if not moved:
        return document, False
    places = sorted((document.key(old), new) for old, new in moved)
    span, new = places[0]
    above = document.key(next((old for old, at in moved if at == new[:-1]), new[:-1]))
    lost = diagnostics.withdraw("duplicate-key", above, Span(document.file, 10**9, 0, 0, 0))
    message = f"`{new[-1]}` is not indented, so it is not below `{new[-2]}`"
    diagnostics.add(
        Diagnostic(
            "not-indented",
            message,
            span,
            labels=(Label(above, "empty"),),
            help=_moved(
                f"indent what belongs to {_listed(dict.fromkeys(at[-2] for _, at in places))} by two spaces"
                + (", and so on" if lost else ""),
                document,
                moved,
                lost,
            ),
        )
    )
    grafts = {new: (document, old) for old, new in moved}
    return replace(document, value=value, grafts={**document.grafts, **grafts}), lost > 0


def _moved(text: str, document: Document, moved: list[tuple[Path, Path]], lost: int) -> str:
    """The help, with the change of the lines that belong below their key; where lines are lost, without."""
    if lost:
        return text
    lines = {(document.key(old).line, document.span(old).end_line) for old, _ in moved}
    return Remedy(text, Change("  ", where="lines", lines=tuple(sorted(lines))))


def _listed(names: Iterable[object]) -> str:
    """`inputs`, `nodes` and `outputs`"""
    quoted = [f"`{name}`" for name in names]
    return " and ".join(filter(None, [", ".join(quoted[:-1]), quoted[-1]]))


def _of_a_node(key: str, item: Any) -> bool:
    return key in FORMS or key in NODE_KEYS or not isinstance(item, dict | None)


def _below(
    value: dict[str, Any], section: str, belongs: Callable[[str, Any], bool], moved: list[tuple[Path, Path]]
) -> None:
    if isinstance(value.get(section), dict):
        value[section] = _nested(value[section], (section,), belongs, None, moved)


def _nested(
    value: dict[str, Any],
    path: Path,
    belongs: Callable[[str, Any], bool],
    may_hold: Collection[str] | None,
    moved: list[tuple[Path, Path]],
) -> dict[str, Any]:
    """A mapping whose empty keys hold the entries after them that belong below one; `may_hold` are the keys
    that may be such, if not all.
    """
    nested: dict[str, Any] = {}
    above: str | None = None
    for key, item in value.items():
        if above is not None and belongs(key, item):
            nested[above] = {**(nested[above] or {}), key: item}
            here = next((old for old, new in moved if new == (*path, key)), (*path, key))
            moved.append((here, (*path, above, key)))
            continue
        nested[key] = item
        above = key if item is None and (may_hold is None or key in may_hold) else None
    return nested
