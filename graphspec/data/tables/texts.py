"""`.txt`: each file is a document, a row with the columns `file` and `text`. For what joins documents, rows
are pieces of them, which fit in memory however long a document is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from graphspec.data.columns import TablePart
from graphspec.data.files import DataFile
from graphspec.data.tables.base import CHUNK, Table
from graphspec.data.tables.streams import head, need_text, utf8
from graphspec.diagnostics import Span, SpecError, fail

PIECE = 2**20
"""Bytes of a piece, at most about."""
LONGEST = 2**28
"""Bytes of a document that is one row, at most."""
MARK, LETTER = b"\xef\xbb\xbf", 4
"""The mark at the begin of some texts, and bytes of a character at most."""
Rows = NDArray[np.int64]


class TextFiles(Table):
    """Files of text, in the order of their names."""

    def __init__(self, path: Path, files: Sequence[Path], options: DataFile):
        super().__init__(path, ())
        self.files, self.encoding = files, options.encoding
        self.root = files[0].parent
        self._pieces: list[int] | None = None
        """How many pieces each document has; None where rows are documents."""
        self._border: int | None = None

    @cached_property
    def columns(self) -> Mapping[str, pa.DataType]:
        for file in self.files[:1]:
            need_text(str(file), head(file, self.encoding)[0])
        return {"file": pa.string(), "text": pa.string()}

    def place(self, row: int) -> str:
        document = row if self._pieces is None else int(self.documents[row])
        return f"`{self.files[document].name}`" if len(self.files) > 1 else "the text"

    def lacks(self, name: str, span: Span | None = None, help: str | None = None) -> SpecError:
        told = "a .txt file is one text, its column is `text`; a table of text ends in .csv or .tsv"
        note = "it has `file`, `text`"
        return fail("data-column", f"`{self.file}` has no column `{name}`", told, note, span=span)

    def holds_rows(self) -> bool:
        return any(file.stat().st_size for file in self.files)

    def _scan(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        names: list[str] = []
        texts: list[bytes] = []
        for file in self.files:
            for text in self._texts(file):
                names.append(file.name)
                texts.append(text)
                if sum(map(len, texts)) > CHUNK:
                    yield _table(columns, names, texts)
                    names, texts = [], []
        if names:
            yield _table(columns, names, texts)

    def _texts(self, file: Path) -> Iterator[bytes]:
        if self._pieces is not None:
            yield from pieces(file, self.encoding, self._border)
            return
        parts: list[bytes] = []
        for part in pieces(file, self.encoding):
            parts.append(part)
            if sum(map(len, parts)) > LONGEST:
                message = f"`{file}` has more than {LONGEST >> 20} MiB, and is one row"
                raise fail("data-format", message, "`pack: 256` of its feature makes rows of a long text")
        yield b"".join(parts)

    # --- pieces

    def cut(self, share: float | None, first: int) -> None:
        """From now on rows are pieces of the `first` documents. With `share` the only document is cut in two
        at the end of a line, so that its second part has that share of it: `documents` gives its pieces the
        number 1.
        """
        self.files, self._kept = self.files[:first], None
        sizes = [[len(each) for each in _raw(file, self.encoding)] for file in self.files]
        if share is not None:
            sizes[0] = self._halves(sizes[0], share)
        self._pieces = [len(each) for each in sizes]
        self.documents = np.repeat(np.arange(len(self.files)), self._pieces)
        if share is not None:
            self.documents = (np.cumsum(sizes[0]) > (self._border or 0)).astype(np.int64)

    def _halves(self, sizes: list[int], share: float) -> list[int]:
        """Finds where the only document is cut; the sizes of its pieces then."""
        wanted, begin = int(sum(sizes) * (1 - share)), 0
        for piece in _raw(self.files[0], self.encoding):
            if begin + len(piece) > wanted:
                self._border = begin + _end(piece, wanted - begin)
                break
            begin += len(piece)
        return [len(each) for each in _raw(self.files[0], self.encoding, self._border)]

    @property
    def last(self) -> NDArray[np.bool_]:
        """Which pieces end a document."""
        assert self._pieces is not None
        ends = np.zeros(sum(self._pieces), bool)
        ends[np.cumsum(self._pieces)[np.array(self._pieces) > 0] - 1] = True
        return ends

    def names(self) -> TablePart:
        """The documents, by the names of their files."""
        table = pa.table({"file": [file.name for file in self.files]})
        place: Callable[[int], str] = lambda row: f"`{self.files[row].name}`"  # noqa: E731
        return TablePart(table, np.arange(len(self.files)), self.file, place)


def _table(columns: Sequence[str], names: list[str], texts: list[bytes]) -> pa.Table:
    made = {"file": pa.array(names, pa.string()), "text": pa.array(texts, pa.binary()).cast(pa.string())}
    return pa.table({name: made[name] for name in columns})


def pieces(file: Path, encoding: str, border: int | None = None) -> Iterator[bytes]:
    """A text in pieces that end with a line, or where a line is too long with a word; one ends at the byte
    `border`. Lines end in a newline alone.
    """
    for piece in _raw(file, encoding, border):
        yield piece.replace(b"\r\n", b"\n") if b"\r" in piece else piece


def _raw(file: Path, encoding: str, border: int | None = None) -> Iterator[bytes]:
    with utf8(file, encoding) as stream:
        data, begin, more = stream.read(PIECE).removeprefix(MARK), 0, True
        while data or more:
            while more and len(data) < PIECE + LETTER:
                block = stream.read(PIECE)
                data, more = data + block, bool(block)
            if not data:
                break
            end = len(data) if not more and len(data) <= PIECE else _end(data, PIECE)
            if border is not None and begin < border:
                end = min(end, border - begin)
            piece, data = data[:end], data[end:]
            piece.decode("utf-8")  # of a text in UTF-8 nobody has looked at the bytes
            begin += end
            yield piece


def _end(data: bytes, most: int) -> int:
    """Where a piece of at most so many bytes ends: after a line, or a word, or a character, of which it has
    one at least.
    """
    for separator in (b"\n", b" "):
        if (end := data.rfind(separator, 0, most) + 1) > 0:
            return end
    end = max(1, most)
    while end < len(data) and data[end] & 0xC0 == 0x80:
        end += 1
    return end
