"""Passes: each takes a graph and returns one, and leaves the one that it is given as it is."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import fields
from typing import Any

import pytest
import torch

import graphspec
from graphspec.diagnostics import Diagnostics
from graphspec.elaborate import root
from graphspec.graph import Graph, Op
from graphspec.passes import Findings, run_passes

MASKS = """
inputs: {words: {shape: [8], dtype: int64}}
blocks:
  reader:
    inputs: [x]
    nodes: {rows: {layer: LSTM, units: 4, return_sequences: true}, more: {merge: add, from: [rows, x]}}
nodes:
  vectors: {layer: Embedding, input_dim: 9, output_dim: 4, mask_zero: true}
  readers: {block: reader, repeat: 2}
  last: {layer: GRU, units: 3}
outputs: [last]
"""
ACTIVITIES = """
inputs: {x: {shape: [8]}}
blocks: {b: {inputs: [x], nodes: {d: {layer: Dense, units: 4, activity_regularizer: {name: l2, l2: 0.1}}}}}
nodes: {a: {block: b}, b: {block: b}}
outputs: [b]
"""
UNREAD = """
inputs: {x: {shape: [8]}}
blocks:
  b:
    inputs: [x]
    nodes: {c: {layer: Dense, units: 8}, d: {layer: Dense, units: 8, from: x}}
    outputs: {c: c, d: d}
nodes: {a: {block: b, repeat: 2}, e: {layer: Dense, units: 2, from: a.c}}
outputs: [e]
"""
IDLE = """
inputs: {x: {shape: [8]}}
blocks:
  b:
    inputs: {x: required, more: null}
    nodes: {d: {layer: Dense, units: 8, from: x}, sum: {merge: add, from: [d, more]}}
nodes: {a: {block: b, from: {x: x}}, c: {block: b, from: {x: a, more: x}}}
outputs: [c]
"""
NOTHING = "inputs: {x: {shape: [8]}}\nnodes: {d: {layer: Dense, units: 2}}\noutputs: [d]\n"


def state(graph: Graph) -> Iterator[Any]:
    """Everything that a pass could change, of a graph and of those inside it."""
    yield tuple(graph.inputs.items()), tuple(graph.units), tuple(graph.ops), tuple(graph.outputs.items())
    for unit in graph.units:
        yield tuple(unit.calls)
    for value in (*graph.inputs.values(), *(value for op in graph.ops for value in op.outputs.values())):
        if value is not None:
            yield value.tensor, value.name, value.op
    for op in graph.ops:
        yield [_frozen(getattr(op, field.name)) for field in fields(Op)]
        if op.graph is not None:
            yield from state(op.graph)


def _frozen(value: Any) -> Any:
    return tuple(value.items()) if isinstance(value, dict) else value


@pytest.mark.parametrize(
    ("text", "changes"),
    [(MASKS, True), (ACTIVITIES, True), (UNREAD, True), (IDLE, True), (NOTHING, False)],
    ids=["masks", "activities", "unread", "idle", "nothing"],
)
def test_the_graph_that_passes_are_given_stays_as_it_is(
    text: str, changes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []

    def watched(graph: Graph, masked: Collection[str], diagnostics: Diagnostics) -> Findings | None:
        before = list(state(graph))
        found = run_passes(graph, masked, diagnostics)
        assert found is not None and list(state(graph)) == before
        seen.append(found.graph is not graph)
        return found

    monkeypatch.setattr(root, "run_passes", watched)
    program = graphspec.compile(text)
    assert seen == [changes] and program.source


INSTANCES = {
    "two": "inputs: [p, q], outputs: {low: d, high: e}, "
    "nodes: {d: {layer: Dense, units: 4, from: p}, e: {layer: Dense, units: 4, from: q}}",
    "outer": "inputs: [r, s], outputs: {up: i.low, down: i.high}, nodes: {i: {block: two, from: [r, s]}}",
    "same": "inputs: [p, q], outputs: {p: d, q: e}, "
    "nodes: {d: {layer: Dense, units: 4, from: p}, e: {layer: Dense, units: 4, from: q}}",
    "none": "inputs: [p, q, r], outputs: {p: d, q: b}, "
    "nodes: {d: {layer: Dense, units: 4, from: r}, b: {compute: q + p}}",
    "asks": "inputs: {p: required, q: null}, outputs: {low: d, high: e}, "
    "nodes: {d: {layer: Dense, from: p, units: 4, use_bias: $(given(q))}, e: {merge: add, from: [p, q]}}",
}


@pytest.mark.parametrize(
    ("blocks", "nodes", "weights"),
    [
        ("two", "n: {block: two, from: [x, y]}", "n.d"),
        ("two", "n: {block: two, from: [x, y], repeat: 2}", "n.0.d n.1.d"),
        ("same", "n: {block: same, from: [x, y], repeat: 2}", "n.0.d n.1.d"),
        ("same", "m: {block: same, from: [x, y], repeat: 2}, n: {compute: m.q + x}", "m.0.e m.1.e y"),
        ("none", "m: {block: none, from: [x, y, x], repeat: 2}, n: {compute: m.p + x}", "m.0.d m.1.d y"),
        ("two outer", "n: {block: outer, from: [x, y]}", "n.i.d"),
        ("two outer", "m: {block: outer, from: [y, x]}, n: {compute: m.down + x}", "m.i.e"),
        ("two", "m: {call: kept, from: [x, y]}, n: {call: kept, from: [m, y]}", "kept.d"),
        (
            "two",
            "m: {block: two, from: [x, y]}, k: {block: two, from: [m, z]}, n: {compute: k + k.high}",
            "k.d k.e m.d",
        ),
        (
            "two",
            "m: {block: two, parallel: {from: [[x, y], [z, y]]}}, n: {merge: add, from: m.*}",
            "m.0.d m.1.d",
        ),
        ("same", "m: {block: same, from: [x, y], parallel: 2}, n: {compute: m.0.p + m.1.q}", "m.0.d m.1.e y"),
        (
            "same",
            "m: {block: same, from: [x, y], parallel: 3}, n: {compute: m.0.q + x}",
            "m.0.e m.1.d m.2.d y",
        ),
        ("asks", "n: {block: asks, from: [x, y]}", "n.d y"),
    ],
)
def test_a_block_is_not_given_what_it_reads_for_no_output(blocks: str, nodes: str, weights: str) -> None:
    """What only an output needs that nobody reads is not there, but where an expression asks about it."""
    declared = "\n".join(f"  {name}: {{{INSTANCES[name]}}}" for name in blocks.split())
    shared = "shared: {kept: {block: two}}\n" if "call" in nodes else ""
    program = graphspec.compile(
        f"inputs: {{x: {{shape: [4]}}, z: {{shape: [4]}}}}\nblocks:\n{declared}\n{shared}"
        f"nodes: {{y: {{layer: Dense, units: 4, from: z}}, {nodes}}}\noutputs: [n, z]\n"
    )
    keys = program.module().state_dict()
    assert sorted({key.rpartition(".")[0] for key in keys}) == weights.split()


@pytest.mark.parametrize(
    ("node", "why"),
    [
        ("{layer: TimeDistributed, wraps: {layer: Dense, units: 4, REGULARIZER}}", "that is wrapped"),
        ("{layer: Dense, units: 8, repeat: 2, REGULARIZER}", "that is repeated"),
        ("{layer: LSTM, units: 4, return_state: true, REGULARIZER}", "of several outputs"),
    ],
)
def test_an_activity_that_no_node_can_watch_is_refused(node: str, why: str) -> None:
    written = node.replace("REGULARIZER", "activity_regularizer: {name: l2, l2: 0.1}")
    with pytest.raises(graphspec.SpecError, match=f"of `y`, a layer {why}"):
        graphspec.compile(f"inputs: {{x: {{shape: [3, 8]}}}}\nnodes: {{y: {written}}}\noutputs: [y]\n")


def test_a_repeated_block_whose_later_instance_is_left_out_reads_both_inputs() -> None:
    program = graphspec.compile("""
inputs: {x: {shape: [4]}, y: {shape: [4]}}
blocks:
  both:
    inputs: {x: required, memory: null}
    nodes: {sum: {merge: add, from: [x, memory]}}
nodes: {out: {block: both, when: $(index < 1), repeat: 2, from: {x: x, memory: y}}}
outputs: [out]
""")
    x, y = program.example_inputs(2).values()
    assert torch.equal(program.module()(x, y), x + y)
