"""The pages of a Parquet file: what one value or one row of a column takes, before it is read.

Metadata of a file tells what a column takes in all, and not whether one row has it all. The header of each
page (Thrift's compact protocol) does, with the repetition levels of lists: 0 begins a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

HEADER = 2**16
"""Bytes that are read for a header at first."""
DATA, DICTIONARY, DATA_V2 = 0, 2, 3
"""Types of pages."""
RUNS = 3
"""The encoding of levels that all writers use: runs, and packed bits between them."""
CODECS = {"LZ4": "lz4_raw"}
DEEP = 4
"""Structs within structs of a header."""
Fields = dict[int, Any]


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a column: `size` are its bytes once decompressed, `values` their number, those of empty
    lists and gaps included; `start` is where its content lies in the file.
    """

    start: int
    size: int
    compressed: int
    values: int
    header: Fields

    @property
    def kind(self) -> int:
        return int(self.header[1])


def pages(file: pa.NativeFile, chunk: Any) -> Iterator[Page]:
    """The pages of a column in a row group. Raises ValueError where they are damaged."""
    at = min(filter(None, (chunk.dictionary_page_offset, chunk.data_page_offset)), default=0)
    end = at + chunk.total_compressed_size
    while at < end:
        header, length = _header(file, at)
        about: Fields = header.get(5) or header.get(7) or header.get(8) or {}
        page = Page(at + length, header[2], header[3], about.get(1, 0), header)
        if min(page.size, page.compressed, page.values) < 0:
            raise ValueError("a page has a negative size")
        yield page
        at = page.start + page.compressed


def longest_row(file: pa.NativeFile, chunk: Any, depth: int, most: int) -> int:
    """The most values of a row, in lists within lists, `depth` in all; from `most` on it is not exact."""
    longest = held = 0
    for page in pages(file, chunk):
        if page.kind not in (DATA, DATA_V2):
            continue
        starts = _starts(file, page, chunk.compression, depth) if page.values else np.zeros(0, np.int64)
        if not len(starts):
            held += page.values
        else:
            within = int(np.diff(starts).max(initial=0))
            longest = max(longest, held + int(starts[0]), within)
            held = page.values - int(starts[-1])
        longest = max(longest, held)
        if longest > most:
            break
    return longest


def _starts(file: pa.NativeFile, page: Page, compression: str, depth: int) -> np.ndarray:
    """Where rows begin among the values of a page."""
    if page.kind == DATA_V2:  # whose levels stand before what is compressed
        levels = file.read_at(page.header[8][6], page.start)
    elif page.header[5][4] != RUNS:
        return np.zeros(0, np.int64)
    else:
        content = file.read_at(page.compressed, page.start)
        if compression != "UNCOMPRESSED":
            codec = pa.Codec(CODECS.get(compression, compression.lower()))
            content = codec.decompress(content, page.size, asbytes=True)
        length = int.from_bytes(content[:4], "little")
        levels = content[4 : 4 + length]
    return np.flatnonzero(_levels(levels, depth.bit_length(), page.values) == 0)


def _levels(content: bytes, width: int, count: int) -> np.ndarray:
    """Numbers of `width` bits (at most 8) in runs of one number, or packed in groups of 8."""
    parts: list[np.ndarray] = []
    at = held = 0
    while held < count:
        head, at = _number(content, at)
        if head & 1:
            taken = (head >> 1) * width
            bits = np.unpackbits(np.frombuffer(content[at : at + taken], np.uint8), bitorder="little")
            part = np.packbits(bits.reshape(-1, width), axis=1, bitorder="little")[:, 0]
            at += taken
        else:
            part = np.broadcast_to(np.uint8(content[at]), min(head >> 1, count - held))
            at += 1
        if not len(part):
            raise ValueError("levels end early")
        parts.append(part[: count - held])
        held += len(parts[-1])
    return np.concatenate(parts)


def _header(file: pa.NativeFile, at: int) -> tuple[Fields, int]:
    """The header that begins there, and its length."""
    size = HEADER
    while True:
        content = file.read_at(size, at)
        try:
            return _struct(content, 0)
        except IndexError:  # of long statistics
            if len(content) < size:
                raise ValueError("a page has no whole header") from None
            size *= 4


def _struct(content: bytes, at: int, depth: int = 0) -> tuple[Fields, int]:
    """The fields of a struct of Thrift's compact protocol by their numbers; texts become None."""
    fields: Fields = {}
    number = 0
    while kind := content[at]:
        at += 1
        step, kind = kind >> 4, kind & 15
        if step:
            number += step
        else:
            number, at = _signed(content, at)
        fields[number], at = _value(content, at, kind, depth)
    return fields, at + 1


def _value(content: bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in (1, 2):  # true, false
        return kind == 1, at
    if kind == 3:
        return content[at], at + 1
    if kind in (4, 5, 6):
        return _signed(content, at)
    if kind == 8:
        length, at = _number(content, at)
        _ = content[at + length - 1] if length else None  # IndexError where there is less
        return None, at + length
    if kind == 12 and depth < DEEP:
        return _struct(content, at, depth + 1)
    raise ValueError("a page has an unknown header")


def _signed(content: bytes, at: int) -> tuple[int, int]:
    number, at = _number(content, at)
    return (number >> 1) ^ -(number & 1), at


def _number(content: bytes, at: int) -> tuple[int, int]:
    """A number of 7 bits a byte, the lowest first."""
    number = shift = 0
    while True:
        byte = content[at]
        at, number = at + 1, number | (byte & 127) << shift
        shift += 7
        if byte < 128:
            return number, at
        if shift > 63:
            raise ValueError("a page has an unknown header")
