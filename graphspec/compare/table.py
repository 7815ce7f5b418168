"""A comparison as the table of a review."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from graphspec.compare.differences import Detail, NodeChange, SettingChange, SpecComparison, fold
from graphspec.tensor import Dim, Size
from graphspec.view.summary import show_flops

SIGNS = {"added": "+", "removed": "-", "renamed": ">", "changed": "~"}
COLORS = {"added": "32", "removed": "31", "renamed": "36", "changed": "33"}
Line = tuple[str, tuple[str, ...]]
"""The kind of a change, and its cells."""


def render(comparison: SpecComparison, color: bool = False) -> str:
    """The table, without a final newline."""
    if comparison.same:
        return f"no difference in {comparison.alike} node{'s' * (comparison.alike != 1)} and the settings"
    parts = [
        _block("inputs", [_setting(change) for change in comparison.inputs], color),
        _block("nodes", [_node(change) for change in fold(comparison.nodes)], color),
        _block("settings", [_setting(change) for change in comparison.settings], color),
    ]
    return "\n\n".join([part for part in parts if part] + ["\n".join(_totals(comparison))])


def _block(title: str, lines: Sequence[Line], color: bool) -> str:
    """The lines of a section, their cells below each other."""
    if not lines:
        return ""
    count = max(len(cells) for _, cells in lines)
    widths = [max(len(cells[i]) if i < len(cells) else 0 for _, cells in lines) for i in range(count)]
    text = [title]
    for what, cells in lines:
        padded = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=False)).rstrip()
        line = f"  {SIGNS[what]} {padded}"
        text.append(f"\x1b[{COLORS[what]}m{line}\x1b[0m" if color else line)
    return "\n".join(text)


def _node(change: NodeChange) -> Line:
    name = f"{change.before} -> {change.path}" if change.what == "renamed" and change.before else change.path
    name += f" ({change.type})" + (f" x{change.count}" if change.count > 1 else "")
    params = _arrow(change.params, "{:,}".format)
    flops = _arrow(change.flops, show_flops)
    details = "; ".join(map(_detail, change.details))
    return change.what, (name, f"params {params}" if params != "0" else "", flops, details)


def _arrow(sides: tuple[Any, Any], shown: Callable[[Any], str]) -> str:
    """`18,496 -> 27,744`; one number where both are the same, or one side alone has one."""
    texts = [shown(side) for side in sides if side is not None]
    return " -> ".join(dict.fromkeys(texts))


def _detail(detail: Detail) -> str:
    if detail.name == "reads":
        return f"reads {', '.join(detail.before) or 'nothing'} -> {', '.join(detail.after) or 'nothing'}"
    if detail.before is None and detail.after is not None:
        return f"{detail.name} {show_value(detail.after)}"
    return f"{detail.name} {show_value(detail.before)} -> {show_value(detail.after)}"


def _setting(change: SettingChange) -> Line:
    if change.what == "added":
        return change.what, (change.path, show_value(change.after))
    if change.what == "removed":
        return change.what, (change.path, show_value(change.before))
    return change.what, (change.path, f"{show_value(change.before)} -> {show_value(change.after)}")


def show_value(value: Any) -> str:
    """A value as a spec has it, on one line."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {show_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(show_value, value)) + "]"
    return json.dumps(value)


def _totals(comparison: SpecComparison) -> Iterator[str]:
    old, new = comparison.params
    yield f"params  {old:,} -> {new:,} ({new - old:+,})" if old != new else f"params  {new:,}, as before"
    costs = [show_flops(cost) for cost in comparison.flops]
    yield (
        f"forward  {costs[0]} -> {costs[1]}{_ratio(*comparison.flops)}"
        if costs[0] != costs[1]
        else (f"forward  {costs[0]}, as before")
    )
    yield f"{comparison.alike} node{'s' * (comparison.alike != 1)} as before"


def _ratio(old: Dim, new: Dim) -> str:
    if isinstance(old, Size) or isinstance(new, Size) or not old:
        return ""
    return f" (x {new / old:.2f})"
