"""Diagnostics: errors as values, their collection and rendering, and suggestions for misspellings.

A stage that finds a mistake adds a `Diagnostic` to the `Diagnostics` it was given and goes on. `render` draws
one for people, `nearest` finds the legal word that was meant.
"""

from collections.abc import Mapping

from graphspec.diagnostics.collecting import Diagnostics, SpecError, Superseded, TooManyMistakes, fail
from graphspec.diagnostics.diagnostic import CODES, Diagnostic, Label, Span
from graphspec.diagnostics.remedy import (
    Change,
    Remedy,
    become,
    declared_name,
    delete,
    erase,
    gain,
    keys,
    moved,
    renamed,
    unplaced,
    write,
    write_value,
)
from graphspec.diagnostics.spelling import akin, by_word, certain, did_you_mean, meant, nearest, same_word
from graphspec.diagnostics.text import hidden_in, shortened, split_lines, visible

__all__ = [
    "CODES",
    "Change",
    "Diagnostic",
    "Diagnostics",
    "Label",
    "Remedy",
    "Span",
    "SpecError",
    "Superseded",
    "TooManyMistakes",
    "akin",
    "become",
    "by_word",
    "certain",
    "declared_name",
    "delete",
    "did_you_mean",
    "erase",
    "fail",
    "gain",
    "hidden_in",
    "keys",
    "meant",
    "moved",
    "nearest",
    "renamed",
    "render",
    "same_word",
    "shortened",
    "split_lines",
    "unplaced",
    "visible",
    "write",
    "write_value",
]


def render(
    diagnostic: Diagnostic, sources: Mapping[str, str], color: bool = False, columns: int | None = None
) -> str:
    """The diagnostic as text, without a final newline, in the manner of rustc.

    `sources` maps file names to their text; a place in a file that is not there is named without its line.
    Lines of source fit into so many `columns`.
    """
    from graphspec.diagnostics import rendering  # most specs have no mistake

    return rendering.render(diagnostic, sources, color, columns)
