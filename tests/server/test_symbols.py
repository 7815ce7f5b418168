"""Names are found wherever they are written: a spec whose names all have others is the same model."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphspec.compiled_spec import Program
from graphspec.compiler import check_text
from graphspec.diagnostics import Diagnostics
from graphspec.server.symbols import Symbol, Symbols
from graphspec.source import read

SPECS = Path(__file__).parents[2] / "specs"


def symbols(text: str) -> Symbols:
    document = read(text, "spec.yaml", Diagnostics())
    assert document is not None
    return Symbols(document)


def renamed(text: str, symbol: Symbol, name: str) -> str:
    for each in reversed(symbols(text).of(symbol)):
        assert text[each.start : each.end] == symbol.name
        text = text[: each.start] + name + text[each.end :]
    return text


def compiled(text: str, path: Path) -> Program:
    diagnostics = Diagnostics()
    program = check_text(text, str(path), path, diagnostics, {})
    diagnostics.raise_if_errors()
    assert program is not None
    return program


def outline(program: Program) -> object:
    table = program.summary().to_json(True)
    rows = sorted((str(row["output_shape"]), row["params"]) for row in table["layers"])
    return rows, table["total_params"], [str(op.given.get("units")) for op in program.graph.walk()]


@pytest.mark.parametrize("name", ["unet", "resnet50", "vae", "gpt", "residual", "siamese", "decoder", "cars"])
def test_a_spec_with_other_names_is_the_same_model(name: str) -> None:
    path = SPECS / f"{name}.yaml"
    text = path.read_text()
    before = outline(compiled(text, path))
    found = {each.symbol for each in symbols(text).found}
    assert len(found) > 3
    for index, symbol in enumerate(sorted(found, key=lambda each: (each.kind, each.body or "", each.name))):
        text = renamed(text, symbol, f"other{index}")
    assert outline(compiled(text, path)) == before


TEXT = """\
params: {n: 3}
inputs: {x: {shape: [length, 8]}, z: {shape: [length, 8]}}
blocks:
  pair:
    params: {n: required}
    inputs: [x]
    nodes:
      a: {layer: Dense, units: $n}
      b: {compute: "concatenate(a, x, axis=-1) * $(n + 1)"}
    outputs: {first: a, both: b}
nodes:
  p: {block: pair, from: x, n: $n}
  q: {layer: Dense, units: "$(max(n, 2))", from: p.both}
  r: {merge: add, from: [p.first, q, "p.a"]}
  s: {op: reshape, from: z, target_shape: [length, 4, 2]}
outputs: [r, s]
"""


def lines(kind: str, name: str, body: str | None = None) -> list[int]:
    return [TEXT.count("\n", 0, each.start) + 1 for each in symbols(TEXT).of(Symbol(kind, name, body))]


def test_names_belong_to_their_bodies() -> None:
    assert lines("param", "n") == [1, 12, 13]
    assert lines("param", "n", "pair") == [5, 8, 9, 12]
    assert lines("node", "x") == [2, 12]
    assert lines("node", "x", "pair") == [6, 9]
    assert lines("node", "a", "pair") == [8, 9, 10, 14]
    assert lines("output", "both", "pair") == [10, 13]
    assert lines("output", "first", "pair") == [10, 14]
    assert lines("size", "length") == [2, 2, 15]
    assert lines("block", "pair") == [4, 12]
    assert lines("node", "r") == [14, 16]
