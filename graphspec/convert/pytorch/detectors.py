"""Detectors of torchvision (RetinaNet, FCOS, SSD): what is traced of one, and the loss that knows the rest.

Their forward takes lists of pictures and gives lists of boxes. Backbone and head are traced alone; anchors,
box coder, thresholds and suppression become settings of `loss: detection`.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from graphspec.compiler import compile
from graphspec.convert.pytorch.kept import modes_kept
from graphspec.convert.pytorch.result import FromTorch
from graphspec.convert.refusals import Unsupported
from graphspec.convert.writing import text
from graphspec.diagnostics.text import line_of

ROOM = "torchvision.models.detection"
IMAGE, BOXES = "image", "boxes"
"""The names of the spec's input and output."""
FIRST = re.compile(rf"{IMAGE}: {{shape: \[([^,\]]+), ([^\]]+)\], data_format: channels_first}}")
"""The input as it is traced."""
WHITE = 255
"""The largest value of a pixel, as files have it; torchvision has pixels of 0 to 1."""
WIDEST = math.log(1000 / 16)
"""The largest logarithm of how much wider than its anchor a box is, of torchvision and of the loss."""
NEAR = 1e-3
"""Pixels by which anchors may be away from where they are expected."""


@dataclass(frozen=True, slots=True)
class DetectorParts:
    """A detector as a module of its points, and the settings of the loss that says what they mean."""

    points: nn.Module
    inputs: dict[str, Tensor]
    settings: dict[str, Any]
    note: str

    def finished(self, imported: FromTorch) -> FromTorch:
        """The spec of the points with its loss; its pictures have channels last, as those of files."""
        before, _, after = imported.text.rpartition("\noutputs:")
        before = FIRST.sub(rf"{IMAGE}: {{shape: [\2, \1]}}", before)
        source = re.search(r"from: ([\w.]+)", after)
        output = {**({"from": source[1]} if source else {}), "loss": {"name": "detection", **self.settings}}
        written = (
            before + "\n" + text({"outputs": {BOXES: {**output, "metrics": ["mean_average_precision"]}}})
        )
        return replace(imported, text=written, program=compile(written), notes=(*imported.notes, self.note))


class DetectorPoints(nn.Module):
    """The values of all points of a detector, [n, points, 4 + classes], from pictures of 0 to `WHITE`."""

    def __init__(self, detector: Any, weights: Sequence[float]):
        super().__init__()
        self.backbone, self.head, self.training = detector.backbone, detector.head, detector.training
        self.weights = None if set(weights) == {1.0} else torch.tensor(weights)
        self.mean, self.std = (
            torch.tensor(list(values)).reshape(-1, 1, 1) * WHITE
            for values in (detector.transform.image_mean, detector.transform.image_std)
        )
        self.background_first = hasattr(detector, "neg_to_pos_ratio")

    def features(self, image: Tensor) -> list[Tensor]:
        found = self.backbone((image - self.mean) / self.std)
        return [found] if isinstance(found, Tensor) else list(found.values())

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        found = self.head(self.features(image))
        boxes, classes = found["bbox_regression"], found["cls_logits"]
        if self.weights is not None:
            boxes = boxes / self.weights
        if self.background_first:
            classes = torch.cat((classes[..., 1:], classes[..., :1]), -1)
        nearness = [found["bbox_ctrness"]] if "bbox_ctrness" in found else []
        return {BOXES: torch.cat((boxes, *nearness, classes), -1)}


def parts_of(module: Any, inputs: Any) -> DetectorParts | None:
    """A detector of torchvision in its parts; None of other modules. Raises `Unsupported`."""
    kind = _kind(module)
    if kind is None:
        return None
    given = list(inputs.values()) if isinstance(inputs, Mapping) else inputs
    image = given[0] if isinstance(given, Sequence) and len(given) == 1 else given
    if not isinstance(image, Tensor) or image.dim() != 4:
        raise Unsupported(
            "it takes pictures, and the example input is not [n, channels, height, width]",
            '--input "image: {shape: [3, 512, 512]}"',
        )
    weights = (1.0,) * 4 if kind == "FCOS" else module.box_coder.weights
    if kind != "FCOS" and abs(module.box_coder.bbox_xform_clip - WIDEST) > 1e-6:
        raise Unsupported("its boxes grow up to another `bbox_xform_clip`", "leave that at its default")
    points = DetectorPoints(module, weights)
    grids = _grids(points, image)
    size = (int(image.shape[2]), int(image.shape[3]))
    settings = {"RetinaNet": _retinanet, "FCOS": _fcos, "SSD": _ssd}[kind](module, grids, size)
    answers = {"least_score": module.score_thresh, "nms": module.nms_thresh, "top": module.detections_per_img}
    answers |= {"candidates": module.topk_candidates, "candidates_of": "class" if kind == "SSD" else "level"}
    first = "label 1" if kind == "SSD" else "label 0"
    note = f"pictures are {size[0]} x {size[1]}, of 0 to {WHITE}; class 0 is {first} of torchvision"
    settings = {"size": list(size), **settings, **answers}
    return DetectorParts(points, {IMAGE: image * WHITE}, settings, note)


def _kind(module: Any) -> str | None:
    """The name of the class of torchvision that a module is of, or inherits from."""
    if ROOM not in sys.modules:
        return None
    for each in type(module).__mro__:
        if each.__module__.startswith(f"{ROOM}.") and each.__name__ in ("RetinaNet", "FCOS", "SSD"):
            return each.__name__
    if type(module).__module__.startswith(f"{ROOM}.") and hasattr(module, "roi_heads"):
        raise Unsupported(
            "it looks at parts of the picture that it chooses itself, which specs do not",
            "import a detector of one stage: RetinaNet, FCOS or SSD",
        )
    return None


def _grids(points: DetectorPoints, image: Tensor) -> list[tuple[int, int]]:
    """Rows and columns of the levels."""
    with modes_kept(points), torch.no_grad():
        try:
            found = points.eval().features(image[:1])
        except Exception as error:  # the user's own code
            message = f"its backbone fails on the example {list(image.shape)}: {line_of(error)}"
            raise Unsupported(message, "give the shape of the pictures: shape: [3, 512, 512]") from error
    return [(int(level.shape[2]), int(level.shape[3])) for level in found]


def _strides(grids: list[tuple[int, int]], size: tuple[int, int]) -> list[int]:
    """The whole number of pixels between the points of each level, as torchvision counts them."""
    strides = []
    for rows, columns in grids:
        down, along = size[0] // rows, size[1] // columns
        if down != along or rows * down != size[0] or columns * along != size[1]:
            longest = max(2 ** math.ceil(math.log2(size[0] / y)) for y, _ in grids)
            near = [max(1, round(side / longest)) * longest for side in size]
            raise Unsupported(
                f"a picture of {size[0]} x {size[1]} has {rows} x {columns} points on a level, which "
                f"torchvision does not spread over all of it",
                f"take multiples of {longest}: shape: [3, {near[0]}, {near[1]}]",
            )
        strides.append(down)
    return strides


def _cells(module: Any) -> list[Tensor]:
    """The corners of the anchors around a point, by level."""
    cells: list[Tensor] = [cell.detach().float() for cell in module.anchor_generator.cell_anchors]
    if any(float((cell[:, :2] + cell[:, 2:]).abs().max()) > NEAR for cell in cells):
        raise Unsupported("its anchors are not around their points", "take anchors of its AnchorGenerator")
    return cells


def _retinanet(module: Any, grids: list[tuple[int, int]], size: tuple[int, int]) -> dict[str, Any]:
    kind = getattr(module.head.regression_head, "_loss_type", "l1")
    matcher = module.proposal_matcher
    return {
        "assign": "anchors",
        "strides": _strides(grids, size),
        "offset": 0.0,
        "shapes": [(cell[:, 2:] - cell[:, :2]).tolist() for cell in _cells(module)],
        "boxes": kind if kind in ("l1", "giou", "diou", "ciou") else "l1",
        "foreground": float(matcher.high_threshold),
        "background": float(matcher.low_threshold),
    }


def _fcos(module: Any, grids: list[tuple[int, int]], size: tuple[int, int]) -> dict[str, Any]:
    strides = _strides(grids, size)
    sides = [(cell[0, 2:] - cell[0, :2]).tolist() for cell in _cells(module)]
    if any(abs(side - stride) > NEAR for each, stride in zip(sides, strides, strict=True) for side in each):
        raise Unsupported(
            f"its anchors are {[each[0] for each in sides]} pixels, and the points {strides} apart",
            "make the `sizes` of its AnchorGenerator the strides of the backbone",
        )
    return {
        "strides": strides,
        "offset": 0.0,
        "centerness": True,
        "radius": float(module.center_sampling_radius),
    }


def _ssd(module: Any, grids: list[tuple[int, int]], size: tuple[int, int]) -> dict[str, Any]:
    boxes = module.anchor_generator
    steps = boxes.steps or [size[0] / rows for rows, _ in grids]
    across = boxes.steps or [size[1] / columns for _, columns in grids]
    if any(abs(down - along) > NEAR for down, along in zip(steps, across, strict=True)):
        raise Unsupported(f"its points are {steps} apart, and {across} in a row", "take a square picture")
    for (rows, columns), step in zip(grids, steps, strict=True):
        fit = [math.ceil(side / step - 1e-6) for side in size]
        if fit != [rows, columns]:
            raise Unsupported(
                f"{rows} x {columns} points {step} apart do not fill a picture of {size[0]} x {size[1]}",
                f"take the size that its `steps` are for: {list(module.transform.min_size)}",
            )
    shapes = [pairs.clamp(0, 1) if boxes.clip else pairs for pairs in boxes._wh_pairs]
    pixels = torch.tensor([size[1], size[0]])
    return {
        "assign": "anchors",
        "strides": [int(step) if float(step).is_integer() else float(step) for step in steps],
        "shapes": [
            [[round(side, 4) for side in pair] for pair in (each * pixels).tolist()] for each in shapes
        ],
        "boxes": "l1",
        "classes": "categorical_crossentropy",
        "foreground": float(module.proposal_matcher.high_threshold),
        "background": float(module.proposal_matcher.low_threshold),
        "negatives": float(module.neg_to_pos_ratio),
    }
