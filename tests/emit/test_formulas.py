"""Formulas of an `__init__`, and how `forward` reads what it keeps."""

import re

import graphspec

SPEC = """
inputs: {image: {shape: [8, 8, 4]}}
blocks:
  expanded:
    params: {expansion: 2, filters: required, share: 0.5}
    inputs: [x]
    nodes:
      wide:   {layer: Conv2D, filters: $(expansion * channels(x)), kernel_size: 1}
      norm:   {layer: BatchNormalization}
      second: {layer: Conv2D, filters: $(expansion * channels(x)), kernel_size: 1}
      out:    {layer: Conv2D, filters: $filters, kernel_size: 1}
      scaled: {compute: out * $(1 - share)}
nodes:
  a: {block: expanded, filters: 6}
  b: {block: expanded, filters: 8, expansion: 3, share: 0.25}
outputs: {b: {}}
"""


def test_a_simple_formula_of_an_argument_is_written_where_it_is_read() -> None:
    source = graphspec.compile(SPEC).source
    assert "self.share = share" in source and "(1 - self.share)" in source


def test_a_number_that_never_differs_is_no_size() -> None:
    """A left-out merge along axis 1 beside sizes of 16 has an axis of 1, not of a sixteenth."""
    spec = """
inputs: {x: {shape: [4, 4, 16]}, y: {shape: [4, 4, 16]}}
blocks:
  joined:
    inputs: {x: required, skip: null}
    nodes:
      both: {merge: concatenate, from: [x, skip]}
      out: {layer: Conv2D, filters: 16, kernel_size: 1}
nodes:
  a: {block: joined, from: {x: x, skip: y}}
  b: {block: joined, from: {x: a}}
outputs: [b]
"""
    assert not re.search(r"axis|// 16", graphspec.compile(spec).source)


def test_calls_of_one_module_side_by_side_have_the_names_of_their_nodes() -> None:
    source = graphspec.compile("specs/siamese.yaml").source
    assert "torch.cat([left_code, right_code], -1)" in source


def test_what_a_loop_passes_on_is_called_as_the_output() -> None:
    assert "states = layer(states, real)" in graphspec.compile("specs/bert.yaml").source
