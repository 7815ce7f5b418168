"""A run directory, read without torch: its spec, its history, its environment."""

from __future__ import annotations

import filecmp
import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from graphspec.data.opening import named
from graphspec.data.remote import is_remote
from graphspec.diagnostics import SpecError, fail, nearest
from graphspec.elaborated import BaseProgram
from graphspec.files.reading import digest, is_within, parse_json, read_text
from graphspec.files.records import EPOCH, RunEnvironment, environment_of, record_of
from graphspec.files.remembered import is_signed
from graphspec.files.run_files import (
    BASE,
    CHECKPOINTS,
    ENCODERS,
    ENVIRONMENT,
    HISTORY,
    LAST,
    SPEC,
    TRIALS,
    WEIGHTS,
)

if TYPE_CHECKING:
    from graphspec.program import Program

Values = dict[str, list[float | None]]


@dataclass(frozen=True, slots=True)
class RunFiles:
    """The directory of a run. Raises `SpecError` (run-missing) for one that holds none."""

    path: Path

    def __post_init__(self) -> None:
        if not holds_run(self.path):
            what = (
                "holds no run"
                if self.path.is_dir()
                else "is a file"
                if self.path.exists()
                else "does not exist"
            )
            message = f"`{self.path}` {what}: a run is a directory that `graphspec train` writes"
            raise fail("run-missing", message, _other_runs(self.path))

    @property
    def spec(self) -> Path:
        return self.path / SPEC

    def about(self) -> RunEnvironment:
        """`environment.json`. Raises `SpecError` (run-missing) where it is damaged."""
        return _environment(self.path)

    def places(self, program: Program) -> tuple[Path, Path | None]:
        """The directory of data paths, and the training data of the command line, as `places` finds them."""
        return places(self.path, program)

    @property
    def synthetic(self) -> bool:
        """Whether it learned from synthetic data."""
        return self.about().synthetic

    @property
    def lengths(self) -> dict[str, int]:
        """The usual values of the inputs' named sizes, in the data that it learned from."""
        return self.about().lengths

    def weights(self, name: str, program: object = None) -> Path:
        """The file of the `best` or the `last` epoch, or the one called so. Raises `SpecError`
        (weights-missing).
        """
        if name not in WEIGHTS:
            return Path(name)
        path = self.path / WEIGHTS[name]
        if not path.is_file():
            more = f"let it train for an epoch: `graphspec train {self.path} --resume`"
            help = self.instead(name) or more
            raise fail("weights-missing", f"`{path}` does not exist", help)
        return path

    def base(self, program: BaseProgram) -> Path | None:
        """The weights that its adapters were trained for; None where that was a new module. Raises
        `SpecError` (weights-missing) where they are not those any more.
        """
        about = self.about()
        known, there = about.weights, about.weights_sha256
        if known is None and there is None:
            return None
        places, help = [self.path / BASE], f"copy it to `{self.path / BASE}`"
        if known is not None:  # which a run that went on elsewhere does not know any more
            path = Path(known)
            places.append(self.path / path.name)
            if is_signed(about.model_dump(), named(program).values()):
                places.insert(0, path)
            help = f"it was `{path.name}`: copy that file to `{self.path / BASE}`"
        for place in places:
            if place.is_file() and digest(place) == there:
                return place
        message = f"the base of this run's adapters is not at `{places[0]}`, or is another file"
        raise fail("weights-missing", message, help)

    def instead(self, name: str) -> str | None:
        """The remedy for weights of a name that are missing or damaged: the others of the run."""
        if name not in WEIGHTS:
            return None
        others = [word for word, file in WEIGHTS.items() if word != name and (self.path / file).is_file()]
        return (
            f"take the weights of the {others[0]} epoch, `--weights {others[0]}`, or train again"
            if others
            else None
        )

    def encoders(self, program: BaseProgram) -> Mapping[str, Any] | None:
        """The encoders fitted on a table; None if the data were arrays or synthetic. Raises `SpecError`
        (data-format) where it is damaged, or gone.
        """
        path = self.path / ENCODERS
        if not path.is_file():
            if program.data is not None and program.data.features and not self.synthetic:
                message = f"`{path}` is missing: what the features of this run learned from columns"
                raise fail("data-format", message, "copy the whole directory of the run, or train again")
            return None
        try:
            state = parse_json(read_text(path))
        except (OSError, ValueError) as error:
            message = f"`{path}` is damaged: {error}"
            raise fail("data-format", message, "train again") from None
        if not isinstance(state, dict):
            raise fail("data-format", f"`{path}` is damaged: it is not a mapping", "train again")
        return state

    def history(self) -> Values:
        """The values of every completed epoch, by name; null if not finite. An incomplete line ends it."""
        return history_of(self.path)


def history_of(directory: Path) -> Values:
    """The values in a directory's `history.jsonl`, up to the first line that is no epoch."""
    values: Values = {}
    for index, entry in enumerate(_lines(directory / HISTORY)):
        for name, value in entry.items():
            if name != "epoch":
                values.setdefault(name, [None] * index).append(value)
    return values


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError):  # there is none that can be read
        return
    for line in text.splitlines():
        try:
            yield record_of(EPOCH, parse_json(line))
        except ValueError:
            return


State = Literal["finished", "unfinished", "damaged"]


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run in a list. `values` are those of its best epoch (counted from 1), whose weights are in
    `best.safetensors`: the one with the lowest `val_loss`, or `loss` without validation data, unless
    `model_checkpoint` monitors another value.
    """

    path: Path
    state: State
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


def holds_run(path: Path) -> bool:
    """Whether a directory is a run directory."""
    return (path / ENVIRONMENT).is_file() and (path / SPEC).is_file()


def was_run(path: Path) -> bool:
    """Whether a directory is a run directory, or one that has lost its record or its spec."""
    half = (path / ENVIRONMENT).is_file() or (path / SPEC).is_file()
    return holds_run(path) or (path / HISTORY).is_file() or (half and (path / CHECKPOINTS).is_dir())


def places(directory: Path, program: Program, data: Path | None = None) -> tuple[Path, Path | None]:
    """For the specs in a directory: what paths of data are relative to, and the training data in place of the
    spec's: `data`, or what the command line once named.

    Those of a run, and the best of a search, keep the directory of the spec that they began with, if it is
    still there: where this user has begun them. Raises `SpecError` (run-missing) where `environment.json` is
    damaged, (data-outside) where another one has written it and it leads elsewhere.
    """
    if not (directory / ENVIRONMENT).is_file():
        return directory, data
    about, names = _environment(directory), named(program)
    root, known = Path(about.root or ""), about.data
    if not (root.is_absolute() and os.path.isdir(root)):
        root = directory
    if is_signed(about.model_dump(), names.values()):
        return root, data or (Path(known) if known else None)
    if data is None and known:
        what, help = f"the training data `{known}`", f"if you want it to read them: `--data {known}`"
        raise _not_yours(directory, what, help)
    needed = [name for key, name in names.items() if data is None or not key.startswith("train")]
    if not is_within(root, directory):
        if not all(os.path.exists(directory / name) for name in needed if not is_remote(name)):
            help = "name data, `--data PATH`; or the spec itself: `train SPEC --run-dir RUN --resume`"
            raise _not_yours(directory, f"data in `{root}`", help)
        root = directory
    return root, data


def _not_yours(directory: Path, what: str, help: str) -> SpecError:
    message = f"`{directory / ENVIRONMENT}` names {what}, but is not signed by you on this machine"
    return fail("data-outside", message, help)


def _environment(directory: Path) -> RunEnvironment:
    try:
        return environment_of(directory)
    except (OSError, ValueError) as error:
        message = f"`{directory / ENVIRONMENT}` is damaged: {error}"
        raise fail("run-missing", message, "copy the whole directory of the run, or train again") from None


def list_runs(parent: Path) -> list[RunRow]:
    """The runs in a directory, damaged ones, too, the newest first; of the directory of a run, this run."""
    paths = [path for path in (parent, *entries(parent)) if was_run(path)]
    return sorted(map(row_of, paths), key=lambda row: row.age)


@dataclass(frozen=True, slots=True)
class StudyRow:
    """A search in a list: how many runs of its trials there are, and where."""

    path: Path
    trials: int

    @property
    def runs(self) -> Path:
        return self.path / TRIALS

    def to_json(self) -> dict[str, Any]:
        return {"run_dir": str(self.path), "trials": self.trials}


def list_studies(parent: Path) -> list[StudyRow]:
    """The searches in a directory, by name; of the directory of a search, that search."""
    paths = [parent, *entries(parent)]
    counted = (StudyRow(path, sum(map(holds_run, entries(path / TRIALS)))) for path in paths)
    return [study for study in counted if study.trials]


def entries(path: Path) -> list[Path]:
    """The files of a directory; none where it is not one."""
    return sorted(path.iterdir()) if path.is_dir() else []


def row_of(path: Path) -> RunRow:
    """A run with the values of its best epoch."""
    history = history_of(path)
    scores = history.get("val_loss") or history.get("loss") or []
    values = [value if isinstance(value, int | float) else math.inf for value in scores]
    lowest = min(range(len(values)), key=values.__getitem__) if values else None
    written = max((entry.lstat().st_mtime for entry in path.iterdir()), default=0.0)
    state: State = "damaged"  # which does not hide the others
    about = RunEnvironment()
    if holds_run(path):
        with suppress(SpecError):
            about = _environment(path)
            state = "finished" if about.finished else "unfinished"
    kept = about.best_epoch  # what `model_checkpoint` monitors decides
    best = kept - 1 if kept is not None and 0 < kept <= len(values) else lowest
    return RunRow(
        path,
        state,
        len(scores),
        best + 1 if best is not None else None,
        {name: column[best] for name, column in history.items() if best is not None and best < len(column)},
        max(0.0, time.time() - written),
        about.synthetic,
    )


def _other_runs(path: Path) -> str:
    """The remedy for a missing run."""
    if path.is_file() and holds_run(path.parent):
        return f"the run is its directory: `{path.parent}`"
    inside = [row.path for each in (path, *entries(path)) for row in list_runs(each)]
    if inside:
        return f"it holds runs: name one, `{min(inside)}`"
    best = path / "best.yaml"
    if best.is_file():
        weights = best.with_suffix(".safetensors")
        for last in sorted(path.glob(f"trials/*/{LAST}")):  # of the trials that the search keeps
            if weights.is_file() and filecmp.cmp(last, weights, shallow=False):
                return f"name the best trial of the search: `{last.parent}`"
        return f"name the best of the search: `{best} --weights {best.with_suffix('.safetensors')}`"
    parent = path.parent if path.parent.is_dir() else Path("runs")
    paths = {row.path.name: str(row.path) for row in list_runs(parent) if holds_run(row.path)}
    names = list(paths.values())
    near = nearest(path.name, paths)
    if near is not None:
        return f"did you mean `{paths[near]}`?"
    return f"runs in `{parent}`: {', '.join(names[:5])}" if names else "train one: `graphspec train SPEC`"
