"""What is found in the node that an edit has changed is what a check of the whole text finds there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from graphspec.diagnostics import Diagnostic, Diagnostics
from graphspec.fixing.checking import check_spec_text
from graphspec.fixing.node import check_node, edited_node

SPEC = """\
params: {width: 8}
inputs:
  x: {shape: [6, 4]}
shared:
  gate: {layer: Dense, units: 4}
blocks:
  step:
    inputs: [x]
    params: {units: required}
    nodes:
      inner: {layer: Dense, units: $units}
    outputs: {made: inner}
nodes:
  first: {layer: Conv1D, filters: $width, kernel_size: 3, from: x}
  many: {layer: Dense, units: 8, repeat: 2}  # from the node above
  gated: {call: gate, from: x}
  # a comment
  stepped:
    block: step
    units: 3
  last: {compute: "sum(stepped, axis=1)"}
  wide: {layer: Dense, units: 2}
outputs: [wide, gated, many]
"""


def found(text: str) -> list[Diagnostic]:
    diagnostics = Diagnostics()
    check_spec_text(text, "spec.yaml", None, diagnostics, {})
    return [each for each in diagnostics.sorted() if each.severity == "error"]


@pytest.mark.parametrize(
    "old, new, codes",
    [
        ("filters: $width", "filters: $widht", ["unknown-name"]),
        ("Conv1D, filters", "Conv1D, filtes", ["unknown-key"]),
        ("kernel_size: 3", "kernel_size: 9", ["window-too-large"]),
        ("repeat: 2", "repeat: -2", ["out-of-range"]),
        ("call: gate", "call: gat", ["unknown-reference"]),
        ("from: x}\n  # a", "from: many.7}\n  # a", ["unknown-reference"]),
        ("block: step\n", "block: step\n    unit: 4\n", ["unknown-key"]),
        ("    units: 3\n", "", ["missing-key"]),
        ("axis=1", "axis=4", ["out-of-range"]),
        ("sum(stepped", "sum(steped", ["unknown-reference"]),
        ("units: 2}", "units: two}", ["wrong-type"]),
        ("units: 2}", "units: 3}", []),
    ],
)
def test_the_edited_node_has_the_mistakes_that_the_whole_text_has(
    old: str, new: str, codes: list[str]
) -> None:
    known, text = check_spec_text(SPEC, "spec.yaml", None, Diagnostics(), {}), SPEC.replace(old, new, 1)
    assert known.document is not None and known.body is not None and text != SPEC
    edited = edited_node(known.document, text)
    assert edited is not None
    alone = check_node(edited, known.document, known.body)
    there = [each for each in found(text) if edited.holds(each, "spec.yaml", edited.after)]
    assert alone == [replace(each, labels=()) for each in there] and [each.code for each in there] == codes


def test_a_node_that_had_a_mistake_is_without_one_when_it_is_mended() -> None:
    for wrong in ("units: 2, rate: 1}", "units: -2}", "units: [2, x]}"):
        text = SPEC.replace("units: 2}", wrong)
        known = check_spec_text(text, "spec.yaml", None, Diagnostics(), {})
        assert known.document is not None and known.body is not None and found(text) != []
        edited = edited_node(known.document, SPEC)
        assert edited is not None and check_node(edited, known.document, known.body) == []


@pytest.mark.parametrize(
    "old, new",
    [
        ("  wide:", "  wider:"),  # a name
        ("width: 8", "width: 9"),  # another section
        ("units: 8, repeat: 2}  # from the node above\n  gated", "units: 9, repeat: 2}\n  gate"),  # two nodes
        ("call: gate", "call: &gate gate"),  # an anchor
        ("units: 2}", "units: 2}\nz: 1"),  # text in the first column
        ("  gated: {call: gate, from: x}\n", ""),  # no node
        ("units: $units", "units: 3"),  # in a block
    ],
)
def test_an_edit_that_reaches_further_is_of_no_node(old: str, new: str) -> None:
    document = check_spec_text(SPEC, "spec.yaml", None, Diagnostics(), {}).document
    assert document is not None and old in SPEC and edited_node(document, SPEC.replace(old, new, 1)) is None


def test_what_more_has_to_be_read_for_is_not_told() -> None:
    known = check_spec_text(SPEC, "spec.yaml", None, Diagnostics(), {})
    assert known.document is not None and known.body is not None
    for old, new in (("units: 2}", "units: 2"), ("units: 2}", "units: 2}\n  new: {layer: ReLU}")):
        edited = edited_node(known.document, SPEC.replace(old, new))
        assert edited is not None and check_node(edited, known.document, known.body) is None
