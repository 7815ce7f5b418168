"""The table that a spec trains on: its columns, and what is in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphspec.data.files import DataFile, parse_train
from graphspec.data.folders import find
from graphspec.diagnostics import SpecError
from graphspec.server.analysis import Analysis
from graphspec.settings import SettingError

if TYPE_CHECKING:
    from graphspec.data.tables import Table

SHOWN = 3
"""Values of a column that are shown."""


def columns(folder: Path, train: Any) -> list[str]:
    """The columns of the tables that `train` of `data` names, below a folder; none of one that cannot be
    opened, which reads no more than its header.
    """
    return list(dict.fromkeys(column for table in _tables(folder, train) for column in table.columns))


def values(folder: Path, train: Any, name: str) -> list[Any]:
    """The first values of a column, in the first table that has it; none where there is none."""
    found: list[Any] = []
    try:
        table = next((each for each in _tables(folder, train) if name in each.columns), None)
        for _, part in table.chunks([name], SHOWN) if table is not None else ():
            found += part.column(name).slice(0, SHOWN).to_pylist()
            if len(found) >= SHOWN:
                break
    except (SpecError, OSError):
        return []
    return found[:SHOWN]


def sources(train: Any) -> list[str]:
    """The names of the files that `train` of `data` names; none where it is one file."""
    files = _files(train)
    return list(files) if isinstance(files, dict) else []


def trained_on(analysis: Analysis) -> Any:
    """The training data that `data` names; None where it names none."""
    document = analysis.document
    data = document.value.get("data") if document is not None else None
    return data.get("train") if isinstance(data, dict) else data


def _files(train: Any) -> DataFile | Mapping[str, DataFile] | None:
    try:
        return parse_train(train) if train is not None else None
    except SettingError:
        return None


def _tables(folder: Path, train: Any) -> list[Table]:
    from graphspec.data.tables import open_table

    files, tables = _files(train), []
    for file in files.values() if isinstance(files, Mapping) else [files] if files is not None else ():
        try:
            tables.append(open_table(find(folder / file.path, folder), file))
        except (SpecError, OSError):
            continue
    return tables
