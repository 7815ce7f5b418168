"""A name changes, and the model and the columns of its data stay."""

from __future__ import annotations

import pytest

from graphspec.compiler import check_text
from graphspec.diagnostics import Diagnostics
from graphspec.server.patterns import reread
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


STATE = """\
inputs: {x: {shape: [4]}}
blocks: {lost: {inputs: [a], nodes: {l: {compute: "mean(a, axis=[1, 2])"}}}}
nodes:
  code: {layer: Dense, units: 2}
  seen: {state: [2], update: "0.5 * seen + mean(code, axis=1)"}
  y: {compute: code - seen}
outputs: {y: {loss: {block: lost}}}
"""


@pytest.mark.parametrize(
    ("symbol", "told"),
    [
        (Symbol("node", "code"), ["Z: {layer", "mean(Z, axis=1)", "compute: Z - seen"]),
        (Symbol("node", "seen"), ["Z: {state", "0.5 * Z + mean", "compute: code - Z"]),
        (Symbol("block", "lost"), ["{Z: {inputs", "loss: {block: Z}"]),
    ],
)
def test_what_updates_and_losses_name_is_renamed(symbol: Symbol, told: list[str]) -> None:
    after = renamed(STATE, symbol, "Z")
    assert [part for part in told if part not in after] == []


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


INNER = """\
params: {w: 4, v: 5}
inputs: {x: {shape: [8]}}
shared: {enc: {layer: Dense, units: 8}, alone: {layer: Dense, units: 8}}
blocks:
  t:
    params: {u: 3}
    inputs: [h]
    shared: {own: {layer: Dense, units: $(u * w), use_bias: false}}
    nodes: {d: {call: enc, from: h}, e: {call: own, from: d}}
    outputs: [e]
nodes:
  a: {block: t, from: x}
  b: {call: alone, from: x}
  c: {call: enc, from: x}
outputs: [a, b, c]
"""


TWICE = """\
params: {which: two}
inputs: {x: {shape: [8]}}
blocks:
  t:
    inputs: [h]
    nodes: {two: {layer: Dense, units: 8}, e: {layer: Dense, units: 8, from: $which}}
    outputs: [e]
nodes:
  two: {block: t, from: x}
  c: {layer: Dense, units: 8, from: $which}
outputs: [c]
"""


@pytest.mark.parametrize(
    ("text", "symbol", "name", "reason"),
    [
        (CODER, Symbol("node", "code"), "y", "already"),
        (CODER, Symbol("node", "code"), "2", "is not a name"),
        (CODER + "data: a.csv\n", Symbol("node", "x"), "z", "column of the data"),
        (CODER + DATA, Symbol("node", "x"), "z", None),
        (CODER, Symbol("node", "code"), "z", None),
        (CODER.replace("target: x", "target: z"), Symbol("node", "x"), "z", "the data have"),
        (INNER, Symbol("param", "w"), "u", "the block `t` would read another param"),
        (INNER, Symbol("param", "u", "t"), "w", "the block `t` would read another param"),
        (INNER, Symbol("param", "v"), "u", None),
        (INNER, Symbol("param", "u", "t"), "v", None),
        (INNER, Symbol("param", "v"), "units", None),
        (INNER, Symbol("param", "v"), "repeat", "is reserved"),
        (INNER, Symbol("node", "x"), "index", "is reserved"),
        (INNER, Symbol("node", "enc"), "own", "the block `t` would read another node"),
        (INNER, Symbol("node", "own", "t"), "enc", "the block `t` would read another node"),
        (INNER, Symbol("node", "alone"), "own", None),
        (INNER, Symbol("node", "own", "t"), "alone", None),
        (INNER, Symbol("node", "d", "t"), "enc", None),
        (TWICE, Symbol("node", "two"), "z", "also chooses the node of the block `t`"),
        (TWICE, Symbol("node", "e", "t"), "z", None),
    ],
)
def test_what_would_be_another_model_is_refused(
    text: str, symbol: Symbol, name: str, reason: str | None
) -> None:
    told = refusal(symbols(text), symbol, name)
    assert told is None if reason is None else told is not None and reason in told


FROZEN = """\
inputs: {{x: {{shape: [8]}}}}
blocks:
  tower:
    inputs: [h]
    nodes: {{enc1: {{layer: Dense, units: 4, from: h}}, enc2: {{layer: Dense, units: 4}}}}
    outputs: [enc2]
nodes:
  t: {{block: tower, from: x, repeat: 2}}
  enc1: {{layer: Dense, units: 4}}
  enc2: {{layer: Dense, units: 4}}
  head: {{layer: Dense, units: 1}}
outputs: {{head: {{loss: mse}}}}
train: {{freeze: ["{}"]}}
"""


@pytest.mark.parametrize(
    ("pattern", "body", "name", "after"),
    [
        ("enc*", None, "front", None),
        ("enc*", None, "enc_1", "enc*"),
        ("enc*", "tower", "front", "enc*"),
        ("enc1*", None, "front", None),
        ("enc[1].weight", None, "front", None),
        ("enc1.*", None, "front", "front.*"),
        ("*.enc1.*", "tower", "front", "*.front.*"),
        ("*.enc1.*", None, "front", "*.enc1.*"),
        ("t.?.enc1.weight", "tower", "front", "t.?.front.weight"),
        ("*enc1.*", "tower", "front", None),
        ("front*", None, "front1", None),
        ("*.bias", None, "front", "*.bias"),
    ],
)
def test_patterns_mean_the_same_weights(pattern: str, body: str | None, name: str, after: str | None) -> None:
    text, symbol = FROZEN.format(pattern), Symbol("node", "enc1", body)
    program = check_text(text, "spec.yaml", None, Diagnostics(), {})
    found = list(reread(symbols(text), symbol, name, program.graph if program is not None else None))
    if after is None:
        assert [each.edits for each in found] == [None] and pattern in found[0].reason
        return
    edits = [(each.start, each.end, name) for each in symbols(text).of(symbol)]
    edits += [edit for each in found for edit in each.edits or ()]
    for start, end, written in sorted(edits, reverse=True):
        text = text[:start] + written + text[end:]
    assert f'["{after}"]' in text
