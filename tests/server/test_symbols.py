"""Names are found wherever they are written: a spec whose names all have others is the same model."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from graphspec.compiler import check_text
from graphspec.diagnostics import Diagnostics
from graphspec.program import Program
from graphspec.server.scopes import Symbol
from graphspec.server.symbols import Symbols
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


def in_order(text: str) -> list[Symbol]:
    """The names of a text, blocks after what is in them."""
    found = {each.symbol for each in symbols(text).occurrences}
    return sorted(found, key=lambda each: (each.kind == "block", str(each)))


def compiled(text: str, path: Path) -> Program:
    diagnostics = Diagnostics()
    program = check_text(text, str(path), path, diagnostics, {})
    diagnostics.raise_if_errors()
    assert program is not None
    return program


def outline(program: Program) -> object:
    table = program.summary().to_json(True)
    rows = sorted((str(row["output_shape"]), row["params"]) for row in table["layers"])
    return rows, table["total_params"], [str(op.options.get("units")) for op in program.graph.walk()]


@pytest.mark.parametrize("name", ["unet", "resnet50", "vae", "gpt", "residual", "siamese", "decoder", "cars"])
def test_a_spec_with_other_names_is_the_same_model(name: str) -> None:
    path = SPECS / f"{name}.yaml"
    text = path.read_text()
    before = outline(compiled(text, path))
    found = in_order(text)
    assert len(found) > 3
    for index, symbol in enumerate(found):
        text = renamed(text, symbol, f"other{index}")
    assert outline(compiled(text, path)) == before


USES = """\
params: {width: 8, cut: 2.0, heavy: 0.5, flag: true, rate: 0.1}
presets: {big: {width: 64, cut: 3.0}}
inputs: {seen: {shape: [spans, 8]}, more: {shape: [spans, 8], when: $flag}}
blocks:
  unit:
    params: {n: required, act: relu}
    inputs: [x]
    nodes:
      skip: {layer: Dense, units: $n}
      wide: {layer: Dense, units: $n, activation: $act, from: x}
    outputs: {main: wide, side: skip}
nodes:
  mean: {layer: Dense, units: 8, from: seen}
  noise: {op: random_normal, like: mean}
  both: {compute: "mean + more + noise + sum(mean, axis=-1, keepdims=True) * $(width / 8)"}
  tower: {block: unit, n: 8, from: both, repeat: 3}
  split: {op: reshape, from: tower, newshape: [-1, spans, "2 * 2", 2]}
  joined: {layer: Dense, units: 1, from: tower.1.side}
outputs:
  joined: {loss: {name: huber, delta: $cut}, loss_weight: $heavy}
  other: {from: tower.0.side, loss: mse, when: $flag, target: seen, metrics: [mae]}
  split: {when: "$(width > 1)"}
train:
  optimizer: {name: adam, learning_rate: "$(rate / 10)"}
  parameter_groups: [{match: "tower.*", learning_rate: 0.01}, {match: "*.bias", weight_decay: 0.0}]
  freeze: "tower.2.skip.*"
  steps: [{outputs: other, update: "tower.*"}, {outputs: [joined, other]}]
  callbacks: {early_stopping: {monitor: other_loss}}
tune:
  objective: other_mae
  search:
    width: {int: [4, 8]}
    nodes.mean.units: {choice: [8]}
    blocks.unit.nodes.skip.use_bias: {choice: [true]}
    nodes.tower.n: {int: [4, 8]}
"""


def test_every_use_of_a_name_is_found() -> None:
    text = USES
    found = in_order(text)
    for index, symbol in enumerate(found):
        text = renamed(text, symbol, f"other{index}_name")
    assert [each.name for each in found if re.search(rf"\b{each.name}\b", text)] == []
    assert "_name_loss" in text and "_name_mae" in text
    assert compiled(text, Path("spec.yaml")).tuning is not None


FUNCTIONS = """\
inputs: [axis, x]
nodes:
  mean: {layer: Dense, units: 2, from: x}
  b: {compute: "mean(mean, axis=1) + mean (axis, axis = 1)"}
  c: {compute: "$(1 + 1) * mean + where(mean == axis, 'mean', x)"}
outputs: [b, c]
"""


def test_functions_and_keywords_of_formulas_are_no_nodes() -> None:
    assert [renamed(FUNCTIONS, Symbol("node", name), "Z").count("Z") for name in ("mean", "axis")] == [4, 3]


EDGES = """\
inputs: [x]
nodes: {pre: {block: pair}, s: {layer: Dense, units: 2}}
edges: [x -> pre, "pre.side, x -> s"]
outputs: [s]
blocks: {pair: {inputs: [x], nodes: {a: {layer: Dense, units: 2}}, outputs: {side: a}}}
"""


def test_edges_read_what_is_inside_of_blocks() -> None:
    assert renamed(EDGES, Symbol("output", "side", "pair"), "other").count("other") == 2
    assert renamed(EDGES, Symbol("node", "pre"), "other").count("other") == 3


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
  s: {op: reshape, from: z, newshape: [length, 4, 2]}
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


CHOSEN = """\
params: {which: two, kind: pair, part: side, flag: true}
presets: {other: {which: one, kind: single, part: main}}
inputs: {x: {shape: [8]}}
blocks:
  pair:
    inputs: [h]
    nodes: {one: {layer: Dense, units: 4}, two: {layer: Dense, units: 4, from: h}}
    outputs: {side: one, main: two}
  single: {inputs: [h], nodes: {d: {layer: Dense, units: 4}}, outputs: {side: d, main: d}}
  around: {params: {k: required}, inputs: [h], nodes: {d: {block: $k}}, outputs: [d]}
nodes:
  one: {layer: Dense, units: 4, from: x}
  two: {layer: Dense, units: 4, from: x}
  a: {block: $kind, from: $which}
  b: {block: around, k: single, from: x, repeat: 2}
  c: {block: around, k: $kind, from: x}
  d: {block: "$('pair' if flag else 'single')", from: x}
  e: {block: pair, from: x}
  f: {layer: Dense, units: 2, from: e.$part}
outputs: [a, b, c, d, e, f, one, two]
tune: {objective: loss, search: {kind: {choice: [pair, single]}, nodes.f.from: {choice: [one, e.side]},
  nodes.e.block: {choice: [pair]}}}
"""


@pytest.mark.parametrize(
    ("symbol", "count"),
    [
        (Symbol("node", "one"), 4),
        (Symbol("node", "two"), 3),
        (Symbol("block", "pair"), 6),
        (Symbol("block", "single"), 5),
        (Symbol("output", "side", "pair"), 3),
        (Symbol("output", "main", "pair"), 2),
        (Symbol("node", "one", "pair"), 2),
    ],
)
def test_names_that_params_choose_are_found(symbol: Symbol, count: int) -> None:
    assert renamed(CHOSEN, symbol, "Z").count("Z") == count
