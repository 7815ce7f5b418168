"""Names with placeholders: `layers.{i}.{part}.weight`, and what they become: `h.{i + 1}.{part}.weight`.

`{name}` stands for a piece without dots, `*` for any text. In what a pattern becomes, `{...}` is an
expression of the language over the names, in which a piece of digits is a number; `*` are the texts in
order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from graphspec.expressions import Expression, ExpressionError, parse_value

PIECE = re.compile(r"\{([^{}]*)\}|(\*)")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
Captured = Mapping[str, "int | str"]


class PatternError(ValueError):
    """A mistake in a pattern, in words."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern of names, and the names of its placeholders; the texts of `*` have their numbers as names."""

    text: str
    regex: re.Pattern[str]
    names: tuple[str, ...]

    def match(self, key: str) -> dict[str, int | str] | None:
        """The values of the placeholders, if a key matches."""
        matched = self.regex.fullmatch(key)
        if matched is None:
            return None
        return {name: _value(text) for name, text in zip(self.names, matched.groups(), strict=True)}

    def fits(self, key: str) -> bool:
        """Whether a key matches; a pattern without placeholders captures nothing of one that does."""
        return self.regex.fullmatch(key) is not None


def _value(text: str) -> int | str:
    return int(text) if text.isdecimal() and (text == "0" or text[0] != "0") else text


@lru_cache(maxsize=4096)
def pattern(text: str, words: tuple[tuple[str, tuple[str, ...]], ...] = ()) -> Pattern:
    """The pattern in a text; `words` gives the only pieces that a placeholder may stand for. Raises
    `PatternError`.
    """
    allowed = dict(words)
    parts, names, end, stars = [], list[str](), 0, 0
    for piece in PIECE.finditer(text):
        parts.append(re.escape(text[end : piece.start()]))
        end = piece.end()
        if piece[2]:
            parts.append("(.*)")
            names.append(f"*{stars}")
            stars += 1
        elif not NAME.fullmatch(piece[1]):
            raise PatternError(f"`{piece[0]}` is not a placeholder: it holds one name, such as {{i}}")
        elif piece[1] in names:
            parts.append(f"(?P={piece[1]})")
        else:
            chosen = "|".join(map(re.escape, allowed[piece[1]])) if piece[1] in allowed else "[^.]+"
            parts.append(f"(?P<{piece[1]}>{chosen})")
            names.append(piece[1])
    parts.append(re.escape(text[end:]))
    return Pattern(text, re.compile("".join(parts)), tuple(names))


@dataclass(frozen=True, slots=True)
class Star:
    """The text that the `*` of this number stands for."""

    number: int


@lru_cache(maxsize=4096)
def template(text: str) -> tuple[str | Star | Expression, ...]:
    """The parts of what a pattern becomes. Raises `PatternError`."""
    parts, end, stars = list[str | Star | Expression](), 0, 0
    for piece in PIECE.finditer(text):
        parts.append(text[end : piece.start()])
        end = piece.end()
        if piece[2]:
            parts.append(Star(stars))
            stars += 1
            continue
        try:
            inner = parse_value(f"$({piece[1]})")
        except ExpressionError as error:
            raise PatternError(f"`{piece[0]}`: {error.message}") from None
        assert isinstance(inner, Expression)
        parts.append(inner)
    return (*parts, text[end:])


def names_of(text: str) -> frozenset[str]:
    """The placeholders that a template reads. Raises `PatternError`."""
    names = set[str]()
    for part in template(text):
        if isinstance(part, Star):
            names.add(f"*{part.number}")
        elif isinstance(part, Expression):
            names |= part.names
    return frozenset(names)


def fill(text: str, captured: Captured) -> str:
    """The name that a template becomes. Raises `PatternError`."""
    pieces = []
    for part in template(text):
        if isinstance(part, str):
            pieces.append(part)
        elif isinstance(part, Star):
            pieces.append(str(captured[f"*{part.number}"]))
        else:
            try:
                pieces.append(str(part.evaluate(captured)))
            except ExpressionError as error:
                raise PatternError(f"`{{{part.text}}}` in `{text}`: {error.message}") from None
    return "".join(pieces)


def matches_any(patterns: Sequence[str], key: str) -> bool:
    """Whether a key matches one of some patterns."""
    return any(pattern(text).fits(key) for text in patterns)


def source_pattern(text: str) -> re.Pattern[str]:
    """Matches each key that a template may become, after any prefix."""
    parts, end = ["(?:.*\\.)?"], 0
    for piece in PIECE.finditer(text):
        parts += [re.escape(text[end : piece.start()]), ".*" if piece[2] else "[^.]+"]
        end = piece.end()
    return re.compile("".join((*parts, re.escape(text[end:]))))
