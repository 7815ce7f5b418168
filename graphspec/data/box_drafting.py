"""A first spec for boxes: the pictures and annotations of a file of COCO."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from graphspec.data.draft import training
from graphspec.data.features.settings import BOXES
from graphspec.data.image_drafting import ImageProfile, images
from graphspec.data.spec_words import flow
from graphspec.data.tables.coco import Coco
from graphspec.diagnostics import SpecError, fail

LONGEST = 256
"""Of the height and width of the input: boxes are small parts of pictures."""
POINTS = 3
"""A box has about so many points of the first level along its side."""
FINEST, COARSEST = 4, 16
"""Strides of the first level, at least and at most."""
MOST_FILTERS = 64

BLOCKS = """\
  conv:
    params: {filters: required, strides: 1}
    inputs: [x]
    nodes:
      conv: {layer: Conv2D, filters: $filters, kernel_size: 3, strides: $strides, padding: same}
      norm: {layer: BatchNormalization, momentum: 0.9}
      act:  {layer: ReLU}
  head:  # of each point: how far the sides of its box are, and what is in it
    params: {classes: required}
    inputs: [x]
    nodes:
      deep:   {block: conv, filters: 64, repeat: 2}
      sides:  {layer: Conv2D, filters: 4, kernel_size: 3, padding: same, activation: exponential}
      scores: {layer: Conv2D, from: deep, filters: $classes, kernel_size: 3, padding: same}
      kinds:  {layer: Rescaling, scale: 1.0, offset: -4.6}  # most points see nothing
      both:   {merge: concatenate, from: [sides, kinds]}
      rows:   {layer: Reshape, target_shape: [-1, $(4 + classes)]}
"""


def coco_of(data: Path) -> Coco | None:
    """A file as annotations of pictures; None for other files."""
    if data.suffix != ".json" or not data.is_file():
        return None
    try:
        table = Coco(data)
        return table if BOXES in table.columns else None
    except SpecError:
        return None


def draft_boxes(name: str, path: str, train: str, table: Coco) -> str:
    """The text of a spec that finds the boxes of a file, which people and the spec write as `path` and
    `train`. Raises `SpecError`, a data-... code.
    """
    rows = [row for _, part in table.chunks(["image", BOXES]) for row in part.to_pylist()]
    if not rows:
        raise fail("data-empty", f"`{path}` has no pictures", table.empty_help)
    profile = images([row["image"] for row in rows], table.root, LONGEST)
    if profile is None:
        message = f"there is no file `{rows[0]['image']}` near `{path}`, and none that can be read"
        raise fail("data-missing", message, "put the pictures next to it, or in a folder there")
    boxes = [(row[BOXES]["size"], box) for row in rows for box in row[BOXES][BOXES] if not box["crowd"]]
    if not boxes:
        raise fail("data-empty", f"`{path}` has no boxes", "name the file with the annotations")
    return "\n".join(_lines(name, path, train, table, profile, boxes)) + "\n"


def _lines(
    name: str, path: str, train: str, table: Coco, profile: ImageProfile, boxes: list[tuple[Any, Any]]
) -> Iterator[str]:
    shares = [
        ((box["right"] - box["left"]) * (box["bottom"] - box["top"]) / max(1, size[0] * size[1])) ** 0.5
        for size, box in boxes
        if size
    ]
    side = median(shares or [0.1]) * (profile.height * profile.width) ** 0.5
    first = FINEST
    while first < COARSEST and 2 * first * POINTS <= side:
        first *= 2
    last = 2 * first
    height, width = (max(1, round(size / last)) * last for size in (profile.height, profile.width))
    count = len(table.categories)
    named = ", ".join(list(table.categories.values())[:8]) + (", ..." if count > 8 else "")
    yield f"# A first spec for {path}, to start from. It finds {count} classes of boxes: {named}."
    yield f"# Check it with `graphspec check {name}.yaml`, train it with `graphspec train {name}.yaml`."
    yield f"# {len(boxes):,} boxes, whose sides are about {side:.0f} pixels of the input."
    yield from ("", f"params: {{classes: {count}}}")
    yield from ("inputs:", f"  image: {{shape: [{height}, {width}, {profile.channels}]}}")
    yield from ("blocks:", BLOCKS.rstrip("\n"), "shared:", "  head: {block: head, classes: $classes}")
    yield from ("nodes:", "  scaled: {layer: Rescaling, scale: $(1 / 127.5), offset: -1}")
    steps = last.bit_length() - 1
    for step in range(steps - 1):
        filters = MOST_FILTERS if step == steps - 2 else min(16 * 2**step, MOST_FILTERS)
        yield f"  down{step + 1}:  {{block: conv, filters: {filters}, strides: 2}}"
    yield f"  far:    {{block: conv, filters: {MOST_FILTERS}, strides: 2}}"
    yield "  larger: {layer: UpSampling2D, size: 2}"
    yield f"  near:   {{merge: add, from: [down{steps - 1}, larger]}}"
    yield from ("  small:  {call: head, from: near}", "  large:  {call: head, from: far}")
    yield "  boxes:  {merge: concatenate, axis: 1, from: [small, large]}"
    yield from ("outputs:", "  boxes:", f"    loss: {{name: detection, strides: [{first}, {last}]}}")
    yield "    metrics: [mean_average_precision, {name: mean_average_precision, iou: 0.5, as: map50}]"
    yield from ("data:", f"  train: {train}")
    yield "  validation: {split: 0.2}  # a random fifth of the pictures measures the model"
    root = f", root: {flow(profile.root)}" if profile.root else ""
    yield from (
        "  features:",
        f"    # resized to {height} x {width}; predictions are in pixels of the picture",
    )
    yield f"    image: {{encode: image{root}}}"
    yield "    # if mirrored pictures mean the same, add `augment: [{layer: RandomFlip, mode: horizontal}]`"
    yield "    boxes: {encode: boxes, format: coco}"
    yield from ("", *training(0.002, 100, 16, 15, plateau=7))
