"""Detectors as files of ONNX: a picture goes in, and boxes come out."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from graphspec.compiler import compile
from graphspec.export import export
from graphspec.runs.engines import Interface, OnnxEngine, TorchEngine

SPEC = """
inputs: {picture: {shape: [32, 48, 1]}}
nodes:
  near: {layer: Conv2D, filters: 7, kernel_size: 8, strides: 8,
         kernel_initializer: {name: random_normal, stddev: 0.3}}
  boxes: {layer: Reshape, target_shape: [24, 7]}
  wide: {layer: Conv2D, from: picture, filters: 7, kernel_size: 16, strides: 8, kernel_initializer: he_normal}
  queries: {layer: Reshape, target_shape: [15, 7]}
outputs:
  boxes: {loss: {name: detection, strides: [8], nms: 0.2, top: 12, least_score: 0.3}}
  queries: {target: boxes, loss: {name: detection, assign: hungarian, top: 20, least_score: 0.4}}
"""


def test_a_picture_goes_in_and_the_boxes_of_the_module_come_out(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SPEC)
    program = compile(tmp_path / "s.yaml")
    weights = program.module(seed=3).state_dict()
    done = export(program, "onnx", tmp_path / "m.onnx", weights=weights, logits=True)
    assert done.batched
    kinds = {node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node}
    assert "NonMaxSuppression" in kinds
    pictures = {"picture": np.random.default_rng(0).normal(size=(5, 32, 48, 1)).astype(np.float32)}
    own = TorchEngine(program, program.module(weights=weights).eval(), torch.device("cpu"))
    other = OnnxEngine(Interface.of(program), tmp_path / "m.onnx", 1)
    expected, found = own(pictures), other(pictures)
    assert expected["boxes"].shape == (5, 12, 6) and expected["queries"].shape == (5, 20, 6)
    for name, count in (("boxes", 12), ("queries", 15)):
        there = (expected[name][..., 5] >= 0).sum(1)
        assert there.min() > 0 and there.max() <= count
        assert found[name] == pytest.approx(expected[name], abs=1e-3)
    assert other.logits(pictures)["boxes"] == pytest.approx(own.logits(pictures)["boxes"], abs=1e-4)
