"""What emitted files carry at their top: definitions of classes and functions that layers need."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Iterator
from dataclasses import dataclass


class Helpers(UserDict[str, "Helper"]):
    """Helpers by name, in the names' order, which does not depend on what this process compiled before."""

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self.data))


HELPERS = Helpers()
"""Definitions that emitted files carry at their top. Filled by `helper` as files of layers are imported."""


def helper(name: str, source: str, *needs: str) -> str:
    """Registers a definition that emitted files may carry, and the helpers it uses itself; returns its
    name.
    """
    HELPERS[name] = Helper(name, source.strip("\n"), needs)
    return name


@dataclass(frozen=True, slots=True)
class Helper:
    """The source of one function or class at the top of emitted files."""

    name: str
    source: str
    needs: tuple[str, ...]
