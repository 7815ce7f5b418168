"""The tokens of a YAML text, with the comments and line breaks between them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from graphspec.source.scalars import LOADER

_SIGNS: dict[type, str] = {
    yaml.ValueToken: ":",
    yaml.BlockEntryToken: "-",
    yaml.FlowEntryToken: ",",
    yaml.FlowMappingStartToken: "{",
    yaml.FlowMappingEndToken: "}",
    yaml.FlowSequenceStartToken: "[",
    yaml.FlowSequenceEndToken: "]",
}
_OPENS: dict[type, str] = {
    yaml.BlockMappingStartToken: "mapping",
    yaml.BlockSequenceStartToken: "sequence",
    yaml.BlockEndToken: "end",
    yaml.KeyToken: "key",
}


@dataclass(slots=True)
class Token:
    """A token that is written, or the start or end of what has no sign: `kind` is a sign, "scalar", "anchor",
    "---", "mapping", "sequence", "end", "key", or "stop" after the last.

    `breaks` line breaks are between it and what is before it. `comments` are those before it, each as its
    text, its column (from 0), and the line breaks before it.
    """

    kind: str
    text: str
    column: int
    breaks: int = 0
    comments: list[tuple[str, int, int]] = field(default_factory=list)


def tokens(text: str) -> Iterator[Token]:
    """The tokens of a text that is YAML."""
    position = 0
    for each in yaml.scan(text, Loader=LOADER):
        kind = type(each)
        if kind in _OPENS:
            yield Token(_OPENS[kind], "", each.start_mark.column)
            continue
        if kind in (yaml.StreamStartToken, yaml.DocumentEndToken):
            continue
        start, end = each.start_mark.index, each.end_mark.index
        if kind is yaml.StreamEndToken:
            start = end = len(text)
        written = text[start:end]
        if kind is yaml.ScalarToken and not written:
            continue
        token = Token(_kind(kind), _ended(written) if written.startswith(("|", ">")) else written, 0)
        _between(token, text, position, start)
        position = start + len(token.text)
        yield token


def _ended(written: str) -> str:
    """A text after `|` or `>` without the empty lines behind it, which count only after `|+`."""
    keeps = "+" in written.split(maxsplit=1)[0]
    return written if keeps else re.sub(r"(?:(?:\r\n|\r|\n)[ \t]*)+\Z", "", written)


def _kind(kind: type) -> str:
    if kind is yaml.DocumentStartToken:
        return "---"
    if kind is yaml.StreamEndToken:
        return "stop"
    if kind in (yaml.AnchorToken, yaml.TagToken):
        return "anchor"
    return _SIGNS.get(kind, "scalar")


def _between(token: Token, text: str, start: int, end: int) -> None:
    """Reads what is before a token: comments and line breaks."""
    gap = text[start:end]
    breaks = 0
    for part in re.finditer(r"#[^\r\n]*|\r\n|\r|\n", gap):
        if part[0].startswith("#"):
            at = start + part.start()
            column = at - max(text.rfind("\n", 0, at), text.rfind("\r", 0, at)) - 1
            token.comments.append((part[0].rstrip(), column, breaks))
            breaks = 0
        else:
            breaks += 1
    token.breaks = breaks
    token.column = end - max(text.rfind("\n", 0, end), text.rfind("\r", 0, end)) - 1
