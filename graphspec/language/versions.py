"""The versions of the language: which one a spec is written in, and its text in the newest one.

A version ends only where a spec would mean something else after it; what merely comes in ends none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from graphspec.diagnostics import Diagnostic, Diagnostics
from graphspec.settings import show
from graphspec.source import Document, read
from graphspec.source.reader import Node
from graphspec.version import LANGUAGE

FIRST = 1
"""The version of a spec that does not say one."""
Edit = tuple[int, int, str]
"""Two offsets, and the text that replaces what lies between them."""
Change = Callable[[Document], Iterator[Edit]]
"""Translates a spec of the version that ended into the next one, as edits."""

CHANGES: Mapping[int, tuple[Change, ...]] = {}
"""By the version that ended, what has changed since."""


def renamed(*path: str, new: str) -> Change:
    """A renamed key: `path` leads to it, and a `*` in it is any key or item."""

    def edits(document: Document) -> Iterator[Edit]:
        for _, _, children in _mappings(document.root, path[:-1]):
            if path[-1] in children:
                start, end, _ = children[path[-1]]
                yield start, end, new

    return edits


def default(*path: str, old: str) -> Change:
    """A key whose default changed: where a spec leaves out the key, or the mapping around it, the old default
    is written.
    """

    def edits(document: Document) -> Iterator[Edit]:
        for length, key in enumerate(path):
            if "*" in path[length:]:
                continue
            written = old
            for word in reversed(path[length + 1 :]):
                written = f"{{{word}: {written}}}"
            for node in _mappings(document.root, path[:length]):
                if key not in node[2]:
                    yield _first(document, node, f"{key}: {written}")

    return edits


def misfit(document: Document) -> Diagnostic | None:
    """Checks the version of a spec: it may lack one, have one that this package does not know, or one in
    which the spec means something else.
    """
    version, help = _version(document.value), None
    code, message = "not-supported", f"the spec is of version {version} of the language, "
    if type(version) is not int or version < FIRST:
        code, message = "wrong-type", f"`language` is a version, a number, not {show(version)}"
    elif version > LANGUAGE:
        message, help = f"{message}and this is {LANGUAGE}", "install a later graphspec"
    elif version < LANGUAGE and translated(document.text, document.file) != document.text:
        message += f"and means something else in version {LANGUAGE}"
        help = f"translate it: graphspec migrate --spec {document.file}"
    else:
        return None
    return Diagnostic(code, message, document.span(("language",)), help=help)


def _version(spec: Any) -> Any:
    """The version that a spec says, whatever that is."""
    said = spec.get("language") if isinstance(spec, dict) else None
    return FIRST if said is None else said


def translated(text: str, file: str) -> str:
    """The text of a spec in the newest version, with its comments and its layout. One that cannot be read, or
    is of no earlier version, stays as it is; so does one that means the same in the newest.
    """
    document = read(text, file, Diagnostics())
    version = _version(document.value) if document is not None else None
    if document is None or type(version) is not int or not FIRST <= version < LANGUAGE:
        return text
    before = text = document.text
    for number in range(version, LANGUAGE):
        for change in CHANGES.get(number, ()):
            text = _edited(text, file, change)
    return text if text == before else _edited(text, file, _stated)


def _edited(text: str, file: str, change: Change) -> str:
    document = read(text, file, Diagnostics())
    if document is not None:
        for start, end, new in sorted(set(change(document)), reverse=True):  # an alias has its anchor's place
            text = text[:start] + new + text[end:]
    return text


def _stated(document: Document) -> Iterator[Edit]:
    """The newest version, where a spec says which one it is of."""
    if "language" in document.root[2]:
        start, end, _ = document.root[2]["language"][2]
        yield start, end, str(LANGUAGE)
    else:
        yield _first(document, document.root, f"language: {LANGUAGE}")


def _mappings(node: Node, path: tuple[str, ...]) -> Iterator[Node]:
    """The mappings at a path."""
    children = node[2]
    if isinstance(children, dict):
        if not path:
            yield node
        elif path[0] == "*" or path[0] in children:
            for key in children if path[0] == "*" else path[:1]:
                yield from _mappings(children[key][2], path[1:])
    elif isinstance(children, list) and path[:1] == ("*",):
        for child in children:
            yield from _mappings(child, path[1:])


def _first(document: Document, node: Node, entry: str) -> Edit:
    """An entry before the first one of a mapping: in its braces, or on a line of its own."""
    text, children = document.text, node[2]
    if not children:
        start = text.index("{", node[0]) + 1
        return start, start, entry
    start = min(start for start, _, _ in children.values())
    if "{" in re.sub("#.*", "", text[node[0] : start]):
        return start, start, f"{entry}, "
    line = max(text.rfind("\n", 0, start), text.rfind("\r", 0, start)) + 1
    end = "\r\n" if "\r\n" in text else "\n"
    return start, start, f"{entry}{end}{' ' * (start - line)}"
