"""Arrays whose memory torch can share."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray


def shareable(array: NDArray[Any]) -> NDArray[Any]:
    """The array; a copy where torch cannot share its memory, which runs backwards or may not be written."""
    flags = array.flags
    if flags.writeable and (flags.c_contiguous or min(array.strides, default=0) >= 0):
        return array
    return array.copy()
