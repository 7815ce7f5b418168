"""Runs a search and writes its results: the study, the run of each trial, and the best ones.

runs/digits-tune/   study.log   trials/0007/...   best.yaml   best.safetensors   search.svg
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from graphspec.data.memory import cores
from graphspec.diagnostics import fail
from graphspec.files.folder import Folder, refused
from graphspec.files.reading import is_within
from graphspec.files.run_files import ENVIRONMENT, LAST, OF_BEST, OF_SEARCH, PICTURE, SPEC, STUDY, TRIALS
from graphspec.files.run_folder import READ, RunFolder
from graphspec.objectives.history import directions
from graphspec.program import Program
from graphspec.train.callbacks.permission import need_permission
from graphspec.train.run import files_of
from graphspec.tune.picture import picture
from graphspec.tune.search import Search, Status
from graphspec.tune.study import Finished, Study
from graphspec.tune.trial import Command

DIRECTIONS: dict[str, Literal["minimize", "maximize"]] = {"down": "minimize", "up": "maximize"}
BEST = "best"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a search: its trials, and the best of them in order."""

    run_dir: Path
    objective: str
    trials: list[Finished]
    best: list[Finished]
    others: int
    """Trials that somebody else has left, which were made anew."""

    def to_json(self) -> dict[str, Any]:
        """The document of `tune --json`."""
        best = self.best[0] if self.best else None
        return {
            "run_dir": str(self.run_dir),
            "objective": self.objective,
            "others": self.others,
            "trials": [trial.to_json() for trial in self.trials],
            "best": {"number": best.number, "value": best.value, "params": best.params} if best else None,
        }


def tune(
    program: Program,
    *,
    run_dir: Path | None = None,
    storage: str | None = None,
    jobs: int = 1,
    keep: int = 1,
    options: Iterable[str] = (),
    modules: tuple[str, ...] = (),
    progress: Callable[[Status], None] | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Searches as the `tune:` section of a program's file says, or continues the search in `run_dir`.

    `storage` is the URL of a database that several machines share; `jobs` trials run at the same time. The
    weights of the best `keep` trials are kept. `options` are the `graphspec train` options of every trial,
    `modules` what that command imports.
    Raises `SpecError` (nothing-to-tune, tune-storage, tune-differs, tune-fails, run-directory).
    """
    config = program.tuning
    if config is None:
        help = "write `tune: {objective: val_loss, search: {width: {int: [16, 256]}}}`"
        raise fail("nothing-to-tune", "the spec has no `tune` section", help)
    assert program.path is not None
    need_permission(program)
    place = run_dir if run_dir is not None else Path("runs") / f"{program.name}-tune"
    folder = _folder(place)
    _need_apart(program, place)
    trials_in = folder.folder(TRIALS)
    study = Study(
        program.name,
        storage or str(folder.file(STUDY)),
        config,
        config.direction or DIRECTIONS[directions(program.outputs, True)[config.objective]],
        program.training.epochs,
        program.training.seed,
        parallel=jobs > 1 or storage is not None,
    )
    command = Command(program.path, tuple(options), max(1, cores() // jobs), modules)
    search = Search(study, command, trials_in, jobs, keep, progress)
    search.run(stopping)
    if search.common_failure is not None:
        message = f"every trial fails, so the search has stopped: {search.common_failure}"
        help = f"`graphspec train {program.path}` says where; mend it, and run the same search again"
        raise fail("tune-fails", message, help)
    with search.alone():  # of several searches, the last one leaves what is best then
        best = study.ranking()
        _leave(folder, search, best[:keep])
    trials = study.finished()
    folder.text(PICTURE, picture(trials, study.direction, config.objective, study.importances()))
    return Outcome(place, config.objective, trials, best, study.others())


def _folder(place: Path) -> Folder:
    """The directory of a search, new or begun. Raises `SpecError` (run-directory) where other files have
    the names of its own.
    """
    if place.is_dir() and not os.path.lexists(place / TRIALS):
        for entry in sorted(path.name for path in place.iterdir()):
            if OF_SEARCH.fullmatch(entry):
                message = f"`{place}` holds no search, and one would overwrite `{entry}` in it"
                raise refused(message, "give another directory")
    return Folder(place)


def _need_apart(program: Program, place: Path) -> None:
    """Raises `SpecError` (run-directory) where the search reads what it would write in the end."""
    for path in (program.path, *(path for _, path in files_of(program))):
        if path is None or not is_within(path, place):
            continue
        name = Path(os.path.realpath(path)).relative_to(os.path.realpath(place)).as_posix()
        if OF_SEARCH.fullmatch(name) or name.partition("/")[0] == TRIALS:
            message = f"the search in `{place}` would replace `{path}`, which it reads"
            raise refused(message, "copy the file elsewhere, or give another directory")


def _leave(folder: Folder, search: Search, best: list[Finished]) -> None:
    """Copies the specs and weights of the best trials to `best.yaml`, `best-2.yaml` and so on.

    Files that the specs read are copied, too.
    """
    left = set()
    for place, trial in enumerate(best, 1):
        run = RunFolder(search.run_dir(trial.number))
        if not run.holds(SPEC):  # a trial of another machine
            continue
        name = BEST if place == 1 else f"{BEST}-{place}"
        copies = {file: file for file in run.names(READ)}
        copies |= {LAST: f"{name}.safetensors", ENVIRONMENT: ENVIRONMENT, SPEC: f"{name}.yaml"}
        folder.remove(copies[SPEC])  # however this ends, it is beside no weights of another trial
        for origin, copy in copies.items():
            folder.write(copy, partial(shutil.copyfile, run.file(origin)))
        left |= {*copies.values()}
    for old in sorted(entry.name for entry in folder.path.iterdir() if OF_BEST.fullmatch(entry.name)):
        if old not in left:
            folder.remove(old)
