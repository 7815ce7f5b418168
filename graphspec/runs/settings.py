"""The settings in which runs differ, read from their specs as they are written there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from graphspec.compare.outline import flat
from graphspec.diagnostics import Diagnostics
from graphspec.files.reading import read_text
from graphspec.files.run_files import SPEC
from graphspec.source import read

NAMES = ("name", "language")
"""Keys of a spec that do not describe its model."""
ABSENT = "-"
"""Marks a setting that a spec does not have."""


def differing(runs: Sequence[Path]) -> dict[str, list[Any]]:
    """By dotted path, the settings that are not the same in all runs, with the value in each; `ABSENT` where
    it is not written, or cannot be read. A param or `--set` is in the spec of a run with its value.
    """
    by_run = [settings(run) for run in runs]
    paths = dict.fromkeys(path for each in by_run for path in each if path not in NAMES)
    columns = {path: [each.get(path, ABSENT) for each in by_run] for path in paths}
    known = [index for index, each in enumerate(by_run) if each]
    return {
        path: values
        for path, values in columns.items()
        if any(values[index] != values[known[0]] for index in known)
    }


def settings(run: Path) -> Mapping[str, Any]:
    """All that is written in the spec of a run, by dotted path; nothing where it cannot be read."""
    try:
        document = read(read_text(run / SPEC), str(run / SPEC), Diagnostics())
    except (OSError, UnicodeDecodeError):  # the list shows the others
        return {}
    return dict(flat(document.value)) if document is not None and isinstance(document.value, dict) else {}
