"""Detectors as files of ONNX: a picture goes in, and boxes come out."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from graphspec.compiler import compile
from graphspec.export import export
from graphspec.runs.engines import Interface, OnnxEngine, TorchEngine
from graphspec.runs.run import Run
from graphspec.train.loop import train
from tests.data.boxed import write

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


HEADS = {
    "center": ("", 7, 20),
    "nearness": ("centerness: true, candidates_of: level, candidates: 12", 8, 20),
    "bins": ("bins: 4, boxes: ciou", 19, 20),
    "aligned": ("assign: task_aligned", 7, 20),
    "anchors": ("assign: anchors, boxes: l1, scales: [2, 3], ratios: [1, 2]", 7, 80),
    "shaped": ("assign: anchors, shapes: [[[9, 12]], [[20, 20], [16, 28]]]", 7, 24),
    "background": (
        "assign: anchors, scales: [2], ratios: [1], classes: categorical_crossentropy, candidates_of: class",
        8,
        20,
    ),
    "queries": ("assign: hungarian", 8, 20),
}
"""By output its settings, the values of a point, and how many points it has: 16 of the first level, and 4."""


def detector(train_on: str, features: str) -> str:
    """A spec with an output of each kind, whose heads are linear."""
    nodes = ["  scaled: {layer: Rescaling, scale: 0.01, offset: -1}"]
    outputs = []
    for name, (settings, values, points) in HEADS.items():
        per = (points // 20, points // 20) if points % 20 == 0 else (1, 2)
        for level, (side, shapes) in enumerate(zip((8, 16), per, strict=True)):
            nodes.append(
                f"  {name}{level}: {{layer: Conv2D, from: scaled, filters: {values * shapes}, "
                f"kernel_size: {side}, strides: {side}, "
                "kernel_initializer: {name: random_normal, stddev: 0.2}}"
            )
            nodes.append(f"  {name}_rows{level}: {{layer: Reshape, target_shape: [-1, {values}]}}")
        nodes.append(f"  {name}: {{merge: concatenate, axis: 1, from: [{name}_rows0, {name}_rows1]}}")
        more = "" if name == "queries" else ", strides: [8, 16], nms: 0.3"
        loss = f"{{name: detection, least_score: 0.1, top: 9{more}{', ' + settings if settings else ''}}}"
        outputs.append(f"  {name}: {{target: boxes, threshold: 0, loss: {loss}}}")
    data = f"data: {{train: {train_on}, features: {{{features}}}}}\ntrain: {{epochs: 1, batch_size: 6}}"
    return "\n".join(
        ["inputs: {image: {shape: [32, 32, 3]}}", "nodes:", *nodes, "outputs:", *outputs, data, ""]
    )


@pytest.mark.parity
def test_every_head_gives_in_onnx_the_boxes_of_predict(tmp_path: Path) -> None:
    """From files of pictures, whose sizes differ, to boxes in their pixels, in batches of 4 and 2."""
    train_on, features = write(tmp_path, "voc")
    noise = np.random.default_rng(0)
    for file in sorted((tmp_path / "JPEGImages").iterdir()):  # in plain pictures points are equal
        height, width = np.asarray(Image.open(file)).shape[:2]
        Image.fromarray(noise.integers(0, 256, (height, width, 3), np.uint8)).save(file)
    features = features.replace(", resize: pad", "")  # nor are they in what fills the rest
    (tmp_path / "s.yaml").write_text(detector(train_on, features))
    train(
        compile(tmp_path / "s.yaml"),
        root=tmp_path,
        run_dir=tmp_path / "run",
        device="cpu",
        tell=lambda note: None,
    )
    run = Run(tmp_path / "run")
    own = run.predict(tmp_path / train_on, device="cpu").to_pylist()
    other = run.predict(tmp_path / train_on, device="cpu", engine="onnxruntime", batch_size=4).to_pylist()
    for name in HEADS:
        assert sum(len(row[name]) for row in own) >= 6, name
        for mine, theirs in zip(own, other, strict=True):
            assert mine[f"{name}.class"] == theirs[f"{name}.class"], name
            assert np.array(theirs[f"{name}.score"]) == pytest.approx(
                np.array(mine[f"{name}.score"]), abs=1e-4
            )
            assert np.array(theirs[name]) == pytest.approx(np.array(mine[name]), abs=1e-2), name
