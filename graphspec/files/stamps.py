"""Texts that people may edit, with a checksum in their header: edits are seen, and not overwritten."""

from __future__ import annotations

import hashlib
import re

CHECKSUM = "A checksum, so that graphspec overwrites no edits:"
STAMP = re.compile(rf"^# (?:{CHECKSUM}|Its text has the checksum) ([0-9a-f]{{12}})\.?\n", re.MULTILINE)
"""The line of a checksum, and that of files of older versions."""


def stamped(source: str) -> str:
    """A text whose header of comments holds a checksum of the rest, so that edits are seen."""
    header = re.match(r"(?:#.*\n)+", source)
    end = header.end() if header is not None else 0
    line = f"# {CHECKSUM} {_checksum(source)}\n"
    return source[:end] + line + source[end:]


def is_edited(source: str) -> bool:
    """Whether a file differs from the one that its checksum was made for, line endings aside."""
    match = STAMP.search(source)
    return match is not None and _checksum(source[: match.start()] + source[match.end() :]) != match[1]


def _checksum(source: str) -> str:
    return hashlib.sha256("\n".join(source.splitlines()).encode()).hexdigest()[:12]
