"""The structure of the language: what each construct elaborates to, seen in the graph."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import graphspec
from graphspec.diagnostics import SpecError
from graphspec.graph import Graph, Op
from graphspec.program import Program

X4 = "inputs: {x: {shape: [4]}}\n"


def program(text: str, **given: Any) -> Program:
    return graphspec.compile(text + "\n", **given)


def codes(text: str, **given: Any) -> list[str]:
    """The codes that a spec is refused with; none where it compiles."""
    try:
        program(text, **given)
    except SpecError as error:
        return [diagnostic.code for diagnostic in error.diagnostics]
    return []


def paths(graph: Graph, prefix: str = "") -> Iterator[tuple[str, Op]]:
    """Every op by its dotted path."""
    for op in graph.ops:
        yield prefix + op.name, op
        if op.graph is not None:
            yield from paths(op.graph, f"{prefix}{op.name}.")


def ops(compiled: Program) -> dict[str, Op]:
    return dict(paths(compiled.graph))


def reads(compiled: Program, path: str) -> list[str]:
    """What an op reads, as `node.index.output` of its own graph."""
    names = []
    for value in ops(compiled)[path].inputs:
        if value.op is None:
            names.append(value.name)
        else:
            key = next(key for key, output in value.op.outputs.items() if output is value)
            first = value is value.op.output
            names.append(value.op.name if first else f"{value.op.name}.{key}")
    return names


def shape(compiled: Program, path: str) -> str:
    """The shape of an op's first output, without the batch axis."""
    return ", ".join(str(size) for size in ops(compiled)[path].output.tensor.shape[1:])


def weights(graph: Graph) -> int:
    """The number of weights, those of a shared unit once."""
    total = 0
    for unit in graph.units:
        op = unit.first_call
        total += weights(op.graph) if op.graph is not None else sum(w.size for w in op.weights())
    return total


# --- where a node's inputs come from


def test_a_node_takes_the_node_above_it() -> None:
    chain = program(X4 + "nodes: {a: {layer: Dense, units: 3}, b: {layer: Dense, units: 2}}\noutputs: [b]")
    assert (reads(chain, "a"), reads(chain, "b")) == (["x"], ["a"])
    assert weights(chain.graph) == 4 * 3 + 3 + 3 * 2 + 2


def test_a_parameter_is_passed_over() -> None:
    token = program("""
inputs: {x: {shape: [length, 4]}}
nodes:
  a: {layer: Dense, units: 4}
  token: {parameter: [1, 4], initializer: zeros}
  b: {layer: Dense, units: 4}
  joined: {merge: concatenate, from: [token, b], axis: 1}
outputs: [joined]
""")
    assert reads(token, "b") == ["a"]
    assert str(ops(token)["token"].output.tensor) == "float32[1, 1, 4]"
    assert shape(token, "joined") == "length + 1, 4"


def test_edges_fan_in_and_out_in_order() -> None:
    edges = program("""
inputs: {x: {shape: [4]}}
nodes:
  both: {merge: concatenate}
  a: {layer: Dense, units: 3}
  b: {layer: Dense, units: 2}
edges: [x -> b -> both, "x -> a", a -> both]
outputs: [both]
""")
    assert reads(edges, "both") == ["b", "a"]
    fan = program("""
inputs: {x: {shape: [4]}}
nodes: {a: {layer: Dense, units: 3}, b: {layer: Dense, units: 3}, both: {merge: add}}
edges: ["x -> a, b -> both"]
outputs: [both]
""")
    assert reads(fan, "both") == ["a", "b"]


def test_from_and_edges_on_different_nodes() -> None:
    mixed = program("""
inputs: {x: {shape: [4]}}
nodes: {a: {layer: Dense, units: 3}, b: {layer: Dense, units: 3, from: a}}
edges: [x -> a]
outputs: [b]
""")
    assert reads(mixed, "b") == ["a"]


def test_edge_sources_may_be_instances_and_outputs() -> None:
    edges = program("""
inputs: {x: {shape: [length, 4]}}
nodes:
  code: {layer: LSTM, units: 3, return_state: true}
  heads: {layer: Dense, units: 2, parallel: 2, from: x}
  joined: {merge: add}
  all: {merge: add}
edges: ["x -> code", code.state_h -> joined, code.state_c -> joined, heads.* -> all]
outputs: [joined, all]
""")
    assert reads(edges, "joined") == ["code.state_h", "code.state_c"]
    assert reads(edges, "all") == ["heads.0", "heads.1"]


def test_order_is_free_where_from_is_written() -> None:
    free = program(
        X4
        + """
nodes:
  last: {merge: add, from: [b, a]}
  b: {layer: Dense, units: 3, from: a}
  a: {layer: Dense, units: 3, from: x}
outputs: [last]
"""
    )
    assert [op.name for op in free.graph.ops] == ["a", "b", "last"]


def test_ruling_4_the_node_above_gives_its_first_output() -> None:
    lstm = program("""
inputs: {x: {shape: [length, 4]}}
nodes: {code: {layer: LSTM, units: 3, return_state: true}, d: {layer: Dense, units: 2}}
outputs: [d]
""")
    assert reads(lstm, "d") == ["code"]
    assert list(ops(lstm)["code"].outputs) == ["", "state_h", "state_c"]
    assert codes(X4 + "nodes: {a: {merge: subtract}}\noutputs: [a]") == ["input-count"]


def test_named_arguments() -> None:
    states = program("""
inputs: {x: {shape: [length, 4]}}
nodes:
  enc: {layer: LSTM, units: 3, return_state: true}
  dec: {layer: LSTM, units: 3, from: {initial_state: [enc.state_h, enc.state_c], sequences: x}}
outputs: [dec]
""")
    assert reads(states, "dec") == ["x", "enc.state_h", "enc.state_c"]


# --- blocks

RESIDUAL = """
inputs: {image: {shape: [8, 8, 4]}}
blocks:
  residual:
    params: {filters: required, project: $(channels(x) != filters)}
    inputs: [x]
    nodes:
      shortcut: {layer: Conv2D, from: x, filters: $filters, kernel_size: 1, when: $project}
      conv: {layer: Conv2D, from: x, filters: $filters, kernel_size: 3, padding: same}
      sum: {merge: add, from: [shortcut, conv]}
"""


def test_a_block_sees_the_channels_of_its_input() -> None:
    net = program(
        RESIDUAL
        + """
nodes:
  same: {block: residual, filters: 4}
  wider: {block: residual, filters: 6}
outputs: [wider]
"""
    )
    present = {path: op.present for path, op in ops(net).items()}
    assert (present["same.shortcut"], present["wider.shortcut"]) == (False, True)
    assert reads(net, "same.sum") == ["shortcut", "conv"]
    assert weights(net.graph) == (9 * 4 * 4 + 4) + (9 * 4 * 6 + 6) + (4 * 6 + 6)


def test_repeat_with_a_list_chains() -> None:
    net = program(
        RESIDUAL
        + """
nodes: {tower: {block: residual, repeat: {filters: [4, 6, 6]}}}
outputs: [tower]
"""
    )
    assert [shape(net, f"tower.{i}") for i in range(3)] == ["8, 8, 4", "8, 8, 6", "8, 8, 6"]
    assert [reads(net, f"tower.{i}") for i in range(3)] == [["image"], ["tower.0"], ["tower.1"]]
    assert [op.repeated for op in net.graph.ops] == ["repeat"] * 3


def test_a_block_sees_the_file_s_params_after_its_own() -> None:
    net = program("""
params: {width: 5, depth: 2}
inputs: {x: {shape: [4]}}
blocks:
  mlp:
    params: {width: $(depth + 1)}
    inputs: [x]
    nodes: {a: {layer: Dense, units: $width}, b: {layer: Dense, units: $depth}}
nodes: {m: {block: mlp}, n: {block: mlp, width: $width}}
outputs: [n]
""")
    assert [shape(net, path) for path in ("m.a", "m.b", "n.a")] == ["3", "2", "5"]


def test_a_block_sees_nothing_of_the_block_that_uses_it() -> None:
    nested = """
inputs: {x: {shape: [4]}}
blocks:
  inner:
    inputs: [x]
    nodes: {a: {layer: Dense, units: $width}}
  outer:
    params: {width: 3}
    inputs: [x]
    nodes: {i: {block: inner}, b: {layer: Dense, units: $width}}
nodes: {o: {block: outer}}
outputs: [o]
"""
    assert codes(nested) == ["unknown-name"]


def test_block_outputs_by_name() -> None:
    two = program("""
inputs: {x: {shape: [4]}}
blocks:
  two:
    inputs: [x]
    nodes: {a: {layer: Dense, units: 3}, b: {layer: Dense, units: 2}}
    outputs: {small: b, large: a}
nodes:
  t: {block: two}
  s: {layer: Dense, units: 1}
  l: {layer: Dense, units: 1, from: t.large}
outputs: [s, l]
""")
    assert (reads(two, "s"), reads(two, "l")) == (["t"], ["t.large"])


def test_inner_paths_and_pruning() -> None:
    inner = program("""
inputs: {x: {shape: [4]}}
blocks:
  core:
    inputs: [x]
    nodes: {a: {layer: Dense, units: 5}, b: {layer: Dense, units: 6}, c: {layer: Dense, units: 7}}
nodes:
  k: {block: core}
  d: {layer: Dense, units: 2, from: k.b}
outputs: [d]
""")
    assert [path for path in ops(inner) if path.startswith("k.")] == ["k.a", "k.b"]
    assert list(ops(inner)["k"].outputs) == ["b"]
    assert [unit.path for unit in ops(inner)["k"].graph.units] == ["a", "b"]  # type: ignore[union-attr]


def test_inner_paths_reach_through_blocks_and_repeats() -> None:
    deep = program("""
inputs: {x: {shape: [4]}}
blocks:
  core:
    inputs: [x]
    nodes: {a: {layer: Dense, units: 5, repeat: 3}, b: {layer: Dense, units: 4}}
  outer:
    inputs: [x]
    nodes: {k: {block: core, repeat: 2}}
nodes:
  o: {block: outer, repeat: 2}
  d: {layer: Dense, units: 2, from: o.0.k.1.a.1}
  e: {merge: add, from: [o, d], when: false}
outputs: [d, e]
""")
    assert shape(deep, "o.0.k.1.a.1") == "5"
    assert reads(deep, "d") == ["o.0.k.1.a.1"]


def test_ruling_9_the_block_s_name_may_be_a_param() -> None:
    text = """
params: {kind: wide}
inputs: {x: {shape: [4]}}
blocks:
  wide: {inputs: [x], nodes: {a: {layer: Dense, units: 9}}}
  slim: {inputs: [x], nodes: {a: {layer: Dense, units: 2}}}
nodes: {b: {block: $kind}}
outputs: [b]
"""
    assert shape(program(text), "b") == "9"
    assert shape(program(text, params={"kind": "slim"}), "b") == "2"
    assert codes(text.replace("kind: wide", "kind: none")) == ["unknown-block"]


# --- repeat and parallel


def test_repeat_by_count_and_index() -> None:
    tower = program(
        X4
        + """
nodes: {tower: {layer: Dense, units: $(2 ** (index + 1)), repeat: 3}, end: {layer: Dense, units: 1}}
outputs: [end]
"""
    )
    assert [shape(tower, f"tower.{i}") for i in range(3)] == ["2", "4", "8"]
    assert reads(tower, "end") == ["tower.2"]


def test_repeat_zero_hands_on_the_first_input() -> None:
    none = program("""
inputs: {x: {shape: [4]}, y: {shape: [4]}}
blocks:
  mix: {inputs: [a, b], nodes: {sum: {merge: add, from: [a, b]}}}
nodes:
  tower: {block: mix, from: {b: y, a: x}, repeat: 0}
  one: {block: mix, from: [x, y], repeat: 1}
  end: {merge: add, from: [tower, one]}
outputs: [end]
""")
    assert reads(none, "end") == ["tower", "one.0"]
    (tower,) = (op for op in none.graph.ops if op.node == "tower")
    assert not tower.present and [value.name for value in tower.inputs] == ["x"]


def test_chaining_by_name_keeps_the_memory() -> None:
    decoder = program("""
inputs: {tokens: {shape: [4]}, memory: {shape: [4]}}
blocks:
  layer_:
    inputs: [x, memory]
    nodes: {sum: {merge: add, from: [x, memory]}, out: {layer: Dense, units: 4}}
    outputs: {x: out}
nodes: {tower: {block: layer_, from: [tokens, memory], repeat: 3}}
outputs: [tower]
""")
    assert [reads(decoder, f"tower.{i}") for i in range(3)] == [
        ["tokens", "memory"],
        ["tower.0", "memory"],
        ["tower.1", "memory"],
    ]


def test_chaining_by_name_of_two_streams() -> None:
    swap = program("""
inputs: {a: {shape: [4]}, b: {shape: [4]}}
blocks:
  swap:
    inputs: [p, q]
    nodes: {u: {layer: Dense, units: 4, from: q}, v: {layer: Dense, units: 4, from: p}}
    outputs: {q: v, p: u}
nodes: {s: {block: swap, from: {p: a, q: b}, repeat: 2}, end: {merge: add, from: [s.0.p, s.1.q, s.p]}}
outputs: [end]
""")
    assert reads(swap, "s.1") == ["s.0.p", "s.0"]
    assert reads(swap, "end") == ["s.0.p", "s.1", "s.1.p"]


def test_small_u_net() -> None:
    unet = program("""
params: {depth: 3}
inputs: {signal: {shape: [32, 3]}}
blocks:
  down:
    params: {filters: required}
    inputs: [x]
    nodes:
      skip: {layer: Conv1D, filters: $filters, kernel_size: 3, padding: same}
      deep: {layer: Dense, units: $filters}
    outputs: {x: deep, skip: skip}
  up:
    params: {filters: required}
    inputs: [x, skip]
    nodes:
      both: {merge: concatenate, from: [x, skip]}
      conv: {layer: Conv1D, filters: $filters, kernel_size: 3, padding: same}
nodes:
  downs: {block: down, filters: $(8 * 2 ** index), repeat: $depth}
  middle: {layer: Conv1D, filters: 64, kernel_size: 3, padding: same}
  ups:
    block: up
    filters: $(8 * 2 ** (depth - 1 - index))
    repeat: $depth
    from: {x: middle, skip: downs.$(depth - 1 - index).skip}
outputs: [ups]
""")
    assert [reads(unet, f"ups.{i}") for i in range(3)] == [
        ["middle", "downs.2.skip"],
        ["ups.0", "downs.1.skip"],
        ["ups.1", "downs.0.skip"],
    ]
    assert shape(unet, "ups.2") == "32, 8"


def test_parallel() -> None:
    experts = program(
        X4
        + """
nodes:
  experts: {layer: Dense, units: $(index + 2), parallel: 3}
  joined: {merge: concatenate, from: experts.*}
  one: {layer: Dense, units: 1, from: experts.1}
outputs: [joined, one]
"""
    )
    assert [reads(experts, f"experts.{i}") for i in range(3)] == [["x"]] * 3
    assert shape(experts, "joined") == "9"
    assert reads(experts, "one") == ["experts.1"]


def test_parallel_over_sources() -> None:
    heads = program("""
inputs: {p3: {shape: [8, 8, 4]}, p4: {shape: [4, 4, 4]}, p5: {shape: [2, 2, 4]}}
shared: {head: {layer: Conv2D, filters: 2, kernel_size: 1}}
nodes:
  heads: {call: head, parallel: {from: [p3, p4, p5]}}
  flat: {layer: Flatten, parallel: {from: [heads.0, heads.1, heads.2]}}
  joined: {merge: concatenate, from: flat.*}
outputs: [joined]
""")
    assert [reads(heads, f"heads.{i}") for i in range(3)] == [["p3"], ["p4"], ["p5"]]
    assert weights(heads.graph) == 4 * 2 + 2
    assert shape(heads, "joined") == str(2 * (64 + 16 + 4))


def test_outputs_of_all_instances() -> None:
    skips = program("""
inputs: {x: {shape: [4]}}
blocks:
  step:
    inputs: [x]
    nodes: {a: {layer: Dense, units: 4}, b: {layer: Dense, units: 4}}
    outputs: {x: b, skip: a}
nodes:
  tower: {block: step, repeat: 3}
  sum: {merge: add, from: [tower.*.skip, tower.2.skip, tower.*]}
outputs: [sum]
""")
    skip = [f"tower.{i}.skip" for i in range(3)]
    assert reads(skips, "sum") == [*skip, "tower.2.skip", "tower.0", "tower.1", "tower.2"]


def test_ruling_5_the_outer_list_is_per_instance() -> None:
    convs = program("""
inputs: {image: {shape: [9, 9, 1]}}
nodes: {conv: {layer: Conv2D, filters: 2, padding: same, repeat: {kernel_size: [[1, 3], 3]}}}
outputs: [conv]
""")
    layers: list[Any] = [ops(convs)[f"conv.{i}"].layer for i in range(2)]
    assert [layer.kernel_size for layer in layers] == [(1, 3), (3, 3)]


# --- when and else


def test_a_left_out_node_hands_on_its_first_input() -> None:
    text = """
params: {project: false}
inputs: {x: {shape: [4]}}
nodes:
  a: {layer: Dense, units: 4}
  maybe: {layer: Dense, units: 4, when: $project}
  b: {layer: Dense, units: 2}
outputs: [b]
"""
    assert not ops(program(text))["maybe"].present
    assert ops(program(text, params={"project": True}))["maybe"].present
    assert weights(program(text).graph) == 4 * 4 + 4 + 4 * 2 + 2


def test_else_names_another_node_or_nothing() -> None:
    text = """
inputs: {x: {shape: [4]}, y: {shape: [4]}}
nodes:
  a: {layer: Dense, units: 9, from: x, when: false, else: y}
  none: {layer: Dense, units: 7, from: x, when: false, else: null}
  sum: {merge: add, from: [a, none, x]}
outputs: [sum]
"""
    assert [len(ops(program(text))["sum"].inputs), shape(program(text), "sum")] == [2, "4"]


def test_a_merge_falls_away() -> None:
    residual = program(
        X4
        + """
nodes:
  a: {layer: Dense, units: 3}
  sum: {merge: add, from: [a, x], when: false}
outputs: [sum]
"""
    )
    assert ops(residual)["sum"].inputs[0].op is ops(residual)["a"]
    assert shape(residual, "sum") == "3"


def test_a_left_out_parameter_is_nothing() -> None:
    token = program("""
inputs: {x: {shape: [3, 4]}}
nodes:
  token: {parameter: [1, 4], when: false}
  joined: {merge: concatenate, from: [token, x], axis: 1}
outputs: [joined]
""")
    assert reads(token, "joined") == ["x"]


def test_ruling_2_a_left_out_node_resolves_only_its_first_input() -> None:
    text = (
        X4
        + """
params: {deep: false}
nodes:
  a: {layer: Dense, units: 4}
  sum: {merge: add, from: [a, "a.$(1 // 0)"], when: $deep}
outputs: [sum]
"""
    )
    assert codes(text) == []
    assert codes(text, params={"deep": True}) == ["division-by-zero"]


def test_ruling_3_a_left_out_instance_keeps_its_number() -> None:
    tower = program(
        X4
        + """
nodes:
  tower: {layer: Dense, units: $(index + 4), repeat: 4, when: $(index % 2 == 0)}
  end: {merge: concatenate, from: tower.*}
outputs: [end]
"""
    )
    assert [op.present for op in tower.graph.ops] == [True, False, True, False, True]
    assert shape(tower, "end") == str(4 + 4 + 6 + 6)


def test_outputs_and_inputs_take_when() -> None:
    text = """
params: {aux: false, extra: false}
inputs: {x: {shape: [4]}, y: {shape: [4], when: $extra}}
nodes:
  a: {merge: add, from: [x, y]}
  aux: {layer: Dense, units: 4, from: a}
  b: {layer: Dense, units: 4, from: a}
outputs: {b: , aux: {when: $aux}}
"""
    small, large = program(text), program(text, params={"aux": True, "extra": True})
    assert (list(small.outputs), list(small.inputs)) == (["b"], ["x"])
    assert (list(large.outputs), list(large.inputs)) == (["b", "aux"], ["x", "y"])


# --- shared


def test_a_shared_layer_has_one_set_of_weights() -> None:
    siamese = program("""
inputs: {left: {shape: [n, 8]}, right: {shape: [m, 8]}}
shared: {encoder: {layer: LSTM, units: 4}}
nodes:
  l: {call: encoder, from: left}
  r: {call: encoder, from: right}
  both: {merge: concatenate, from: [l, r]}
outputs: [both]
""")
    (unit,) = siamese.graph.units
    assert (unit.path, unit.shared, [op.name for op in unit.calls]) == ("encoder", True, ["l", "r"])
    assert siamese.minimum_sizes == {"m": 1, "n": 1}


def test_repeat_on_call_keeps_the_weights() -> None:
    universal = program(
        X4
        + """
shared: {core: {layer: Dense, units: 4}}
nodes: {tower: {call: core, repeat: 3}}
outputs: [tower]
"""
    )
    assert (len(universal.graph.ops), weights(universal.graph)) == (3, 20)


def test_shared_in_a_block_is_one_set_for_each_instance() -> None:
    twice = program(
        X4
        + """
blocks:
  twice:
    inputs: [x]
    shared: {core: {layer: Dense, units: 4}}
    nodes: {a: {call: core}, b: {call: core}}
nodes: {tower: {block: twice, repeat: 2}}
outputs: [tower]
"""
    )
    assert weights(twice.graph) == 2 * 20


def test_a_shared_block() -> None:
    shared = program(
        RESIDUAL
        + """
shared: {core: {block: residual, filters: 4, trainable: false}}
nodes: {a: {call: core}, b: {call: core}}
outputs: [b]
"""
    )
    (unit,) = shared.graph.units
    assert (unit.trainable, weights(shared.graph)) == (False, 9 * 4 * 4 + 4)
    assert [op.graph is not None for op in shared.graph.ops] == [True, True]


def test_ruling_13_trainable_belongs_on_the_shared_entry() -> None:
    text = X4 + "shared: {c: {layer: Dense, units: 4}}\nnodes: {a: {call: c, trainable: false}}\noutputs: [a]"
    assert codes(text) == ["unknown-key"]


# --- models from files


@pytest.fixture
def models(tmp_path: Path) -> Path:
    (tmp_path / "two.yaml").write_text("""
params: {width: 4}
presets: {wide: {width: 9}}
inputs: {image: {shape: [null, 8]}, mask: {shape: [size, 8]}}
nodes:
  features: {layer: Dense, units: $width, from: image}
  other: {layer: Dense, units: 2, from: mask}
  unread: {layer: Dense, units: 5, from: other}
outputs: {features: {loss: mse}, second: {from: other}, third: {from: unread}}
""")
    (tmp_path / "nest").mkdir()
    (tmp_path / "nest" / "outer.yaml").write_text("""
inputs: {x: {shape: [n, 8]}}
nodes: {inner: {model: ../two.yaml, from: [x, x]}, d: {layer: Dense, units: 8}}
outputs: [d]
""")
    return tmp_path


def write(folder: Path, text: str) -> Path:
    path = folder / "main.yaml"
    path.write_text(text)
    return path


def test_a_model_with_several_inputs_and_outputs(models: Path) -> None:
    main = graphspec.compile(
        write(
            models,
            """
inputs: {a: {shape: [3, 8]}, b: {shape: [5, 8]}}
nodes:
  m: {model: two.yaml, from: {mask: b, image: a}, width: 6}
  d: {layer: Dense, units: 1, from: m.second}
outputs: {m: , d: }
""",
        )
    )
    assert reads(main, "m") == ["a", "b"]
    assert (reads(main, "d"), shape(main, "m")) == (["m.second"], "3, 6")
    assert [path for path in ops(main) if path.startswith("m.")] == ["m.features", "m.other"]


def test_models_nest_and_take_presets(models: Path) -> None:
    main = graphspec.compile(
        write(
            models,
            """
inputs: {x: {shape: [t, 8]}}
shared: {core: {model: two.yaml, preset: wide, trainable: false}}
nodes:
  a: {call: core, from: [x, x]}
  o: {model: nest/outer.yaml, from: x, repeat: 2}
  b: {call: core, from: [o, o]}
  i: {layer: Dense, units: 3, from: o.1.inner.other}
outputs: [a, b, i]
""",
        )
    )
    assert (shape(main, "a"), shape(main, "o.1.inner.other"), shape(main, "i")) == ("t, 9", "t, 2", "t, 3")
    assert set(map(Path, main.sources)) == {
        models / "main.yaml",
        models / "two.yaml",
        models / "nest" / "outer.yaml",
    }


def test_ruling_10_sizes_of_a_model_are_bound_afresh(models: Path) -> None:
    same = models / "same.yaml"
    same.write_text(
        "inputs: {a: {shape: [n]}, b: {shape: [n]}}\nnodes: {s: {merge: add, from: [a, b]}}\noutputs: [s]\n"
    )
    text = """
inputs: {p: {shape: [3]}, q: {shape: [4]}}
nodes:
  u: {model: same.yaml, from: [p, p]}
  v: {model: same.yaml, from: [q, %s]}
outputs: [u, v]
"""
    assert shape(graphspec.compile(write(models, text % "q")), "v") == "4"
    with pytest.raises(SpecError) as error:
        graphspec.compile(write(models, text % "p"))
    assert [d.code for d in error.value.diagnostics] == ["shapes-differ"]


def test_a_path_with_a_nul_is_one_mistake(tmp_path: Path) -> None:
    spec = 'inputs: {x: {shape: [4]}}\nnodes: {y: {model: "a\\0.yaml"}}\noutputs: [y]\n'
    (tmp_path / "main.yaml").write_text(spec)
    with pytest.raises(SpecError) as caught:
        graphspec.compile(tmp_path / "main.yaml")
    assert [each.code for each in caught.value.diagnostics] == ["control-character"]


def test_a_mistake_in_a_model_file_is_told_there(models: Path) -> None:
    (models / "bad.yaml").write_text(
        "inputs: {x: {shape: [8]}}\nnodes: {d: {layer: Dense, unit: 3}}\noutputs: [d]\n"
    )
    with pytest.raises(SpecError) as error:
        graphspec.compile(
            write(models, "inputs: {x: {shape: [8]}}\nnodes: {m: {model: bad.yaml}}\noutputs: [m]\n")
        )
    (diagnostic,) = error.value.diagnostics
    assert diagnostic.span is not None
    assert (Path(diagnostic.span.file).name, diagnostic.span.line) == ("bad.yaml", 2)
    assert any("main.yaml:2:9" in note for note in diagnostic.notes)


# --- params and expressions


def test_params_use_one_another_and_presets() -> None:
    text = """
params: {double: $(2 * width), width: 3, widths: [$width, $double, "$(width + 1)"]}
presets: {wide: {width: 10}}
inputs: {x: {shape: [4]}}
nodes: {d: {layer: Dense, repeat: {units: $widths}}}
outputs: [d]
"""
    assert shape(program(text), "d.1") == "6"
    assert shape(program(text, preset="wide"), "d.1") == "20"
    assert shape(program(text, preset="wide", params={"width": 1}), "d.1") == "2"
    assert shape(program(text, settings={"width": 2, "nodes.d.use_bias": False}), "d.1") == "4"


def test_expressions_stand_in_every_place() -> None:
    everywhere = program("""
params: {n: 4, act: relu, on: true, merge_: add, name_: hidden, loss_: mse, kind: Dense, dtype_: float32}
inputs: {x: {shape: [$n, "$(n * 2)"], dtype: $dtype_}}
nodes:
  a: {layer: $kind, units: $(n * 2), activation: $act, trainable: $on}
  hidden: {layer: Dense, units: $(n * 2), kernel_initializer: {name: random_normal, stddev: $(1 / n)}}
  s: {merge: $merge_, from: [a, $name_]}
  p: {parameter: [$n, "$(2 * n)"]}
  t: {merge: add, from: [s, p]}
outputs: {t: {loss: $loss_, loss_weight: $(n / 8), metrics: ["$(loss_)"]}}
""")
    assert shape(everywhere, "t") == "4, 8"
    assert everywhere.outputs["t"].loss_weight == 0.5


def test_text_insertions() -> None:
    text = (
        X4
        + "params: {k: uniform}\n"
        + "nodes: {d: {layer: Dense, units: 2, kernel_initializer: he_$k}}\noutputs: [d]"
    )
    layer: Any = ops(program(text))["d"].layer
    assert layer.kernel_initializer.word == "he_uniform"


def test_ruling_6_outputs_are_a_namespace_of_their_own() -> None:
    names = program("""
inputs: {class: {shape: [4]}}
nodes:
  train: {layer: Dense, units: 4}
  forward: {layer: Dense, units: 4}
outputs: {class: {from: forward}, del: {from: train}}
""")
    assert (list(names.inputs), list(names.outputs)) == (["class"], ["class", "del"])


def test_ruling_8_ranks_are_aligned_after_the_batch_axis() -> None:
    ranks = program("""
inputs: {image: {shape: [5, 4]}, bias: {shape: [4]}}
nodes: {s: {merge: add, from: [bias, image]}}
outputs: [s]
""")
    assert shape(ranks, "s") == "5, 4"


def test_ruling_11_an_integral_float_is_not_an_integer() -> None:
    assert codes(X4 + "nodes: {a: {layer: Dense, units: $(8 / 2)}}\noutputs: [a]") == ["wrong-type"]
    assert codes(X4 + "nodes: {a: {layer: Dense, units: $(8 // 2)}}\noutputs: [a]") == []


def test_ruling_15_names_of_recurrent_outputs() -> None:
    both = program("""
inputs: {x: {shape: [n, 4]}}
nodes:
  b: {layer: Bidirectional, wraps: {layer: LSTM, units: 3, return_state: true}}
outputs: {h: {from: b.forward_state_h}, c: {from: b.backward_state_c}}
""")
    assert list(ops(both)["b"].outputs) == [
        "",
        "forward_state_h",
        "forward_state_c",
        "backward_state_h",
        "backward_state_c",
    ]


# --- sizes


def test_symbolic_sizes_stay_expressions() -> None:
    posts = program("""
inputs: {posts: {shape: [length], dtype: int64}}
nodes:
  vectors: {layer: Embedding, input_dim: 50000, output_dim: 16}
  c1: {layer: Conv1D, filters: 8, kernel_size: 5}
  p1: {layer: MaxPooling1D, pool_size: 5}
  c2: {layer: Conv1D, filters: 8, kernel_size: 5}
  p2: {layer: MaxPooling1D, pool_size: 5}
  pooled: {layer: GlobalMaxPooling1D}
  age: {layer: Dense, units: 1}
outputs: [age]
""")
    assert shape(posts, "p1") == "(length - 4) // 5, 8"
    assert posts.minimum_sizes == {"length": 49}
    assert posts.ranges == {"posts": 50000}
    sizes = [value.tensor.shape[1] for op in posts.graph.ops[:5] for value in op.outputs.values()]
    least = [size.evaluate({"length": 49}) for size in sizes if not isinstance(size, int)]
    assert min(least) == 1 and len(least) == 5


def test_equal_expressions_merge_and_different_ones_do_not() -> None:
    text = """
inputs: {x: {shape: [n, 4]}}
nodes:
  a: {layer: Conv1D, filters: 4, kernel_size: 3}
  b: {layer: Conv1D, filters: 4, kernel_size: %d, from: x}
  s: {merge: add, from: [a, b]}
outputs: [s]
"""
    assert shape(program(text % 3), "s") == "n - 2, 4"
    assert codes(text % 5) == ["shapes-differ"]


def test_ranges_pass_through_blocks_and_shared_embeddings() -> None:
    ranges = program("""
inputs: {a: {shape: [n], dtype: int64}, b: {shape: [n], dtype: int64}, c: {shape: [n], dtype: int64}}
shared: {e: {layer: Embedding, input_dim: 50, output_dim: 4}}
blocks:
  embed: {inputs: [ids], nodes: {e: {layer: Embedding, input_dim: 20, output_dim: 4}}}
nodes:
  x: {call: e, from: a}
  y: {call: e, from: b}
  z: {block: embed, from: b}
  w: {layer: TimeDistributed, wraps: {layer: Embedding, input_dim: 30, output_dim: 4}, from: r}
  r: {layer: Reshape, target_shape: [-1, 1], from: c}
  f: {layer: Reshape, target_shape: [-1, 4], from: w}
  s: {merge: concatenate, from: [x, y, z], axis: 1}
outputs: [s, f]
""")
    assert ranges.ranges == {"a": 50, "b": 20, "c": 30}


TABLE = """
inputs: {table: {shape: [4], dtype: int64}, more: {shape: [4], dtype: int64}}
blocks:
  column: {inputs: [x], params: {at: required}, nodes: {v: {op: take, from: x, indices: $at, axis: 1}}}
nodes:
  genre:   {op: get_item, from: table, key: ":, 0"}
  genres:  {layer: Embedding, input_dim: 10, output_dim: 4}
  country: {block: column, from: table, at: -2}
  lands:   {layer: Embedding, input_dim: 200, output_dim: 4}
  both:    {op: get_item, from: table, key: ":, 0:3:2"}
  pairs:   {layer: Embedding, input_dim: 300, output_dim: 4}
  flat:    {layer: Flatten}
  parts:   {op: split, from: more, indices_or_sections: [1], axis: -1}
  small:   {layer: Embedding, from: parts.part1, input_dim: 5, output_dim: 4}
  first:   {layer: Flatten, from: small}
  cut:     {op: expand_dims, from: more, axis: 1}
  some:    {op: get_item, key: ":, 0, :2"}
  unseen:  {layer: Embedding, from: some, input_dim: 2, output_dim: 4}
  last:    {layer: Flatten, from: unseen}
  all:     {merge: concatenate, from: [genres, lands, flat, first, last]}
outputs: [all]
"""


def test_ranges_pass_through_what_moves_elements() -> None:
    """Of a table each column has its own; where it cannot be told which columns are left out, none."""
    table = program(TABLE)
    assert table.ranges == {"table": (10, None, 200, None), "more": (None, 5, 5, 5)}
    words = program("""
inputs: {words: {shape: [n], dtype: int64}, tags: {shape: [n], dtype: int32}}
nodes:
  before: {op: get_item, from: words, key: ":, :-1"}
  wide:   {op: cast, from: tags, dtype: int64}
  behind: {op: get_item, from: wide, key: ":, 1:"}
  joined: {merge: concatenate, from: [before, behind], axis: 1}
  folded: {layer: Reshape, target_shape: [-1, 1]}
  vector: {layer: Embedding, input_dim: 30, output_dim: 4}
outputs: [vector]
""")
    assert words.ranges == {"words": 30, "tags": 30}


def test_example_inputs_stay_in_the_range_of_each_column() -> None:
    table = program(TABLE.replace("input_dim: 2,", "input_dim: 10,"))
    inputs = table.example_inputs(batch_size=200)
    assert [int(inputs["table"][:, i].max()) < limit for i, limit in ((0, 10), (2, 200))] == [True, True]
    assert int(inputs["table"][:, 2].max()) > 9
    table.module()(**inputs)


LENT = (
    X4
    + """
shared:
  code: {layer: Dense, units: 4}
  rest: {layer: Dense, units: 2}
blocks:
  own:   {inputs: [x], shared: {code: {layer: Dense, units: 4}}, nodes: {a: {call: code}, b: {call: code}}}
  lent:  {inputs: [x], nodes: {a: {call: code}, in: {block: deeper}}}
  deeper: {inputs: [x], nodes: {b: {call: code}, c: {call: rest}}}
nodes:
  first:  {block: own}
  second: {block: lent}
  third:  {call: code, from: x}
  sum:    {merge: concatenate, from: [second, third]}
outputs: [sum]
"""
)


def test_blocks_see_the_shared_entries_of_their_file() -> None:
    """Their own come first; what a file shares is one set of weights, wherever it is called."""
    found = program(LENT)
    assert [unit.path for unit in found.graph.units if unit.shared] == ["code", "rest"]
    assert len(found.graph.units[0].calls) == 3
    assert weights(found.graph) == 2 * 20 + 10
    assert sorted(found.module().state_dict()) == [
        *("code.bias", "code.weight", "first.code.bias", "first.code.weight", "rest.bias", "rest.weight")
    ]
    inner = ops(found)["second.in"]
    assert [op.unit is found.graph.units[0] for op in inner.graph.ops] == [True, False]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "node",
    [
        "{layer: Dropout, rate: $(channels(m) / 10)}",
        "{layer: BatchNormalization, momentum: $(channels(m) / 10)}",
        "{layer: Conv2D, filters: 2, kernel_size: 1, strides: $(channels(m))}",
        "{layer: Conv2D, filters: 2, kernel_size: $(channels(m))}",
        "{module: my_layers.Own, width: $(channels(m)), shape: [4, 4, 2]}",
    ],
)
def test_one_module_has_one_set_of_arguments(node: str) -> None:
    """Calls of a shared block may differ in what `forward` does, not in what its modules are made with."""
    text = """
inputs: {x: {shape: [4, 4, 2]}, one: {shape: [4, 4, 2]}, two: {shape: [4, 4, CHANNELS]}}
blocks:
  own:
    inputs: [x, m]
    nodes:
      y: NODE
      z: {compute: "sum(y, axis=[1, 2, 3]) * $(channels(m)) + sum(m, axis=[1, 2, 3])"}
shared: {own: {block: own}}
nodes:
  a: {call: own, from: [x, one]}
  b: {call: own, from: [x, two]}
outputs: [a, b]
""".replace("y: NODE", f"y: {node[:-1]}, from: x}}")
    assert codes(text.replace("CHANNELS", "1")) == ["shared-differs"]
    assert codes(text.replace("CHANNELS", "2")) == []
    assert codes(text.replace(node[:-1], "{layer: LeakyReLU").replace("CHANNELS", "1")) == []


@pytest.mark.parametrize(
    ("name", "key", "help"),
    [
        ("code", "reverse: true", "`Embedding` has no `reverse`: calls of `ReversibleEmbedding` take it"),
        ("code", "mask_zero: true", "write it on `code` in `shared`"),
        ("code", "ouput_dim: 4", "did you mean `output_dim`? Write it on `code` in `shared`"),
        ("code", "embedding_dim: 4", "did you mean `output_dim`? Write it on `code` in `shared`"),
        ("code", "whn: true", "did you mean `when`?"),
        ("code", "name: code", "the key of a node is its name"),
        ("code", "zzzz: 1", "`Embedding` has no `zzzz`"),
        ("code", "trainable: false", "write it on `code` in `shared`"),
        ("attend", "use_causal_maks: true", "did you mean `use_causal_mask`?"),
        ("attend", "value: x", "it is an input: from: {query: ..., value: ...}"),
        ("attend", "num_heads: 3", "write it on `attend` in `shared`"),
        ("own", "units: 3", "write it on `own` in `shared`"),
        ("own", "unitz: 3", "did you mean `units`? Write it on `own` in `shared`"),
        ("own", "zzzz: 3", "`part` has no `zzzz`"),
        ("made", "units: 3", "write it on `made` in `shared`"),
        ("made", "shap: 3", "did you mean `shape`?"),
    ],
)
def test_the_remedy_for_a_key_of_a_call_is_where_the_key_is_legal(name: str, key: str, help: str) -> None:
    text = f"""
inputs: {{x: {{shape: [4], dtype: int64}}}}
blocks: {{part: {{params: {{units: 4}}, inputs: [x], nodes: {{y: {{layer: Dense, units: $units}}}}}}}}
shared:
  code: {{layer: Embedding, input_dim: 9, output_dim: 4}}
  attend: {{layer: MultiHeadAttention, num_heads: 2, key_dim: 4}}
  own: {{block: part}}
  made: {{module: my.Own, shape: [4]}}
nodes: {{y: {{call: {name}, from: x, {key}}}}}
outputs: [y]
"""
    with pytest.raises(SpecError) as error:
        program(text)
    found = [(each.code, each.help) for each in error.value.diagnostics if each.code != "unused-shared"]
    assert found == [("unknown-key", help)]


def test_what_is_wrong_with_a_call_in_a_block() -> None:
    assert codes(LENT.replace("b: {call: code}, c: {call: rest}", "b: {call: code}")) == ["unused-shared"]
    assert codes(LENT.replace("c: {call: rest}", "c: {call: rset}")) == ["unknown-reference"]
    assert codes(LENT.replace("from: x}\n  sum", "from: second}\n  sum")) == ["shared-differs"]
    endless = "shared: {s: {block: b}}\nblocks: {b: {inputs: [x], nodes: {c: {call: s}}}}\n"
    assert codes(X4 + endless + "nodes: {n: {call: s, from: x}}\noutputs: [n]") == ["block-recursive"]
    with pytest.raises(SpecError) as error:
        program(
            LENT.replace(
                "rest: {layer: Dense, units: 2}", "rest: {layer: Conv2D, filters: 2, kernel_size: 1}"
            )
        )
    (diagnostic,) = error.value.diagnostics
    assert diagnostic.code == "wrong-rank" and len(diagnostic.notes) == 2
    assert diagnostic.notes[0].startswith("in block `deeper`, used by `in`")


OPTIONAL = (
    X4
    + """
blocks:
  b:
    params: {units: $(8 if given(more) else 3)}
    inputs: {x: required, more: null}
    nodes:
      wide: {layer: Dense, from: more, units: 4, when: $(given(more)), else: null}
      sum:  {merge: add, from: [x, more, wide]}
      out:  {layer: Dense, units: $units}
nodes:
  alone: {block: b, from: x}
  both:  {block: b, from: {more: x, x: x}}
outputs: [alone, both]
"""
)


def test_an_input_of_a_block_may_be_left_out() -> None:
    found = program(OPTIONAL)
    assert (shape(found, "alone"), shape(found, "both")) == ("3", "8")
    assert [op.node for op in ops(found)["alone"].graph.ops] == ["sum", "out"]  # type: ignore[union-attr]
    assert codes(OPTIONAL.replace("more: null", "more: required")) == ["input-count"]
    module = found.module()
    x = torch.randn(2, 4)
    both: Any = module.both
    assert torch.equal(module(x)["both"], both.out(2 * x + both.wide(x)))


# --- outputs


def test_outputs_of_every_form() -> None:
    forms = program(
        X4
        + """
nodes: {a: {layer: Dense, units: 1, activation: sigmoid}, b: {layer: Dense, units: 2, parallel: 2}}
outputs:
  a: {loss: binary_crossentropy, metrics: [accuracy], target: label}
  term: {from: b.0, loss: mean}
  pair: {from: [b.0, b.1]}
  bare: {from: b.1}
"""
    )
    assert forms.outputs["a"].activation == "sigmoid"
    assert (forms.outputs["a"].target, forms.outputs["term"].target) == ("label", "term")
    assert len(forms.outputs["pair"].tensors) == 2


def test_a_left_out_softmax_is_no_activation() -> None:
    through = program(
        X4
        + """
nodes: {a: {layer: Dense, units: 3, activation: softmax}, drop: {layer: Dropout, rate: 0.5, when: false}}
outputs: {drop: {loss: categorical_crossentropy}}
"""
    )
    assert through.outputs["drop"].activation == "softmax"


def test_params_in_the_sections_of_training() -> None:
    trained = program(
        X4
        + """
params: {n: 3, rate: 0.1}
nodes: {a: {layer: Dense, units: 3}}
outputs: {a: {loss: mse}}
train: {epochs: $n, optimizer: {name: sgd, learning_rate: $(rate / 2)}}
"""
    )
    assert trained.training.epochs == 3


FIRST = """
inputs:
  image: {shape: [3, 8, 9], data_format: channels_first}
  text:  {shape: [4, length], data_format: channels_first}
nodes:
  conv:  {layer: Conv2D, from: image, filters: 2, kernel_size: 3, padding: same}
  scale: {layer: Rescaling, from: image, scale: 2}
  steps: {layer: LSTM, from: text, units: 3}
outputs: [conv, scale, steps]
"""


def test_inputs_may_come_with_channels_first() -> None:
    """The graph has channels last, as elsewhere; what is passed has them first."""
    first = graphspec.compile(FIRST)
    last = graphspec.compile(
        FIRST.replace("[3, 8, 9], data_format: channels_first", "[8, 9, 3]").replace(
            "[4, length], data_format: channels_first", "[length, 4]"
        )
    )
    assert str(first.inputs["image"]) == "float32[batch, 3, 8, 9]"
    assert [row.params for row in first.summary().rows] == [row.params for row in last.summary().rows]
    assert "self.conv(image)" in first.source
    module, twin = first.module().eval(), last.module().eval()
    inputs = first.example_inputs(2)
    assert inputs["image"].shape == (2, 3, 8, 9)
    expected = twin(inputs["image"].permute(0, 2, 3, 1), inputs["text"].transpose(1, 2))
    for name, value in module(**inputs).items():
        torch.testing.assert_close(value, expected[name])


def test_an_input_without_space_has_no_data_format() -> None:
    inputs = "{x: {shape: [3], data_format: channels_first}}"
    spec = f"inputs: {inputs}\nnodes: {{y: {{layer: Flatten}}}}\noutputs: [y]"
    with pytest.raises(SpecError) as error:
        graphspec.compile(spec)
    assert [d.code for d in error.value.diagnostics] == ["wrong-rank"]


@pytest.mark.parametrize(
    ("node", "least"),
    [
        ("{layer: MelSpectrogram, fft_length: 64, sequence_stride: 16, num_mel_bins: 8}", 33),
        ("{op: stft, sequence_length: 64, sequence_stride: 16, fft_length: 64}", 33),
        ("{op: stft, sequence_length: 64, sequence_stride: 16, fft_length: 64, center: false}", 64),
        ("{op: pad, mode: reflect, pad_width: [[0, 0], [5, 2]]}", 6),
        ("{op: pad, mode: edge, pad_width: [[0, 0], [5, 2]]}", 1),
    ],
)
def test_an_axis_that_is_mirrored_has_a_smallest_length(node: str, least: int) -> None:
    program = graphspec.compile(f"inputs: {{x: {{shape: [length]}}}}\nnodes:\n  y: {node}\noutputs: [y]\n")
    assert program.minimum_sizes == {"length": least}
    module = program.module()
    module(**program.example_inputs(2, {"length": least}))
    if least > 1:
        with pytest.raises(ValueError, match=f"`length` must be at least {least}, not {least - 1}"):
            module(program.example_inputs(2, {"length": least})["x"][:, 1:])


def test_a_block_that_begins_with_a_block_of_its_own_inputs_is_given_them() -> None:
    text = """
inputs: {x: {shape: [4]}}
blocks:
  sum: {inputs: [x, time], nodes: {s: {merge: add, from: [x, time]}}}
  two: {inputs: [x, time], nodes: {r: {block: sum}}}
nodes: {y: {block: two, from: {x: x, time: x}}}
outputs: [y]
"""
    with pytest.raises(SpecError, match=r"no-input.*\n(.*\n)*help: write from: \{x: x, time: time\}"):
        graphspec.compile(text)
