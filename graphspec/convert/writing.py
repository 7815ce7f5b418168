"""A document as YAML in the style of the gallery: a node a line, names aligned, lines that fit a screen."""

from __future__ import annotations

import math
import re
from typing import Any

from graphspec.source.scalars import MAX_DIGITS

WIDTH = 110
SECTIONS = ("inputs", "blocks", "shared", "nodes", "outputs", "presets")
"""Sections with an entry a line."""
_PLAIN = re.compile(r"[A-Za-z_$./][A-Za-z0-9_$./()*+ <>=!-]*")
_WORDS = frozenset(["null", "true", "false", "~", "nan", "inf"])


def text(document: dict[str, Any], comment: str = "") -> str:
    """The YAML of a document; `comment` lines are above it."""
    lines = [f"# {line}" for line in comment.splitlines()]
    for key, value in document.items():
        lines += _section(key, value, 0)
    return "\n".join(lines) + "\n"


def _section(key: str, value: Any, depth: int) -> list[str]:
    """A key of the file or of a block, with what is below it."""
    pad = "  " * depth
    if key == "blocks":
        lines = [f"{pad}blocks:"]
        for name, block in value.items():
            lines.append(f"{pad}  {name}:")
            for inner, item in block.items():
                lines += _section(inner, item, depth + 2)
        return lines
    if key == "train":
        return [f"{pad}train:", *(f"{pad}  {name}: {flow(item)}" for name, item in value.items())]
    if key in SECTIONS and isinstance(value, dict) and not (key == "outputs" and depth):
        return [f"{pad}{key}:", *_entries(value, depth + 1)]
    line = f"{pad}{key}: {flow(value)}"
    if len(line) >= WIDTH and isinstance(value, dict):
        return [f"{pad}{key}:", *_entries(value, depth + 1)]
    if len(line) >= WIDTH and isinstance(value, list):
        return [f"{pad}{key}:", *_broken(value, depth + 1)]
    return [line]


def _entries(entries: dict[str, Any], depth: int) -> list[str]:
    """An entry a line, values aligned; one that is too long has a line for each of its keys."""
    pad = "  " * depth
    width = max((len(name) for name, item in entries.items() if not _long(item, depth, len(name))), default=0)
    lines = []
    for name, item in entries.items():
        line = f"{pad}{name + ':':<{width + 1}} {flow(item)}"
        if len(line) >= WIDTH:
            line = f"{pad}{name}: {flow(item)}"
        if len(line) >= WIDTH and isinstance(item, dict):
            lines += [f"{pad}{name}:", *_keys(item, depth + 1)]
        else:
            lines.append(line)
    return lines


def _long(item: Any, depth: int, name: int) -> bool:
    return isinstance(item, dict) and 2 * depth + name + 2 + len(flow(item)) >= WIDTH


def _keys(item: dict[str, Any], depth: int) -> list[str]:
    """The keys of one entry, a line each; long mappings and lists are broken again."""
    pad, lines = "  " * depth, []
    for key, value in item.items():
        line = f"{pad}{key}: {flow(value)}"
        if len(line) < WIDTH or not isinstance(value, (dict, list)):
            lines.append(line)
        elif isinstance(value, dict):
            lines += [f"{pad}{key}:", *_keys(value, depth + 1)]
        else:
            lines += [f"{pad}{key}:", *_broken(value, depth + 1)]
    return lines


def _broken(values: list[Any], depth: int) -> list[str]:
    """A list in brackets over several lines."""
    pad = "  " * depth
    lines, line = [], f"{pad}["
    for position, value in enumerate(values):
        item = flow(value) + ("]" if position == len(values) - 1 else ",")
        if len(line) + len(item) + 1 >= WIDTH:
            lines.append(line.rstrip())
            line = f"{pad} "
        line += item + ("" if item.endswith("]") and position == len(values) - 1 else " ")
    return [*lines, line.rstrip()]


def flow(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    return scalar(value)


def scalar(value: Any) -> str:
    """A scalar as YAML 1.2 reads it back."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, int):
        return str(value) if abs(value) < 10**MAX_DIGITS else _number(float(value))
    word = str(value)
    if _PLAIN.fullmatch(word) and word.lower() not in _WORDS and not word.endswith(" "):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _number(value: float) -> str:
    if not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    short = repr(value)
    if "e" in short:
        mantissa, exponent = short.split("e")
        return f"{mantissa}e{int(exponent)}"
    return short
