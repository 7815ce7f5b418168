"""Inputs whose rows differ in length."""

from __future__ import annotations

import numpy as np

import graphspec
from graphspec.emit.padding import padded_inputs


def test_rows_are_padded_with_what_a_mask_skips() -> None:
    program = graphspec.compile("""
inputs:
  ids:    {shape: [steps], dtype: int64}
  curve:  {shape: [steps, 2]}
  weight: {shape: [3]}
blocks:
  reader:
    inputs: [points]
    nodes:
      real: {layer: Masking, mask_value: -1}
      read: {layer: LSTM, units: 2}
nodes:
  first:  {block: reader, from: curve}
  second: {layer: Embedding, from: ids, input_dim: 3, output_dim: 2, mask_zero: true}
  third:  {layer: LSTM, units: 2}
  all:    {merge: concatenate, from: [first, third, weight]}
outputs: [all]
""")
    for rows, steps in ((1, 1), (2, 2), (3, 11), (4, 9)):
        inputs = padded_inputs(program, rows, {"steps": steps}, seed=1)
        ids, curve, weight = (inputs[name].numpy() for name in ("ids", "curve", "weight"))
        assert ids[:, 0].all() and (curve[0] != -1).all() and (weight != 0).all()
        for row in range(1, rows):
            ends = np.flatnonzero((curve[row] == -1).all(1))
            assert (
                len(ends) and (np.diff(ends) == 1).all() and ends[-1] == len(curve[row]) - 1 and ends[0] > 0
            )
            assert (ids[row, ends] == 0).all()
