"""Names that differ only in their numbers, as one: `layers.0-11.norm`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

NUMBER = re.compile(r"(?<![A-Za-z0-9_])\d+(?![A-Za-z0-9_])|(?<=[A-Za-z_])\d+(?=\.|$)")
"""A number that is a piece of a name, or ends one: of `layer1.0.conv2.weight` all three."""


def without_numbers(name: str) -> str:
    """A name with `#` for each of its numbers."""
    return NUMBER.sub("#", name)


def ranged(names: Sequence[str]) -> str:
    """Names that differ in their numbers as one: `layers.0-11.norm`."""
    numbers = [list(map(int, NUMBER.findall(name))) for name in names]
    spans = iter([(min(each), max(each)) for each in zip(*numbers, strict=True)])

    def shown(_: re.Match[str]) -> str:
        low, high = next(spans)
        return str(low) if low == high else f"{low}-{high}"

    return NUMBER.sub(shown, names[0])


def folded(names: Iterable[str]) -> list[tuple[str, int]]:
    """Names, those that differ in their numbers as one, with how many they are."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(without_numbers(name), []).append(name)
    return [(ranged(group), len(group)) for group in groups.values()]
