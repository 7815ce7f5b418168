"""What is wrong in the one node that an edit has changed, long before the whole text is checked."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, replace

from graphspec.diagnostics import Diagnostic, Diagnostics, TooManyMistakes
from graphspec.elaborate import BodyElaborator, OutOfBudget, argument_names, elaborate_alone
from graphspec.source import Document, read

_ELSEWHERE = re.compile(r"[&*!]\w|<<|^(?![ \t#\r]|$)", re.MULTILINE)
"""What may change the meaning of other lines: anchors, tags, and text in the first column."""


@dataclass(frozen=True, slots=True)
class EditedNode:
    """The lines of a node of the file, from `first`, counted from 1: so many `before` and after an edit of
    its value, and the `text` that they are now.
    """

    name: str
    first: int
    before: int
    after: int
    text: str

    def moved(self, line: int) -> int:
        """Where a line outside of the node is after the edit."""
        return line if line < self.first else line + self.after - self.before

    def holds(self, diagnostic: Diagnostic, file: str, lines: int) -> bool:
        """Whether a diagnostic is in these lines, so many, of a file."""
        span = diagnostic.span
        return span is not None and span.file == file and self.first <= span.line < self.first + lines


def edited_node(before: Document, text: str) -> EditedNode | None:
    """The node in whose lines all is that differs between a document's text and another; None where the edit
    reaches further, or may mean something for other lines.
    """
    old, nodes = before.text, before.root[2].get("nodes")
    if nodes is None or not isinstance(nodes[2][2], dict) or not nodes[2][2]:
        return None
    start = _shared(old, text, 0)
    end = len(old) - _shared(old, text, start, backwards=True)
    entries = list(nodes[2][2].items())
    starts = [key for _, (key, _, _) in entries]
    index = bisect_right(starts, start) - 1
    name, (key, key_end, _) = entries[max(index, 0)]
    below = [first for first, _, _ in before.root[2].values() if first > key]
    following = starts[index + 1] if index + 1 < len(starts) else min(below, default=len(old))
    first, last = _line_start(old, key), _line_start(old, following)
    if end > last:  # a line that begins as the next one does is gone
        end = len(old) - _shared(old, text, _line_start(old, start), backwards=True)
    if index < 0 or start <= key_end or end > last or old[first:key].strip(" "):
        return None
    new = text[first : last + len(text) - len(old)]
    torn = last < len(old) and not new.endswith("\n")
    if torn or _ELSEWHERE.search(old[first:last]) or _ELSEWHERE.search(new):
        return None
    lines = bisect_right(before.lines, last) - bisect_right(before.lines, first)
    return EditedNode(
        name,
        bisect_right(before.lines, first),
        lines,
        lines + new.count("\n") - old.count("\n", first, last),
        new,
    )


def check_node(edited: EditedNode, before: Document, body: BodyElaborator) -> list[Diagnostic] | None:
    """The errors in the lines of a node that has changed, where all other nodes are as in the `body` of the
    text before. None where more has to be read to tell.
    """
    found = Diagnostics()
    alone = "\n" * (edited.first - 2) + "nodes:\n" + edited.text  # each word at its place
    document = read(alone, before.file, found, argument_names)
    complete = body.declared.nodes.keys() <= body.results.keys()
    if not complete or document is None or found.errors or [*document.value] != ["nodes"]:
        return None
    nodes = document.value["nodes"]
    if not isinstance(nodes, dict) or [*nodes] != [edited.name]:
        return None
    try:
        whole = replace(document, value={**before.value, "nodes": nodes})
        elaborate_alone(body, whole, edited.name, found)
    except (TooManyMistakes, OutOfBudget):
        pass
    errors = [each for each in found.sorted() if each.severity == "error"]
    here = [each for each in errors if edited.holds(each, before.file, edited.after)]
    return [replace(each, labels=()) for each in here]  # which are elsewhere


def _line_start(text: str, offset: int) -> int:
    """Where the line of an offset begins."""
    return text.rfind("\n", 0, offset) + 1 if offset < len(text) else offset


def _shared(one: str, other: str, start: int, backwards: bool = False) -> int:
    """How many characters two texts share from `start`, or from their ends down to it."""
    low, high = 0, min(len(one), len(other)) - start
    while low < high:
        middle = (low + high + 1) // 2
        if backwards:
            same = one[len(one) - middle : len(one) - low] == other[len(other) - middle : len(other) - low]
        else:
            same = one.startswith(other[start + low : start + middle], start + low)
        low, high = (middle, high) if same else (low, middle - 1)
    return low
