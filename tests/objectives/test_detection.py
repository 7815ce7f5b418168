"""Detectors: losses, answers and scores beside those of torchvision, scipy, transformers, pycocotools."""

import contextlib
import io
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]
from torch.nn import functional as F
from torchvision import ops
from torchvision.models.detection import _utils, fcos, retinanet, ssd

from graphspec.objectives import SettingError, boxes, parse_loss, parse_metric
from graphspec.objectives.detection_losses import Detection
from graphspec.objectives.matching import assignment
from graphspec.tensor import Tensor, symbol
from tests import bundled

BATCH = symbol("batch")
SIDE, CLASSES = 64, 3
POINTS = (SIDE // 8) ** 2 + (SIDE // 16) ** 2


def drawn(count: int, seed: int = 0, widest: float = 30) -> torch.Tensor:
    """Random boxes."""
    source = torch.Generator().manual_seed(seed)
    sides = torch.rand(count, 2, generator=source) * widest + 4
    corner = torch.rand(count, 2, generator=source) * (SIDE - sides)
    return torch.cat((corner, corner + sides), 1)


def targets(pictures: int = 2, most: int = 6, seed: int = 0) -> torch.Tensor:
    """Boxes with classes, two rows of each picture without one, and a picture without any."""
    rows = torch.full((pictures, most, 5), -1.0)
    for index in range(pictures - 1):
        rows[index, : most - 2, :4] = drawn(most - 2, seed + index)
        rows[index, : most - 2, 4] = torch.arange(most - 2) % CLASSES
    return rows


def detection(**settings: Any) -> Detection:
    loss = parse_loss({"name": "detection", "strides": [8, 16], "size": SIDE, **settings})
    assert isinstance(loss, Detection)
    return loss


def output(width: int, points: int = POINTS, pictures: int = 2, seed: int = 0) -> torch.Tensor:
    return torch.randn(pictures, points, width, generator=torch.Generator().manual_seed(seed))


# --- boxes


@pytest.mark.parametrize("kind", ["giou", "diou", "ciou"])
def test_overlaps_are_those_of_torchvision(kind: Any) -> None:
    names = {"giou": "generalized", "diou": "distance", "ciou": "complete"}
    a, b = drawn(200).double(), drawn(200, 1).double()
    expected = getattr(ops, f"{names[kind]}_box_iou_loss")(a, b)
    torch.testing.assert_close(1 - boxes.overlap(kind, a, b), expected)
    torch.testing.assert_close(boxes.pairs(a, b), ops.box_iou(a, b))


def test_what_suppression_leaves_is_what_torchvision_leaves() -> None:
    scores = torch.rand(6, 80, generator=torch.Generator().manual_seed(0)).sort(1, descending=True).values
    many = torch.stack([drawn(80, seed) for seed in range(6)])
    kinds = torch.arange(480).reshape(6, 80) % 2
    places, best = boxes.selected(many, kinds, scores, 0.4, 80)
    for index in range(6):
        expected = ops.batched_nms(many[index], scores[index], kinds[index], 0.4)
        assert places[index, best[index] > 0].tolist() == expected.tolist()


def test_a_pairing_costs_as_little_as_that_of_scipy() -> None:
    source = np.random.default_rng(0)
    for rows in range(9):
        costs = source.normal(size=(rows, rows + source.integers(0, 6) or 1)).round(rows % 3)
        found = assignment(costs)
        least = costs[linear_sum_assignment(costs)].sum()
        assert len({*found}) == rows
        assert costs[np.arange(rows), found].sum() == pytest.approx(least)


def test_more_boxes_than_queries_leave_some_over() -> None:
    loss = parse_loss({"name": "detection", "assign": "hungarian", "size": SIDE})
    raw = output(5 + CLASSES, 2).requires_grad_()
    value = loss.evaluate(raw, targets(2), None)
    value.backward()
    assert value.isfinite() and raw.grad is not None and raw.grad.isfinite().all()


# --- losses


def of_torchvision(given: torch.Tensor, right: torch.Tensor) -> list[dict[str, torch.Tensor]]:
    return [{"boxes": rows[rows[:, 4] >= 0, :4], "labels": rows[rows[:, 4] >= 0, 4].long()} for rows in right]


def test_points_near_the_center_answer_as_in_fcos() -> None:
    loss, raw, right = detection(), output(4 + CLASSES), targets()
    raw[..., :4] = raw[..., :4].abs()
    grid, strides = loss.head.points(raw)  # type: ignore[attr-defined]
    anchors = torch.cat((grid - strides[:, None] / 2, grid + strides[:, None] / 2), 1)
    model: Any = torch.nn.Module()
    model.center_sampling_radius, model.head = 1.5, fcos.FCOSHead(32, 1, CLASSES)
    for index in range(2):
        one = raw[index : index + 1]
        given = {"cls_logits": one[..., 4:], "bbox_regression": one[..., :4], "bbox_ctrness": one[..., :1]}
        listed = of_torchvision(one, right[index : index + 1])
        levels = [(SIDE // 8) ** 2, (SIDE // 16) ** 2]
        expected = fcos.FCOS.compute_loss(model, listed, given, [anchors], levels)
        found = loss.evaluate(one, right[index : index + 1], None)
        torch.testing.assert_close(found, expected["classification"] + expected["bbox_regression"])


def test_nearness_to_the_center_trains_as_in_fcos() -> None:
    loss, raw, right = detection(centerness=True, offset=0.0), output(5 + CLASSES), targets()[:1]
    raw = raw[:1]
    raw[..., :4] = raw[..., :4].abs()
    grid, strides = loss.head.points(raw)  # type: ignore[attr-defined]
    anchors = torch.cat((grid - strides[:, None] / 2, grid + strides[:, None] / 2), 1)
    model: Any = torch.nn.Module()
    model.center_sampling_radius, model.head = 1.5, fcos.FCOSHead(32, 1, CLASSES)
    given = {"cls_logits": raw[..., 5:], "bbox_regression": raw[..., :4], "bbox_ctrness": raw[..., 4:5]}
    levels = [(SIDE // 8) ** 2, (SIDE // 16) ** 2]
    parts = fcos.FCOS.compute_loss(model, of_torchvision(raw, right), given, [anchors], levels)
    assert parts["bbox_ctrness"] > 0
    torch.testing.assert_close(loss.evaluate(raw, right, None), sum(parts.values()))


def test_a_class_of_the_background_trains_with_the_worst_negatives_as_in_ssd() -> None:
    shapes = [[[8, 8], [12, 6]], [[24, 24]]]
    settings = {
        "assign": "anchors",
        "shapes": shapes,
        "classes": "categorical_crossentropy",
        "background": 0.5,
    }
    loss, right = detection(**settings, box_weight=0.0), targets()[:1]
    raw = output(4 + CLASSES + 1, 64 * 2 + 16, 1)
    anchors = loss.head.anchors(raw)  # type: ignore[attr-defined]
    assert (anchors[1, 2:] - anchors[1, :2]).tolist() == [12, 6]
    places = _utils.SSDMatcher(0.5)(ops.box_iou(right[0, :4, :4], anchors))
    model: Any = torch.nn.Module()
    model.neg_to_pos_ratio, model.box_coder = 3, _utils.BoxCoder((10.0, 10.0, 5.0, 5.0))
    given = {"cls_logits": raw[..., [-1, *range(4, 4 + CLASSES)]], "bbox_regression": raw[..., :4]}
    listed = [{"boxes": right[0, :4, :4], "labels": right[0, :4, 4].long() + 1}]
    parts = ssd.SSD.compute_loss(model, listed, given, [anchors], [places])
    torch.testing.assert_close(loss.evaluate(raw, right, None), parts["classification"])


@pytest.mark.parametrize("kind", ["l1", "giou"])
def test_anchors_answer_as_in_retinanet(kind: str) -> None:
    loss, right = detection(assign="anchors", boxes=kind, scales=[2, 3]), targets()
    raw = output(4 + CLASSES, POINTS * 6) / 4
    anchors = loss.head.anchors(raw)  # type: ignore[attr-defined]
    matcher = _utils.Matcher(0.5, 0.4, allow_low_quality_matches=True)
    places = [
        matcher(ops.box_iou(each["boxes"], anchors))
        if len(each["boxes"])
        else torch.full((len(anchors),), -1)
        for each in of_torchvision(raw, right)
    ]
    head = retinanet.RetinaNetHead(8, 6, CLASSES)
    head.regression_head._loss_type = kind
    given = {"cls_logits": raw[..., 4:], "bbox_regression": raw[..., :4]}
    listed = of_torchvision(raw, right)
    expected = head.compute_loss(listed, given, [anchors] * 2, places)
    found = loss.evaluate(raw, right, None)
    torch.testing.assert_close(found, expected["classification"] + expected["bbox_regression"])


def aligned_by_hand(loss: Detection, raw: torch.Tensor, right: torch.Tensor) -> float:
    """The loss of one picture, point by point."""
    head: Any = loss.head
    found, chances = head.boxes(raw)[0], raw[0, :, loss.box_values :].sigmoid()
    grid, strides = head.points(raw)
    real = [row for row in right.tolist() if row[4] >= 0]
    metric, near = torch.zeros(len(real), len(found)), torch.zeros(len(real), len(found))
    for index, (x1, y1, x2, y2, kind) in enumerate(real):
        near[index] = ops.box_iou(torch.tensor([[x1, y1, x2, y2]]), found)[0]
        metric[index] = chances[:, int(kind)] * near[index] ** 6
        inside = (grid[:, 0] > x1) & (grid[:, 0] < x2) & (grid[:, 1] > y1) & (grid[:, 1] < y2)
        first = torch.where(inside, metric[index], -1.0).topk(13).indices
        taken = torch.zeros(len(found), dtype=torch.bool)
        taken[first] = True
        near[index, ~(taken & inside)] = -1
    owner, goals, weights = near.max(0).indices, torch.zeros_like(chances), torch.zeros(len(found))
    for index, row in enumerate(real):
        mine = (owner == index) & (near[index] >= 0)
        if mine.any():
            weights[mine] = metric[index, mine] / metric[index, mine].max() * near[index, mine].max()
            goals[mine, int(row[4])] = weights[mine]
    total = max(1.0, float(weights.sum()))
    value = float(F.binary_cross_entropy(chances, goals, reduction="sum"))
    for point in weights.nonzero()[:, 0].tolist():
        box = torch.tensor(real[int(owner[point])][:4])
        each = float(ops.generalized_box_iou_loss(found[point], box))
        x, y = grid[point].tolist()
        sides = [x - float(box[0]), y - float(box[1]), float(box[2]) - x, float(box[3]) - y]
        logs = raw[0, point, : loss.box_values].reshape(4, -1).log_softmax(-1)
        parts = 0.0
        for side, log in zip(sides, logs, strict=True):
            place = min(max(side / float(strides[point]), 0), 7 - 0.01)
            low = int(place)
            parts -= float(log[low]) * (low + 1 - place) + float(log[low + 1]) * (place - low)
        value += float(weights[point]) * (each + 0.25 * parts / 4)
    return value / total


def test_points_that_are_right_answer_and_distances_are_distributions() -> None:
    loss, raw, right = detection(assign="task_aligned", bins=8), output(32 + CLASSES), targets(3)
    found = loss.values(torch.cat((raw, raw[:1])), right)
    for index in range(2):
        assert found[index].item() == pytest.approx(
            aligned_by_hand(loss, raw[index : index + 1], right[index]), rel=1e-4
        )


def test_queries_are_paired_as_in_detr() -> None:
    huggingface = pytest.importorskip("transformers.loss.loss_for_object_detection")
    loss = parse_loss({"name": "detection", "assign": "hungarian", "size": [48, SIDE], "box_weight": 2.0})
    assert isinstance(loss, Detection)
    raw, right = output(4 + CLASSES + 1, 9), targets(2)[:1]
    matcher = huggingface.HungarianMatcher(class_cost=1, bbox_cost=5, giou_cost=2)
    whole = huggingface.ImageLoss(matcher, CLASSES, 0.1, ["labels", "boxes"])
    rows = right[0, right[0, :, 4] >= 0]
    shares = ops.box_convert(rows[:, :4] / torch.tensor([SIDE, 48, SIDE, 48]), "xyxy", "cxcywh")
    labels = [{"class_labels": rows[:, 4].long(), "boxes": shares}]
    parts = whole({"logits": raw[:1, :, 4:], "pred_boxes": raw[:1, :, :4].sigmoid()}, labels)
    expected = parts["loss_ce"] + 5 * parts["loss_bbox"] + 2 * parts["loss_giou"]
    torch.testing.assert_close(loss.evaluate(raw[:1], right, None), expected)


@bundled(
    10,
    ("settings", "width", "points"),
    [
        ({}, 4 + CLASSES, POINTS),
        ({"classes": "quality_focal", "boxes": "ciou"}, 4 + CLASSES, POINTS),
        ({"bins": 5}, 20 + CLASSES, POINTS),
        ({"centerness": True, "candidates_of": "level"}, 5 + CLASSES, POINTS),
        (
            {
                "assign": "anchors",
                "classes": "categorical_crossentropy",
                "negatives": 1000,
                "candidates_of": "class",
            },
            5 + CLASSES,
            9 * POINTS,
        ),
        ({"assign": "anchors"}, 4 + CLASSES, POINTS * 9),
        ({"assign": "task_aligned", "boxes": "diou"}, 4 + CLASSES, POINTS),
        ({"assign": "hungarian", "strides": None}, 5 + CLASSES, 12),
    ],
)
def test_every_head_answers_with_what_it_learned(settings: dict[str, Any], width: int, points: int) -> None:
    """Steps on the output itself lead to answers that are the targets; nothing on the way is infinite."""
    settings = {key: value for key, value in settings.items() if value is not None}
    given: dict[str, Any] = {"name": "detection", "size": SIDE, "least_score": 0.3, "top": 20, **settings}
    loss = parse_loss(given if settings.get("assign") == "hungarian" else {**given, "strides": [8, 16]})
    metric = parse_metric({"name": "mean_average_precision", "iou": 0.5})
    right = torch.full((3, 4, 5), -1.0)
    right[0, 0] = torch.tensor([3.0, 5.0, 24.0, 27.0, 0])
    right[0, 1] = torch.tensor([30.0, 31.0, 58.0, 62.0, 2])
    right[1, 2] = torch.tensor([8.0, 16.0, 31.0, 39.0, 1])
    raw = (output(width, points, 3) / 10 + 0.3).requires_grad_()
    optimizer = torch.optim.Adam([raw], 0.1)
    for _ in range(80):
        optimizer.zero_grad()
        value = loss.evaluate(raw, right, None)
        value.backward()
        assert value.isfinite() and raw.grad is not None and raw.grad.isfinite().all()
        optimizer.step()
    answered = loss.answer(raw.detach())
    assert metric.result(metric.statistics(answered, right)) == pytest.approx(1.0)
    assert answered.shape == (3, 20, 6)
    assert (answered[2] == torch.tensor([0.0, 0, 0, 0, 0, -1])).all()


# --- scores


def scenes(
    seed: int, pictures: int = 12, top: int = 40, classes: int = CLASSES, crowds: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Answers near targets and elsewhere, some with equal scores; this share of targets are crowds, last."""
    source = np.random.default_rng(seed)
    right, found = np.full((pictures, 8, 5), -1.0), np.zeros((pictures, top, 6))
    found[..., 5] = -1
    for index in range(pictures):
        count, held = source.integers(0, 9), source.integers(0, top + 1)
        corner, sides = source.random((count, 2)) * 200, np.exp(source.random((count, 2)) * 4 + 1)
        right[index, :count] = np.c_[corner, corner + sides, source.integers(0, classes, count)]
        if count and held:
            near = right[index, source.integers(0, count, held)]
            moved = near[:, :4] + source.normal(size=(held, 4)) * source.choice([0, 1, 8], (held, 1))
            moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 0.1)
            kinds = np.where(source.random(held) < 0.8, near[:, 4], source.integers(0, classes, held))
            scores = np.sort(source.random(held).round(2 if seed % 2 else 9))[::-1]
            found[index, :held] = np.c_[moved, scores, kinds]
        if crowds:
            many = np.sort(source.random(count) < crowds)
            right[index, :count, 4] = np.where(
                many, boxes.CROWD - right[index, :count, 4], right[index, :count, 4]
            )
    return torch.from_numpy(right), torch.from_numpy(found)


def score(found: torch.Tensor, right: torch.Tensor, name: str, **settings: Any) -> Any:
    """Of pictures that come three at a time."""
    metric = parse_metric({"name": name, **settings})
    sums = metric.statistics(found[:3], right[:3])
    for start in range(3, len(found), 3):
        sums = metric.joined(sums, metric.statistics(found[start : start + 3], right[start : start + 3]))
    return metric.result(sums)


SCORES: list[dict[str, Any]] = [
    *({"name": "mean_average_precision", **each} for each in ({}, {"iou": 0.5}, {"iou": 0.75})),
    *({"name": "mean_average_precision", "size": size} for size in ("small", "medium", "large")),
    *({"name": "mean_average_recall", "top": top} for top in (1, 10, 100)),
    *({"name": "mean_average_recall", "size": size} for size in ("small", "medium", "large")),
]
"""Those that COCO sums up, in its order."""


def of_coco(package: str, right: torch.Tensor, found: torch.Tensor, classes: int) -> list[float]:
    """The twelve scores by a package that computes them."""
    coco: Any = pytest.importorskip(package, reason=f"{package} is what these scores are compared with")
    if package == "pycocotools":
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    else:
        COCO, COCOeval = coco.COCO, coco.COCOeval_faster
    annotations: list[dict[str, Any]] = []
    answers: list[dict[str, Any]] = []
    for index, (rows, given) in enumerate(zip(right.tolist(), found.tolist(), strict=True)):
        for left, top, x, y, kind in (row for row in rows if row[4] != -1):
            crowd, number = int(kind < 0), int(kind if kind >= 0 else boxes.CROWD - kind)
            box, place = [left, top, x - left, y - top], {"image_id": index + 1, "category_id": number + 1}
            sizes = {"area": box[2] * box[3], "iscrowd": crowd, "id": len(annotations) + 1}
            annotations.append({**place, **sizes, "bbox": box})
        for left, top, x, y, each, kind in (row for row in given if row[5] >= 0):
            place = {"image_id": index + 1, "category_id": int(kind) + 1}
            answers.append({**place, "bbox": [left, top, x - left, y - top], "score": each})
    with contextlib.redirect_stdout(io.StringIO()):
        data = COCO()
        data.dataset = {
            "images": [{"id": index + 1} for index in range(len(right))],
            "categories": [{"id": index + 1} for index in range(classes)],
            "annotations": annotations,
        }
        data.createIndex()
        scored = COCOeval(data, data.loadRes(answers), "bbox")
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
    return [max(float(each), 0) for each in scored.stats[:12]]


@pytest.mark.parametrize("package", ["pycocotools", "faster_coco_eval"])
@pytest.mark.parametrize(("seed", "classes", "crowds"), [(0, 3, 0), (1, 3, 0.3), (2, 40, 0.2), (3, 1, 0.5)])
def test_scores_are_those_of_coco(package: str, seed: int, classes: int, crowds: float) -> None:
    right, found = scenes(seed, 30 if classes > 3 else 12, classes=classes, crowds=crowds)
    expected = of_coco(package, right, found, classes)
    values = [score(found, right, **settings) for settings in SCORES]
    assert values == pytest.approx(expected, abs=1e-9)


def test_answers_in_a_crowd_do_not_count() -> None:
    crowd = float(boxes.CROWD)
    right = torch.tensor([[[0.0, 0, 10, 10, 0], [20, 0, 60, 40, crowd], [-1] * 5]])
    found = torch.zeros(1, 5, 6)
    for place, (left, score_of) in enumerate(
        [(20.0, 0.9), (30.0, 0.8), (22.0, 0.7), (0.0, 0.6), (70.0, 0.5)]
    ):
        found[0, place] = torch.tensor([left, 0, left + 10, 10, score_of, 0])
    assert score(found, right, "mean_average_precision") == pytest.approx(1.0)
    other = right.clone()
    other[0, 1, 4] = crowd - 1  # of another class
    assert score(found, other, "mean_average_precision") == pytest.approx(0.25)
    for settings in ({}, {"assign": "task_aligned"}, {"assign": "anchors", "scales": [2], "ratios": [1]}):
        loss = detection(**settings)
        alone = right.clone()
        alone[0, 1] = -1
        raw = output(4 + CLASSES, pictures=1)
        torch.testing.assert_close(loss.evaluate(raw, right, None), loss.evaluate(raw, alone, None))


def test_a_score_of_few_boxes_is_what_is_counted_by_hand() -> None:
    right = torch.tensor([[[0.0, 0, 10, 10, 0], [20, 20, 30, 30, 0], [0, 0, 40, 40, 1], [-1] * 5]])
    found = torch.zeros(1, 4, 6)
    found[..., 5] = -1
    found[0, 0] = torch.tensor([0.0, 0, 10, 10, 0.9, 0])  # right
    found[0, 1] = torch.tensor([0.0, 0, 10, 9, 0.8, 0])  # of one that is taken
    found[0, 2] = torch.tensor([20.0, 20, 30, 26, 0.7, 0])  # right up to an IoU of 0.6
    first = (51 * 1.0 + 50 * 2 / 3) / 101
    halves = score(found, right, "mean_average_precision", iou=0.5, average=None)
    assert halves == pytest.approx([first, 0.0])
    assert score(found, right, "mean_average_precision", iou=0.75) == pytest.approx(51 / 101 / 2)
    assert score(found, right, "mean_average_recall", iou=[0.5, 0.75]) == pytest.approx((1 + 0.5) / 4)
    assert score(found[:, 3:], right, "mean_average_precision") == 0.0


# --- what does not fit


@bundled(
    22,
    ("settings", "words"),
    [
        ({"assign": "atss"}, "center"),
        ({"strides": [16, 8]}, "rise"),
        ({"strides": []}, "at least 1"),
        ({"strides": [float("inf")]}, "strides"),
        ({"assign": "anchors", "scales": [float("nan")]}, "scales"),
        ({"assign": "hungarian", "strides": [8]}, "`assign: hungarian` reads no `strides`"),
        ({"radius": 2.0, "assign": "anchors"}, "`center` does"),
        ({"boxes": "l1"}, "`assign: anchors`"),
        ({"assign": "anchors", "background": 0.7}, "at most `foreground`"),
        ({"nms": 1.5}, "at most 1"),
        ({"bins": 1}, "at least 2"),
        ({"classes": "categorical_crossentropy"}, "`assign: anchors`"),
        ({"assign": "anchors", "negatives": 2}, "categorical_crossentropy"),
        ({"assign": "anchors", "centerness": True}, "`center` does"),
        ({"assign": "anchors", "strides": [8, 16], "shapes": [[[8, 8]]]}, "1 levels, and `strides` of 2"),
        ({"assign": "anchors", "strides": [8], "shapes": [[[8, 0]]]}, "more than 0"),
        ({"assign": "anchors", "strides": [8], "shapes": [[[8, 8]]], "scales": [1]}, "leave one out"),
        ({"iou_threshold": 0.5}, "has no `iou_threshold`"),
    ],
)
def test_a_wrong_detector_says_what_is_wrong(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingError) as caught:
        parse_loss({"name": "detection", **settings})
    assert words in f"{caught.value.message} {caught.value.help}"


@bundled(
    16,
    ("settings", "shape", "activation", "words"),
    [
        ({}, (POINTS, 7), "sigmoid", "ends in sigmoid"),
        ({}, (POINTS,), None, "[batch, points, values]"),
        ({}, (POINTS, 4), None, "at least one class"),
        ({"bins": 4}, (POINTS, 16), None, "16 + classes"),
        ({"assign": "hungarian", "strides": None}, (9, 5), None, "1 for no box"),
        ({"size": None}, (POINTS, 7), None, "write `size: [height, width]`"),
        ({"size": [64, 72]}, (POINTS, 7), None, "multiples of 16"),
        ({}, (POINTS + 1, 7), None, "64 + 16 = 80 points"),
        ({"assign": "anchors"}, (POINTS, 7), None, "of 9 anchors"),
    ],
)
def test_an_output_that_does_not_fit_is_told(
    settings: dict[str, Any], shape: tuple[int, ...], activation: str | None, words: str
) -> None:
    given = {"name": "detection", "strides": [8, 16], "size": SIDE, **settings}
    loss = parse_loss({key: value for key, value in given.items() if value is not None})
    misfit = loss.misfit(Tensor((BATCH, *shape)), activation)
    assert misfit is not None and words in " ".join(misfit)


def test_scores_of_boxes_need_boxes() -> None:
    misfit = parse_metric("mean_average_precision").misfit(Tensor((BATCH, 3)), "softmax", parse_loss("mse"))
    assert misfit is not None and "loss: detection" in misfit[1]
    for name in ("mae", "accuracy", "f1_score"):
        misfit = parse_metric(name).misfit(Tensor((BATCH, POINTS, 7)), "linear", detection())
        assert misfit is not None, name


def test_shares_of_a_batch_add_up_to_it() -> None:
    """As processes and parts of a large batch have it; weights of pictures count."""
    raw, right, weight = output(4 + CLASSES, pictures=5), targets(5), torch.tensor([1.0, 0.5, 2.0, 0.0, 1.0])
    for settings in ({}, {"assign": "task_aligned"}):
        loss = detection(**settings)
        whole = loss.evaluate(raw, right, None, weight)
        parts = [loss.evaluate(raw[s], right[s], None, weight[s], total=5) for s in (slice(2), slice(2, 5))]
        torch.testing.assert_close(sum(parts), whole)
        each = loss.values(raw, right)
        torch.testing.assert_close(whole, (each * weight).sum() / 5)
