"""Predicted masks as pictures, with a palette, in the size of the pictures that they are of; and laid over
these.
"""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphspec.data.encoders.base import Encoder
from graphspec.data.encoders.images import ImageEncoder, library
from graphspec.data.encoders.masks import MaskEncoder
from graphspec.data.rows.outputs import MaskWritten, OutputColumns, unrolled
from graphspec.elaborated import BaseProgram

Array = NDArray[Any]
SHARE = 0.5
"""How much of the colour of its class a pixel of an overlay has."""
UNCOUNTED = 128
"""The grey of pixels whose class does not count."""
TURN = 0.618033988749895
"""How far around the circle of hues the next class is: so any number of classes lie apart."""


def colours(count: int) -> NDArray[np.uint8]:
    """A colour for each class, [count, 3]: black for the first, which mostly is the background."""
    hues = [colorsys.hsv_to_rgb((index * TURN) % 1, 0.8, 0.95) for index in range(1, count)]
    return (np.array([(0, 0, 0), *hues]) * 255).round().astype(np.uint8)


def is_mask(columns: OutputColumns) -> bool:
    """Whether an output is written as a mask."""
    return isinstance(columns, MaskWritten)


def confusion(right: Array, called: Array, classes: int) -> Array:
    """[classes, classes]: how often a target of one class (row) was called another (column)."""
    cells = np.clip(right, 0, classes - 1) * classes + called
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def compared(
    right: Array, called: Array, there: Array, shape: Sequence[int], labels: Sequence[str]
) -> tuple[dict[str, NDArray[np.uint8]], list[str], float]:
    """A mask and its prediction as pictures, with where they differ; in words, the shares of their classes;
    and their mean IoU. The classes of pixels are [height * width], as is which of them count.
    """
    count = len(labels)
    palette = colours(count)
    target = palette[np.clip(right, 0, count - 1)]
    drawn = {"target": target, "predicted": palette[called], "differs": palette[called]}
    drawn["differs"] = np.where((called != right)[:, None], drawn["differs"], 0)
    for key in ("target", "differs"):
        drawn[key] = np.where(there[:, None], drawn[key], UNCOUNTED)
    table = confusion(right[there], called[there], count)
    both, either = table.diagonal(), table.sum(0) + table.sum(1) - table.diagonal()
    shares = (table.sum(axis) / max(1, table.sum()) for axis in (1, 0))
    texts = [
        ", ".join(f"{label}: {share:.1%}" for label, share in zip(labels, each, strict=True) if share)
        for each in shares
    ]
    pictures = {key: each.astype(np.uint8).reshape(*shape, 3) for key, each in drawn.items()}
    return pictures, texts, float(np.mean(both[either > 0] / either[either > 0])) if either.any() else 0.0


class Masks:
    """The outputs of a run that are masks, and what reads the picture that they are of."""

    def __init__(self, program: BaseProgram, encoders: Mapping[str, Encoder], picture: ImageEncoder):
        self.picture = picture
        self.encoders: dict[str, MaskEncoder] = {}
        for name, output in program.outputs.items():
            encoder = encoders.get(output.target)
            if isinstance(encoder, MaskEncoder):
                self.encoders[name] = encoder

    def image(self, name: str, runs: Sequence[int], size: tuple[int, int]) -> Any:
        """A mask as an image with a palette, whose positions are the pixel values of training. `size` is the
        width and height of its picture.
        """
        encoder = self.encoders[name]
        mask = self.picture.undone(library().fromarray(unrolled(runs, encoder.size[0])), size)
        palette = np.zeros((256, 3), np.uint8)
        palette[encoder.values] = colours(len(encoder.values))
        mask.putpalette(palette.reshape(-1).tolist())
        return mask

    def over(self, picture: Any, mask: Any) -> Any:
        """A picture with the colours of a mask over it, but where the first class is."""
        colours = mask.convert("RGB")
        shown = library().fromarray(np.asarray(colours).any(-1).astype(np.uint8) * 255)
        return library().composite(library().blend(picture, colours, SHARE), picture, shown)

    def classes(self) -> Mapping[str, Any]:
        """By output, the pixel value and the colour of each class."""
        return {
            name: [
                {"value": value, "color": "#" + bytes(colour).hex()}
                for value, colour in zip(encoder.values, colours(len(encoder.values)), strict=True)
            ]
            for name, encoder in self.encoders.items()
        }
