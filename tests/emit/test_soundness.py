"""What would not be the model of the spec is an error, never a file: classes, arguments, weights."""

import ast
from dataclasses import replace

import pytest
import torch
from torch import nn

import graphspec
from graphspec.emit import shapes
from graphspec.emit.library_source import read_names
from graphspec.emit.load import load_module
from graphspec.emit.soundness import check_source

SPEC = """
inputs: {x: {shape: [4]}}
blocks:
  unit: {params: {width: required}, inputs: [x], nodes: {hidden: {layer: Dense, units: $width}}}
nodes:
  one: {block: unit, width: 8}
  two: {block: unit, width: 2}
outputs: [two]
"""


def code_of(source: str) -> ast.Module:
    return ast.parse(source)


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("self.two = Unit(8, 2)", "self.two = nn.Identity()\n        self.three = None", None),
        (
            "nn.Linear(in_features, width)",
            "nn.Linear(in_features, 8)",
            "`Unit` takes `width`, and does not read it",
        ),
        ("Unit(", "nn.Linear(", "`Unit` is emitted, and nothing uses it"),
    ],
)
def test_source_in_which_something_is_idle_is_refused(before: str, after: str, says: str | None) -> None:
    source = graphspec.compile(SPEC).source
    assert before in source
    changed = source.replace(before, after).replace("class nn.Linear(", "class Unit(")
    name = graphspec.compile(SPEC).class_name
    check_source(code_of(source), read_names(code_of(source)), name)
    if says is None:
        check_source(code_of(changed), read_names(code_of(changed)), name)
        return
    with pytest.raises(graphspec.SpecError, match="emission-failed") as raised:
        check_source(code_of(changed), read_names(code_of(changed)), name)
    assert says in raised.value.diagnostics[0].message


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("Unit(8, 2)", "Unit(8, 3)", "no weight `two.hidden.weight` of shape [2, 8]"),
        ("self.two = Unit(8, 2)", "self.two = nn.Identity()", "no weight `two.hidden.weight`"),
        ("self.two = ", "self.three = nn.Linear(2, 2)\n        self.two = ", "has the weight `three.weight`"),
    ],
)
def test_a_module_with_other_weights_is_refused_with_the_place(before: str, after: str, says: str) -> None:
    program = graphspec.compile(SPEC)
    emitted = replace(program.emitted, source=program.source.replace(before, after))
    with pytest.raises(graphspec.SpecError, match="emission-failed") as raised:
        load_module(program, emitted, None, 0, None, {})
    (found,) = raised.value.diagnostics
    assert says in found.message
    assert "three" in found.message or (found.span is not None and found.span.line == 4)
    assert isinstance(program.module(), nn.Module)


def test_cells_in_one_layer_have_initializers_of_their_own() -> None:
    spec = """
inputs: {x: {shape: [steps, 4]}}
nodes:
  y:
    layer: RNN
    cell:
      - {layer: LSTMCell, units: 8, kernel_initializer: zeros, recurrent_initializer: he_normal}
      - {layer: GRUCell, units: 5, bias_initializer: ones}
outputs: [y]
"""
    state = graphspec.compile(spec).module().state_dict()
    first, second = state["y.0.weight_ih_l0"], state["y.1.bias_ih_l0"]
    assert float(first.abs().max()) == 0 and float(state["y.0.weight_hh_l0"].std()) > 0
    assert bool((second == 1).all()) and second.numel() == 15


def test_instances_share_no_class_that_reads_more_than_they_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "_lacks", lambda body, source: True)
    spec = """
inputs: {a: {shape: [1]}, b: {shape: [1]}}
blocks:
  pick:
    params: {which: required}
    inputs: [x, y, z]
    nodes:
      joined: {merge: concatenate, from: [$which, x]}
      sum: {op: sum, from: joined, axis: -1}
      all: {compute: "sum + squeeze(0 * (y + z), axis=-1)"}
nodes:
  one: {block: pick, which: z, from: {x: a, y: b, z: a}}
  two: {block: pick, which: y, from: {x: a, y: b, z: a}}
outputs: [one, two]
"""
    found = graphspec.compile(spec).module()(torch.full((1, 1), 2.0), torch.full((1, 1), 3.0))
    assert (float(found["one"]), float(found["two"])) == (4, 5)
