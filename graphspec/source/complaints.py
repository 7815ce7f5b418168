"""libyaml's errors, rewritten for people who write YAML."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass

from graphspec.diagnostics import Change, Remedy, erase, write, write_value
from graphspec.source.places import line_end


def spaced(written: str) -> str:
    """The remedy for a colon without a space."""
    return Remedy(f"write `{written}`", Change(": "))


@dataclass(frozen=True, slots=True)
class Complaint:
    """An error from `start` to `end`; `opened` is the bracket around it."""

    start: int
    end: int
    message: str
    help: str | None = None
    code: str = "yaml-syntax"
    opened: int | None = None


DIRECTIVE = "a directive is not part of the language"
DIRECTIVE_HELP = "delete the line, and the `---`"
COLON = "a colon needs a space after it"
PAIRS = {"[": "]", "{": "}"}
_DASHED = Remedy("write `- item`", Change("- "))
_SPACES = Remedy("indent with spaces", Change("  "))
_COLUMN_HELP = "keys of one mapping must start in the same column"
_NO_SPACE = re.compile(r"[ \t]*(?:- +)*([A-Za-z_]\w*:)([^\s/][^#]*)")
_BARE_WORD = re.compile(r"[ \t]*(?:- +)*([A-Za-z_]\w*)(?:[ \t]+([^\s:#=][^:#=]*?))?[ \t]*(?:#.*)?$")
_OPENED = re.compile(r"[ \t]*(?:- +)*([A-Za-z_]\w*)[ \t]+([\[{])")
_NAMED_ITEM = re.compile(r"- +([A-Za-z_]\w*):[ \t]")
_DASH = re.compile(r"[ \t]*(-)[^\s\-0-9]")

_PROBLEMS: tuple[tuple[str, str, str], ...] = (
    (
        "expected '-' indicator",
        "each item of a list starts with `- `",
        "items of one list must start in the same column",
    ),
    (
        "expected ',' or ']'",
        "a `,` or `]` is expected here",
        "close the bracket; a string with brackets needs quotes",
    ),
    (
        "expected ',' or '}'",
        "a `,` or `}` is expected here",
        "close the brace; a string with braces needs quotes",
    ),
    (
        "cannot start any token",
        "no value starts with this character",
        "put a string in quotes; a param is written `$name`",
    ),
    ("unknown escape", "double quotes have no such escape", "use single quotes, or a doubled backslash"),
    ("expected ':'", "a `:` is expected here", "write `key: value`"),
    ("found unexpected ':'", COLON, "write `key: value`"),
    (
        "found unexpected document",
        "a document ends inside of a value",
        "close the quote or the bracket above",
    ),
    ("expected node content", "a value is expected here", "put a string in quotes"),
    ("unexpected end of stream", "the file ends inside of a value", "close the quote or the bracket above"),
    ("sequence entries are not allowed", "a list cannot start here", "start it on a new line"),
    ("undefined tag handle", "no value starts with `!`", "put the text in quotes"),
    ("alphabetic or numeric", "`*` and `&` need a name after them", "put the text in quotes"),
    (
        "expected comment or line break",
        "nothing may follow `|` or `>`",
        "start the text on the next line",
    ),
)


_TABLE = re.compile(r"\s*(\[[\w.]+\])[ \t]*\n\s*\w+ *= *")
"""The first lines of TOML, or of an INI file."""


def complain(text: str, lines: list[int], index: int, problem: str, context: str, opened: int) -> Complaint:
    """The complaint where the parser stopped at `index`, inside the collection that starts at `opened`."""
    if python := _PYTHON.match(text):
        message, help = "this is Python, and a spec is YAML", "`graphspec new` writes one to start from"
        return Complaint(python.start(1), line_end(text, python.end(), 200), message, help)
    if section := _TABLE.match(text):
        message, help = (
            "this is TOML, and a spec is YAML",
            "a section is a key with a colon, and what it holds is indented",
        )
        return Complaint(section.start(1), section.end(1), message, help)
    line = lines[bisect_right(lines, index) - 1]
    if (complaint := _around_a_spec(text, lines, index, problem)) is not None:
        return complaint
    start = text[line : index + 100]
    indent = len(start) - len(start.lstrip(" \t"))
    tab = text.find("\t", line, max(line + indent, index + 1))
    if tab >= 0 and not text[line:tab].strip():
        return Complaint(tab, tab + 1, "the indentation contains a tab", _SPACES, "yaml-tab")
    if text[line : line + 1] == "%":
        return Complaint(line, line_end(text, line, 100), DIRECTIVE, DIRECTIVE_HELP, "yaml-directive")
    sign = text[opened : opened + 1]
    if not text[index:].strip() and "quoted" in context:
        return Complaint(opened, opened + 1, "the quote is never closed", "close it where the text ends")
    if not text[index:].strip() and "flow" in context and sign in "[{":
        return Complaint(
            opened, opened + 1, f"`{sign}` is never closed", f"write `{PAIRS[sign]}` where it ends"
        )
    if not text[index:].strip():
        index = len(text[:index].rstrip())
    if "flow" not in context:
        special = _special(text, lines, index, problem)
        if special is not None:
            return special
    bracket = opened if "flow" in context and sign in ("[", "{") else None
    if bracket is not None and (complaint := _in_brackets(text, lines, index, problem, bracket)) is not None:
        return complaint
    named = _NAMED_ITEM.match(text, opened) if "expected '-' indicator" in problem else None
    if named is not None and re.match(r"[A-Za-z_]\w*:", text[index : index + 100]):
        help = f"names without dashes: `{named[1]}: ...`"
        return Complaint(opened, opened + 1, "a dash before one of several names", help)
    for needle, message, help in _PROBLEMS:
        if needle in problem:
            return Complaint(index, index + 1, message, help, opened=bracket)
    return Complaint(index, index + 1, f"this is not YAML: {problem}", opened=bracket)


_FENCE = re.compile(r"^[ \t]*(?:```|~~~)[^\n]*\n?", re.MULTILINE)
_SLASHES = re.compile(r"^[ \t]*(//)", re.MULTILINE)


_PROSE = re.compile(
    r"(?:[^\n:#]*\w[^\n:#]* [^\n:#]*[.!:]?[ \t]*\n|\s*\n)+(?=(?:name|params|inputs|blocks|nodes):)"
)
"""Sentences, and below them the first key of a spec."""


def _around_a_spec(text: str, lines: list[int], index: int, problem: str) -> Complaint | None:
    """Names the text around a copied spec: fences of code, comments of other languages, a first line that is
    indented.
    """
    if (fence := _FENCE.search(text)) is not None and fence.start() <= index:
        opens = not re.match(r"\s*(?:```|~~~)\s*\Z", fence[0]) or fence.end() < len(text) // 2
        start, end = (0, fence.end()) if opens else (fence.start(), len(text))
        return Complaint(start, end, "a spec has no fence of code", erase(": the spec alone"))
    above = bisect_right(lines, index)
    slashes = next((m for n in lines[max(0, above - 3) : above] if (m := _SLASHES.match(text, n))), None)
    if slashes is not None:
        written = text[slashes.start(1) : line_end(text, slashes.start(1), 200)].rstrip()
        end = slashes.start(1) + len(written)
        return Complaint(slashes.start(1), end, "a comment starts with `#`", write(f"#{written[2:]}"))
    prose = _PROSE.match(text)
    if prose is not None and prose.end() <= index + 200:
        message = "there is text above the spec"
        return Complaint(0, line_end(text, 0, 200), message, "delete it: a comment starts with `#`")
    first = re.match(r"(?:[ \t]*(?:#[^\n]*)?\n)*( +)\w", text)
    if "<document start>" in problem and first is not None:
        message = "the first line is indented, and the keys below it are not"
        return Complaint(*first.span(1), message, erase(": begin in the first column"))
    return None


_ASSIGNED = re.compile(r"[ \t]*([A-Za-z_]\w*)[ \t]*(=)[ \t]*([\[{])")
_PYTHON = re.compile(r"\s*(import \w+|from [\w.]+ import |class \w+|def \w+\()")
_DASH_INSIDE = re.compile(r"-[ \t]+(?:([A-Za-z_]\w*):[ \t])?")
_VALUELESS = re.compile(r"[{,\s]([A-Za-z_]\w*):[},\]]\Z")
_INDEXED = re.compile(r"(?<=[:,] )[^\s,:{}\[\]\"'][^,:{}\[\]\"'\n]*\[[^,{}\[\]\"'\n]*\][^,{}\[\]\"'\n]*")
"""A text with an index, `a[1] + 2`, in braces."""


def _in_brackets(text: str, lines: list[int], index: int, problem: str, opened: int) -> Complaint | None:
    """A comma that is missing, doubled or another sign, and a bracket that the line before lacks."""
    before = text[opened + 1 : index].rstrip()
    if "node content" in problem and before.endswith(",") and text[index : index + 1] == ",":
        return Complaint(index, index + 1, "there is a comma too many", erase(), opened=opened)
    if match := _DASH_INSIDE.match(text, index - 1 if before.endswith("-") else index):
        start, message = match.start(), "a list in brackets has no dashes"
        named = f"names without dashes: `{match[1]}: ...`, each on a line of its own"
        return Complaint(start, start + 1, message, named if match[1] else "delete it", opened=opened)
    if not re.search("expected ',' or", problem):
        return None
    if text[index : index + 1] in ("]", "}") and "\n" not in before:
        return _other_bracket(text, lines, index, opened)
    key = re.search(r"[A-Za-z_]\w*\Z", before) if text[index : index + 1] == ":" else None
    start = opened + 1 + key.start() if key is not None else index
    line = lines[bisect_right(lines, start) - 1]
    begins = key is not None or re.match(r"[A-Za-z_]\w*:", text[start : start + 100])
    if line > opened and not text[line:start].strip() and begins:
        first = lines[bisect_right(lines, opened) - 1]
        if start - line <= _indent(text, first):
            sign, number = text[opened], bisect_right(lines, opened)
            help: str = Remedy(
                f"write `{PAIRS[sign]}` at the end of line {number}", Change(PAIRS[sign], where="line end")
            )
            return Complaint(opened, opened + 1, f"`{sign}` is never closed", help)
    space = len(text[opened + 1 : start].rstrip()) + opened + 1
    if text[space - 1] in ";\uff0c\u3001\uff1b":
        message = f"`{text[space - 1]}` is written instead of `,`"
        return Complaint(space - 1, space, message, write(","), opened=opened)
    indexed = _INDEXED.search(text, line) if key is None and text[index : index + 1] in ("[", "]") else None
    if indexed is not None:
        whole = indexed[0].rstrip()
        item = re.fullmatch(r"\$([A-Za-z_]\w*\[[^\]]*\])", whole)  # of a list that is a param
        whole = f"$({item[1]})" if item else whole
        message, help = "a string with brackets needs quotes", write_value(f'"{whole}"')
        return Complaint(*indexed.span(), message, help, opened=opened)
    if key is None or space == start:
        return None
    help = Remedy("write `,`", Change(f",{text[space]}"))
    return Complaint(space, space + 1, f"a comma is missing before `{key[0]}`", help, opened=opened)


def _other_bracket(text: str, lines: list[int], index: int, opened: int) -> Complaint:
    """Explains a closing bracket that does not match the open one: leave it out, or write the other."""
    wanted, found = PAIRS[text[opened]], text[index]
    opener = next(sign for sign, closing in PAIRS.items() if closing == found)
    line = text[lines[bisect_right(lines, index) - 1] : line_end(text, index, 500)]
    left_out = line.count(opener) == line.count(found)
    new = f"{wanted}{found}" if left_out else wanted
    help = Remedy(f"write `{new}`", Change(new))
    return Complaint(index, index + 1, f"`{text[opened]}` is closed by `{wanted}`", help, opened=opened)


def long_quote(text: str, lines: list[int], start: int, end: int, index: int) -> Complaint | None:
    """A quote that swallowed the lines up to the one on which the parser failed, at `index`."""
    first, last, here = (bisect_right(lines, offset) for offset in (start, end - 1, index))
    if not first < last == here:
        return None
    message = f"this quote is closed only on line {last}"
    return Complaint(start, start + 1, message, "close it where the text ends")


def _indent(text: str, line: int) -> int:
    return len(re.compile(r" *(?:- +)*").match(text, line)[0])  # type: ignore[index]


def _special(text: str, lines: list[int], index: int, problem: str) -> Complaint | None:
    """The errors whose cause is not where the parser notices them."""
    number = bisect_right(lines, index) - 1
    before = text[lines[number] : index]
    if "mapping values" in problem:
        return _misplaced_key(text, lines, index)
    if "expected ':'" in problem and (dash := _DASH.match(before)):
        start = lines[number] + dash.start(1)
        return Complaint(start, start + 1, "a dash needs a space after it", _DASHED)
    if "expected ':'" in problem and (valueless := _VALUELESS.search(text[lines[number] : index + 2])):
        start = lines[number] + valueless.start(1)
        help = f"write `{valueless[1]}: value`"
        return Complaint(start, start + len(valueless[1]), f"`{valueless[1]}` has no value", help)
    if "expected ':'" in problem:
        return _unfinished_key(text, lines, number)
    if "expected key" not in problem:
        return None
    if not before.strip():
        outcast = Complaint(
            index, index + 1, "the indentation of this line matches no line above it", _COLUMN_HELP
        )
        return _unfinished_key(text, lines, number) or _between(text, lines, number) or outcast
    if text[index : index + 1] in ("]", "}"):
        if assigned := _ASSIGNED.match(before):
            start = lines[number] + assigned.start(2)
            help = Remedy(f"write `{assigned[1]}: {assigned[3]}`", Change(":"))
            return Complaint(start, start + 1, "`=` is written instead of `:`", help)
        help = Remedy("delete it, or quote the text", Change(""))
        return Complaint(index, index + 1, f"`{text[index]}` closes nothing", help)
    return _after_a_value(text, lines, index)


def _after_a_value(text: str, lines: list[int], index: int) -> Complaint:
    """Explains text after a value that ends with a quote or a bracket."""
    end = line_end(text, index, 200)
    rest = text[index:end].strip()
    if not rest:
        return Complaint(
            index, end, f"the line ends in U+{ord(text[index]):04X}, a blank that YAML does not know", erase()
        )
    if rest == "," and text[lines[bisect_right(lines, index) - 1] : index].lstrip()[:1] not in "\"'":
        return Complaint(index, index + 1, "a line does not end with a comma", erase())
    if rest == ";":
        return Complaint(index, index + 1, "a line does not end with a semicolon", erase())
    if rest.startswith("//"):
        help = write(f"#{rest[2:]}")
        return Complaint(index, index + len(rest), "a comment starts with `#`", help)
    if text[:index].rstrip()[-1:] in ("}", "]") and re.match(r"[,;]?\s*(?:[A-Za-z_]\w*\s*:\s|[{\[])", rest):
        sign = rest[0] if rest[0] in ",;" else ""
        help = f"delete the `{sign}`, and start a new line" if sign else "start it on a new line"
        return Complaint(index, index + 1, "the line has a second value", help)
    message = "nothing may follow a value that ends with a quote or a bracket"
    return Complaint(index, index + 1, message, "put the whole text in quotes")


def _misplaced_key(text: str, lines: list[int], index: int) -> Complaint:
    """A colon with a space where no key can be."""
    number = bisect_right(lines, index) - 1
    before = text[lines[number] : index]
    if match := re.match(r"[ \t]*\w+[ \t]*(\uff1a)[ \t]*", before):
        at = lines[number] + match.start(1)
        return Complaint(at, at + 1, "a sign is not the one that it looks like", write(":"))
    if match := _OPENED.match(before):
        start = lines[number] + match.start(1)
        help: str = Remedy(f"write `{match[1]}: {match[2]}`", Change(f"{match[1]}:"))
        return Complaint(start, start + len(match[1]), f"`{match[1]}` needs a colon", help)
    if (match := _NO_SPACE.match(before)) and match[2][:1] in "{[":
        colon = lines[number] + match.end(1) - 1
        return Complaint(colon, colon + 1, COLON, spaced(f"{match[1]} {match[2][:1]}"))
    if match := re.search(r":[ \t]+\((\w+)\Z", before):
        start = lines[number] + match.start(1) - 1
        return Complaint(start, start + 1, "a mapping needs braces", f"write `{{{match[1]}: ...}}`")
    if match := re.search(r":[ \t]+(\w+)\Z", before):
        help = f"put the mapping in braces, `{{{match[1]}: ...}}`, or start it on a new line"
        return Complaint(index, index + 1, "the line has a second `key: value`", help)
    if re.search(r":[ \t]", before):
        help = "put a string with a colon and a space in quotes; start a mapping on a new line"
        return Complaint(index, index + 1, "the line has a second `key: value`", help)
    start = lines[number] + len(before) - len(before.lstrip())
    deeper = Complaint(start, index, "this line is indented deeper than the one above it", _COLUMN_HELP)
    return _unfinished_key(text, lines, number) or deeper


def _between(text: str, lines: list[int], number: int) -> Complaint | None:
    """Explains a line that is indented less than both of its neighbours, above that of `number`."""
    first, above, below = lines[max(0, number - 2)], lines[max(0, number - 1)], lines[number]
    depth = _indent(text, below)
    if (
        number < 2
        or not _indent(text, first) == depth > _indent(text, above)
        or not text[above:below].strip()
    ):
        return None
    start = above + _indent(text, above)
    end = start + len(text[start:below].partition(":")[0].rstrip())
    return Complaint(start, end, "this line is indented less than the lines around it", _COLUMN_HELP)


def _unfinished_key(text: str, lines: list[int], number: int) -> Complaint | None:
    """Finds a key without its colon or space on the last line above that of `number`."""
    for above in range(number - 1, max(-1, number - 50), -1):
        start, line = lines[above], text[lines[above] : lines[above + 1]].rstrip("\r\n")
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if match := _NO_SPACE.match(line):
            colon = start + match.end(1) - 1
            return Complaint(colon, colon + 1, COLON, spaced(f"{match[1]} {match[2].strip()}"))
        if match := re.fullmatch(r"[ \t]*(?:- +)*[A-Za-z_]\w*(\uff1a)\s*", line):
            sign = "a sign is not the one that it looks like"
            return Complaint(start + match.start(1), start + match.end(1), sign, write(":"))
        if match := _BARE_WORD.match(line):
            message, help = (
                f"`{match[1]}` needs a colon",
                Remedy(f"write `{match[1]}: {match[2] or ''}".strip() + "`", Change(f"{match[1]}:")),
            )
            return Complaint(start + match.start(1), start + match.end(1), message, help)
        return None
    return None
