"""Explanations under the mouse: of a node its types and costs, of a word its page of the reference."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

from graphspec.contract import REGISTRY
from graphspec.diagnostics import SpecError
from graphspec.graph import Op
from graphspec.reference.entries import ReferenceEntry
from graphspec.reference.layers import example_of, find, others
from graphspec.server.analysis import Analysis, node_path, shape
from graphspec.server.cursor import Cursor, cursor_at
from graphspec.server.keys import classes_at, parameters_at
from graphspec.server.scopes import Symbol
from graphspec.server.tables import trained_on, values
from graphspec.settings import show
from graphspec.tensor import Size
from graphspec.view.summary import show_flops

KINDS = {
    "node": "a node or an input",
    "param": "a param",
    "block": "a block",
    "size": "a size",
    "output": "an output",
}


def hover(analysis: Analysis, offset: int, folder: Path | None = None) -> str | None:
    """Markdown for the word at an offset, or None. Columns are those of a table below `folder`."""
    occurrence = analysis.at(offset)
    if occurrence is not None:
        return _of_symbol(analysis, occurrence.symbol)
    end = offset
    while end < len(analysis.text) and (analysis.text[end].isalnum() or analysis.text[end] == "_"):
        end += 1
    cursor = cursor_at(analysis.text, end)
    word = cursor.word.strip(".$")
    if word and folder is not None and cursor.key in ("columns", "column", "target"):
        return _of_column(analysis, folder, word)
    return _of_word(cursor, word) if word else None


def _of_column(analysis: Analysis, folder: Path, word: str) -> str | None:
    """A column of the table that the spec trains on: its first values."""
    found = values(folder, trained_on(analysis), word)
    return f"**{word}**, a column\n\n`{', '.join(map(show, found))}`" if found else None


def _of_symbol(analysis: Analysis, symbol: Symbol) -> str:
    if symbol.kind == "file":
        return f"**{symbol.name}**, a spec"
    inside = f" of block `{symbol.body}`" if symbol.body is not None else ""
    if symbol.file is not None:
        return f"**{symbol.name}**, {KINDS[symbol.kind]}{inside} of `{symbol.file.name}`"
    title = f"**{symbol.name}**, {_kind(analysis, symbol)}{inside}"
    node = symbol.body, symbol.name
    if symbol.kind == "node" and (ops := analysis.nodes.get(node) or analysis.shared.get(node)):
        return "\n\n".join([title, *of_node(ops)])
    if symbol.kind == "node" and symbol.body is None and analysis.program is not None:
        tensor = analysis.program.inputs.get(symbol.name)
        return f"{title}\n\n`{tensor}`" if tensor is not None else title
    if symbol.kind == "param" and symbol.body is None and analysis.program is not None:
        value = analysis.program.params.get(symbol.name)
        return f"{title}\n\n`{show(value)}`"
    return title


def _kind(analysis: Analysis, symbol: Symbol) -> str:
    if symbol.kind != "node":
        return KINDS[symbol.kind]
    ops = analysis.nodes.get((symbol.body, symbol.name))
    return f"`{ops[0].kind}: {ops[0].title}`" if ops and ops[0].title else KINDS["node"]


def of_node(ops: list[Op]) -> Iterable[str]:
    """Types, arguments, weights and costs of a node, of its first op where it has several."""
    op = next((each for each in ops if each.present), ops[0])
    inputs = ", ".join(shape(value.tensor) for value in op.inputs)
    outputs = ", ".join(shape(value.tensor) for value in op.outputs.values())
    yield f"`{inputs} -> {outputs}`"
    if op.options:
        yield "`" + ", ".join(f"{key}: {show(value)}" for key, value in op.options.items()) + "`"
    if op.unit is not None and op.unit.average is not None:
        yield f"a moving average of `{op.unit.average.of}`, momentum {op.unit.average.momentum}"
    count = weights(op)
    cost = op.flops()
    costs = "" if isinstance(cost, Size) else f", {show_flops(cost)} for an example"
    yield f"{count:,} parameters{costs}"
    if len(ops) > 1:
        yield f"the first of {len(ops)} instances"


def weights(op: Op) -> int:
    """The numbers of all weights of a node."""
    if op.graph is not None:
        return sum(weights(inner) for inner in op.graph.ops)
    return sum(math.prod(weight.shape) for weight in op.weights())


def _of_word(cursor: Cursor, word: str) -> str | None:
    """The page of a word of the language: a value's, an argument's, or a key's."""
    node = node_path((*cursor.path, "x"))
    if cursor.key is None and node is not None and (entry := entry_of(cursor)) is not None:
        for parameter in entry.parameters:
            if parameter.name == word:
                given = "required" if parameter.required else f"default: `{show(parameter.default)}`"
                return f"**{word}** of `{entry.name}`: {parameter.type}, {given}\n\n{parameter.meaning}"
    if cursor.key is None and node is None and cursor.path:
        return _of_key(cursor.path, word)
    try:
        entries = find(word)
    except SpecError:
        return None
    kinds = [each for each in entries if each.kind == cursor.key]
    return "\n\n---\n\n".join(page(each) for each in kinds or entries)


def _of_key(path: tuple[str, ...], word: str) -> str | None:
    """The meaning of a key in a section; outside of it, the same word has another meaning."""
    for cls in classes_at(path):
        for parameter in parameters_at(cls):
            if parameter.name == word:
                told = [f"**{word}** of `{path[0]}`" + (f": {parameter.type}" if parameter.type else "")]
                example = example_of(cls, word)
                return "\n\n".join(filter(None, [*told, parameter.meaning, example and f"`{example}`"]))
    if path == ("train", "callbacks"):
        return next((page(each) for each in others() if (each.kind, each.name) == ("callback", word)), None)
    return None


def page(entry: ReferenceEntry) -> str:
    """A page of the reference as Markdown."""
    lines = [f"**{entry.name}** ({entry.kind})", entry.doc]
    if entry.parameters:
        lines.append(
            "\n".join(
                f"- `{p.name}`: {p.type}{'' if p.required else f', default `{show(p.default)}`'}. {p.meaning}"
                for p in entry.parameters
            )
        )
    if entry.example:
        lines.append(f"`{entry.example}`")
    return "\n\n".join(lines)


def entry_of(cursor: Cursor) -> ReferenceEntry | None:
    """The reference of the layer, merge or op that the cursor's mapping names."""
    for kind, names in REGISTRY.items():
        name = cursor.entries.get(kind, "").strip("\"'")
        if name in names:
            return next((each for each in find(name) if each.kind == kind), None)
    return None
