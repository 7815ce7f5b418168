"""Diagnostics as values: a place, a coded message, a remedy; how they are collected.

A stage that finds a mistake adds a `Diagnostic` to the `Diagnostics` it was given and goes on. `render` draws
one for people, `nearest` finds the legal word that was meant.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

CODES: dict[str, str] = {
    # reading YAML
    "encoding": "the file is not UTF-8 text",
    "control-character": "the text holds an invisible or control character",
    "file-too-large": "the file is longer than a spec may be",
    "empty-document": "the file holds nothing",
    "not-a-mapping": "the top level of a spec is a mapping",
    "yaml-syntax": "the text is not YAML",
    "yaml-tab": "YAML does not allow tabs in indentation",
    "yaml-tag": "tags such as `!x` are not part of the language",
    "yaml-directive": "directives such as `%YAML` are not part of the language",
    "merge-key": "the merge key `<<` is not part of the language",
    "several-documents": "a file holds one document",
    "unknown-anchor": "an alias names no anchor above it",
    "recursive-anchor": "an anchor contains itself",
    "too-many-aliases": "aliases expand to too many values",
    "too-deep": "values are nested too deeply",
    "duplicate-key": "a mapping has the same key twice",
    "null-key": "a mapping has an empty key, or a key without a value",
    "complex-key": "a key is a list or a mapping",
    "unquoted-expression": "YAML cuts an expression that is not quoted",
    # expressions
    "dollar-brace": "`${name}` is not a parameter; `$name` and `$(name)` are",
    "lone-dollar": "a dollar sign stands before nothing",
    "unclosed-expression": "`$(` is never closed",
    "expression-syntax": "an expression that cannot be read",
    "expression-form": "an expression uses a form that the language does not have",
    "expression-attribute": "an expression reads an attribute",
    "expression-too-long": "an expression is too long or nested too deeply",
    "unknown-function": "an expression calls something that is no function of the language",
    "call-arguments": "a function of an expression gets the wrong number of arguments",
    "unknown-name": "an expression uses a name that stands for nothing",
    "unknown-channels": "`channels(x)` names no input whose last axis is known",
    "operand-type": "an operation of an expression does not fit the types of its values",
    "division-by-zero": "an expression divides by zero",
    "index-out-of-range": "an expression reads past the end of a list",
    "number-too-large": "a number has no end, or more digits than a number may have",
    "value-too-long": "a list or a string of an expression is too long",
    # the language
    "unknown-key": "a key that does not exist here",
    "unknown-layer": "a layer that does not exist",
    "unknown-merge": "a merge that does not exist",
    "unknown-op": "an operation that does not exist",
    "unknown-block": "a block that does not exist",
    "unknown-reference": "a reference to something that does not exist",
    "unknown-loss": "a loss that does not exist",
    "unknown-metric": "a metric that does not exist",
    "unknown-optimizer": "an optimizer that does not exist",
    "unknown-preset": "a preset that does not exist",
    "unknown-param": "a parameter that does not exist",
    "missing-key": "a required key is missing",
    "wrong-type": "a value of the wrong type",
    "out-of-range": "a value outside its range",
    "input-count": "the wrong number of inputs",
    "shapes-differ": "shapes that must agree do not",
    "wrong-dtype": "a tensor of the wrong type",
    "wrong-rank": "a tensor with the wrong number of axes",
    "window-too-large": "a window is larger than what it slides over",
    "unknown-size": "a size must be known here",
    "cycle": "nodes depend on one another in a circle",
    "unreachable-node": "a node reaches no output",
    "unused-input": "an input that nothing reads",
    "spec-missing": "a spec file that cannot be read",
    "unused-block": "a block that nothing uses",
    "unused-param": "a parameter that nothing uses",
    "unused-shared": "a shared layer that nothing calls",
    "unbound-output": "an output that is bound to nothing",
    "loss-misfit": "a loss that cannot fit its output",
    "duplicate-name": "one name for two things",
    "reserved-name": "a name that has a meaning of its own",
    "bad-name": "a name that is not an identifier",
    "from-and-edges": "a node has both `from` and edges",
    "no-input": "a node has no input",
    "two-forms": "a node is two things at once",
    "no-form": "a node does not say what it is",
    "repeat-shapes": "the instances of a repetition do not chain",
    "left-out": "something reads a node that was left out",
    "model-missing": "a model file that cannot be read",
    "model-recursive": "a model file that includes itself",
    "model-outside": "a model file outside the directory of the spec",
    "block-recursive": "a block that contains itself",
    "shared-differs": "a shared layer is called on inputs that do not fit one set of weights",
    # data and training
    "not-supported": "a key or value of the language that this version does not carry out",
    "data-missing": "a data file that cannot be read",
    "data-outside": "a data file outside the directory of the spec",
    "data-format": "a data file that is not what its name says, or of a kind that is not read",
    "data-column": "a column or array that the data lack",
    "data-empty": "data without examples, or too few to split",
    "data-shape": "data of the wrong shape",
    "data-dtype": "data of the wrong type",
    "data-range": "a label or token outside its range",
    "data-nonfinite": "data that hold NaN or infinity",
    "nothing-to-train": "no output has a loss, or no weight is trainable",
    "device-missing": "a device that this machine lacks",
    "non-finite-loss": "the loss became NaN or infinite",
    "run-directory": "a run directory that cannot be written",
}
"""Every code of the compiler and what it means. The set is closed: `Diagnostic` refuses any other."""


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A place in a file: lines and columns from 1, columns in characters, the end exclusive."""

    file: str
    line: int
    column: int
    end_line: int
    end_column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Label:
    """A second place that has to do with a mistake, and what there is to say about it."""

    span: Span
    text: str


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One mistake. Codes are stable, users search for them: one that is not in `CODES` raises ValueError."""

    code: str
    message: str
    span: Span | None
    _: KW_ONLY
    label: str = ""
    labels: tuple[Label, ...] = ()
    notes: tuple[str, ...] = ()
    help: str | None = None
    severity: str = "error"

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise ValueError(f"unknown diagnostic code {self.code!r}")

    def to_json(self) -> dict[str, Any]:
        """The shape of `check --json`; secondary places are appended to the notes."""
        span = self.span
        return {
            "code": self.code,
            "severity": self.severity,
            "message": self.message,
            "file": span.file if span else None,
            "line": span.line if span else None,
            "column": span.column if span else None,
            "end_line": span.end_line if span else None,
            "end_column": span.end_column if span else None,
            "help": self.help,
            "notes": [*self.notes, *(f"{label.span}: {label.text}" for label in self.labels)],
        }


class SpecError(Exception):
    """The spec is at fault: `diagnostics` says where. Its text is the rendering without source lines."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__("\n\n".join(render(diagnostic, {}) for diagnostic in self.diagnostics))


class Diagnostics:
    """Collects what all stages find, so that one run reports every mistake."""

    def __init__(self) -> None:
        self._found: list[Diagnostic] = []

    def add(self, diagnostic: Diagnostic) -> None:
        self._found.append(diagnostic)

    def __len__(self) -> int:
        return len(self._found)

    def __iter__(self) -> Iterator[Diagnostic]:
        return iter(self._found)

    @property
    def errors(self) -> bool:
        return any(diagnostic.severity == "error" for diagnostic in self._found)

    def sorted(self) -> list[Diagnostic]:
        """By file and place, those without a place first; of two with one code and place, the first found."""
        unique: dict[object, Diagnostic] = {}
        for diagnostic in self._found:
            key = (diagnostic.code, diagnostic.span or diagnostic.message)
            unique.setdefault(key, diagnostic)
        nowhere = Span("", 0, 0, 0, 0)
        return sorted(unique.values(), key=lambda diagnostic: diagnostic.span or nowhere)

    def raise_if_errors(self) -> None:
        if self.errors:
            raise SpecError(self.sorted())


# --- the nearest legal word


@lru_cache(maxsize=65536)
def _plain(word: str) -> str:
    return re.sub(r"[\W_]+", "", word).casefold()


def nearest(word: str, candidates: Iterable[str], synonyms: Mapping[str, str] | None = None) -> str | None:
    """The candidate that was most likely meant by `word`, or None when none is near.

    In this order: the synonym (another vocabulary's word), the same letters in another case or with other
    underscores, the fewest typing mistakes (at most one in three letters, a transposition being one), one the
    start of the other.
    """
    names = [name for name in candidates if isinstance(name, str)]
    plain = _plain(word)
    for foreign, ours in (synonyms or {}).items():
        if (foreign == word or _plain(foreign) == plain) and ours in names:
            return ours
    if not plain:
        return None
    best: tuple[int, str] | None = None
    for name in names:
        other = _plain(name)
        limit = min(max(len(plain), len(other)) // 3, 3) if best is None else best[0]
        if abs(len(other) - len(plain)) > limit:
            continue
        distance = _edits(plain, other, limit)
        if distance <= limit and (best is None or (distance, name) < best):
            best = (distance, name)
    if best is not None:
        return best[1]
    starts = [name for name in names if _is_start(plain, _plain(name))]
    return min(starts, key=lambda name: (abs(len(name) - len(word)), name), default=None)


def _is_start(a: str, b: str) -> bool:
    return min(len(a), len(b)) >= 3 and (a.startswith(b) or b.startswith(a))


def _edits(a: str, b: str, limit: int) -> int:
    """Insertions, deletions, substitutions and transpositions from `a` to `b`, at most `limit + 1`."""
    if a == b:
        return 0
    if limit < 1:
        return limit + 1
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        new = [i]
        for j, y in enumerate(b, 1):
            cost = min(row[j] + 1, new[j - 1] + 1, row[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, before[j - 2] + 1)
            new.append(cost)
        if min(new) > limit:
            return limit + 1
        before, row = row, new
    return min(row[-1], limit + 1)


# --- rendering

LINE_WIDTH = 120
"""Display columns of source that a snippet shows; a longer line is cut around what is marked."""

_HIDDEN = (
    "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ufffe\uffff\ud800-\udfff\U000e0000-\U000e007f"
)
HIDDEN = re.compile(f"[{_HIDDEN}]")
"""Control, zero-width and bidirectional characters, surrogates: text with them does not read as it looks."""

_UNPRINTABLE = re.compile(f"[\t\n\r{_HIDDEN}]")

_COLORS = {"error": "1;31", "warning": "1;33", "code": "1", "frame": "1;34", "note": "1;32", "help": "1;36"}


def visible(text: str) -> str:
    """`text` with hidden characters written out as `<U+200B>`."""
    return _UNPRINTABLE.sub(lambda match: f"<U+{ord(match[0]):04X}>", text)


def split_lines(text: str) -> list[str]:
    """The lines as YAML and editors count them: `\\n`, `\\r\\n` and `\\r` end a line, nothing else does."""
    return re.split(r"\r\n|\r|\n", text)


def render(diagnostic: Diagnostic, sources: Mapping[str, str], color: bool = False) -> str:
    """The diagnostic as text, without a final newline, in the manner of rustc.

    `sources` maps file names to their text; a place in a file that is not there is named without its line.
    """
    paint = _painter(color)
    head = paint(diagnostic.severity, f"{diagnostic.severity}[{diagnostic.code}]")
    out = [head + paint("code", ": " + visible(diagnostic.message))]
    if diagnostic.span is not None:
        out += _snippets(diagnostic, diagnostic.span, sources, paint)
    for kind, text in [*(("note", note) for note in diagnostic.notes), ("help", diagnostic.help or "")]:
        if text:
            first, *rest = text.split("\n")
            out.append(paint(kind, f"{kind}:") + " " + visible(first))
            out += [" " * (len(kind) + 2) + visible(line) for line in rest]
    return "\n".join(out)


def _painter(color: bool) -> Any:
    if not color:
        return lambda kind, text: text
    return lambda kind, text: f"\x1b[{_COLORS.get(kind, '0')}m{text}\x1b[0m"


@dataclass(frozen=True, slots=True)
class _Mark:
    span: Span
    text: str
    primary: bool


def _snippets(diagnostic: Diagnostic, span: Span, sources: Mapping[str, str], paint: Any) -> list[str]:
    marks = [_Mark(span, diagnostic.label, True)]
    marks += [_Mark(label.span, label.text, False) for label in diagnostic.labels]
    width = len(str(max(mark.span.line for mark in marks)))
    files = dict.fromkeys(mark.span.file for mark in marks)
    out: list[str] = []
    for file in files:
        here = sorted((mark for mark in marks if mark.span.file == file), key=lambda mark: mark.span)
        first = next((mark for mark in here if mark.primary), here[0])
        arrow = "-->" if file == span.file else ":::"
        out.append(" " * width + paint("frame", arrow) + " " + visible(str(first.span)))
        if file in sources:
            out += _file_snippet(here, split_lines(sources[file]), width, diagnostic.severity, paint)
        else:
            out += [f"note: {visible(str(m.span))}: {visible(m.text)}" for m in here if m.text]
    return out


def _file_snippet(marks: list[_Mark], lines: list[str], width: int, severity: str, paint: Any) -> list[str]:
    bar = paint("frame", "|")
    blank = " " * (width + 1) + bar
    out = [blank]
    previous: int | None = None
    for number, group in _groups(marks, lines):
        if previous is not None and number > previous + 1:
            out.append(paint("frame", "..."))
        text = lines[number - 1] if number <= len(lines) else ""
        source, rows = _line_snippet(text, number, group, severity, paint)
        out.append(f"{paint('frame', str(number).rjust(width))} {bar} {source}".rstrip())
        out += [f"{blank} {row}" for row in rows]
        previous = number
    return out


def _groups(marks: list[_Mark], lines: list[str]) -> Iterator[tuple[int, list[_Mark]]]:
    """Marks by line; on a line too long to show, those that fit into one window together."""
    by_line: dict[int, list[_Mark]] = {}
    for mark in marks:
        by_line.setdefault(mark.span.line, []).append(mark)
    for number, group in by_line.items():
        text = lines[number - 1] if number <= len(lines) else ""
        window: list[_Mark] = []
        for mark in group:
            reach = mark.span.end_column if mark.span.end_line == number else len(text) + 1
            if window and len(text) > LINE_WIDTH and reach - window[0].span.column > LINE_WIDTH // 2:
                yield number, window
                window = []
            window.append(mark)
        yield number, window


def _line_snippet(
    text: str, number: int, marks: list[_Mark], severity: str, paint: Any
) -> tuple[str, list[str]]:
    """The line as shown, and the rows of marks and labels under it."""
    cells = [_cell(char) for char in text]
    starts = [0]
    for cell in cells:
        starts.append(starts[-1] + _width(cell))

    def at(column: int) -> int:
        beyond = max(column - 1 - len(cells), 0)
        return starts[min(column - 1, len(cells))] + min(beyond, 1)

    places = []
    for mark in marks:
        begin = at(mark.span.column)
        end = at(mark.span.end_column) if mark.span.end_line == number else starts[-1]
        places.append((begin, max(end, begin + 1), mark))
    source, shift, limit = _window(cells, starts, places)
    shown = [(max(b + shift, 0), min(max(e + shift, b + shift + 1), limit), mark) for b, e, mark in places]
    return source, _mark_rows(shown, severity, paint)


def _window(
    cells: list[str], starts: list[int], places: list[tuple[int, int, _Mark]]
) -> tuple[str, int, int]:
    """The part of the line to show, how far its columns moved, and how far marks may reach."""
    total = starts[-1]
    if total <= LINE_WIDTH:
        return "".join(cells).rstrip(), 0, total + 2
    begin = min(place[0] for place in places)
    end = min(max(place[1] for place in places), begin + LINE_WIDTH - 10)
    left = max(0, min(begin - (LINE_WIDTH - (end - begin)) // 2, total - LINE_WIDTH))
    right = left + LINE_WIDTH
    # A cell that straddles an edge of the window is left out; `first` keeps the columns right.
    inside = [i for i in range(len(cells)) if starts[i] >= left and starts[i + 1] <= right]
    first = starts[inside[0]] if inside else left
    before, after = ("..." if first > 0 else ""), ("..." if right < total else "")
    body = "".join(cells[i] for i in inside)
    return (before + body + after).rstrip(), len(before) - first, len(before) + LINE_WIDTH + 2


def _cell(char: str) -> str:
    return "    " if char == "\t" else visible(char)


def _width(cell: str) -> int:
    """Terminal columns of what is shown for one character."""
    if len(cell) > 1:
        return len(cell)
    if unicodedata.combining(cell) or unicodedata.category(cell) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(cell) in "WF" else 1


def _mark_rows(places: list[tuple[int, int, _Mark]], severity: str, paint: Any) -> list[str]:
    """`^^^` and `---`, the label of the last mark beside them, the others below at their marks' columns."""
    canvas: list[tuple[str, str]] = [(" ", "")] * max(end for _, end, _ in places)
    for begin, end, mark in sorted(places, key=lambda place: (place[0] - place[1], place[2].primary)):
        canvas[begin:end] = [("^", severity) if mark.primary else ("-", "frame")] * (end - begin)
    labelled = sorted((place for place in places if place[2].text), key=lambda p: (p[1], p[0], p[2].primary))
    rows = []
    row = _join(canvas, paint)
    if labelled and labelled[-1][1] == len(canvas):
        row += " " + _label(labelled.pop()[2], severity, paint)
    rows.append(row)
    labelled.sort(key=lambda place: place[0])
    while labelled:
        begin, _, mark = labelled.pop()
        bars = [(" ", "")] * begin
        for other, _, pending in labelled:
            if other < begin:
                bars[other] = ("|", severity if pending.primary else "frame")
        rows.append(_join(bars, paint) + _label(mark, severity, paint))
    return rows


def _label(mark: _Mark, severity: str, paint: Any) -> str:
    return paint(severity if mark.primary else "frame", visible(mark.text))


def _join(canvas: list[tuple[str, str]], paint: Any) -> str:
    """The characters with runs of one colour painted as one."""
    edges = [0, *(i for i, (a, b) in enumerate(pairwise(canvas), 1) if a[1] != b[1]), len(canvas)]
    out = []
    for a, b in pairwise(edges):
        text = "".join(char for char, _ in canvas[a:b])
        out.append(paint(canvas[a][1], text) if text.strip() else text)
    return "".join(out)
