"""SinePositionEncoding and RotaryEmbedding: what they refuse, free lengths, exports, attention."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import graphspec
from graphspec.diagnostics import SpecError
from graphspec.export import export
from tests import one_in

TEXT = """
inputs: {x: {shape: [length, 2, 8]}}
nodes:
  turned: {layer: RotaryEmbedding}
  waves:  {layer: SinePositionEncoding}
  sum:    {merge: add, from: [turned, waves]}
outputs: [sum]
"""


def test_a_rotation_makes_products_depend_on_distances_alone() -> None:
    module = graphspec.compile(
        TEXT.replace("[sum]", "[turned]").replace(
            "  waves:  {layer: SinePositionEncoding}\n  sum:    {merge: add, from: [turned, waves]}\n", ""
        )
    ).module()
    query, key = (torch.randn(8).expand(1, 30, 2, 8) for _ in range(2))
    q, k = module(query)[0, :, 0], module(key)[0, :, 0]
    scores = (q @ k.T).numpy()
    for distance in range(-5, 6):
        diagonal = np.diagonal(scores, distance)
        np.testing.assert_allclose(diagonal, diagonal[0], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(q.norm(dim=-1), query[0, :, 0].norm(dim=-1), rtol=1e-5)


@pytest.mark.parametrize("format", one_in(2, ["pt2", "onnx"]))
def test_exports_leave_the_length_free(format: str, tmp_path: Path) -> None:
    made = export(graphspec.compile(TEXT), format, tmp_path / f"m.{format}")
    assert "length" in made.free and all(each.difference < 1e-5 for each in made.comparisons)


@pytest.mark.parametrize(
    ("node", "shape", "code"),
    [
        ("RotaryEmbedding", "[6, 7]", "out-of-range"),
        ("RotaryEmbedding", "[8]", "wrong-rank"),
        ("RotaryEmbedding, sequence_axis: 2", "[6, 8]", "out-of-range"),
        ("RotaryEmbedding, sequence_axis: 0", "[6, 8]", "out-of-range"),
        ("RotaryEmbedding, max_wavelength: 0", "[6, 8]", "out-of-range"),
        ("SinePositionEncoding", "[8]", "wrong-rank"),
        ("SinePositionEncoding, max_wavelenght: 9", "[6, 8]", "unknown-key"),
    ],
)
def test_what_they_refuse(node: str, shape: str, code: str) -> None:
    with pytest.raises(SpecError) as error:
        graphspec.compile(
            f"inputs: {{x: {{shape: {shape}}}}}\nnodes: {{y: {{layer: {node}}}}}\noutputs: [y]\n"
        )
    assert error.value.diagnostics[0].code == code
