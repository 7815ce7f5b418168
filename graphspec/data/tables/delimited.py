"""`.csv` and `.tsv`: a header, then rows of cells, every one of them text.

Quotes are those of RFC 4180: a cell in quotes may hold the delimiter, line breaks, and quotes written twice.
Nothing is inferred and nothing trimmed but the names of columns. Lines are physical lines.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as reader

from graphspec.data.files import COMPRESSED, DataFile
from graphspec.data.mistakes import in_line, not_utf8
from graphspec.data.tables.base import Table
from graphspec.data.tables.streams import BLOCK, ROW, head, need_text, text_lines, utf8
from graphspec.diagnostics import Span, SpecError, fail, gain

DELIMITERS = {",": ",", ";": ";", "\t": "\\t", "|": "|"}
"""Those that people use, as a spec writes them."""
NO_ROWS = ("Empty CSV", "Could not skip")
"""The messages of pyarrow for a file that ends with its header."""


class Delimited(Table):
    """A file of delimited text. Empty lines between rows do not count, but where there is one column."""

    empty_help = "its first line is the header: write a line for each example below it"

    def __init__(self, path: Path, options: DataFile, na_values: Sequence[str]):
        super().__init__(path, na_values)
        self.path, self.encoding, self.decimal = path, options.encoding, options.decimal
        bare = path.name.lower()
        for ending in COMPRESSED:
            bare = bare.removesuffix(ending)
        self.delimiter = options.delimiter or ("\t" if bare.endswith(".tsv") else ",")
        self.names, self.header_lines = self._header()
        self.unnamed = [place for place, name in enumerate(self.names, 1) if not name]

    @property
    def columns(self) -> Mapping[str, pa.DataType]:
        return {name: pa.string() for name in self.names if name}

    def place(self, row: int) -> str:
        for index, (line, _) in enumerate(self._rows()):
            if index == row:
                return f"line {line}"
        return super().place(row)

    def span(self, row: int, name: str) -> Span | None:
        for index, (line, cells) in enumerate(self._rows()):
            if index == row:
                return self._cell(line, cells, name)
        return None

    def _cell(self, line: int, cells: Sequence[str], name: str) -> Span:
        """The characters of a cell of the row that begins at a line; of the line where quotes hide them."""
        text = self._line(line)
        position = self.names.index(name) if name in self.names else len(cells)
        written = text.split(self.delimiter)
        if written != list(cells) or position >= len(cells):
            return in_line(self.file, line, text)
        start = sum(len(cell) + 1 for cell in cells[:position])
        return in_line(self.file, line, text, start, start + len(cells[position]))

    def _cells_help(self, written: str, count: int) -> str:
        """The remedy for a row that has not as many cells as the header."""
        if written.count('"') % 2:
            return 'a quote in it does not close: close it, or write "" for a quote in a cell'
        if count > len(self.names):
            return "put a cell that contains the delimiter in quotes"
        other = next((each for each in DELIMITERS if written.count(each) == len(self.names) - 1 > 0), None)
        if other is not None and count == 1:
            return f"it has another delimiter, {DELIMITERS[other]}: write it as the others"
        mark = DELIMITERS.get(self.delimiter, self.delimiter)
        return f"write the cells that it lacks: of a missing value, nothing but its `{mark}`"

    def _line(self, number: int) -> str:
        with utf8(self.path, self.encoding) as stream:
            return next(islice(text_lines(stream), number - 1, None), "").rstrip("\r\n")

    @property
    def other_delimiter(self) -> str | None:
        """The delimiter that the file seems to have, where that is another one."""
        if len(self.names) > 1:
            return None
        counts = {other: self.names[0].count(other) for other in DELIMITERS if other != self.delimiter}
        best = max(counts, key=lambda other: counts[other])
        return best if counts[best] else None

    def delimiter_help(self) -> str | None:
        other = self.other_delimiter
        if other is None:
            return None
        named = f'"{DELIMITERS[other]}"'
        return (
            f"its header seems to use another delimiter: {{path: ..., delimiter: {named}}}; "
            f"`predict` and `evaluate` take `--delimiter {named}`"
        )

    def lacks(self, name: str, span: Span | None = None, help: str | None = None) -> SpecError:
        told, other = self.delimiter_help(), self.other_delimiter
        if told is None or other is None:
            return super().lacks(name, span, help)
        told = gain({"delimiter": other}, told, safe=name in self.names[0].split(other))
        return fail("data-column", f"`{self.file}` has no column `{name}`", told, span=span)

    # --- reading

    def _header(self) -> tuple[tuple[str, ...], int]:
        """The names of the columns, and how many lines come before the first row."""
        start, complete = head(self.path, self.encoding)
        need_text(self.file, start)
        if self.encoding.lower().replace("_", "-") in ("utf-8", "utf8") and (
            start[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in start[:4]
        ):
            help = not_utf8("utf-16")
            raise fail("data-format", f"`{self.file}` is not UTF-8 text, and looks like UTF-16", help)
        try:
            with _long_cells():
                rows = csv.reader(
                    io.StringIO(start.decode("utf-8", "replace"), newline=""), delimiter=self.delimiter
                )
                cells = next((cells for cells in rows if cells), None)
                lines = rows.line_num
        except csv.Error as error:
            raise fail("data-format", f"`{self.file}` is not a table: {error}") from None
        if cells is None:
            raise fail("data-empty", f"`{self.file}` is empty", "the first line of a table names its columns")
        if not complete and start.count(b"\n") < lines:
            raise fail("data-format", f"the header of `{self.file}` is longer than {BLOCK >> 20} MiB")
        names = tuple(cell.strip() for cell in cells)
        if not any(names):
            raise fail("data-empty", f"the first line of `{self.file}` names no column", self.empty_help)
        if "\ufffd" in start[: start.find(b"\n")].decode("utf-8", "replace"):
            raise self._not_utf8()
        seen: set[str] = set()
        for name in filter(None, names):
            if name in seen:
                row = (
                    "; if the first line is a row, write a line of names above it" if _is_number(name) else ""
                )
                what = f"`{self.file}` has two columns `{name}`"
                raise fail("data-column", what, f"rename one of them{row}")
            seen.add(name)
        return names, lines

    def _scan(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        wanted = [f"c{self.names.index(name)}" for name in columns]
        with utf8(self.path, self.encoding) as stream:
            try:
                batches = reader.open_csv(
                    stream,
                    reader.ReadOptions(
                        block_size=BLOCK,
                        use_threads=False,
                        skip_rows=self.header_lines,
                        column_names=[f"c{index}" for index in range(len(self.names))],
                    ),
                    reader.ParseOptions(
                        delimiter=self.delimiter,
                        newlines_in_values=True,
                        ignore_empty_lines=len(self.names) > 1,
                    ),
                    reader.ConvertOptions(
                        include_columns=wanted,
                        column_types=dict.fromkeys(wanted, pa.string()),
                        null_values=[],
                    ),
                )
                for batch in batches:
                    yield pa.table(batch.columns, names=list(columns))
            except pa.ArrowInvalid as error:
                if not any(words in str(error) for words in NO_ROWS):
                    raise self._explained(error) from None
        if stream.quotes % 2:
            self._quotes_close()

    # --- mistakes

    def _rows(self, strict: bool = False) -> Iterator[tuple[int, list[str]]]:
        """The line that each row begins at, and its cells."""
        with utf8(self.path, self.encoding) as stream, _long_cells():
            row = _Row(text_lines(stream))
            rows = csv.reader(row, delimiter=self.delimiter, strict=strict)
            line = 1
            try:
                for cells in rows:
                    row.length = row.quotes = 0
                    if line > self.header_lines and (cells or len(self.names) == 1):
                        yield line, cells or [""]
                    line = rows.line_num + 1
            except _LongRow:
                what, size = f"the row of line {line} of `{self.file}`", f"{BLOCK >> 20} MiB"
                if row.quotes % 2:
                    message = f"a quote that opens in {what} is not closed within {size}"
                    raise fail("data-format", message, "close the quote") from None
                raise fail("data-format", f"{what} is longer than {size}") from None
            except csv.Error as error:
                raise _Misread(line, str(error)) from None

    def _explained(self, error: pa.ArrowInvalid) -> SpecError:
        """Explains an error of pyarrow, with its place."""
        text = str(error)
        if "UTF8" in text:
            return self._not_utf8()
        if "straddling" in text:
            message = f"a row of `{self.file}` is longer than {BLOCK >> 20} MiB"
            return self._unclosed() or fail("data-format", message, "is a quote never closed?")
        try:
            for line, cells in self._rows():
                if len(cells) != len(self.names):
                    counts = f"{len(cells)} cells, and the header has {len(self.names)}"
                    written = self._line(line)
                    help = self.delimiter_help() or self._cells_help(written, len(cells))
                    span = in_line(self.file, line, written)
                    return fail("data-format", f"line {line} of `{self.file}` has {counts}", help, span=span)
        except _Misread as wrong:
            return fail("data-format", f"line {wrong.line} of `{self.file}` cannot be read: {wrong}")
        return fail("data-format", f"`{self.file}` is not a table: {text}")

    def _quotes_close(self) -> None:
        """Raises `SpecError` where the file ends inside of quotes."""
        error = self._unclosed()
        if error is not None:
            raise error

    def _unclosed(self) -> SpecError | None:
        try:
            for _ in self._rows(strict=True):
                pass
        except _Misread as error:
            if "unexpected end" in str(error):
                message = f"`{self.file}` ends inside a quote, which opens in the row of line {error.line}"
                help = "close the quote, or write the file again if it was cut off"
                return fail("data-format", message, help)
        return None

    def _not_utf8(self) -> SpecError:
        with utf8(self.path) as stream:
            data, before, lines = stream.read(BLOCK), b"", 0
            while data:
                text = before + data
                try:
                    text.decode("utf-8")
                except UnicodeDecodeError as error:
                    if error.end < len(text) or not (data := stream.read(BLOCK)):
                        line, byte = lines + text.count(b"\n", 0, error.start) + 1, text[error.start]
                        likely = "cp1252" if 0x80 <= byte < 0xA0 else "latin-1"
                        message = f"line {line} of `{self.file}` is not UTF-8 text: byte 0x{byte:02X}"
                        return fail("data-format", message, not_utf8(likely))
                    before, lines = text[error.start :], lines + text.count(b"\n", 0, error.start)
                    continue
                before, lines = b"", lines + text.count(b"\n")
                data = stream.read(BLOCK)
        return fail("data-format", f"`{self.file}` is not UTF-8 text")


class _LongRow(Exception):
    """A row that is longer than what is held of a file."""


class _Row:
    """The lines of a text, while they are short enough together; whoever has a row sets the counts to 0."""

    def __init__(self, lines: Iterator[str]):
        self.lines, self.length, self.quotes = lines, 0, 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self.lines)
        self.length += len(line)
        self.quotes += line.count('"')
        if self.length >= ROW:
            raise _LongRow
        return line


class _Misread(Exception):
    """A message of Python's reader about a row that begins at `line`."""

    def __init__(self, line: int, reason: str):
        super().__init__(reason)
        self.line = line


@contextmanager
def _long_cells() -> Iterator[None]:
    """The csv module of Python bounds a cell's length, once for the whole process."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?\d*\.?\d+", text) is not None
