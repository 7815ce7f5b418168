"""The names in a file, and their common prefix: `model.`, `transformer.`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from graphspec.diagnostics import fail
from graphspec.transfer.misfits import shown

RIVAL = 0.5
"""The share of the names under the chosen prefix from which on another prefix would do as well."""


class Names:
    """Finds the tensors of a file by the names that are expected of it, under one prefix."""

    def __init__(self, stored: Mapping[str, Any], prefix: str | None):
        self.stored, self.chosen = stored, prefix is not None
        self.prefix = prefix or ""

    def elect(self, expected: Iterable[str], path: Path) -> None:
        """Chooses the prefix under which most of the names are there; none where that does as well. Raises
        `SpecError` (weights-ambiguous) where two prefixes have the same names.
        """
        if self.chosen:
            return
        wanted, by_prefix = set(expected), dict[str, set[str]]()
        for key in self.stored:
            for name, prefix in _ends(key):
                if name in wanted:
                    by_prefix.setdefault(prefix, set()).add(name)
        if not by_prefix:
            return
        self.prefix = max(by_prefix, key=lambda prefix: (len(by_prefix[prefix]), prefix == ""))
        best = by_prefix[self.prefix]
        rivals = [
            prefix
            for prefix, names in by_prefix.items()
            if prefix not in ("", self.prefix) and len(names & best) > RIVAL * len(best)
        ]
        if self.prefix and rivals and len(best) > 1:
            names = shown([self.prefix, *sorted(rivals)])
            message = f"`{path}` holds the same names more than once, after {names}"
            help = f"say which with --prefix {self.prefix}"
            raise fail("weights-ambiguous", message, help)

    def find(self, name: str) -> str | None:
        """The tensor that a name means, after the prefix or as it is."""
        for key in (self.prefix + name, name):
            if key in self.stored:
                return key
        return None

    def bare(self, key: str) -> str:
        """A name of the file without the prefix."""
        return key.removeprefix(self.prefix)


def _ends(key: str) -> Iterable[tuple[str, str]]:
    """Each suffix of a name that starts at the name's start or after a dot, with the prefix before it."""
    yield key, ""
    at = key.find(".")
    while at >= 0:
        yield key[at + 1 :], key[: at + 1]
        at = key.find(".", at + 1)
