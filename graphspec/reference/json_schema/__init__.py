"""The JSON Schema of specs, for editors: what keys there are, what they mean, what is missing.

It accepts every spec that `check` accepts, and knows only what a file alone can tell. Every argument may also
be an expression. Types that occur twice stand once, in `$defs`.
"""

from __future__ import annotations

from typing import Any

from graphspec.reference.json_schema.writer import Writer


def json_schema() -> dict[str, Any]:
    """The schema, draft 2020-12."""
    return Writer().schema()
