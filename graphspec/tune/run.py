"""Runs a search and writes its results: the study, the run of each trial, and the best ones.

runs/digits-tune/   study.log   trials/0007/...   best.yaml   best.safetensors   search.svg
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from graphspec.compiled_spec import Program
from graphspec.data.memory import cores
from graphspec.diagnostics import fail
from graphspec.objectives.history import directions
from graphspec.run_files import ENVIRONMENT, LAST, OWN, SPEC, TRIALS
from graphspec.tune.picture import picture
from graphspec.tune.search import Search, Status
from graphspec.tune.study import Finished, Study
from graphspec.tune.trial import Command

DIRECTIONS: dict[str, Literal["minimize", "maximize"]] = {"down": "minimize", "up": "maximize"}
STUDY, BEST = "study.log", "best"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a search: its trials, and the best of them in order."""

    run_dir: Path
    objective: str
    trials: list[Finished]
    best: list[Finished]

    def to_json(self) -> dict[str, Any]:
        """The document of `tune --json`."""
        best = self.best[0] if self.best else None
        return {
            "run_dir": str(self.run_dir),
            "objective": self.objective,
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
    progress: Callable[[Status], None] | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Searches as the `tune:` section of a program's file says, or continues the search in `run_dir`.

    `storage` is the URL of a database that several machines share; `jobs` trials run at the same time. The
    weights of the best `keep` trials are kept. `options` are the `graphspec train` options of every trial.
    Raises `SpecError` (nothing-to-tune, tune-storage, tune-differs, tune-fails, run-directory).
    """
    config = program.tuning
    if config is None:
        help = "write `tune: {objective: val_loss, search: {width: {int: [16, 256]}}}`"
        raise fail("nothing-to-tune", "the spec has no `tune` section", help)
    assert program.path is not None
    folder = run_dir if run_dir is not None else Path("runs") / f"{program.name}-tune"
    try:
        (folder / TRIALS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"the run directory `{folder}` cannot be made: {error.strerror or error}"
        raise fail("run-directory", message) from None
    study = Study(
        program.name,
        storage or str(folder / STUDY),
        config,
        config.direction or DIRECTIONS[directions(program.outputs, True)[config.objective]],
        program.training.epochs,
        program.training.seed,
        parallel=jobs > 1 or storage is not None,
    )
    command = Command(program.path, tuple(options), max(1, cores() // jobs))
    search = Search(study, command, folder / TRIALS, jobs, keep, progress)
    search.run(stopping)
    if search.common_failure is not None:
        message = f"every trial fails, so the search has stopped: {search.common_failure}"
        help = f"`graphspec train {program.path}` says where; mend it, and run the same search again"
        raise fail("tune-fails", message, help)
    best = study.ranking()
    _leave(folder, search, best[:keep])
    trials = study.finished()
    (folder / "search.svg").write_text(
        picture(trials, study.direction, config.objective, study.importances())
    )
    return Outcome(folder, config.objective, trials, best)


def _leave(folder: Path, search: Search, best: list[Finished]) -> None:
    """Copies the specs and weights of the best trials to `best.yaml`, `best-2.yaml` and so on.

    Files that the specs read are copied, too.
    """
    for old in folder.glob(f"{BEST}*.*"):
        old.unlink()
    for place, trial in enumerate(best, 1):
        run = search.run_dir(trial.number)
        if not (run / SPEC).is_file():  # a trial of another machine
            continue
        name = BEST if place == 1 else f"{BEST}-{place}"
        shutil.copytree(
            run,
            folder,
            ignore=shutil.ignore_patterns(*OWN, "*.safetensors", "*.json", "*.jsonl"),
            dirs_exist_ok=True,
        )
        shutil.copyfile(run / SPEC, folder / f"{name}.yaml")
        shutil.copyfile(run / LAST, folder / f"{name}.safetensors")
        shutil.copyfile(run / ENVIRONMENT, folder / ENVIRONMENT)
