"""`.jsonl`: one JSON object a line, its keys the columns; a key that a line lacks is missing there. A `.json`
file may be an array of such objects, which is read whole.

The columns are the keys of the first block. A column is of one kind: text, numbers, true and false, or lists
of one of them; whole numbers become others where both occur. In a column of text, other values are read as
they are written: a film called 300 is "300".
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.json as reader

from graphspec.data.files import DataFile
from graphspec.data.mistakes import in_line, not_utf8, shown
from graphspec.data.tables.base import Table
from graphspec.data.tables.python_values import DEPTH, as_text, in_words, kind_of, levels_of
from graphspec.data.tables.streams import BLOCK, head, need_text, utf8
from graphspec.diagnostics import Span, SpecError, fail
from graphspec.files.reading import parse_json

CELLS = 2**26
"""Cells that the lines of a block may fill as a table, where each of their keys is a column."""
WHOLE = 2**28
"""Bytes of a file that is an array, at most."""
COLUMN = 1024
"""Cells that take as much as a column without any."""
NO_OBJECT = re.compile(rb"^[ \t\r]*[^{ \t\r\n]", re.MULTILINE)
BLANK = re.compile(rb"^[ \t\r]*\n", re.MULTILINE)
STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"')


def _table(piece: bytes, schema: pa.Schema, others: Literal["infer", "error"] = "infer") -> pa.Table:
    """Whole lines, with columns of a known kind; `others` says what becomes of other columns."""
    options = reader.ReadOptions(block_size=len(piece) + 1, use_threads=False)
    parse = reader.ParseOptions(schema, newlines_in_values=False, unexpected_field_behavior=others)
    return reader.read_json(pa.BufferReader(piece), options, parse)


class Lines(Table):
    """A file of JSON lines."""

    def __init__(self, path: Path, options: DataFile, na_values: Sequence[str]):
        super().__init__(path, na_values)
        self.path, self.encoding = path, options.encoding
        self._kinds: dict[str, pa.DataType] = {}
        self._objects: bytes | None = None
        """The objects of an array, a line for each; None of a file that is lines itself."""
        if ".json" in (suffix.lower() for suffix in path.suffixes[-2:]):
            self._objects = self._array()

    @cached_property
    def columns(self) -> Mapping[str, pa.DataType]:
        need_text(self.file, head(self.path, self.encoding)[0])
        first = next(self._pieces(), None)
        table = self._read(*first) if first is not None else pa.table({})
        if not table.num_columns:
            raise fail(
                "data-empty", f"`{self.file}` holds no rows", 'each line is an object: {"x": 1, "y": 2}'
            )
        return {field.name: field.type for field in table.schema}

    def _array(self) -> bytes | None:
        """Raises `SpecError` (data-format) for an array of other things than objects."""
        need_text(self.file, head(self.path, self.encoding)[0])
        with utf8(self.path, self.encoding) as stream:
            start = stream.read(BLOCK).removeprefix(b"\xef\xbb\xbf")
            if not start.lstrip().startswith(b"["):
                return None
            rest = stream.read(WHOLE - len(start))
            if stream.read(1):
                message = f"`{self.file}` is larger than {WHOLE >> 20} MiB, and an array is read whole"
                raise fail("data-format", message, "write an object on each line, as .jsonl")
        try:
            rows = parse_json((start + rest).decode("utf-8"))
        except ValueError as error:
            raise fail("data-format", f"`{self.file}` is not JSON: {error}") from None
        for row, value in enumerate(rows):
            if not isinstance(value, dict):
                found = shown(json.dumps(value))
                message = f"row {row} of `{self.file}`, counting from 0, is not a JSON object: {found}"
                raise fail("data-format", message, 'a table is an array of objects: [{"x": 1, "y": 2}]')
        return b"".join(
            json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n" for row in rows
        )

    def place(self, row: int) -> str:
        if self._objects is not None:
            return super().place(row)
        number, _ = self._line(row)
        return f"line {number}" if number else super().place(row)

    def span(self, row: int, name: str) -> Span | None:
        if self._objects is not None:
            return None
        number, text = self._line(row)
        return _value(self.file, number, text, name) if number else None

    def _line(self, row: int) -> tuple[int, str]:
        """The number of the line that holds a row, and the line; 0 where there is none."""
        seen = 0
        for first, piece in self._pieces():
            for number, line in enumerate(piece.split(b"\n"), first):
                if line.strip():
                    if seen == row:
                        return number, line.decode("utf-8", "replace").rstrip("\r")
                    seen += 1
        return 0, ""

    def _settle(self) -> None:
        """Finds the columns of numbers that hold texts after the first block, before any of it is used."""
        numbers = {name for name in self.asked if not _is_text(self._kinds.get(name, pa.string()))}
        self.asked.clear()
        texts = {
            name: re.compile(re.escape(json.dumps(name).encode()) + rb'\s*:\s*\[?\s*"') for name in numbers
        }
        for _, piece in self._pieces() if texts else ():
            for name in [name for name, text in texts.items() if text.search(piece)]:
                kind = self._kinds[name]
                self._kinds[name] = pa.list_(pa.string()) if pa.types.is_list(kind) else pa.string()
                del texts[name]

    def _scan(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        types = self.columns
        self._settle()
        for first, piece in self._pieces():
            table = self._read(first, piece)
            if table.num_rows:
                yield pa.table(
                    [
                        table[name] if name in table.column_names else pa.nulls(table.num_rows, types[name])
                        for name in columns
                    ],
                    names=list(columns),
                )

    def _pieces(self) -> Iterator[tuple[int, bytes]]:
        """Whole lines, about a block of them at a time, each with the number of its first line."""
        with utf8(self.path, self.encoding) if self._objects is None else BytesIO(self._objects) as stream:
            line, rest, data = 1, b"", stream.read(BLOCK).removeprefix(b"\xef\xbb\xbf")
            while data:
                block = rest + data
                end = block.rfind(b"\n") + 1
                if not end and len(block) > BLOCK:
                    raise fail(
                        "data-format", f"line {line} of `{self.file}` is longer than {BLOCK >> 20} MiB"
                    )
                if end:
                    yield line, block[:end]
                    line += block.count(b"\n", 0, end)
                rest, data = block[end:], stream.read(BLOCK)
            if rest.strip():
                yield line, rest + b"\n"

    # --- one piece

    def _read(self, first: int, piece: bytes) -> pa.Table:
        """The rows of whole lines; `first` is the number of the first line."""
        match = NO_OBJECT.search(piece)
        if match is not None:
            raise self._no_object(first + piece.count(b"\n", 0, match.end()), piece, match.end())
        self._not_deep(first, piece)
        if not piece.strip():
            return pa.table({})
        try:
            if not piece.isascii():
                piece.decode("utf-8")  # pyarrow takes any bytes
            table = self._parsed(first, piece)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError) as error:
            raise self._explained(first, piece, str(error)) from None
        if table.num_rows != piece.count(b"\n") + (not piece.endswith(b"\n")) - len(BLANK.findall(piece)):
            raise self._explained(first, piece, "a row is not one line")
        return table

    def _parsed(self, first: int, piece: bytes) -> pa.Table:
        known = {name: kind for name, kind in self._kinds.items() if not pa.types.is_null(kind)}
        if known:
            with suppress(pa.ArrowInvalid, pa.ArrowNotImplementedError):  # of other keys, or other kinds
                return _table(piece, pa.schema(known), others="error")
        self._not_wide(first, piece)
        while True:
            schema = pa.schema({name: kind for name, kind in known.items() if _is_text(kind)})
            try:
                table = _table(piece, schema)
            except pa.ArrowInvalid:
                table = _table(written(piece, schema.names), schema)
            dates = {f.name: _without_dates(f.type) for f in table.schema if f.type != _without_dates(f.type)}
            if not dates:
                break
            known |= dates
        for field in table.schema:
            self._kinds[field.name] = _joined(field.name, self._kinds.get(field.name), field.type)
        return table

    def _not_wide(self, first: int, piece: bytes) -> None:
        """Raises `SpecError` where lines have so many different keys that pyarrow would fill the memory with
        columns of nothing.
        """
        rows = piece.count(b"\n") + COLUMN
        keys: set[str] = set()
        for line, raw in enumerate(piece.split(b"\n"), first):
            with suppress(ValueError, RecursionError):  # pyarrow says what is wrong with it
                keys.update(_keys(json.loads(raw)))
            if len(keys) * rows > CELLS:
                message = f"the lines of `{self.file}` up to line {line} have {len(keys):,} different keys"
                help = "each key is a column: write keys that vary as values, or as a list"
                raise fail("data-format", message, help, span=in_line(self.file, line))

    def _not_deep(self, first: int, piece: bytes) -> None:
        """Raises `SpecError` where a line is nested too deeply for pyarrow's parser."""
        letters = np.frombuffer(piece, np.uint8)
        ends = np.flatnonzero(letters == 10)
        opening = np.concatenate(([0], np.cumsum((letters == 91) | (letters == 123), dtype=np.int64)))
        borders = np.concatenate(([0], ends + 1, [len(piece)]))
        for index in np.flatnonzero(np.diff(opening[borders]) > DEPTH):
            line = np.frombuffer(STRING.sub(b"", piece[borders[index] : borders[index + 1]]), np.uint8)
            steps = np.isin(line, (91, 123)).astype(np.int64) - np.isin(line, (93, 125))
            if np.cumsum(steps).max(initial=0) > DEPTH:
                raise fail(
                    "data-format", f"line {first + index} of `{self.file}` is nested deeper than {DEPTH}"
                )

    # --- mistakes

    def _no_object(self, line: int, piece: bytes, at: int) -> SpecError:
        start = piece[at - 1 : at + 60].split(b"\n")[0].decode("utf-8", "replace")
        help = 'a .jsonl file has one object a line: {"x": 1, "y": 2}'
        if start.startswith("["):
            help = f"{help}; this looks like one JSON array: write its elements line by line"
        return fail(
            "data-format",
            f"line {line} of `{self.file}` is not a JSON object: it begins with {shown(start)}",
            help,
        )

    def _explained(self, first: int, piece: bytes, reason: str) -> SpecError:
        """The first line that is no object of the columns' kinds."""
        kinds: dict[tuple[str, int], tuple[str, int, Any]] = {}
        lines = [(line, raw) for line, raw in enumerate(piece.split(b"\n"), first) if raw.strip()]
        for line, raw in lines:
            where = f"line {line} of `{self.file}`"
            try:
                row = json.loads(raw.decode("utf-8"), object_pairs_hook=_once)
            except UnicodeDecodeError:
                span = in_line(self.file, line)
                return fail("data-format", f"{where} is not UTF-8 text", not_utf8("latin-1"), span=span)
            except (ValueError, RecursionError) as error:
                span = in_line(self.file, line, raw.decode("utf-8", "replace"))
                return fail("data-format", f"{where} is not a JSON object: {error}", _hint(raw), span=span)
            for name, depth, value in _elements(row):
                kind = kind_of(value)
                before = kinds.setdefault((name, depth), (kind, line, value))
                known = self._kinds.get(name) if not depth else None
                other = None
                if known is not None and not _is_text(known) and kind == "text":
                    other = f"{_called(known)} before"
                elif before[0] != kind and not as_text(before[0], kind):
                    other = f"{in_words(before[2])} in line {before[1]}"
                if other is not None:
                    what = f"{in_words(value)} in line {line}, and {other}"
                    message = f"column `{name}` of `{self.file}` holds {what}"
                    span = _value(self.file, line, raw.decode("utf-8", "replace"), name)
                    help = "give all values of a column the same type: text is in quotes"
                    return fail("data-dtype", message, help, span=span)
        row = re.search(r" in row (\d+)", reason)
        line = lines[int(row[1])][0] if row is not None and int(row[1]) < len(lines) else first
        reason = reason.removeprefix("JSON parse error: ").removesuffix(row[0] if row is not None else "")
        return fail("data-format", f"line {line} of `{self.file}` cannot be read: {reason}")


def _elements(row: Mapping[str, Any]) -> Iterator[tuple[str, int, Any]]:
    """The values of a row by name, and the elements of those that are lists, with their depth."""
    for name, value in row.items():
        for depth, level in enumerate(levels_of([(0, value)])):
            yield from ((name, depth, item) for _, item in level)


def _value(file: str, line: int, text: str, name: str) -> Span:
    """The characters of a key's value, where it is one number or text; of the line where it is none."""
    match = re.search(re.escape(json.dumps(name)) + r'\s*:\s*("(?:[^"\\]|\\.)*"|[^\s,\[{}\]]+)', text)
    return in_line(file, line, text, *match.span(1)) if match else in_line(file, line, text)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    for name, value in pairs:
        if name in entries:
            raise ValueError(f"the key `{name}` occurs twice")
        entries[name] = value
    return entries


def _keys(value: Any, before: str = "") -> Iterator[str]:
    """The paths of all keys of a JSON value."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield f"{before}.{key}"
            yield from _keys(inner, f"{before}.{key}")
    elif isinstance(value, list):
        for inner in value:
            yield from _keys(inner, before)


def _called(kind: pa.DataType) -> str:
    return "true and false" if pa.types.is_boolean(kind) else "lists" if pa.types.is_list(kind) else "numbers"


class AsWritten(str):
    """A number or a word of JSON, as it is written."""

    __slots__ = ()


def written(piece: bytes, texts: Collection[str]) -> bytes:
    """Whole lines in which columns of text hold nothing else: what is none gets quotes. Such columns are
    `texts`, and those with any text here. What is not JSON stays as it is.
    """
    lines = piece.split(b"\n")
    try:
        rows = [_decoded(line) if line.strip() else None for line in lines]
    except (ValueError, RecursionError):
        return piece
    names = {name for row in rows if row for name, value in row.items() if _has_text(value)}.union(texts)
    for index, row in enumerate(rows):
        quoted = {name: _quoted(row[name]) for name in names & row.keys()} if row else {}
        if row and any(quoted[name] is not row[name] for name in quoted):
            lines[index] = _encoded({**row, **quoted}).encode()
    return b"\n".join(lines)


def _decoded(line: bytes) -> dict[str, Any]:
    """A row whose numbers, true and false are `AsWritten`."""
    text = line.decode("utf-8")
    row = json.loads(text, parse_int=AsWritten, parse_float=AsWritten, object_pairs_hook=_once)
    if not isinstance(row, dict):
        raise ValueError
    return row


def _has_text(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_has_text, value))
    return isinstance(value, str) and not isinstance(value, AsWritten)


def _quoted(value: Any) -> Any:
    """A value, or one of its elements, as text."""
    if isinstance(value, list):
        items = [_quoted(item) for item in value]
        return value if all(a is b for a, b in zip(items, value, strict=True)) else items
    if isinstance(value, bool):
        return str(value).lower()
    return str.__str__(value) if isinstance(value, AsWritten) else value


def _encoded(value: Any) -> str:
    """JSON of a decoded value."""
    if isinstance(value, AsWritten):
        return value
    if isinstance(value, dict):
        return f"{{{', '.join(f'{json.dumps(key)}: {_encoded(item)}' for key, item in value.items())}}}"
    return f"[{', '.join(map(_encoded, value))}]" if isinstance(value, list) else json.dumps(value)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or (pa.types.is_list(kind) and _is_text(kind.value_type))


def _without_dates(kind: pa.DataType) -> pa.DataType:
    """A date in quotes is text, as every text is."""
    if pa.types.is_timestamp(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_without_dates(kind.value_type))
    return kind


def _joined(name: str, before: pa.DataType | None, now: pa.DataType) -> pa.DataType:
    """The kind of a column after another piece. Raises ArrowInvalid where the two differ."""
    if before is None or pa.types.is_null(before):
        return now
    if pa.types.is_null(now):
        return before
    try:
        schemas = [pa.schema({name: before}), pa.schema({name: now})]
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except pa.ArrowTypeError as error:
        raise pa.ArrowInvalid(str(error)) from None


def _hint(line: bytes) -> str:
    """Explains a line that is not a JSON object."""
    text = line.strip()
    if text.endswith(b"},"):
        return "lines are not separated by commas: remove the comma at the end of each"
    if b"'" in text and b'"' not in text:
        return "JSON has double quotes: Python's `json.dumps` writes them"
    return 'a .jsonl file has one object a line: {"x": 1, "y": 2}'
