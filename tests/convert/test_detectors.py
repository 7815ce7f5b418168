"""Detectors of torchvision as specs: the same boxes from the same weights, and trained with our losses."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection import anchor_utils, faster_rcnn, fcos, retinanet, ssd

from graphspec.compiler import compile
from graphspec.convert.pytorch import from_torch
from graphspec.convert.pytorch.result import FromTorch
from graphspec.diagnostics import SpecError
from graphspec.export import export
from graphspec.runs.engines import Interface, OnnxEngine, TorchEngine
from graphspec.train.loop import train

SIDE, CLASSES = 64, 5


class Pyramid(nn.Module):
    """A backbone of two levels, 8 and 16 pixels apart."""

    def __init__(self, channels: int = 8):
        super().__init__()
        self.out_channels = channels
        self.near = nn.Conv2d(3, channels, 7, 8, 2)
        self.far = nn.Conv2d(channels, channels, 3, 2, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        near = self.near(x).relu()
        return {"near": near, "far": self.far(near).relu()}


def _retinanet(**more: Any) -> nn.Module:
    anchors = anchor_utils.AnchorGenerator(((11, 17), (23, 31)), ((0.5, 1.0, 2.0),) * 2)
    return retinanet.RetinaNet(
        Pyramid(), CLASSES, min_size=SIDE, max_size=SIDE, anchor_generator=anchors, **more
    )


def _fcos(**more: Any) -> nn.Module:
    anchors = anchor_utils.AnchorGenerator(((8,), (16,)), ((1.0,),) * 2)
    backbone = Pyramid(32)
    return fcos.FCOS(backbone, CLASSES, min_size=SIDE, max_size=SIDE, anchor_generator=anchors, **more)


def _ssd(steps: list[int] | None = None, side: int = SIDE, **more: Any) -> nn.Module:
    boxes = anchor_utils.DefaultBoxGenerator([[2], [2, 3]], scales=[0.2, 0.45, 0.9], steps=steps)
    return ssd.SSD(
        Pyramid(),
        boxes,
        (side, side),
        CLASSES,
        head=ssd.SSDHead([8, 8], boxes.num_anchors_per_location(), CLASSES),
        **more,
    )


MODELS: dict[str, Callable[..., Any]] = {
    "retinanet": partial(_retinanet, score_thresh=0.3, topk_candidates=50),
    "fcos": partial(_fcos, score_thresh=0.3, topk_candidates=40),
    "ssd": partial(_ssd, score_thresh=0.1, topk_candidates=30, nms_thresh=0.3),
    "ssd with steps": partial(_ssd, [8, 17], score_thresh=0.2),
}


def _built(name: str) -> Any:
    """A detector with random weights whose scores are far from each other."""
    torch.manual_seed(0)
    model = MODELS[name]()
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if key.startswith("head"):
                weight.normal_(
                    0, 0.4 / max(1.0, float(weight[0].numel()) ** 0.5) if weight.dim() > 1 else 0.2
                )
            if "cls_logits" in key or ("classification" in key and "conv." not in key):
                weight.mul_(6)
    return model.eval()


@pytest.fixture(scope="module")
def imports() -> dict[str, tuple[Any, FromTorch]]:
    return {}


def imported(name: str, held: dict[str, tuple[Any, FromTorch]]) -> tuple[Any, FromTorch]:
    if name not in held:
        model = _built(name)
        held[name] = model, from_torch(model, {"images": torch.rand(2, 3, SIDE, SIDE)}, name="detector")
    return held[name]


@pytest.mark.parametrize("name", MODELS)
def test_boxes_are_those_of_torchvision(name: str, imports: dict[str, tuple[Any, FromTorch]]) -> None:
    model, found = imported(name, imports)
    assert not any(each.training for each in model.modules())
    pictures = torch.rand(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = model([*pictures])
        points = found.program.module(weights=found.weights).eval()(255 * pictures.movedim(1, -1))
    loss: Any = found.program.outputs["boxes"].loss
    answers = loss.answer(points)
    first = 1 if name.startswith("ssd") else 0
    for rows, right in zip(answers, expected, strict=True):
        rows = rows[rows[:, 5] >= 0]
        assert len(rows) == len(right["boxes"]) > 4
        torch.testing.assert_close(rows[:, :4], right["boxes"], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(rows[:, 4], right["scores"], atol=1e-5, rtol=1e-4)
        assert rows[:, 5].tolist() == (right["labels"] - first).tolist()


def digits(folder: Path, count: int = 64) -> Path:
    """Digits on a canvas in three channels, of which the first classes are kept."""
    with np.load(Path(__file__).parents[2] / "specs/data/placed.npz") as stored:
        pictures, boxes = stored["image"][:count], stored["boxes"][:count]
    pictures = np.repeat(pictures, 3, -1).astype(np.float32)
    boxes[boxes[..., 4] >= CLASSES - 1] = -1
    np.savez(folder / "digits.npz", image=pictures, boxes=boxes)
    return folder / "digits.npz"


@pytest.mark.parametrize("name", ["retinanet", "fcos", "ssd"])
def test_it_trains_from_its_weights(
    name: str, imports: dict[str, tuple[Any, FromTorch]], tmp_path: Path
) -> None:
    _, found = imported(name, imports)
    spec, weights = found.save(tmp_path)
    digits(tmp_path)
    settings = "batch_size: 16, epochs: 3, optimizer: {name: adam, learning_rate: 0.003}"
    spec.write_text(spec.read_text() + f"data: {{train: digits.npz}}\ntrain: {{{settings}}}\n")
    program = compile(spec)
    done: Any = train(
        program,
        root=tmp_path,
        run_dir=tmp_path / "run",
        weights=weights,
        device="cpu",
        tell=lambda note: None,
    )
    losses = done.history["loss"]
    assert losses[-1] < 0.9 * losses[0], losses
    trained = load_file(tmp_path / "run/best.safetensors")
    assert trained.keys() == found.weights.keys()


@pytest.mark.parity
@pytest.mark.parametrize(
    "name",
    [
        "ssd",
        pytest.param("retinanet", marks=pytest.mark.parity),
        pytest.param("fcos", marks=pytest.mark.parity),
    ],
)
def test_it_gives_the_same_boxes_in_onnx(
    name: str, imports: dict[str, tuple[Any, FromTorch]], tmp_path: Path
) -> None:
    _, found = imported(name, imports)
    export(found.program, "onnx", tmp_path / "m.onnx", weights=found.weights)
    pictures = {"image": np.random.default_rng(0).random((3, SIDE, SIDE, 3), np.float32) * 255}
    module = found.program.module(weights=found.weights).eval()
    own = TorchEngine(found.program, module, torch.device("cpu"))(pictures)["boxes"]
    assert (own[..., 5] >= 0).sum() > 10
    other = OnnxEngine(Interface.of(found.program), tmp_path / "m.onnx", 1)
    assert other(pictures)["boxes"] == pytest.approx(own, abs=1e-3)


FULL = {
    "retinanet_resnet50_fpn": 128,
    "retinanet_resnet50_fpn_v2": 128,
    "fcos_resnet50_fpn": 128,
    "ssd300_vgg16": 300,
    "ssdlite320_mobilenet_v3_large": 320,
}


@pytest.mark.parity
@pytest.mark.parametrize("name", FULL)
def test_networks_of_torchvision_at_full_size(name: str) -> None:
    torch.manual_seed(0)
    side = FULL[name]
    sizes = {} if name.startswith("ssd") else {"min_size": side, "max_size": side}
    model: Any = detection.__dict__[name](
        weights=None, weights_backbone=None, num_classes=CLASSES, score_thresh=0.02, **sizes
    ).eval()
    with torch.no_grad():
        for each in model.modules():
            if isinstance(each, nn.BatchNorm2d):
                each.train().momentum = 1.0  # else scores of a deep network without training are all equal
        model.head(list(model.backbone(torch.randn(8, 3, side, side)).values()))
        for key, weight in model.eval().named_parameters():
            if key.startswith("head.classification") and weight.dim() == 1:
                weight.add_(torch.randn_like(weight))
    found = from_torch(model, torch.rand(2, 3, side, side), check=False)
    picture = torch.rand(1, 3, side, side)
    with torch.no_grad():
        (right,) = model([*picture])
        points = found.program.module(weights=found.weights).eval()(255 * picture.movedim(1, -1))
    loss: Any = found.program.outputs["boxes"].loss
    (rows,) = loss.answer(points)
    rows = rows[rows[:, 5] >= 0]
    assert len(rows) == len(right["boxes"]) > 4
    torch.testing.assert_close(rows[:, 4], right["scores"], atol=1e-4, rtol=1e-4)
    apart = torch.cdist(rows[:, :4], right["boxes"], p=torch.inf)  # of equal scores any may be first
    near = (rows[:, 4:5] - right["scores"]).abs() < 1e-4
    assert torch.where(near, apart, torch.inf).amin(1).max() < 1e-2


@pytest.mark.parametrize(
    ("make", "image", "words"),
    [
        (_retinanet, torch.rand(1, 3, 64, 72), "multiples of 16"),
        (_fcos, torch.rand(3, 64), "it takes pictures"),
        (_fcos, torch.rand(1, 5, 64, 64), "its backbone fails on the example [1, 5, 64, 64]"),
        (partial(_ssd, [8, 17]), torch.rand(1, 3, 100, 100), "do not fill a picture"),
        (lambda: faster_rcnn.FasterRCNN(Pyramid(), 3), torch.rand(1, 3, 64, 64), "RetinaNet, FCOS or SSD"),
    ],
)
def test_what_cannot_be_imported_says_why(make: Any, image: Tensor, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        from_torch(make(), {"image": image})
    (found,) = caught.value.diagnostics
    assert found.code == "import-unsupported" and words in f"{found.message} {found.help}"


def test_other_anchors_than_strides_are_refused_for_fcos() -> None:
    anchors = anchor_utils.AnchorGenerator(((12,), (16,)), ((1.0,),) * 2)
    model = fcos.FCOS(Pyramid(32), CLASSES, min_size=SIDE, anchor_generator=anchors)
    with pytest.raises(SpecError, match=r"anchors are \[12.0, 16.0\] pixels, and the points \[8, 16\] apart"):
        from_torch(model, {"image": torch.rand(1, 3, SIDE, SIDE)})


def test_boxes_that_grow_further_than_torchvisions_are_refused() -> None:
    model: Any = _retinanet()
    model.box_coder.bbox_xform_clip = 3.0
    with pytest.raises(SpecError, match="`bbox_xform_clip`"):
        from_torch(model, {"image": torch.rand(1, 3, SIDE, SIDE)})
