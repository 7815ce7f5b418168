"""Renames a name in the text that declares it: the model and the data stay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphspec.expressions.grammar import EXPRESSION_WORDS
from graphspec.language.schema import FORMS, IDENTIFIER, NODE_KEYS, RESERVED
from graphspec.objectives import LOSSES
from graphspec.server.scopes import Scopes, Symbol, mapping
from graphspec.server.symbols import Symbols
from graphspec.source import Document, Path


def refusal(scopes: Symbols, symbol: Symbol, name: str) -> str | None:
    """Why a name of this document cannot become `name`; None where it can."""
    if not IDENTIFIER.fullmatch(name):
        return f"`{name}` is not a name: letters, digits and underscores, and no digit first"
    if name in _reserved(scopes, symbol):
        return f"`{name}` is reserved and cannot name this {symbol.kind}"
    if name != symbol.name and name in _taken(scopes, symbol):
        return f"there is a {symbol.kind} `{name}` already"
    if (other := scopes.beside(symbol)) is not None:
        home = f"the block `{other.body}`" if other.body is not None else "the file"
        return f"a param whose value is `{symbol.name}` also chooses the {other.kind} of {home}"
    if name != symbol.name and (block := _captured(scopes, symbol, name)) is not None:
        return f"the block `{block}` would read another {symbol.kind}: it sees a `{name}` of its own first"
    return _of_the_data(scopes, symbol, name) if name != symbol.name and symbol.body is None else None


def kept(scopes: Scopes, symbol: Symbol) -> list[tuple[int, str]]:
    """Insertions that keep the names of the data's columns: texts at offsets."""
    value, name = scopes.value(None), symbol.name
    feature = mapping(mapping(value.get("data")).get("features")).get(name)
    output = mapping(mapping(value.get("outputs")).get(name))
    if symbol.body is not None or symbol.kind not in ("node", "output"):
        return []
    if feature is not None and scopes.field(name) == symbol:
        named = {"column", "columns"} & mapping(feature).keys()
        path: Path = ("data", "features", name)
        return [] if named else _first(scopes.document, path, feature, f"column: {name}")
    if name in scopes.inputs():
        return []  # which is what the output is compared with
    if _reads_target(output) and "target" not in output and scopes.output(None, name) == symbol:
        return _first(scopes.document, ("outputs", name), output, f"target: {name}")
    return []


def _reserved(scopes: Scopes, symbol: Symbol) -> tuple[str, ...]:
    """The words of the language that a name of this kind cannot be."""
    if symbol.kind == "param":
        return (*RESERVED, *FORMS, *NODE_KEYS, *EXPRESSION_WORDS)
    return RESERVED if symbol.kind == "node" and symbol.name in scopes.inputs(symbol.body) else ()


def _taken(scopes: Scopes, symbol: Symbol) -> set[str]:
    """The names beside a symbol, of which each is one thing."""
    value = scopes.value(symbol.body)
    if symbol.kind == "param":
        return set(mapping(value.get("params")))
    if symbol.kind == "block":
        return set(scopes.blocks)
    if symbol.kind == "size":
        return set(scopes.sizes)
    outputs = mapping(value.get("outputs"))
    return {*scopes.names(symbol.body), *outputs}


def _of_the_data(scopes: Scopes, symbol: Symbol, name: str) -> str | None:
    """Why an input or an output cannot become `name`: the data go by it, or by its own."""
    value, is_input = scopes.value(None), symbol.name in scopes.inputs()
    features, outputs = mapping(mapping(value.get("data")).get("features")), mapping(value.get("outputs"))
    if symbol.kind not in ("node", "output") or not (is_input or symbol.name in outputs):
        return None
    targets = [mapping(each).get("target") for each in outputs.values()] if is_input else []
    if name in features or name in targets:
        return f"the data have a `{name}` already"
    if is_input and "data" in value and symbol.name not in features:
        remedy = f"a feature with `column: {symbol.name}` gives it a name of its own"
        return f"`{symbol.name}` is also the column of the data: {remedy}"
    return None


def _captured(names: Symbols, symbol: Symbol, name: str) -> str | None:
    """A block that sees two things of one name, its own and the file's, when a symbol becomes `name`, and
    reads the file's.
    """
    section = {"param": "params", "node": "shared"}.get(symbol.kind)
    if section is None:
        return None
    if symbol.body is None:
        inner = [block for block in names.blocks if name in mapping(names.value(block).get(section))]
        return next((block for block in inner if names.reads(block, symbol)), None)
    declared_here = symbol.name in mapping(names.value(symbol.body).get(section))
    return symbol.body if declared_here and names.reads(symbol.body, Symbol(symbol.kind, name)) else None


def _reads_target(output: Mapping[str, Any]) -> bool:
    """Whether a target of an output is read."""
    loss = output.get("loss")
    word = mapping(loss).get("name", loss)
    cls = LOSSES.members.get(word) if isinstance(word, str) else None
    return (
        bool(getattr(cls, "takes_target", True))
        if cls is not None
        else loss is not None or "metrics" in output
    )


def _first(document: Document, path: Path, value: Any, entry: str) -> list[tuple[int, str]]:
    """An entry before the others of a mapping."""
    if not isinstance(value, dict) or not value:
        return []
    first = document.key((*path, next(iter(value))))
    offset = document.lines[first.line - 1] + first.column - 1
    line = document.text[document.lines[first.line - 1] : offset]
    flow = bool(line.strip(" -"))
    return [(offset, f"{entry}, " if flow else f"{entry}\n{' ' * len(line)}")]
