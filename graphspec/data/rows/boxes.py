"""Boxes as arrays: left, top, right and bottom along the last axis."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
FREE = -1
"""Fills rows without a box."""
VISIBLE = 0.1
"""The share of its area that has to be left of a box that is cut off."""


def clipped(boxes: Array, width: float, height: float, least: float = VISIBLE) -> tuple[Array, Array]:
    """The parts of boxes, [n, 4], in a picture; and of which more than the share `least` is left, [n]."""
    inside = np.clip(boxes, 0, np.array([width, height, width, height], boxes.dtype))
    area, left = _area(boxes), _area(inside)
    return inside, (left > 0) & (left >= least * area)


def _area(boxes: Array) -> Array:
    return np.asarray(np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(1))
