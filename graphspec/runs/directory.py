"""What a run directory says without torch: its spec, its history, where it came from."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from graphspec.diagnostics import Diagnostic, SpecError, nearest
from graphspec.run_files import ENVIRONMENT, HISTORY, SPEC

Values = dict[str, list[float | None]]


@dataclass(frozen=True, slots=True)
class RunFiles:
    """The directory of a run. Raises `SpecError` (run-missing) for one that holds none."""

    path: Path

    def __post_init__(self) -> None:
        if not (self.path / ENVIRONMENT).is_file():
            what = "holds no run" if self.path.is_dir() else "does not exist"
            message = f"`{self.path}` {what}: a run is a directory that `graphspec train` leaves"
            raise SpecError([Diagnostic("run-missing", message, None, help=_other_runs(self.path))])

    @property
    def spec(self) -> Path:
        return self.path / SPEC

    def about(self) -> Mapping[str, Any]:
        """`environment.json`. Raises `SpecError` (run-missing) where it is damaged."""
        try:
            found = json.loads((self.path / ENVIRONMENT).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            message = f"`{self.path / ENVIRONMENT}` is damaged: {error}"
            raise SpecError([Diagnostic("run-missing", message, None)]) from None
        return found if isinstance(found, dict) else {}

    @property
    def root(self) -> Path:
        """What paths of data are relative to: the spec's directory as the run began, if it is still there."""
        root = Path(str(self.about().get("root", "")))
        return root if root.is_absolute() and root.is_dir() else self.path

    @property
    def data(self) -> Path | None:
        """The training data that the command line named in place of the spec's."""
        data = self.about().get("data")
        return Path(data) if data else None

    @property
    def synthetic(self) -> bool:
        """Whether it learned from synthetic data."""
        return self.about().get("synthetic") is True

    def history(self) -> Values:
        """Each value of every whole epoch, by name; null where it was not finite. A torn line ends it."""
        values: Values = {}
        for index, entry in enumerate(self._lines()):
            for name, value in entry.items():
                if name != "epoch":
                    values.setdefault(name, [None] * index).append(value)
        return values

    def _lines(self) -> Iterator[dict[str, Any]]:
        try:
            text = (self.path / HISTORY).read_text(encoding="utf-8")
        except FileNotFoundError:
            return
        for line in text.splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                return
            if isinstance(entry, dict):
                yield entry


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run in a list. `values` are those of its best epoch (counted from 1), the one of the lowest
    `val_loss`, or `loss` where nothing was held out.
    """

    path: Path
    state: Literal["finished", "unfinished"]
    epochs: int
    best_epoch: int | None
    values: dict[str, float | None]
    age: float
    """Seconds since it last wrote."""
    synthetic: bool = False

    def to_json(self) -> dict[str, Any]:
        return {
            "run_dir": str(self.path),
            "state": self.state,
            "synthetic_data": self.synthetic,
            "epochs": self.epochs,
            "best_epoch": self.best_epoch,
            "best": self.values,
        }


def list_runs(parent: Path) -> list[RunRow]:
    """The runs in a directory, the one that wrote last first."""
    found = [path for path in parent.iterdir() if (path / ENVIRONMENT).is_file()] if parent.is_dir() else []
    return sorted(map(_row, found), key=lambda row: row.age)


def _row(path: Path) -> RunRow:
    files = RunFiles(path)
    history = files.history()
    judged = history.get("val_loss") or history.get("loss") or []
    values = [math.inf if value is None else value for value in judged]
    best = min(range(len(values)), key=values.__getitem__) if values else None
    written = max((entry.stat().st_mtime for entry in path.iterdir()), default=0.0)
    return RunRow(
        path,
        "finished" if files.about().get("finished") else "unfinished",
        len(judged),
        best + 1 if best is not None else None,
        {name: column[best] for name, column in history.items() if best is not None and best < len(column)},
        max(0.0, time.time() - written),
        files.synthetic,
    )


def _other_runs(path: Path) -> str:
    """What to do about a run that is not there."""
    parent = path.parent if path.parent.is_dir() else Path("runs")
    found = {row.path.name: str(row.path) for row in list_runs(parent)}
    names = list(found.values())
    near = nearest(path.name, found)
    if near is not None:
        return f"did you mean `{found[near]}`?"
    return f"runs in `{parent}`: {', '.join(names[:5])}" if names else "train one: `graphspec train SPEC`"
