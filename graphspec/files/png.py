"""Pictures as PNG, without a library."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

TYPES = {1: 0, 3: 2, 4: 6}
"""By the number of channels what a PNG calls them: grey, colours, colours with opacity."""


def png(pixels: NDArray[np.uint8]) -> bytes:
    """A picture [height, width, channels], of 1, 3 or 4 channels, as PNG."""
    height, width, channels = pixels.shape
    rows = b"".join(b"\0" + pixels[row].tobytes() for row in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, TYPES[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(part)) + kind + part + struct.pack(">I", zlib.crc32(kind + part))
        for kind, part in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def sheet(pictures: NDArray[Any], black: float, white: float) -> NDArray[np.uint8]:
    """Pictures [n, height, width, channels] side by side in rows, small ones enlarged; one picture as it is.

    Values from `black` to `white` become 0 to 255.
    """
    scaled = (pictures.astype(np.float64) - black) / (white - black)
    pixels = (scaled.clip(0, 1) * 255).round().astype(np.uint8)
    count, height, width, channels = pixels.shape
    if count == 1:
        return np.asarray(pixels[0])
    factor = max(1, SMALL // max(height, width))
    pixels = pixels.repeat(factor, 1).repeat(factor, 2)
    across = int(np.ceil(count**0.5))
    down, gap = -(-count // across), max(1, factor // 4)
    step = height * factor + gap, width * factor + gap
    made = np.full((down * step[0] - gap, across * step[1] - gap, channels), 255, np.uint8)
    for number, each in enumerate(pixels):
        top, left = number // across * step[0], number % across * step[1]
        made[top : top + height * factor, left : left + width * factor] = each
    return made


SMALL = 48
"""Pixels that a picture of a sheet has at least along its longer side, or almost."""
