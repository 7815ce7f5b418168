"""A RetinaNet of torchvision beside the spec that it is imported as: a step, and what they learn to find."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection import backbone_utils
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.retinanet import RetinaNet
from torchvision.ops import feature_pyramid_network

from bench.measure import Samples
from bench.report import Column, Table, Value, duration
from graphspec.convert.pytorch import from_torch
from graphspec.objectives import parse_metric

DATA = Path(__file__).parent.parent / "specs" / "data" / "placed.npz"
SIDE, CLASSES, BATCH, HELD_OUT = 64, 10, 16, 80
EPOCHS = 50
SIZES = ((10, 13, 16), (20, 24, 28))
RATE = 0.001
WIDTHS = (16, 32, 48, 64)
NOTE = f"""A RetinaNet of torchvision on a small pyramid (levels of 8 and 16 pixels), and the spec that
`graphspec import torch` makes of it, from the same weights: digits on a canvas, {SIDE} x {SIDE}, in batches
of {BATCH} for {EPOCHS} epochs, by Adam. Steps are taken in turns on the same batches; a step is the losses,
the gradients and the update. The mean average precision is that of {HELD_OUT} pictures that neither has
seen."""


def table(epochs: int = EPOCHS) -> Table:
    """Both trainings, step by step in turns."""
    pictures, boxes = _data()
    model = _retinanet()
    imported = from_torch(model, torch.rand(2, 3, SIDE, SIDE), name="retinanet", check=False)
    module = imported.program.module(weights=imported.weights)
    loss: Any = imported.program.outputs["boxes"].loss
    of_torchvision = torch.optim.Adam(model.parameters(), RATE)
    of_spec = torch.optim.Adam(module.parameters(), RATE)

    def theirs(shown: Tensor, right: Tensor) -> None:
        of_torchvision.zero_grad()
        sum(model(list(shown), _listed(right)).values()).backward()
        of_torchvision.step()

    def ours(shown: Tensor, right: Tensor) -> None:
        of_spec.zero_grad()
        loss.evaluate(module(255 * shown.movedim(1, -1)), right, None).backward()
        of_spec.step()

    ways: dict[str, Callable[[Tensor, Tensor], None]] = {"torchvision": theirs, "the imported spec": ours}
    taken = _trained(ways, model, module, pictures, boxes, epochs)
    with torch.no_grad():
        shown, right = pictures[-HELD_OUT:], boxes[-HELD_OUT:]
        answers = {
            "torchvision": _answers(model.eval()(list(shown))),
            "the imported spec": loss.answer(module.eval()(255 * shown.movedim(1, -1))),
        }
    samples = {way: Samples(*map(tuple, zip(*pairs, strict=True))) for way, pairs in taken.items()}
    reference = samples["torchvision"]
    rows: list[Mapping[str, Value]] = [
        {
            "way": way,
            "step": samples[way].median,
            "ratio": samples[way].ratio(reference),
            "processor": samples[way].processor_ratio(reference),
            "map50": _score(answers[way], right, iou=0.5),
            "map": _score(answers[way], right),
        }
        for way in ways
    ]
    columns = (
        Column("way", "way"),
        Column("step", "a step", duration),
        Column("ratio", "of torchvision", "{:.2f}".format),
        Column("processor", "of its processor time", "{:.2f}".format),
        Column("map50", "mAP at 0.5", "{:.3f}".format),
        Column("map", "mAP", "{:.3f}".format),
    )
    return Table("A detector beside torchvision's", NOTE, columns, tuple(rows))


def _trained(
    ways: Mapping[str, Callable[[Tensor, Tensor], None]],
    model: Any,
    module: Any,
    pictures: Tensor,
    boxes: Tensor,
    epochs: int,
) -> dict[str, list[tuple[float, float]]]:
    """The seconds of each step, elapsed and of the processor, both in turns; the first epoch warms up."""
    model.train(), module.train()
    taken: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    order, source = list(ways), torch.Generator().manual_seed(0)
    for epoch in range(epochs):
        for place in torch.randperm(len(pictures) - HELD_OUT, generator=source).split(BATCH):
            for way in order:
                start, used = time.perf_counter(), time.process_time()
                ways[way](pictures[place], boxes[place])
                if epoch:
                    taken[way].append((time.perf_counter() - start, time.process_time() - used))
            order.reverse()
    return taken


def _data() -> tuple[Tensor, Tensor]:
    """Pictures of three channels, from 0 to 1, and their boxes."""
    with np.load(DATA) as stored:
        pictures, boxes = torch.from_numpy(stored["image"]), torch.from_numpy(stored["boxes"])
    return pictures.permute(0, 3, 1, 2).expand(-1, 3, -1, -1).float() / 255, boxes


def _retinanet() -> Any:
    torch.manual_seed(0)
    steps = {
        f"down{place}": nn.Sequential(
            nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()
        )
        for place, (before, after) in enumerate(zip((3, *WIDTHS), WIDTHS, strict=False))
    }
    levels = {"down2": "near", "down3": "far"}
    body = nn.Sequential(OrderedDict(steps))
    backbone = backbone_utils.BackboneWithFPN(body, levels, list(WIDTHS[2:]), 64, NoMore())
    anchors = AnchorGenerator(SIZES, ((1.0,),) * len(SIZES))
    found = RetinaNet(backbone, CLASSES, min_size=SIDE, max_size=SIDE, anchor_generator=anchors)
    return found


class NoMore(feature_pyramid_network.ExtraFPNBlock):
    """Adds no level."""

    def forward(self, results: Any, x: Any, names: Any) -> Any:
        return results, names


def _listed(boxes: Tensor) -> list[dict[str, Tensor]]:
    """Targets as torchvision has them."""
    return [{"boxes": rows[rows[:, 4] >= 0, :4], "labels": rows[rows[:, 4] >= 0, 4].long()} for rows in boxes]


def _answers(found: list[dict[str, Tensor]]) -> Tensor:
    """Answers of torchvision as those of specs, [n, top, 6]."""
    most = max(len(each["boxes"]) for each in found)
    rows = torch.zeros(len(found), most, 6)
    rows[..., 5] = -1
    for place, each in enumerate(found):
        count = len(each["boxes"])
        rows[place, :count] = torch.cat(
            (each["boxes"], each["scores"][:, None], each["labels"][:, None].float()), 1
        )
    return rows


def _score(answers: Tensor, right: Tensor, **settings: Any) -> float:
    metric = parse_metric({"name": "mean_average_precision", **settings})
    value: Any = metric.result(metric.statistics(answers, right))
    return float(value)
