"""A first spec for pictures with boxes."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from graphspec.data.drafting.box_sources import BoxData
from graphspec.data.drafting.parts import training
from graphspec.data.drafting.words import on_a_line

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


def draft_boxes(name: str, path: str, found: BoxData) -> str:
    """The text of a spec that finds boxes, of data that people write as `path`."""
    return "\n".join(_lines(name, path, found)) + "\n"


def _lines(name: str, path: str, found: BoxData) -> Iterator[str]:
    profile = found.profile
    side = median(found.sides or [0.1]) * (profile.height * profile.width) ** 0.5
    first = FINEST
    while first < COARSEST and 2 * first * POINTS <= side:
        first *= 2
    last = 2 * first
    height, width = (max(1, round(size / last)) * last for size in (profile.height, profile.width))
    count = len(found.classes)
    named = on_a_line(", ".join(found.classes[:8])) + (", ..." if count > 8 else "")
    yield f"# A first spec for {on_a_line(path)}, to start from. It finds {count} classes of boxes: {named}."
    yield f"# Check it with `graphspec check {name}.yaml`, train it with `graphspec train {name}.yaml`."
    yield f"# {found.count:,} boxes, whose sides are about {side:.0f} pixels of the input."
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
    yield from ("data:", f"  train: {found.train}")
    if found.validation is not None:
        yield f"  validation: {found.validation}"
    else:
        yield "  validation: {split: 0.2}  # a random fifth of the pictures measures the model"
    yield from (
        "  features:",
        f"    # resized to {height} x {width}; predictions are in pixels of the picture",
    )
    yield f"    image: {found.image}"
    yield "    # if mirrored pictures mean the same, add `augment: [{layer: RandomFlip, mode: horizontal}]`"
    yield f"    boxes: {found.boxes}"
    yield from ("", *training(0.002, 100, 16, 15, plateau=7))
