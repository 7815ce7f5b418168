"""Random uses of blocks whose repetitions differ in number, in their lists and in their instances."""

from __future__ import annotations

import json
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st

import graphspec
from tests.emit.test_emit import agrees, randomized, weights_of

WIDTHS = st.lists(st.sampled_from([2, 3, 4]), min_size=1, max_size=4)
ACTIVATIONS = st.sampled_from(["relu", "tanh", "linear", "sigmoid"])


@st.composite
def repeated(draw: st.DrawFn, number: int) -> dict[str, Any]:
    """A node of a block that is repeated, by a list, a count or both of its params."""
    kind = draw(st.sampled_from(["list", "count", "index", "block", "plain", "parallel", "when"]))
    if kind == "list":
        return {"layer": "Dense", "activation": draw(ACTIVATIONS), "repeat": {"units": "$widths"}}
    if kind == "count":
        return {"layer": "Dense", "units": draw(st.sampled_from([3, "$units"])), "repeat": "$depth"}
    if kind == "index":
        return {"layer": "Dense", "units": "$(units + index)", "repeat": "$depth"}
    if kind == "block":
        return {
            "block": "inner",
            "repeat": {"units": "$widths"},
            "depth": draw(st.sampled_from([1, "$depth"])),
        }
    if kind == "parallel":
        return {"layer": "Dense", "units": "$units", "parallel": draw(st.sampled_from([2, "$(depth + 1)"]))}
    if kind == "when":
        return {"layer": "Dense", "units": "$units", "when": "$(depth > 1)"}
    return {"layer": draw(st.sampled_from(["BatchNormalization", "LayerNormalization"])), "repeat": "$depth"}


@st.composite
def specs(draw: st.DrawFn) -> str:
    """A spec whose blocks are used several times, each with a depth and widths of its own."""
    inner = {"h": {"layer": "Dense", "units": "$units", "repeat": "$depth"}, "act": {"op": "tanh"}}
    params = {"units": "required", "depth": 1}
    blocks: dict[str, Any] = {"inner": {"params": params, "inputs": ["x"], "nodes": inner}}
    nodes: dict[str, Any] = {}
    for number in range(draw(st.integers(1, 4))):
        node = draw(repeated(number))
        nodes[f"n{number}"] = node
        if "parallel" in node:
            nodes[f"sum{number}"] = {"merge": "add", "from": [f"n{number}.*"]}
    params = {"units": 3, "depth": 2, "widths": [3, 2]}
    text = json.dumps(nodes)
    used = {word: value for word, value in params.items() if f"${word}" in text or f"({word}" in text}
    blocks["outer"] = {"params": used, "inputs": ["x"], "nodes": nodes}
    if '"block": "inner"' not in text:
        del blocks["inner"]
    uses: dict[str, Any] = {}
    for number in range(draw(st.integers(1, 4))):
        given = {"units": draw(st.integers(2, 4)), "depth": draw(st.integers(1, 4)), "widths": draw(WIDTHS)}
        chosen = {word: value for word, value in given.items() if word in used and draw(st.booleans())}
        uses[f"use{number}"] = {"block": "outer", **chosen}
        if draw(st.booleans()):
            uses[f"use{number}"]["repeat"] = draw(st.integers(1, 3))
    last = next(reversed(uses))
    spec = {"inputs": {"x": {"shape": [4]}}, "blocks": blocks, "nodes": uses, "outputs": [last]}
    return json.dumps(spec, indent=1)


@given(specs())
def test_no_layer_is_lost(spec: str) -> None:
    program = graphspec.compile(spec)
    agrees(program)
    assert set(randomized(program).state_dict()) == {key for key, _, _ in weights_of(program.graph)}


def emitted(text: str) -> str:
    """The source of a spec whose module computes what the spec says."""
    program = graphspec.compile(text)
    agrees(program)
    return program.source


HEADS = """
inputs: {{x: {{shape: [4]}}}}
nodes:
  a: {{layer: Dense, units: 3, activation: softmax, from: x}}
  b: {{layer: Dense, units: 1, activation: sigmoid, from: x}}
  c: {{layer: Dense, units: 2, from: {c}}}
outputs: {{a: {{loss: categorical_crossentropy}}, b: {{loss: binary_crossentropy}}, c: {{loss: mse}}{more}}}
"""


def test_a_list_of_the_spec_is_not_read_by_index() -> None:
    spec = """
params: {classes: 5}
inputs: {x: {shape: [4]}}
blocks: {head: {params: {units: required}, inputs: [x], nodes: {out: {layer: Dense, units: $units}}}}
nodes: {heads: {block: head, units: "$([1, classes][index])", from: x, parallel: 2}}
outputs: {a: {from: heads.0}, b: {from: heads.1}}
"""
    assert "nn.ModuleList([Head(4, 1), Head(4, classes)])" in graphspec.compile(spec).source


def test_outputs_are_activated_under_one_condition() -> None:
    source = emitted(HEADS.format(c="x", more=""))
    assert "if not logits:\n            a, b = a.softmax(-1), b.sigmoid()\n" in source
    assert 'return {"a": a, "b": b, "c": ' in source
    read = emitted(HEADS.format(c="a", more=""))  # what is read inside has a variable of its own
    assert "if not logits" not in read and "a_logits if logits else a" in read
    twice = emitted(HEADS.format(c="x", more=", again: {from: a, loss: categorical_crossentropy}"))
    assert "if not logits" not in twice


BRANCHES = """
inputs: {{x: {{shape: [8, 8, 3]}}}}
blocks:
  mixed:
    params: {{width: required}}
    inputs: [x]
    nodes:
      first_branch:  {{layer: Conv2D, from: x, filters: $width, kernel_size: 1}}
      second_branch: {{layer: Conv2D, from: x, filters: $width, kernel_size: 1}}
      pool: {pool}
      pooled: {{layer: Conv2D, filters: $width, kernel_size: 1}}
      joined: {{merge: concatenate, from: [first_branch, second_branch, pooled]}}
nodes: {{mixed: {{block: mixed, repeat: {{width: [3, 4]}}}}}}
outputs: [mixed]
"""


def test_branches_stand_in_one_list() -> None:
    pool = "{layer: AveragePooling2D, from: x, pool_size: 5, strides: 1, padding: same}"
    source = emitted(BRANCHES.format(pool=pool))
    assert "            [self.first_branch(x), self.second_branch(x), self.pooled(y)], 1\n" in source
    drawn = emitted(BRANCHES.format(pool="{layer: GaussianNoise, from: x, stddev: 0.1}"))
    assert "first_branch = self.first_branch(x)\n" in drawn  # nothing is drawn earlier than the spec has it


def test_a_repeated_reshape_need_not_be_written_alike() -> None:
    """The first one joins two axes, the second one has nothing to join."""
    node = "{layer: Reshape, target_shape: [-1, 3], repeat: 2}"
    program = graphspec.compile(
        f"inputs: {{x: {{shape: [8, 8, 3]}}}}\nnodes: {{flat: {node}}}\noutputs: [flat]\n"
    )
    x = torch.rand(2, 8, 8, 3)
    assert torch.equal(program.module()(x), x.reshape(2, 64, 3))


READS = """
inputs: {image: {shape: [6, 6, 4]}}
blocks:
  stage:
    inputs: [x, first]
    nodes:
      conv: {layer: Conv2D, from: x, filters: 4, kernel_size: 3, padding: same, activation: relu}
      sum: {merge: add, from: [conv, first]}
nodes: {stages: {block: stage, repeat: 3, from: [image, image]}}
outputs: [stages]
"""


def test_an_image_that_a_loop_carries_and_reads_is_permuted_once() -> None:
    source = emitted(READS)
    assert source.count(".permute(0, 3, 1, 2)") == 1
    before, _, loop = source.partition("for stage in self.stages:\n")
    assert "x = image2\n" in before and "x = stage(x, image2)" in loop


LATENTS = """
params: {width: 8}
inputs: {seen: {shape: [length, 6]}}
blocks:
  look:
    inputs: [x, seen]
    nodes:
      found: {layer: MultiHeadAttention, from: {query: x, value: seen}, num_heads: 2, key_dim: $(width // 2)}
      sum: {merge: add, from: [x, found]}
nodes:
  latents: {parameter: [4, $width]}
"""


def test_a_block_that_reads_a_parameter_first_and_then_a_batch_is_one_class() -> None:
    repeated = "  looks: {block: look, repeat: 3, from: {x: latents, seen: seen}}\noutputs: [looks]\n"
    first = "  first: {call: look, from: {x: latents, seen: seen}}\n"
    second = "  second: {call: look, from: {x: first, seen: seen}}\noutputs: [second]\n"
    shared = "shared: {look: {block: look}}\n"
    for text in (LATENTS + repeated, shared + LATENTS + first + second):
        program = graphspec.compile(text)
        agrees(program)
        assert program.source.count("class Look") == 1 and "def look" not in program.source
        assert "width: int = 8" in program.source
    joined = "found: {merge: concatenate, from: [x, seen], axis: 1}\n      sum: {layer: Dense, units: 6}"
    cut = LATENTS.index("      found"), LATENTS.index("nodes:\n  latents")
    text = f"{LATENTS[: cut[0]]}      {joined}\n{LATENTS[cut[1] :].replace('4, $width', '$width, 6')}"
    block = LATENTS[slice(*cut)]
    einsum = "sum: {op: einsum, from: [x, found], subscripts: 'bsd,btd->bsd'}"
    summed = LATENTS.replace(block, block.replace("sum: {merge: add, from: [x, found]}", einsum))
    for each in (text, summed):
        program = graphspec.compile(shared + each + first + second)
        agrees(program)
        assert program.source.count("class Look") == 1 and "def look" not in program.source


def test_a_permutation_that_undoes_the_order_of_a_layer_is_not_written() -> None:
    program = graphspec.compile("""
inputs: {x: {shape: [12, 6]}, image: {shape: [8, 16, 3]}}
nodes:
  norm:  {layer: BatchNormalization, from: x}
  steps: {layer: Permute, dims: [2, 1]}
  mixed: {layer: Dense, units: 5}
  conv:  {layer: Conv2D, from: image, filters: 4, kernel_size: 3, padding: same}
  wide:  {layer: Permute, dims: [2, 1, 3]}
  rows:  {layer: Reshape, target_shape: [16, 32]}
outputs: [mixed, rows]
""")
    agrees(program)
    assert "self.norm(x.transpose(1, 2))  # [N, 6, 12]\n" in program.source
    assert ".permute(0, 3, 2, 1).flatten(2)" in program.source


def test_padding_that_is_that_of_a_library_class_is_no_option_of_it() -> None:
    program = graphspec.compile("""
params: {kernel: 5}
inputs: {x: {shape: [time, 6]}}
nodes:
  fewer: {layer: Conv1D, filters: 8, kernel_size: 3, strides: 2, padding: same}
  depth: {layer: DepthwiseConv1D, kernel_size: $kernel, padding: same}
outputs: [depth]
""")
    agrees(program)
    assert "PaddedConv1d(8, 8, kernel, groups=8)" in program.source and "causal" not in program.source
