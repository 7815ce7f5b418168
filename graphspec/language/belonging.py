"""Keys that are written in another section than theirs, and the document with each in its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphspec.diagnostics import Span, become
from graphspec.settings import unquoted

SECTIONS: Mapping[str, tuple[str, ...]] = {
    "train": ("optimizer", "epochs", "batch_size", "seed", "schedule", "callbacks", "precision", "freeze"),
    "data": ("validation", "features", "windows"),
    "outputs": ("loss", "metrics", "class_weight", "loss_weight", "sample_weight"),
}
"""Keys that many expect elsewhere, by the section that they belong to; of `outputs`, the key of an output."""
ELSEWHERE: Mapping[str, Mapping[tuple[str, ...], tuple[str, ...]]] = {
    "train": {("optimizer", "schedule"): ("train", "schedule")},
}
"""Further keys, by their section and their path in it, with the path in the document where they belong."""


def moved(
    document: Mapping[str, Any], section: str, path: tuple[Any, ...], at: Span | None = None
) -> str | None:
    """The remedy for a key that a section, "" for the file itself, does not have: the document with the key
    where it belongs, if that is one place and free. `at` is the place of the section's key.
    """
    home = _home(document, section, path)
    if home is None:
        return None
    start = () if not section else (section,)
    value = _at(document, (*start, *path))
    taken = _at(document, home)
    if taken is not None:
        return None
    new = _set(_without(document, (*start, *path)), home, value)
    shown = unquoted(value)
    for key in reversed(home):
        shown = f"{key}: {shown}" if key == home[0] else f"{{{key}: {shown}}}"
    owner = f"the output `{home[1]}`" if home[0] == "outputs" else f"`{home[0]}`"
    return become(new, f"it belongs to {owner}: {shown}", around=True, at=at)


def _home(document: Mapping[str, Any], section: str, path: tuple[Any, ...]) -> tuple[str, ...] | None:
    if (known := ELSEWHERE.get(section, {}).get(path)) is not None:
        return known
    home = next((name for name, keys in SECTIONS.items() if path[-1] in keys), section)
    if len(path) != 1 or home == section:
        return None
    if home != "outputs":
        inner = document.get(home)
        return (home, path[0]) if isinstance(inner, dict | None) else None
    outputs = document.get("outputs")
    names = [*outputs] if isinstance(outputs, list | dict) else [outputs]
    return (home, names[0], path[0]) if len(names) == 1 and isinstance(names[0], str) else None


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _without(value: Any, path: tuple[Any, ...]) -> Any:
    key, *rest = path
    if not rest:
        return {word: item for word, item in value.items() if word != key}
    return {**value, key: _without(value[key], tuple(rest))}


def _set(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    key, *rest = path
    if isinstance(value, list):
        value = {name: {} for name in value}
    elif not isinstance(value, dict):
        value = {}
    return {**value, key: _set(value.get(key), tuple(rest), new) if rest else new}
