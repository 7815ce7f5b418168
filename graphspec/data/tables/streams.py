"""The bytes of a text file: decompressed, in UTF-8, and read once from front to back."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from graphspec.data.files import COMPRESSED
from graphspec.diagnostics import fail

BLOCK = 4 * 2**20
"""Bytes that are read at a time. No row of a text file may be longer."""
ROW = 2 * BLOCK
"""Where two blocks hold a row that is longer than one, it is read all the same; none is longer than this."""
COMPRESSION = {".gz": "gzip", ".zst": "zstd"}


class Utf8:
    """A file as a stream of UTF-8 bytes, for pyarrow; counts the quotes that go by.

    What is UTF-8 already is passed on unseen. Raises UnicodeError and OSError.
    """

    def __init__(self, path: Path, encoding: str):
        ending = path.suffix.lower()
        self._source = pa.input_stream(
            str(path), compression=COMPRESSION.get(ending) if ending in COMPRESSED else None
        )
        known = codecs.lookup(encoding).name
        self._decoder = None if known in ("utf-8", "utf-8-sig") else codecs.getincrementaldecoder(encoding)()
        self._ahead = b""
        self.quotes = 0
        self.closed = False

    def read(self, size: int = -1) -> bytes:
        while len(self._ahead) < size or size < 0:
            raw = self._source.read(BLOCK if size < 0 else max(size, 2**16))
            if self._decoder is None:
                encoded = raw
            else:
                encoded = self._decoder.decode(raw, final=not raw).encode("utf-8", "surrogatepass")
            self._ahead = self._ahead + encoded if self._ahead else encoded
            if not raw:
                break
        taken = self._ahead if size < 0 else self._ahead[:size]
        self._ahead = self._ahead[len(taken) :]
        self.quotes += taken.count(b'"')
        return taken

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        self._source.close()
        self.closed = True


@contextmanager
def utf8(path: Path, encoding: str = "utf-8") -> Iterator[Utf8]:
    """The bytes of a file. Turns what is wrong with its encoding or compression into `SpecError`."""
    try:
        stream = Utf8(path, encoding)
        try:
            yield stream
        finally:
            stream.close()
    except UnicodeError as error:
        help = "name the `encoding` that it has: {path: ..., encoding: latin-1}"
        raise fail("data-format", f"`{path}` is not text in {encoding}: {error}", help) from None
    except OSError as error:
        if path.suffix.lower() not in COMPRESSED:
            raise
        what = "cut off" if "runcated" in str(error) else f"damaged: {error}"
        raise fail("data-format", f"`{path}` is {what}", "write or download it again") from None


def text_lines(stream: Utf8) -> Iterator[str]:
    """The lines of a text, each with its end; one of more than `ROW` characters in pieces."""
    text = io.TextIOWrapper(io.BufferedReader(_Raw(stream)), "utf-8-sig", "replace", newline="")
    while line := text.readline(ROW):
        yield line


class _Raw(io.RawIOBase):
    """A stream of bytes as Python's text reader wants it."""

    def __init__(self, stream: Utf8):
        self.stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self.stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


OTHERS = {
    b"\x1f\x8b": ("compressed with gzip", "rename it to `{}.gz`"),
    b"\x28\xb5\x2f\xfd": ("compressed with zstd", "rename it to `{}.zst`"),
    b"PK\x03\x04": ("a ZIP archive, such as an Excel workbook", "unpack it, or save the sheet as .csv"),
    b"\xd0\xcf\x11\xe0": ("an Excel workbook", "save the sheet as .csv"),
    b"PAR1": ("a Parquet file", "rename it to end with .parquet"),
    b"<!doctype": ("a web page", "download the file itself again"),
    b"<html": ("a web page", "download the file itself again"),
    b"%PDF": ("a PDF document", "take the data that it was made of"),
}
"""How files begin that are no text of rows: what they are, and what to do about it."""


def need_text(file: str, start: bytes) -> None:
    """Raises `SpecError` (data-format) for a file that begins as one of another format."""
    for magic, (what, help) in OTHERS.items():
        if start[: len(magic)].lower() == magic.lower():
            raise fail("data-format", f"`{file}` is {what}", help.format(file))


def head(path: Path, encoding: str = "utf-8") -> tuple[bytes, bool]:
    """The first block of a file, and whether that is all of it."""
    with utf8(path, encoding) as stream:
        start = stream.read(BLOCK)
        return start.removeprefix(b"\xef\xbb\xbf"), len(start) < BLOCK
