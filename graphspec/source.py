"""Reading YAML: text -> plain values, and the place of every key and value by its path.

The file is read as YAML 1.2 core, from the events of PyYAML's parser, whose own resolution (YAML 1.1) and
construction are not used. So `yes`, `on`, `12:30`, `1_000` and `2001-12-14` are strings, `1e-3` and `.5` are
numbers, `0o17` is 15, and `010` is the ten that it looks like (YAML 1.1 would read eight). A key is its text,
whatever it looks like: `1: x` and `"1": x` are the same key.

Anchors and aliases work within a budget; an alias yields a copy. Tags, merge keys and directives do not.

An expression that YAML cuts in two (`{units: $(max(a, b))}`) is one mistake and not the several that its
pieces would be: the text is parsed again with the expression masked, and goes on with what was meant.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any

import yaml

from .diagnostics import HIDDEN, Diagnostic, Diagnostics, Label, Span, nearest
from .expressions import MAX_LENGTH, brace_help, braced_name, closing

try:
    from yaml import CSafeLoader as _Loader
except ImportError:  # PyYAML was built without libyaml
    from yaml import SafeLoader as _Loader

Path = tuple[str | int, ...]
Node = tuple[int, int, Any]
"""Start and end offset of a value, and None, the list of its elements' nodes, or a dict from each key to
(start of the key, end of the key, node of the value)."""

MAX_BYTES = 2**20
MAX_DEPTH = 100
MAX_ALIASED = 100_000
"""Values that aliases may add to those that are written out."""
MAX_DIGITS = 18
MAX_ERRORS = 100
_MAX_REPARSED = 4 * MAX_BYTES
"""Characters that may be parsed again to go on after expressions that YAML cuts."""


@dataclass(frozen=True, slots=True)
class Document:
    """What a file holds: `value` is made of dict, list, str, int, float, bool and None only."""

    file: str
    text: str
    value: Any
    root: Node = field(repr=False)
    lines: list[int] = field(repr=False)

    def span(self, path: Path) -> Span:
        """The place of the value at `path`, or of its nearest parent that exists."""
        node = self.root
        for step in path:
            below = _below(node, step)
            if below is None:
                break
            node = below[2] if isinstance(node[2], dict) else below
        return place(self.file, self.lines, node[0], node[1])

    def key(self, path: Path) -> Span:
        """The place of the key that `path` ends in; that of the value where it ends in an index."""
        node = self.root
        for position, step in enumerate(path, 1):
            below = _below(node, step)
            if below is None:
                break
            if isinstance(node[2], dict):
                if position == len(path):
                    return place(self.file, self.lines, below[0], below[1])
                below = below[2]
            node = below
        return place(self.file, self.lines, node[0], node[1])


def _below(node: Node, step: str | int) -> Any:
    children = node[2]
    if isinstance(children, dict):
        return children.get(step)
    if isinstance(children, list) and isinstance(step, int) and 0 <= step < len(children):
        return children[step]
    return None


def line_starts(text: str) -> list[int]:
    """The offset at which each line begins."""
    return [0, *(match.end() for match in re.finditer(r"\r\n|\r|\n", text))]


def place(file: str, lines: list[int], start: int, end: int) -> Span:
    """The span of two offsets."""
    line, end_line = bisect_right(lines, start), bisect_right(lines, end)
    return Span(file, line, start - lines[line - 1] + 1, end_line, end - lines[end_line - 1] + 1)


def read(text: str | bytes, file: str, diagnostics: Diagnostics) -> Document | None:
    """The document in `text`; None when it cannot be read so far that there is anything to go on with.

    What is wrong is added to `diagnostics`. Never raises for any text.
    """
    decoded = _decode(text, file, diagnostics)
    if decoded is None:
        return None
    masks: dict[int, _Cut] = {}
    parsed = 0
    while True:
        reader = _Reader(decoded, file, masks)
        readable = reader.run()
        parsed += len(decoded)
        if not reader.cuts or parsed > _MAX_REPARSED:
            break
        masks = masks | reader.cuts
    for diagnostic in reader.found:
        diagnostics.add(diagnostic)
    if not readable or reader.root is None:
        return None
    return Document(file, decoded, reader.value, reader.root, reader.lines)


def _decode(text: str | bytes, file: str, diagnostics: Diagnostics) -> str | None:
    def fail(code: str, before: str, length: int, message: str, help: str | None = None) -> None:
        span = place(file, line_starts(before), len(before), len(before))
        span = Span(file, span.line, span.column, span.line, span.column + length)
        diagnostics.add(Diagnostic(code, message, span, help=help))

    size = len(text) if isinstance(text, bytes) else len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        fail("file-too-large", "", 0, f"the file has {size:,} bytes; a spec has at most {MAX_BYTES:,}")
        return None
    if isinstance(text, bytes):
        raw = text
        wide = raw[:2] in (b"\xff\xfe", b"\xfe\xff") or raw[1:4:2] == b"\0\0" or raw[:3:2] == b"\0\0"
        if wide:
            fail("encoding", "", 0, "the file is UTF-16 or UTF-32", "save it as UTF-8")
            return None
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            before = raw[: error.start].decode("utf-8").removeprefix("\ufeff")
            fail(
                "encoding",
                before,
                1,
                f"byte 0x{raw[error.start]:02X} is not UTF-8",
                "save the file as UTF-8",
            )
            return None
    text = text.removeprefix("\ufeff")
    found = [match.start() for match, _ in zip(HIDDEN.finditer(text), range(MAX_ERRORS), strict=False)]
    for start in found:
        message = f"the invisible or control character U+{ord(text[start]):04X} stands here"
        fail("control-character", text[:start], 1, message, "delete it; in double quotes YAML has escapes")
    return None if found else text


@dataclass(frozen=True, slots=True)
class _Cut:
    """An expression from `start` to `end` that YAML cannot see as one, and what it was cut at.

    `kind` is a diagnostic code, or "" for an expression without its `)`: that is told when it is evaluated.
    """

    start: int
    end: int
    kind: str
    at: str


class _Stop(Exception):
    """Nothing more can be read."""


class _Frame:
    """A list or a mapping that is being read."""

    __slots__ = ("anchor", "children", "flow", "height", "key", "opened", "start", "value")

    def __init__(self, value: list | dict, start: int, flow: bool, anchor: str | None, opened: int) -> None:
        self.value, self.start, self.flow, self.anchor, self.opened = value, start, flow, anchor, opened
        self.children: list | dict = [] if isinstance(value, list) else {}
        self.height = 1
        self.key: tuple[str | None, int, int] | None = None


@dataclass(frozen=True, slots=True)
class _Anchored:
    """What an anchor stands for: the value, its node, how many values it holds and how deep it is."""

    value: Any
    node: Node
    count: int
    height: int


class _Reader:
    """One pass over the events of one text. Recursion-free but for copies, whose depth is bounded."""

    def __init__(self, text: str, file: str, masks: dict[int, _Cut]) -> None:
        self.text, self.file, self.masks = text, file, masks
        self.lines = line_starts(text)
        self.found: list[Diagnostic] = []
        self.cuts: dict[int, _Cut] = {}
        self.mask_starts = sorted(masks)
        self.stack: list[_Frame] = []
        self.anchors: dict[str, _Anchored | None] = {}
        self.values = self.aliased = 0
        self.value: Any = None
        self.root: Node | None = None

    def run(self) -> bool:
        """Read the text; False when the parser or a budget stopped it."""
        try:
            for event in yaml.parse(self._masked(), Loader=_Loader):
                self._event(event)
            self._check_root()
        except _Stop:
            return False
        except yaml.MarkedYAMLError as error:
            self._syntax_error(error)
            return False
        return self.root is not None

    def _masked(self) -> str:
        parts, position = [], 0
        for start in self.mask_starts:
            end = self.masks[start].end
            parts += [self.text[position:start], "x" * (end - start)]
            position = end
        return "".join([*parts, self.text[position:]])

    def error(
        self, code: str, start: int, end: int, message: str, help: str | None = None, **more: Any
    ) -> None:
        span = place(self.file, self.lines, start, end)
        self.found.append(Diagnostic(code, message, span, help=help, **more))
        if len(self.found) >= MAX_ERRORS:
            raise _Stop

    # --- events

    def _event(self, event: Any) -> None:
        kind = type(event)
        if kind is yaml.ScalarEvent:
            self._scalar(event)
        elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
            self._open(event, {} if kind is yaml.MappingStartEvent else [])
        elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
            self._close(event)
        elif kind is yaml.AliasEvent:
            self._alias(event)
        elif kind is yaml.DocumentStartEvent:
            self._document(event)

    def _document(self, event: Any) -> None:
        start = event.start_mark.index
        if self.root is not None:
            self.error(
                "several-documents",
                start,
                start + 3,
                "a second document begins here",
                "use one file for each",
            )
            raise _Stop
        if event.version or event.tags:
            end = self.text.find("\n", start)
            message = "a directive is not part of the language"
            self.error(
                "yaml-directive", start, max(end, start + 1), message, "delete the line, and the `---`"
            )

    def _open(self, event: Any, value: list | dict) -> None:
        start = event.start_mark.index
        if len(self.stack) >= MAX_DEPTH:
            self.error("too-deep", start, start + 1, f"values are nested more than {MAX_DEPTH} deep")
            raise _Stop
        self._check_tag(event)
        self.values += 1
        if event.anchor:
            self.anchors[event.anchor] = None
        self.stack.append(_Frame(value, start, event.flow_style, event.anchor, self.values))

    def _close(self, event: Any) -> None:
        frame = self.stack.pop()
        end = event.end_mark.index
        if end == event.start_mark.index:
            # Block collections end where the next thing begins; theirs is the end of their last value.
            last = list(frame.children.values() if isinstance(frame.children, dict) else frame.children)[-1:]
            end = (
                frame.start if not last else last[0][2][1] if isinstance(frame.children, dict) else last[0][1]
            )
        node = (frame.start, max(end, frame.start), frame.children)
        if frame.anchor:
            count = self.values - frame.opened + 1
            self.anchors[frame.anchor] = _Anchored(frame.value, node, count, frame.height)
        self._attach(frame.value, node, frame.height)

    def _alias(self, event: Any) -> None:
        start, end = event.start_mark.index, event.end_mark.index
        name = event.anchor
        target = self.anchors.get(name)
        if target is None:
            if name in self.anchors:
                self.error("recursive-anchor", start, end, f"`*{name}` stands inside of `&{name}` itself")
            else:
                near = nearest(name, self.anchors)
                help = (
                    f"did you mean `*{near}`?"
                    if near
                    else f"an anchor `&{name}` must stand above; quote a text"
                )
                self.error("unknown-anchor", start, end, f"there is no anchor `&{name}` above", help)
            self._attach(None, (start, end, None), 0)
            return
        self.values += target.count
        self.aliased += target.count
        if self.aliased > MAX_ALIASED:
            self.error("too-many-aliases", start, end, f"aliases add more than {MAX_ALIASED:,} values")
            raise _Stop
        if len(self.stack) + target.height > MAX_DEPTH:
            self.error("too-deep", start, end, f"with `*{name}` values are nested more than {MAX_DEPTH} deep")
            raise _Stop
        self._attach(_copy(target.value), (start, end, target.node[2]), target.height)

    def _attach(self, value: Any, node: Node, height: int) -> None:
        """Put a finished value where it belongs."""
        if not self.stack:
            self.value, self.root = value, node
            return
        frame = self.stack[-1]
        frame.height = max(frame.height, height + 1)
        if isinstance(frame.value, list):
            frame.value.append(value)
            frame.children.append(node)  # type: ignore[union-attr]
        elif frame.key is None:
            help = "a parameter is written `$name`, an expression `$(...)`; a text in braces needs quotes"
            self.error("complex-key", node[0], node[1], "a key is a list, a mapping or an alias", help)
            frame.key = (None, node[0], node[1])
        else:
            name, start, end = frame.key
            frame.key = None
            if name is not None:
                frame.value[name] = value
                frame.children[name] = (start, end, node)  # type: ignore[call-overload]

    # --- scalars

    def _scalar(self, event: Any) -> None:
        start, end = event.start_mark.index, event.end_mark.index
        text = event.value
        plain = not event.style
        if event.tag is not None:
            self._check_tag(event)
        if plain:
            if self.mask_starts:
                text = self._unmasked(start, end, text)
            if "$" in text:
                self._find_cut(start, end, text)
        elif event.style == '"' and (hidden := HIDDEN.search(text)):
            message = f"the text holds the control character U+{ord(hidden[0]):04X}"
            self.error("control-character", start, end, message, "delete its escape")
        frame = self.stack[-1] if self.stack else None
        if frame is not None and frame.key is None and isinstance(frame.value, dict):
            self._key(frame, text, plain, start, end)
            self._anchor(event.anchor, text, (start, end, None))
            return
        if plain and frame is not None and frame.flow and frame.key is not None and start == end:
            self._check_colon(frame, start)
        self.values += 1
        value = self._resolve(text, start, end) if plain else text
        self._anchor(event.anchor, value, (start, end, None))
        self._attach(value, (start, end, None), 0)

    def _anchor(self, name: str | None, value: Any, node: Node) -> None:
        if name:
            self.anchors[name] = _Anchored(value, node, 1, 0)

    def _check_tag(self, event: Any) -> None:
        if event.tag is not None:
            start = event.start_mark.index
            end = start + len(re.match(r"\S*", self.text[start : start + 80])[0])  # type: ignore[index]
            self.error(
                "yaml-tag", start, end, "a tag is not part of the language", "delete it, or quote the text"
            )

    def _key(self, frame: _Frame, text: str, plain: bool, start: int, end: int) -> None:
        name: str | None = text
        if plain and text in _NULLS:
            self.error("null-key", start, end, "a key is empty", _COMMA_HELP)
            name = None
        elif plain and text == "<<":
            help = "write the keys out, or give what they share to a block"
            self.error("merge-key", start, end, "the merge key `<<` is not part of the language", help)
            name = None
        elif text in frame.value:
            first = frame.children[text]  # type: ignore[call-overload]
            label = Label(place(self.file, self.lines, first[0], first[1]), "first written here")
            message = f"the key `{text[:60]}` is written twice"
            self.error(
                "duplicate-key", start, end, message, "delete or rename one", label="again", labels=(label,)
            )
            name = None
        frame.key = (name, start, end)

    def _check_colon(self, frame: _Frame, start: int) -> None:
        """In `{a: 1, b}` the key `b` has no value: mostly what an unquoted comma left behind."""
        name, key_start, key_end = frame.key or (None, start, start)
        if name is not None and ":" not in self.text[key_end:start]:
            message = f"`{name[:60]}` stands in braces without a value"
            self.error("null-key", key_start, key_end, message, f"write `{name[:60]}: value`; {_COMMA_HELP}")
            frame.key = (None, key_start, key_end)

    def _resolve(self, text: str, start: int, end: int) -> Any:
        """The value of a plain scalar by the core schema of YAML 1.2."""
        first = text[:1]
        if first not in _NUMBER_STARTS:
            return _KEYWORDS.get(text, text)
        if text in _KEYWORDS:
            return _KEYWORDS[text]
        if match := _INTEGER.fullmatch(text):
            digits, base = next((match[i], b) for i, b in ((1, 10), (2, 8), (3, 16)) if match[i])
            if len(digits.lstrip("+-0")) <= MAX_DIGITS and abs(number := int(digits, base)) < 10**MAX_DIGITS:
                return number
            self.error("number-too-large", start, end, f"an integer has at most {MAX_DIGITS} digits")
            return 1
        if not _FLOAT.fullmatch(text):
            return text
        value = float(text)
        if math.isinf(value) or (value == 0 and re.search("[1-9]", re.split("[eE]", text)[0])):
            message = f"`{text[:40]}` is beyond what a double-precision number can hold"
            self.error("number-too-large", start, end, message)
            return 1.0
        return value

    # --- expressions that YAML cuts

    def _unmasked(self, start: int, end: int, text: str) -> str:
        """The value that was meant where a mask stands, and what is to be said about it."""
        first = bisect_right(self.mask_starts, start - 1)
        inside = [mask for mask in self.mask_starts[first : first + 50] if mask < end]
        if not inside:
            return text
        whole = self.text[start:end]
        for mask in inside:
            cut = self.masks[mask]
            self.tell(cut, whole)
            if cut.kind == "dollar-brace":
                source = self.text[cut.start : cut.end]
                whole = whole.replace(source, "$(" + braced_name(source, 0)[0] + ")")
        return re.sub(r"\s*[\r\n]\s*", " ", whole)

    def tell(self, cut: _Cut, whole: str) -> None:
        """Report a cut expression; `whole` is the value that contains it."""
        source = self.text[cut.start : cut.end]
        if cut.kind == "dollar-brace":
            help = brace_help(braced_name(source, 0)[0])
            self.error(cut.kind, cut.start, cut.end, f"`{source[:60]}` is not a parameter", help)
        elif cut.kind:
            message = f"`{source[:60]}` needs quotes: without them YAML ends the value at `{cut.at}`"
            self.error(cut.kind, cut.start, cut.end, message, f"write {_quoted(whole)}")

    def _find_cut(self, start: int, end: int, text: str) -> None:
        """Note an expression that begins in this plain scalar and goes on behind its end."""
        flow = bool(self.stack) and self.stack[-1].flow
        if flow and text.endswith("$") and self.text[end : end + 1] == "{":
            self._note(_Cut(end - 1, self._line_end(end, "}"), "dollar-brace", "{"))
            return
        begin = _unclosed(self.text[start:end]) if _unclosed(text) is not None else None
        if begin is None or start + begin in self.masks:
            return
        begin += start
        line = self.text[begin : self._line_end(begin)]
        stop = closing(line, 1)
        if stop is not None:
            at = self.text[end : begin + stop].lstrip(" ")[:1]
            self._note(_Cut(begin, begin + stop + 1, "unquoted-expression", at))
        elif flow:
            length = line.rfind(")") + 1 or len(re.split(r"[,\]}]", line)[0])
            if begin + length > end:
                self._note(_Cut(begin, begin + length, "", ""))

    def _note(self, cut: _Cut) -> None:
        self.cuts.setdefault(cut.start, cut)

    def _line_end(self, start: int, stop: str = "") -> int:
        """The end of the line at `start`, or just behind the first `stop` on it, within reach."""
        text = self.text[start : start + MAX_LENGTH]
        line = re.split(r"[\r\n]", text, maxsplit=1)[0]
        found = line.find(stop) if stop else -1
        return start + (found + 1 if found >= 0 else len(line))

    def _cut_around(self, index: int) -> bool:
        """Whether the parser failed inside of an expression; if so, that is noted."""
        line = self.lines[bisect_right(self.lines, index) - 1]
        for match in re.compile(r"\$[({]").finditer(self.text, line, min(index + 1, self._line_end(line))):
            start = match.start()
            if start in self.masks or start in self.cuts:
                continue
            if match[0] == "${":
                end = self._line_end(start, "}")
                cut = _Cut(start, end, "dollar-brace", "{")
            else:
                stop = closing(self.text[start : self._line_end(start)], 1)
                if stop is None:
                    continue
                end = start + stop + 1
                cut = _Cut(start, end, "unquoted-expression", self.text[index : index + 1])
            if index <= end:
                self._note(cut)
                return True
        return bool(self.cuts)

    # --- what the parser and the end have to say

    def _check_root(self) -> None:
        if self.root is None or (self.value is None and not self.found):
            self.error(
                "empty-document", 0, 0, "the file holds no spec", "`graphspec new` writes one to start from"
            )
            self.root = None
        elif not isinstance(self.value, dict):
            help = "a spec begins with keys such as `inputs:`; a colon wants a space behind it"
            self.error(
                "not-a-mapping", self.root[0], self.root[0], "a spec is a mapping of keys to values", help
            )
            self.root = None

    def _syntax_error(self, error: yaml.MarkedYAMLError) -> None:
        mark = error.problem_mark or error.context_mark
        index = min(mark.index if mark else 0, len(self.text))
        if self._cut_around(index):
            return
        start = self.lines[bisect_right(self.lines, index) - 1]
        blank = re.compile(r"[ \t]*").match(self.text, start)
        tab = self.text.find("\t", start, blank.end() if blank else start)
        problem, context = error.problem or "", error.context or ""
        opened = error.context_mark.index if error.context_mark else index
        atend = not self.text[index:].strip()
        if tab >= 0 or self.text[index : index + 1] == "\t":
            tab = tab if tab >= 0 else index
            self.error("yaml-tab", tab, tab + 1, "a tab stands in the indentation", "indent with spaces")
        elif self.text[start : start + 1] == "%":
            message = "a directive is not part of the language"
            self.error(
                "yaml-directive", start, self._line_end(start), message, "delete the line, and the `---`"
            )
        elif "nesting depth" in problem or "nesting depth" in context:
            self.error("too-deep", index, index + 1, f"values are nested more than {MAX_DEPTH} deep")
        elif atend and ("flow" in context or "quoted" in context):
            what = self.text[opened : opened + 1]
            self.error("yaml-syntax", opened, opened + 1, f"`{what}` is never closed")
        else:
            if atend:
                index = len(self.text[:index].rstrip())
            message, help = _explain(problem, context)
            labels = ()
            if "flow" in context:
                labels = (Label(place(self.file, self.lines, opened, opened + 1), "opened here"),)  # type: ignore
            self.error("yaml-syntax", index, index + 1, message, help, labels=labels)


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


def _unclosed(text: str) -> int | None:
    """The offset of the first `$(` without its `)`."""
    position = 0
    while (position := text.find("$", position)) >= 0:
        if text[position + 1 : position + 2] == "(":
            end = closing(text, position + 1)
            if end is None:
                return position
            position = end
        else:
            position += 1
        position += 1
    return None


def _quoted(text: str) -> str:
    """`text` as a quoted scalar of YAML."""
    return "'" + text.replace("'", "''") + "'" if '"' in text or "\\" in text else f'"{text}"'


_COMMA_HELP = (
    'in {...} YAML wants quotes around an expression with a comma or a bracket, "$(max(a, b))", '
    "and [...] around a list"
)
_NULLS = frozenset(["", "~", "null", "Null", "NULL"])
_KEYWORDS: dict[str, Any] = {
    **dict.fromkeys(_NULLS),
    **dict.fromkeys(["true", "True", "TRUE"], True),
    **dict.fromkeys(["false", "False", "FALSE"], False),
    **dict.fromkeys([".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"], math.inf),
    **dict.fromkeys(["-.inf", "-.Inf", "-.INF"], -math.inf),
    **dict.fromkeys([".nan", ".NaN", ".NAN"], math.nan),
}
_NUMBER_STARTS = frozenset("+-.0123456789")
_INTEGER = re.compile(r"([-+]?[0-9]+)|0o([0-7]+)|0x([0-9a-fA-F]+)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")

_SYNTAX: tuple[tuple[str, str, str], ...] = (
    (
        "mapping values are not allowed",
        "a key cannot stand here",
        "one line has one `key: value`; a text with a colon and a space needs quotes; indent with care",
    ),
    (
        "did not find expected key",
        "this line is indented like none above it",
        "keys of one mapping begin in the same column",
    ),
    (
        "did not find expected '-' indicator",
        "a list goes on with `- `",
        "items of one list begin in the same column",
    ),
    ("did not find expected ',' or ']'", "a `,` or `]` should stand here", "text with brackets needs quotes"),
    ("did not find expected ',' or '}'", "a `,` or `}` should stand here", "text with brackets needs quotes"),
    ("cannot start any token", "no value begins with this character", "put the text in quotes"),
    ("unknown escape", "double quotes have no such escape", "use single quotes, or a doubled backslash"),
    ("could not find expected ':'", "a `:` should stand here", "write `key: value`"),
    ("found unexpected ':'", "a colon wants a space behind it", "write `key: value`"),
    (
        "found unexpected document",
        "a document ends inside of a value",
        "close the quote or the bracket above",
    ),
    (
        "found unexpected end of stream",
        "the file ends inside of a value",
        "close the quote or the bracket above",
    ),
    ("block sequence entries are not allowed", "a list cannot begin here", "begin it on a line of its own"),
)


def _explain(problem: str, context: str) -> tuple[str, str | None]:
    """The parser's complaint in the words of someone who writes YAML."""
    for needle, message, help in _SYNTAX:
        if needle in problem:
            return message, help
    return f"this is not YAML: {problem}" + (f" {context}" if context else ""), None
