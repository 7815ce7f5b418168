"""The table that a spec trains on: its columns, and what is in them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphspec.data.files import parse_file
from graphspec.data.folders import find
from graphspec.diagnostics import SpecError
from graphspec.server.analysis import Analysis
from graphspec.settings import SettingError

if TYPE_CHECKING:
    from graphspec.data.tables import Table

SHOWN = 3
"""Values of a column that are shown."""


def columns(folder: Path, train: Any) -> list[str]:
    """The columns of the table that `train` of `data` names, below a folder; none where it cannot be opened,
    which reads no more than its header.
    """
    table = _table(folder, train)
    return [] if table is None else list(table.columns)


def values(folder: Path, train: Any, name: str) -> list[Any]:
    """The first values of a column; none where there is none."""
    table = _table(folder, train)
    found: list[Any] = []
    try:
        for _, part in table.chunks([name], SHOWN) if table is not None and name in table.columns else ():
            found += part.column(name).slice(0, SHOWN).to_pylist()
            if len(found) >= SHOWN:
                break
    except (SpecError, OSError):
        return []
    return found[:SHOWN]


def trained_on(analysis: Analysis) -> Any:
    """What `data` says that the spec trains on; None where it says nothing."""
    document = analysis.document
    data = document.value.get("data") if document is not None else None
    return data.get("train") if isinstance(data, dict) else data


def _table(folder: Path, train: Any) -> Table | None:
    from graphspec.data.tables import open_table

    if train is None:
        return None
    try:
        options = parse_file(train, "train")
        return open_table(find(folder / options.path, folder), options)
    except (SpecError, SettingError, OSError):
        return None
