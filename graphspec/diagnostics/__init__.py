"""Diagnostics: errors as values, their collection and rendering, and suggestions for misspellings.

A stage that finds a mistake adds a `Diagnostic` to the `Diagnostics` it was given and goes on. `render` draws
one for people, `nearest` finds the legal word that was meant.
"""

from graphspec.diagnostics.collecting import Diagnostics, SpecError
from graphspec.diagnostics.diagnostic import CODES, Diagnostic, Label, Span
from graphspec.diagnostics.rendering import HIDDEN, render, shortened, split_lines, visible
from graphspec.diagnostics.spelling import nearest

__all__ = [
    "CODES",
    "HIDDEN",
    "Diagnostic",
    "Diagnostics",
    "Label",
    "Span",
    "SpecError",
    "nearest",
    "render",
    "shortened",
    "split_lines",
    "visible",
]
