"""From the parser's events to plain values, with the node of each."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from graphspec.diagnostics import (
    Change,
    Diagnostic,
    Label,
    Remedy,
    Span,
    hidden_in,
    nearest,
    shortened,
    write,
    write_value,
)
from graphspec.diagnostics import meant as meant_word
from graphspec.diagnostics.foreign_terms import LOOKALIKES, POSITIONS, call_of
from graphspec.expressions import UNCLOSED_HELP, brace_help, braced_name, closing
from graphspec.source.cuts import Cut, cut_around, cut_in_formula, cut_in_scalar, has_unclosed, meant, quoted
from graphspec.source.places import line_end, place
from graphspec.source.scalars import LOADER, MAX_DEPTH, NULLS, NumberTooLarge, resolve
from graphspec.source.writing import write_flow

Node = tuple[int, int, Any]
"""Start and end offset of a value, and None, the list of its elements' nodes, or a dict from each key to
(start of the key, end of the key, node of the value)."""

MAX_ALIASED = 100_000
"""Values that aliases may add to those that are written out."""
MAX_ERRORS = 100
_QUESTION = re.compile(r"[\[,]\s*(\?)[\s,]*\Z")
_NO_SIZE = "`?` begins a key in YAML, and is not a size"
_NO_SIZE_HELP = "leave the batch axis out of a shape; `null` or a name is any size of another axis"
_COMMA_HELP = (
    'in {...} YAML requires quotes around an expression with a comma or a bracket, "$(max(a, b))", '
    "and [...] around a list"
)


Arguments = Callable[[Mapping[str, Any]], list[str]]
"""The names of the arguments that a mapping such as `{layer: Dense}` takes, in their order."""

_LISTED = re.compile(r"size$|shape$|strides|dilation|padding|cropping|ax[ei]s|dims|betas")
"""Keys whose value may be a list of numbers."""
_OF_WORDS = ("from", "metrics", "callbacks", "columns")
"""Keys whose value may be a list of words."""
_WORDS = re.compile(r"[\w.]+(?:\s*,\s*[\w.]+)*(?=\s*(?:,\s*[\w.]+\s*:|[},]))")
_TEMPLATE = re.compile(r"\{\{ *([^{}]+?) *\}\}")
"""A parameter as template languages write it."""
HOLE = "..."
"""Marks a hole of an exercise, where something is to be written."""
_TUPLE = re.compile(r"\(\s*(?:\$?[\w.+-]+\s*,\s*)+(?:\$?[\w.+-]+\s*)?\)")


class Stop(Exception):
    """Raised when nothing more can be read."""


_SET = re.compile(r"\{((?:[ \t]*[A-Za-z_]\w*[ \t]*,)*[ \t]*[A-Za-z_]\w*[ \t]*)\}")
"""Words in braces, as a set of Python."""


class Frame:
    """A list or a mapping that is being read. `key` is the key that waits for its value, with its offsets;
    its name is None where the value is to be dropped.
    """

    __slots__ = (
        "anchor",
        "children",
        "flow",
        "height",
        "key",
        "listed",
        "opened",
        "start",
        "unnamed",
        "value",
    )

    def __init__(
        self, value: list[Any] | dict[Any, Any], start: int, flow: bool, anchor: str | None, opened: int
    ) -> None:
        self.value: Any = value
        self.children: Any = [] if isinstance(value, list) else {}
        self.start, self.flow, self.anchor, self.opened = start, flow, anchor, opened
        self.height = 1
        self.unnamed = 0  # values without a key
        self.listed = 0  # the end of words that belong to the list before them
        self.key: tuple[str | None, int, int] | None = None

    @property
    def wants_key(self) -> bool:
        return self.key is None and isinstance(self.value, dict)


def _may_be_cut(frame: Frame, name: str) -> bool:
    """Whether an entry in braces without a value may be the rest of a text that a comma has cut."""
    last = next(reversed(frame.value.values()), None)
    return isinstance(last, str) or not name.isidentifier()


@dataclass(frozen=True, slots=True)
class Anchored:
    """The target of an anchor: the value, its node, how many values it holds and how deep they nest."""

    value: Any
    node: Node
    count: int
    height: int


class Reader:
    """One pass over one text, whose `lines` begin at these offsets. YAML parses `masked`, the text with its
    `masks` blanked. Nothing recurses but the copy of an alias, whose depth is bounded.

    After `run`: `value` and `root` (None when nothing can be read), the `diagnostics`, the `cuts` for whose
    sake another pass is worth while, and how far the text was `reached`.
    """

    def __init__(
        self,
        text: str,
        file: str,
        lines: list[int],
        masks: dict[int, Cut],
        masked: str,
        arguments: Arguments | None = None,
    ) -> None:
        self.text, self.file, self.lines = text, file, lines
        self.masks, self.masked, self.arguments = masks, masked, arguments
        self.mask_starts = sorted(masks)
        self.diagnostics: list[Diagnostic] = []
        self.cuts: dict[int, Cut] = {}
        self.searches = 0
        self.stack: list[Frame] = []
        self.anchors: dict[str, Anchored | None] = {}
        self.values = self.aliased = self.reached = 0
        self.quoted = (0, 0)  # the last text in quotes
        self.asked = False  # a `?` in place of a size was reported
        self.value: Any = None
        self.root: Node | None = None

    def run(self) -> None:
        readers = {
            yaml.ScalarEvent: self._scalar,
            yaml.MappingStartEvent: self._open,
            yaml.SequenceStartEvent: self._open,
            yaml.MappingEndEvent: self._close,
            yaml.SequenceEndEvent: self._close,
            yaml.AliasEvent: self._alias,
            yaml.DocumentStartEvent: self._document,
        }
        try:
            for event in iter(LOADER(self.masked).get_event, None):
                self.reached = event.start_mark.index
                read = readers.get(event.__class__)
                if read is not None:
                    read(event)
            self._check_root()
        except yaml.MarkedYAMLError as error:
            self._syntax_error(error)
        except Stop:
            pass
        if not isinstance(self.value, dict):
            self.root = None

    def _report(
        self, code: str, start: int, end: int, message: str, help: str | None = None, **more: Any
    ) -> None:
        self.diagnostics.append(Diagnostic(code, message, self._place(start, end), help=help, **more))

    def _place(self, start: int, end: int) -> Span:
        return place(self.file, self.lines, start, end)

    def _error(self, *arguments: Any, **more: Any) -> None:
        self._report(*arguments, **more)
        if len(self.diagnostics) >= MAX_ERRORS:
            self.root = None
            raise Stop

    # --- events

    def _document(self, event: Any) -> None:
        start = event.start_mark.index
        if self.root is not None:
            self._report(
                "several-documents", start, start + 3, "a second document starts here", "use a file for each"
            )
            raise Stop
        if event.version or event.tags:
            from graphspec.source.complaints import DIRECTIVE, DIRECTIVE_HELP

            end = line_end(self.text, start, 100)
            self._error("yaml-directive", start, end, DIRECTIVE, DIRECTIVE_HELP)

    def _open(self, event: Any) -> None:
        value: list[Any] | dict[Any, Any] = {} if event.__class__ is yaml.MappingStartEvent else []
        start = event.start_mark.index
        if len(self.stack) >= MAX_DEPTH:
            self._too_deep(start)
        if event.tag is not None:
            self._tag(start)
        self.values += 1
        if event.anchor:
            self.anchors[event.anchor] = None
        self.stack.append(Frame(value, start, event.flow_style, event.anchor, self.values))

    def _too_deep(self, start: int) -> None:
        self._report("too-deep", start, start + 1, f"values are nested more than {MAX_DEPTH} deep")
        raise Stop

    def _tag(self, start: int) -> None:
        end = start + len(self.text[start : start + 80].split(maxsplit=1)[0])
        self._error(
            "yaml-tag", start, end, "a tag is not part of the language", "delete it, or quote the text"
        )

    def _close(self, event: Any) -> None:
        frame = self.stack.pop()
        end = event.end_mark.index
        if end == event.start_mark.index:
            # A block collection ends where the next thing begins; its place ends with its last value.
            last = next(
                reversed(frame.children.values() if frame.value.__class__ is dict else frame.children), None
            )
            end = frame.start if last is None else last[2][1] if frame.value.__class__ is dict else last[1]
        node = (frame.start, end, frame.children)
        if frame.anchor:
            count = self.values - frame.opened + 1
            self.anchors[frame.anchor] = Anchored(frame.value, node, count, frame.height)
        self._attach(frame.value, node, frame.height)

    def _alias(self, event: Any) -> None:
        start, end = event.start_mark.index, event.end_mark.index
        name = event.anchor
        target = self.anchors.get(name)
        if target is None:
            self._unknown_alias(name, start, end)
            self._attach(None, (start, end, None), 0)
            return
        self.values += target.count
        self.aliased += target.count
        if self.aliased > MAX_ALIASED:
            self._report("too-many-aliases", start, end, f"aliases add more than {MAX_ALIASED:,} values")
            raise Stop
        if len(self.stack) + target.height > MAX_DEPTH:
            self._too_deep(start)
        self._attach(_copy(target.value), (start, end, target.node[2]), target.height)

    def _unknown_alias(self, name: str, start: int, end: int) -> None:
        if name in self.anchors:
            self._error("recursive-anchor", start, end, f"`*{name}` is inside of `&{name}` itself")
            return
        near = nearest(name, self.anchors)
        help: str = (
            meant_word(f"*{near}", f"*{name}")
            if near
            else f"write `&{name}` above; all instances of a node are `{name}.*`; other texts need quotes"
        )
        self._error("unknown-anchor", start, end, f"there is no anchor `&{name}` above", help)

    def _attach(self, value: Any, node: Node, height: int) -> None:
        """Adds a finished value to its collection."""
        if not self.stack:
            self.value, self.root = value, node
            return
        frame = self.stack[-1]
        if frame.height <= height:
            frame.height = height + 1
        if frame.value.__class__ is list:
            frame.value.append(value)
            frame.children.append(node)
        elif frame.key is None:
            help = "a param is written `$name`, an expression `$(...)`; a string in braces needs quotes"
            match = _TEMPLATE.search(self.text, max(0, node[0] - 1), node[1] + 1)
            if match is not None and ":" in match[1]:
                help = f"one pair of braces is enough: {{{match[1]}}}"
            elif match is not None:
                meant_by = f"${match[1]}" if match[1].isidentifier() else f"$({match[1]})"
                change = Change(quoted(meant_by), at=self._place(*match.span()))
                help = Remedy(f"write `{meant_by}`", change)
            self._error("complex-key", node[0], node[1], "a key is a list, a mapping or an alias", help)
            frame.key = (None, node[0], node[1])
        else:
            name, start, end = frame.key
            frame.key = None
            if name is not None:
                frame.value[name] = value
                frame.children[name] = (start, end, node)

    # --- scalars

    def _scalar(self, event: Any) -> None:
        start, end = event.start_mark.index, event.end_mark.index
        text, plain = event.value, not event.style
        if event.tag is not None:
            self._tag(start)
        if plain:
            if self.mask_starts:
                text = self._unmasked(start, end, text)
            if "$" in text or "(" in text:
                self._find_cut(start, end, text)
        elif event.style in "'\"":
            self.quoted = (start, end)
        if event.style == '"' and (hidden := next(hidden_in(text), None)):
            message = f"the text holds the invisible or control character U+{ord(hidden[0]):04X}"
            self._error("control-character", start, end, message, "delete its escape")
        frame = self.stack[-1] if self.stack else None
        node = (start, end, None)
        if frame is not None and frame.key is None and frame.value.__class__ is dict:
            value: Any = text
            self._key(frame, text, plain, start, end)
        else:
            if start == end and plain and frame is not None and frame.flow and frame.key is not None:
                text = self._without_colon(frame, start)
            self.values += 1
            if plain and text == HOLE:
                self._hole(frame, start, end)
            value = self._resolved(text, start, end) if plain else text
            if plain and text[:1] == "(" and _TUPLE.fullmatch(text):
                value = self._tuple(text, start, end)
            self._attach(value, node, 0)
        if event.anchor:
            self.anchors[event.anchor] = Anchored(value, node, 1, 0)

    def _hole(self, frame: Frame | None, start: int, end: int) -> None:
        """Tells a place that is to be filled in."""
        name = frame.key[0] if frame is not None and frame.key is not None else None
        what = f"`{name}` is" if name is not None else "this is"
        self._error("hole", start, end, f"{what} for you to fill in", "write it in place of `...`")

    def _resolved(self, text: str, start: int, end: int) -> Any:
        try:
            return resolve(text)
        except NumberTooLarge as error:
            self._error("number-too-large", start, end, str(error))
            return error.stand_in

    def _tuple(self, text: str, start: int, end: int) -> list[Any]:
        """A Python tuple as a list."""
        items = [self._resolved(item.strip(), start, end) for item in text[1:-1].split(",") if item.strip()]
        written = ", ".join(item.strip() for item in text[1:-1].split(",") if item.strip())
        self._error("yaml-syntax", start, end, "a list is written in brackets", write(f"[{written}]"))
        return items

    def _key(self, frame: Frame, text: str, plain: bool, start: int, end: int) -> None:
        frame.key = (None, start, end)
        if plain and text == HOLE:
            self._hole(None, start, end)
        if plain and text in NULLS and (asked := _QUESTION.search(self.text[max(0, start - 20) : start])):
            place = asked.start(1) + max(0, start - 20)
            self._error("wrong-type", place, place + 1, _NO_SIZE, _NO_SIZE_HELP)
            self.asked = True
        elif plain and text in NULLS:
            self._error("null-key", start, end, "a key is empty", _COMMA_HELP)
        elif plain and text == "<<":
            help = "write the keys out, or move what they share into a block"
            self._error("merge-key", start, end, "the merge key `<<` is not part of the language", help)
        elif text in frame.value:
            first = self._place(*frame.children[text][:2])
            message = f"the key `{shortened(text)}` is written twice"
            label = Label(first, "first written here")
            wrapper = str(frame.value[text]) if text == "layer" else ""
            help = "delete or rename one"
            if wrapper in ("Bidirectional", "TimeDistributed"):
                help = self._wrapped(frame, wrapper, start)
            self._error("duplicate-key", start, end, message, help, label="again", labels=(label,))
        else:
            frame.key = (text, start, end)

    def _wrapped(self, frame: Frame, wrapper: str, start: int) -> str:
        """The remedy for the layer inside a wrapper, written beside it with all that follows."""
        rest = re.match(r"layer *: *((?:[^{}]|\{[^{}]*\})*)", self.text[start : start + 1000])
        if not frame.flow or rest is None or not re.search("[{,]", rest[1]):
            return f"the other layer is inside: {{layer: {wrapper}, wraps: {{layer: ..., units: ...}}}}"
        inner = rest[1].strip()
        inner = inner if inner.startswith("{") else f"{{layer: {inner}}}"
        at = self._place(start, start + len(rest[0].rstrip()))
        return Remedy(f"the other layer is inside: write `wraps: {inner}`", Change(f"wraps: {inner}", at=at))

    def _without_colon(self, frame: Frame, start: int) -> str:
        """In `{a: 1, b}` the key `b` has no value, mostly what an unquoted comma left behind; in `{a:8}` a
        space is missing. The text of the value that was meant.
        """
        name, key_start, key_end = frame.key or (None, start, start)
        if name is None or ":" in self.text[key_end:start]:
            return ""
        key, colon, value = name.partition(":")
        if colon and value and key.isidentifier():
            frame.key = (key, key_start, key_start + len(key))
            from graphspec.source.complaints import COLON, spaced

            at = key_start + len(key)
            self._error("yaml-syntax", at, at + 1, COLON, spaced(shortened(f"{key}: {value}")))
            return value
        frame.key = (None, key_start, key_end)
        if key_start < frame.listed:
            return ""
        # `{{ name }}` is reported once, as a mapping that is a key.
        if len(self.stack) < 2 or not self.stack[-2].wants_key:
            if self._unlisted(frame, key_start) or self._uncalled(frame) or self._as_a_set(frame):
                return ""
            message, help = self._alone(frame, shortened(name))
            self._error("null-key", key_start, key_end, message, help)
            frame.unnamed += 1
            if not _may_be_cut(frame, name):
                frame.key = (name, key_start, key_end)
        return ""

    def _unlisted(self, frame: Frame, start: int) -> bool:
        """Whether a word is one of a list without brackets, `{from: a, b}`, which is reported once."""
        last = next(reversed(frame.value), None)
        match = _WORDS.match(self.text, start)
        if last not in _OF_WORDS or not isinstance(frame.value[last], str) or match is None:
            return False
        frame.listed, begin = match.end(), frame.children[last][2][0]
        words = ", ".join(re.split(r"\s*,\s*", self.text[begin : frame.listed]))
        message = f"`{last}` has several words, and no brackets"
        self._error("null-key", begin, frame.listed, message, write_value(f"[{words}]"))
        return True

    def _as_a_set(self, frame: Frame) -> bool:
        """Whether all entries in braces are words, `{accuracy, auc}`, which is reported once."""
        match = _SET.match(self.text, frame.start)
        outer = self.stack[-2].key if len(self.stack) > 1 else None
        alone = match is not None and "," not in match[1]
        if frame.value or match is None or (alone and (outer is None or outer[0] not in _OF_WORDS)):
            return False
        frame.listed = match.end()
        message = "braces hold `key: value`, and a list has brackets"
        self._error("null-key", frame.start, match.end(), message, write_value(f"[{match[1].strip()}]"))
        return True

    def _uncalled(self, frame: Frame) -> bool:
        """Whether an entry belongs to a call of the one before it, `{layer: Dense(8, bias=True)}`, which is
        reported once.
        """
        last = next(reversed(frame.value), None)
        before = frame.value[last] if last is not None else None
        if last is None or not isinstance(before, str) or before.count("(") <= before.count(")"):
            return False
        begin = frame.children[last][2][0]
        opened = self.text.find("(", begin)
        end = closing(self.text[opened : line_end(self.text, opened, 500)], 0)
        if end is None or (called := call_of(self.text[begin : opened + end + 1])) is None:
            return False
        frame.listed = opened + end + 1
        name, listed, named = called
        key = last if last in ("layer", "op", "merge", "block") else "name"
        words = [*POSITIONS.get(name, ())] or (
            self.arguments({key: name}) if self.arguments is not None else []
        )
        complete = len(listed) <= len(words)
        given = {**dict(zip(words, listed, strict=False)), **named} if complete else {}
        inner = "".join(f", {word}: {write_flow(value)}" for word, value in given.items())
        message = f"`{shortened(self.text[begin : frame.listed])}` is a call"
        new = f"{name}{inner}" if key == last else f"{{{key}: {name}{inner}}}"
        help = f"write arguments next to the name: {{{key}: {name}{inner or ', ...'}}}"
        help = Remedy(help, Change(new)) if complete else help
        self._error("null-key", begin, frame.listed, message, help)
        return True

    def _alone(self, frame: Frame, name: str) -> tuple[str, str]:
        """The complaint about an entry in braces that is not `key: value`."""
        last = next(reversed(frame.value), None)
        if last is not None and (cut := self._cut_by_comma(last, frame, name)) is not None:
            return cut
        if match := re.fullmatch(r"(\w+) *([=;]) *(.+)", name):
            return f"`{match[2]}` is written instead of `:`", write(f"{match[1]}: {match[3]}")
        if match := re.fullmatch(r"([A-Za-z_]\w*)[ \t]+([^\s()]+)", name):
            return f"`{match[1]}` needs a colon", write(f"{match[1]}: {match[2]}")
        if (plain := name.translate(LOOKALIKES)) != name:
            return "a sign is not the one that it looks like", write(re.sub(r":(?=\S)", ": ", plain))
        if name.startswith("//"):
            return "a comment starts with `#`", f"write `#{name[2:]}`"
        names = self.arguments(frame.value) if self.arguments is not None else []
        free = [each for each in names if each not in frame.value][frame.unnamed :]
        if free and name not in names:
            return f"`{name}` has no key in the braces", write(f"{free[0]}: {name}")
        help = f"write `{name}: value`" + (f"; {_COMMA_HELP}" if _may_be_cut(frame, name) else "")
        return f"`{name}` has no value in the braces", help

    def _cut_by_comma(self, last: str, frame: Frame, name: str) -> tuple[str, str] | None:
        """The complaint about `0,5`, `3, 3` and `normal(0, 1)`, which a comma has cut in two."""
        before = frame.value[last]
        if isinstance(before, str) and before.count("(") > before.count(")"):
            word, call = before.partition("(")[0], shortened(f"{before}, {name}")
            key = last if last in ("layer", "op", "merge", "block") else "name"
            return f"`{call}` is a call", f"write arguments next to the name: {{{key}: {word}, ...}}"
        if type(before) is not int or not name.isdigit():
            return None
        if len(name) == 3 and before and not _LISTED.search(last):
            return "digits are not grouped", f"write `{last}: {before}{name}`, or `{last}: {before}.{name}`"
        end = frame.children[last][2][1]
        if self.text[end : end + 1 + len(name)] == f",{name}" and before < 10:
            return "a number has a decimal point", f"write `{last}: {before}.{name}`"
        if _LISTED.search(last):
            return f"`{last}` has two values, and no brackets", f"write `{last}: [{before}, {name}]`"
        return None

    # --- expressions that YAML cuts

    def _find_cut(self, start: int, end: int, text: str) -> None:
        if self.searches >= MAX_ERRORS:
            return
        if text[0] == "(" and self.stack and self.stack[-1].flow:
            match = _TUPLE.match(self.text, start)
            if match is not None and match.end() > end and start not in self.masks:
                self.cuts[start] = Cut(start, match.end(), "")
        frame = self.stack[-1] if self.stack else None
        formula = (
            frame is not None
            and frame.flow
            and frame.key is not None
            and frame.key[0] in ("compute", "update")
        )
        if not (formula or text.endswith("$") or has_unclosed(text)):
            return
        self.searches += 1
        cut = cut_in_formula(self.text, start, end) if formula else None
        cut = cut or cut_in_scalar(self.text, start, end, text, frame is not None and frame.flow)
        if cut is not None and cut.start not in self.masks:
            self.cuts[cut.start] = cut

    def _unmasked(self, start: int, end: int, text: str) -> str:
        """The value that was meant where masks are, and what is to be said about them."""
        first = bisect_left(self.mask_starts, start)
        last = bisect_left(self.mask_starts, end, first)
        if first == last:
            return text
        cuts = [self.masks[mask] for mask in self.mask_starts[first:last]]
        scalar = self.text[start:end]
        for cut in cuts:
            self.tell(cut, scalar)
        return meant(scalar, [(self.text[cut.start : cut.end], cut) for cut in cuts])

    def tell(self, cut: Cut, whole: str) -> None:
        """Reports a cut expression; `whole` is the scalar that holds it."""
        source = self.text[cut.start : cut.end]
        if cut.kind == "dollar-brace":
            message = f"`{shortened(source)}` is not a param"
            self._error(cut.kind, cut.start, cut.end, message, brace_help(braced_name(source, 0)[0]))
        elif cut.kind:
            expression = shortened(meant(source, []))
            message = f"`{expression}` needs quotes: without them YAML ends the value at `{cut.at}`"
            written = quoted(meant(whole, []))
            help = write_value(written) if whole == source else f"write {written}"
            self._error(cut.kind, cut.start, cut.end, message, help)

    # --- what the parser and the end of the file have to say

    def _check_root(self) -> None:
        if isinstance(self.value, dict) or self.diagnostics:
            return
        if self.root is None or self.value is None:
            help = "`graphspec new` writes one to start from"
            self._report("empty-document", 0, 0, "the file holds no spec", help)
        else:
            start = self.root[0]
            help = "a spec starts with keys such as `inputs:`; a colon needs a space after it"
            message = "a spec is a mapping of keys to values"
            if re.match(r"\s*(\w+ *= *[\w.]+\(|(from [\w.]+ )?import \w|class \w+.*:|def \w+\()", self.text):
                message, help = (
                    "this is Python, and a spec is YAML",
                    "`graphspec new` writes one to start from",
                )
            self._report("not-a-mapping", start, start, message, help)

    def _syntax_error(self, error: yaml.MarkedYAMLError) -> None:
        mark = error.problem_mark or error.context_mark
        index = min(mark.index if mark else 0, len(self.text))
        self.reached = max(self.reached, index)
        line = self.lines[bisect_right(self.lines, index) - 1]
        cut = cut_around(self.text, line, index, self.masks.keys() | self.cuts.keys())
        if cut is not None:
            self.cuts[cut.start] = cut
        if self.cuts:
            return
        unclosed = [cut for cut in self.masks.values() if not cut.kind and line <= cut.start < index]
        if unclosed:
            self._unclosed(unclosed[-1])
            return
        if "nesting depth" in (error.problem or ""):
            self._report("too-deep", index, index + 1, f"values are nested more than {MAX_DEPTH} deep")
            return
        mark = error.context_mark
        opened = min(mark.index, len(self.text)) if mark else index
        inside = self.stack and self.stack[-1].flow and "quoted" not in (error.context or "")
        if inside and self.text[opened : opened + 1] not in ("[", "{"):
            opened = self.stack[-1].start
        if self.asked and inside:  # what comes of the `?`
            return
        from graphspec.source.complaints import complain, long_quote  # most files have no such error

        problem, context = error.problem or "", error.context or ""
        complaint = long_quote(self.text, self.lines, *self.quoted, index) or complain(
            self.text, self.lines, index, problem, context, opened
        )
        labels: tuple[Label, ...] = ()
        if complaint.opened is not None:
            labels = (Label(self._place(complaint.opened, complaint.opened + 1), "opened here"),)
        self._report(
            complaint.code, complaint.start, complaint.end, complaint.message, complaint.help, labels=labels
        )

    def _unclosed(self, cut: Cut) -> None:
        message = f"`{shortened(self.text[cut.start : cut.end])}` is never closed"
        self._report("unclosed-expression", cut.start, cut.end, message, UNCLOSED_HELP)


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value
