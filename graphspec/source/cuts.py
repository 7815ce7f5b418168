"""Expressions that YAML cuts in two: finding where they begin and end.

`{units: $(max(a, b))}` is to YAML a value `$(max(a` and a key `b))`. `{units: $(depths[0])}` and
`{units: ${width}}` are no YAML at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from graphspec.expressions import MAX_LENGTH, braced_name, closing
from graphspec.source.places import line_end


@dataclass(frozen=True, slots=True)
class Cut:
    """An expression from `start` to `end` that YAML cuts `at` a character.

    `kind` is a diagnostic code, or "" for one without its `)`: that is reported when it is evaluated.
    """

    start: int
    end: int
    kind: str
    at: str = ""


def blanked(text: str, cuts: Iterable[Cut]) -> str:
    """A text with these parts masked; they do not overlap."""
    parts, position = [], 0
    for cut in sorted(cuts, key=lambda cut: cut.start):
        parts += [text[position : cut.start], re.sub(r"\S", "x", text[cut.start : cut.end])]
        position = cut.end
    return "".join([*parts, text[position:]])


def cut_in_scalar(text: str, start: int, end: int, value: str, flow: bool) -> Cut | None:
    """The expression that begins in the plain scalar at `start` and goes on after its `end`, if any."""
    if flow and value.endswith("$") and text[end : end + 1] == "{":
        return _braces(text, end - 1)
    begin = _unclosed(text[start:end]) if _unclosed(value) is not None else None
    if begin is None:
        return None
    begin += start
    line = text[begin : line_end(text, begin, MAX_LENGTH)]
    stop = closing(line, 1)
    if stop is None and flow:
        stop = _closing_below(text, begin)
    if stop is not None:
        at = text[end : begin + stop].lstrip(" ")[:1]
        return Cut(begin, begin + stop + 1, "unquoted-expression", at)
    length = line.rfind(")") + 1 or len(re.split(r"[,\]}]", line)[0])
    return Cut(begin, begin + length, "") if flow and begin + length > end else None


def cut_in_formula(text: str, start: int, end: int) -> Cut | None:
    """The formula of a `compute` in braces, of which YAML takes only what is before `end`, if it does."""
    depth = 0
    for position in range(start, min(len(text), start + MAX_LENGTH)):
        char = text[position]
        if char == "}" or (depth == 0 and char in ",)]"):
            break
        depth += (char in "([") - (char in ")]")
    else:
        return None
    stop = start + len(text[start:position].rstrip())
    if depth or stop <= end:
        return None
    return Cut(start, stop, "unquoted-expression", text[end:stop].lstrip(" ")[:1])


def cut_around(text: str, line_start: int, index: int, known: set[int]) -> Cut | None:
    """The expression, none of those that begin at `known`, in which the parser failed at `index`."""
    stop = min(index + 1, line_end(text, line_start, index + 1 - line_start))
    for match in re.compile(r"\$[({]").finditer(text, max(line_start, index - MAX_LENGTH), stop):
        start = match.start()
        if start in known:
            continue
        if match[0] == "${":
            cut = _braces(text, start)
        else:
            end = closing(text[start : line_end(text, start, MAX_LENGTH)], 1)
            if end is None:
                continue
            cut = Cut(start, start + end + 1, "unquoted-expression", text[index : index + 1])
        if index < cut.end:
            return cut
    for match in re.compile(r"\{.*\bcompute: +(?=[^\s'\"])").finditer(text, line_start, stop):
        formula = cut_in_formula(text, match.end(), index) if match.end() not in known else None
        if formula is not None:
            return formula
    return None


def _closing_below(text: str, begin: int) -> int | None:
    """As `closing`, for an expression that goes over several lines of a list or mapping in brackets."""
    stop = closing(text[begin : begin + 200], 1)
    expression = text[begin : begin + (stop or 0)]
    return None if ": " in expression or "#" in expression else stop


def _braces(text: str, start: int) -> Cut:
    line = text[start : line_end(text, start, MAX_LENGTH)]
    return Cut(start, start + braced_name(line, 0)[1], "dollar-brace")


def has_unclosed(text: str) -> bool:
    """Whether a `$(` of a scalar lacks its `)`."""
    return _unclosed(text) is not None


def _unclosed(text: str) -> int | None:
    """The offset of the first `$(` without its `)`."""
    position = 0
    while (position := text.find("$", position)) >= 0:
        if text[position + 1 : position + 2] == "(":
            end = closing(text, position + 1)
            if end is None:
                return position
            position = end
        elif text[position + 1 : position + 2] == "$":
            position += 1
        position += 1
    return None


def meant(whole: str, cuts: list[tuple[str, Cut]]) -> str:
    """The value that was meant by a scalar that holds these sources of cut expressions."""
    for source, cut in cuts:
        if cut.kind == "dollar-brace":
            whole = whole.replace(source, f"$({braced_name(source, 0)[0]})")
    return re.sub(r"\s*[\r\n]\s*", " ", whole)


def quoted(text: str) -> str:
    """`text` as a quoted scalar of YAML."""
    return "'" + text.replace("'", "''") + "'" if '"' in text or "\\" in text else f'"{text}"'
