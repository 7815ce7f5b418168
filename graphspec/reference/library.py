"""The blocks of the library in the reference, and in the text of a spec that needs it no more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

from graphspec import std
from graphspec.reference.entries import Parameter, ReferenceEntry


def blocks() -> Iterator[ReferenceEntry]:
    """A page for each block: what its file says of it, its params, and the block itself."""
    for name in std.names():
        document = std.document(name)
        text = document.text
        comments = [line.removeprefix("# ") for line in text.splitlines() if line.startswith("# ")]
        word, block = next(iter(document.value["blocks"].items()))
        params = tuple(
            Parameter(key, "", value == "required", value, "")
            for key, value in (block.get("params") or {}).items()
        )
        required = "".join(f", {each.name}: ..." for each in params if each.required)
        inputs = block["inputs"]
        optional = {key for key in inputs if isinstance(inputs, dict) and inputs[key] is None}
        yield ReferenceEntry(
            name,
            "block",
            "std",
            _paragraphs(comments),
            tuple(f"{key}{'?' if key in optional else ''}" for key in inputs),
            parameters=params,
            also=(word,),
            example=f"{{block: {name}{required}}}",
            source=text[text.index("blocks:") :].rstrip(),
        )


def _paragraphs(comments: list[str]) -> str:
    """A description: its first sentence, the rest of it, and its source, each as a line."""
    first, *rest = comments
    joined = " ".join(rest)
    for word in ("Paper: ", "Source: "):
        joined = joined.replace(f" {word}", f"\n{word}")
    return f"{first}\n{joined}"


def inlined(document: Mapping[str, Any]) -> dict[str, Any]:
    """A document with the blocks of the library that its nodes name among its own."""
    found: dict[str, str] = {}  # what the library calls a block, to its name here
    blocks = dict(document.get("blocks") or {})

    def renamed(value: Any, names: Mapping[str, str]) -> Any:
        if isinstance(value, list):
            return [renamed(item, names) for item in value]
        if not isinstance(value, dict):
            return value
        changed = {key: renamed(item, names) for key, item in value.items()}
        target = value.get("block")
        if isinstance(target, str):
            changed["block"] = added(target) if target in std.names() else names.get(target, target)
        return changed

    def of_graph(parts: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
        inner = ("nodes", "shared")
        return {key: renamed(value, names) if key in inner else value for key, value in parts.items()}

    def added(name: str) -> str:
        if name in found:
            return found[name]
        word = name.removeprefix(std.PREFIX)
        own = {
            key: next(each for each in _names(word, key) if each not in blocks)
            for key in std.document(name).value["blocks"]
        }
        found[name] = own[next(iter(own))]
        blocks.update(dict.fromkeys(own.values()))
        for key, block in std.document(name).value["blocks"].items():
            blocks[own[key]] = of_graph(block, own)
        return found[name]

    for word, block in list(blocks.items()):
        if isinstance(block, dict):
            blocks[word] = of_graph(block, {})
    changed = of_graph(document, {})
    if not found:
        return dict(document)
    changed.pop("blocks", None)
    return {
        **{key: value for key, value in changed.items() if key in _BEFORE},
        "blocks": blocks,
        **{key: value for key, value in changed.items() if key not in _BEFORE},
    }


_BEFORE = ("name", "language", "params", "presets", "inputs")
"""Sections that specs have before their blocks."""


def _names(block: str, word: str) -> Iterator[str]:
    """Names for a block of the file of another, the best first."""
    yield word
    yield f"{block}_{word}"
    yield from (f"std_{word}_{number}" for number in count(1))
