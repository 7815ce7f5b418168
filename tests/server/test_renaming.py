"""A name changes, and the model and the columns of its data stay."""

from __future__ import annotations

import pytest

from graphspec.diagnostics import Diagnostics
from graphspec.server.renaming import kept, refusal
from graphspec.server.scopes import Symbol
from graphspec.server.symbols import Symbols
from graphspec.source import read

CODER = """\
inputs: {x: {shape: [4]}}
nodes:
  code: {layer: Dense, units: 2}
  rec: {layer: Dense, units: 4}
  y: {layer: Dense, units: 1, from: code}
outputs:
  rec: {loss: mse, target: x}
  y:
    loss: mse
  free: {from: code, loss: mean}
"""
DATA = """\
data:
  train: a.csv
  features: {y: {encode: category}, x: {columns: [a, b], encode: number}}
"""


def symbols(text: str) -> Symbols:
    document = read(text, "spec.yaml", Diagnostics())
    assert document is not None
    return Symbols(document)


def renamed(text: str, symbol: Symbol, name: str) -> str:
    names = symbols(text)
    edits = [(each.start, each.end, name) for each in names.of(symbol)]
    edits += [(offset, offset, written) for offset, written in kept(names, symbol)]
    for start, end, written in sorted(edits, reverse=True):
        text = text[:start] + written + text[end:]
    return text


@pytest.mark.parametrize(
    ("text", "name", "told"),
    [
        (CODER, "x", ["inputs: {Z:", "rec: {loss: mse, target: Z}"]),
        (CODER, "rec", ["Z: {loss: mse, target: x}"]),
        (CODER, "y", ["  Z:\n    target: y\n    loss: mse"]),
        (CODER + DATA, "y", ["  Z:\n    loss: mse", "Z: {column: y, encode: category}"]),
        (CODER + DATA, "x", ["Z: {columns: [a, b]", "target: Z}"]),
    ],
)
def test_the_data_keep_their_names(text: str, name: str, told: list[str]) -> None:
    after = renamed(text, Symbol("node", name), "Z")
    assert all(word in after for word in told), after


def test_an_output_without_a_target_gets_none() -> None:
    assert kept(symbols(CODER), Symbol("output", "free")) == []


@pytest.mark.parametrize(
    ("text", "symbol", "name", "reason"),
    [
        (CODER, Symbol("node", "code"), "y", "already"),
        (CODER, Symbol("node", "code"), "2", "is no name"),
        (CODER + "data: a.csv\n", Symbol("node", "x"), "z", "column of the data"),
        (CODER + DATA, Symbol("node", "x"), "z", None),
        (CODER, Symbol("node", "code"), "z", None),
    ],
)
def test_what_would_be_another_model_is_refused(
    text: str, symbol: Symbol, name: str, reason: str | None
) -> None:
    told = refusal(symbols(text), symbol, name)
    assert told is None if reason is None else told is not None and reason in told
