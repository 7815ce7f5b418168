"""Files as named arrays, the first axis of each counting examples. Needs numpy, not torch.

`.npz`: one array for each input and target, by name. Pickled arrays are refused, and what an archive declares
is checked before any of it is read.

`.csv`: a header, then one line an example. An array `x` is the column `x`; or, for an array of several values
an example, the columns `x_0`, `x_1`, ... (or `x.0`, ..., or counted from 1), in row-major order of its axes.
"""

from __future__ import annotations

import csv
import os
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from graphspec.diagnostics import Diagnostic, SpecError, nearest
from graphspec.tensor import Dim

Array = NDArray[Any]


class Source(Protocol):
    """A data file that is open for reading arrays by name."""

    @property
    def file(self) -> str: ...

    def read(self, name: str, shape: tuple[Dim, ...]) -> Array:
        """The array `name`, whose examples should have `shape`. Raises `SpecError`."""
        ...

    def place(self, row: int) -> str:
        """Where an example stands in the file, in words."""
        ...


def open_source(path: Path) -> Source:
    """The file at `path`, by its suffix. Raises `SpecError`: data-missing, data-format, data-empty."""
    if not path.is_file():
        raise _missing(path)
    try:
        if path.suffix.lower() == ".npz":
            return Archive(str(path), _archive_members(path))
        if path.suffix.lower() == ".csv":
            return Table(str(path), _header(path))
    except OSError as error:
        raise fail("data-missing", f"`{path}` cannot be read: {error.strerror or error}") from None
    raise fail("data-format", f"`{path}` is neither .npz nor .csv", "this version reads .npz and .csv")


def fail(code: str, message: str, help: str | None = None, *notes: str) -> SpecError:
    """The error of one mistake in the data."""
    return SpecError([Diagnostic(code, message, None, help=help, notes=notes)])


def _missing(path: Path) -> SpecError:
    if path.is_dir():
        return fail("data-missing", f"`{path}` is a directory", "this version reads .npz and .csv files")
    there = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    word = nearest(path.name, there)
    return fail(
        "data-missing", f"there is no data file `{path}`", f"did you mean `{word}`?" if word else None
    )


def _lacks(file: str, what: str, name: str, there: list[str]) -> SpecError:
    """A column or array that is not in the file."""
    word = nearest(name, there)
    help = f"did you mean `{word}`? Name the {what} `{name}`, or set the output's `target`" if word else None
    shown = ", ".join(f"`{n}`" for n in there[:20]) + (", ..." if len(there) > 20 else "")
    return fail("data-column", f"`{file}` has no {what} `{name}`", help, f"it has {shown or 'none'}")


# --- .npz

MEMBERS = 10_000
"""The most arrays that an archive may hold."""


@dataclass(frozen=True, slots=True)
class Archive:
    """An `.npz` file. `members` maps an array's name to its entry."""

    file: str
    members: dict[str, zipfile.ZipInfo]

    def read(self, name: str, shape: tuple[Dim, ...]) -> Array:
        if name not in self.members:
            raise _lacks(self.file, "array", name, list(self.members))
        try:
            with zipfile.ZipFile(self.file) as archive, archive.open(self.members[name]) as stream:
                return _read_array(self.file, name, stream, self.members[name].file_size)
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            ValueError,
            NotImplementedError,
            RuntimeError,
        ) as error:
            raise fail("data-format", f"array `{name}` of `{self.file}` is damaged: {error}") from None

    def place(self, row: int) -> str:
        return f"row {row}, counting from 0"


def _archive_members(path: Path) -> dict[str, zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except zipfile.BadZipFile:
        raise fail("data-format", f"`{path}` is not an .npz archive", "write it with numpy.savez") from None
    if len(entries) > MEMBERS:
        raise fail("data-format", f"`{path}` holds {len(entries)} arrays, more than {MEMBERS}")
    size = sum(entry.file_size for entry in entries)
    if size > _memory() // 2:
        amount = f"{size / 2**30:.1f} GiB"
        raise fail("data-format", f"`{path}` unpacks to {amount}, more than half of this machine's memory")
    return {
        entry.filename.removesuffix(".npy"): entry for entry in entries if entry.filename.endswith(".npy")
    }


def _memory() -> int:
    """This machine's memory in bytes; 16 GiB where the system does not say."""
    if not hasattr(os, "sysconf"):
        return 16 * 2**30
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _read_array(file: str, name: str, stream: Any, size: int) -> Array:
    """One .npy stream, whose header must agree with the `size` that the archive declares."""
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"unknown version {version} of the .npy format")
    shape, fortran, dtype = readers[version](stream)
    if dtype.hasobject:
        raise fail(
            "data-dtype",
            f"array `{name}` of `{file}` holds Python objects, which are never unpickled",
            "save it as an array of numbers",
        )
    count = int(np.prod(shape, dtype=object)) if shape else 1
    if count * dtype.itemsize > size:
        raise ValueError("its header promises more than it holds")
    data = bytearray(stream.read(count * dtype.itemsize))
    return np.ndarray(shape, dtype, buffer=data, order="F" if fortran else "C")


# --- .csv


@dataclass(frozen=True, slots=True)
class Table:
    """A `.csv` file. Numbers are read once, when first asked for, as float64."""

    file: str
    columns: tuple[str, ...]
    _numbers: dict[tuple[int, ...], Array] = field(default_factory=dict)

    def read(self, name: str, shape: tuple[Dim, ...]) -> Array:
        found = self._columns_of(name)
        if not found:
            raise _lacks(self.file, "column", name, list(self.columns))
        if len(found) == 1 and self.columns[found[0]] == name:
            return self._read(found)[:, 0]
        values = self._read(found)
        sizes = [size for size in shape if isinstance(size, int)]
        if len(shape) > 1 and len(sizes) == len(shape) and int(np.prod(sizes)) == len(found):
            return values.reshape(len(values), *sizes)
        return values

    def place(self, row: int) -> str:
        return f"line {next(line for index, (line, _) in enumerate(_rows(self.file)) if index == row)}"

    def _columns_of(self, name: str) -> list[int]:
        """The position of the column called `name`, else those of its numbered columns, in their order."""
        if name in self.columns:
            return [self.columns.index(name)]
        pattern = re.compile(re.escape(name) + r"[_.](\d{1,9})\Z", re.ASCII)
        numbered = {
            int(match[1]): position
            for position, column in enumerate(self.columns)
            if (match := pattern.match(column)) is not None
        }
        numbers = sorted(numbered)
        if numbers and numbers != list(range(numbers[0], numbers[0] + len(numbers))):
            gap = next(n for n in range(numbers[0], numbers[-1]) if n not in numbered)
            raise fail("data-column", f"`{self.file}` has columns `{name}_...`, but none with number {gap}")
        return [numbered[number] for number in numbers]

    def _read(self, positions: list[int]) -> Array:
        key = tuple(positions)
        if key not in self._numbers:
            self._numbers[key] = _read_numbers(self.file, self.columns, positions)
        return self._numbers[key]


def _header(path: Path) -> tuple[str, ...]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            columns = next(csv.reader(stream), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise fail("data-format", f"`{path}` is not a .csv file: {error}") from None
    names = tuple(column.strip() for column in columns)
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise fail("data-column", f"`{path}` has two columns `{twice[0]}`")
    if not names:
        raise fail("data-empty", f"`{path}` is empty", "its first line names the columns")
    return names


def _read_numbers(file: str, columns: tuple[str, ...], positions: list[int]) -> Array:
    try:
        with Path(file).open(encoding="utf-8-sig", newline="") as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # numpy's, about a table without rows
            next(csv.reader(stream))
            return np.loadtxt(stream, delimiter=",", quotechar='"', comments=None, usecols=positions, ndmin=2)
    except UnicodeDecodeError as error:
        raise fail("data-format", f"`{file}` is not UTF-8 text: {error}") from None
    except ValueError as error:
        raise _first_mistake(file, columns, positions) or fail("data-format", f"`{file}`: {error}") from None


def _first_mistake(file: str, columns: tuple[str, ...], positions: list[int]) -> SpecError | None:
    """The first cell that is no number: what numpy noticed, with its place."""
    try:
        for line, cells in _rows(file):
            if len(cells) != len(columns):
                counts = f"{len(cells)} cells, and the header has {len(columns)}"
                return fail("data-format", f"line {line} of `{file}` has {counts}")
            for position in positions:
                cell, where = (
                    cells[position].strip(),
                    f"column `{columns[position]}` of `{file}`, line {line}",
                )
                if not cell:
                    return fail("data-dtype", f"{where}: the cell is empty", "fill it, or leave the line out")
                if not _is_number(cell):
                    shown = cell if len(cell) <= 40 else cell[:37] + "..."
                    return fail("data-dtype", f'{where}: "{shown}" is not a number')
    except csv.Error as error:
        return fail("data-format", f"`{file}` is not a .csv file: {error}")
    return None


def _rows(file: str) -> Iterator[tuple[int, list[str]]]:
    """The line that each row begins at, and its cells; empty lines do not count."""
    with Path(file).open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream)
        next(reader)
        line = reader.line_num + 1
        for cells in reader:
            if cells:
                yield line, cells
            line = reader.line_num + 1


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text
