"""A statement of `__init__`."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from graphspec.diagnostics import Span


@dataclass(eq=False, slots=True)
class InitStatement:
    """One statement of `__init__`: `self.attribute = value`, or a call if there is no attribute.

    `optional` says that the value may be None. Without the attribute `unless_none`, the statement is left
    out; with `condition`, it is under an `if`. With `must`, it asserts the value, and says so in these words.
    """

    value: ast.expr
    attribute: str = ""
    span: Span | None = None
    optional: bool = False
    unless_none: str = ""
    condition: ast.expr | None = None
    must: str = ""
