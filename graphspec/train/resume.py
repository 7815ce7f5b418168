"""Finding the run that goes on, and making sure that it is the same one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from graphspec.diagnostics import Diagnostic, SpecError
from graphspec.objectives.settings import show
from graphspec.train.checkpoint import State
from graphspec.train.run import SPEC, RunDirectory, is_run, newest
from graphspec.train.state import spec_digest

FREE = (("train", "epochs"), ("name",))
"""What may differ between a run and what goes on with it: a run may be given more epochs."""

ANEW = "train anew, or go on with the run's own spec: `graphspec train RUN --resume`"


def resumed(program: Any, run_dir: Path | None) -> tuple[RunDirectory | None, State | None]:
    """The run that is to go on, and where it was; None twice where there is none.

    That is the run of `run_dir`, else the newest one of the spec's name. Raises `SpecError` (resume-failed)
    where it is the run of another spec, or where no checkpoint can be read.
    """
    path = run_dir if run_dir is not None else newest(program.name)
    if path is None or not is_run(path):
        return None, None
    run = RunDirectory.open(path)
    try:
        state = run.checkpoints.newest()
        if state is None:
            if len(run.checkpoints):
                help = "train anew, with `--overwrite`, or begin with its weights: `--weights`"
                raise _refused(f"no checkpoint of `{path}` is whole", help)
            if run.finished:
                message = f"the run of `{path}` has ended, and its checkpoints were deleted"
                raise _refused(message, "keep them: {backup_and_restore: {delete_checkpoint: false}}")
            return run, None
        _same_spec(program, path, state)
    except SpecError:
        run.close()
        raise
    return run, state


def _same_spec(program: Any, path: Path, state: State) -> None:
    stored = yaml.safe_load((path / SPEC).read_text(encoding="utf-8"))
    for where in _differences(stored, yaml.safe_load(program.resolved)):
        if where[:2] not in FREE:
            name = ".".join(map(str, where))
            message = f"the spec is not the one of `{path}`: `{name}` differs, {_was(stored, where)} there"
            raise _refused(
                message, "train anew, or go on with the run's own spec: `graphspec train RUN --resume`"
            )
    if state.part("progress").numbers["spec"] != spec_digest(program):
        message = f"the spec is not the one of `{path}`: a model file that it reads has changed"
        raise _refused(
            message, "train anew, or go on with the run's own spec: `graphspec train RUN --resume`"
        )


def same_data(state: State, fingerprint: str, path: Path) -> None:
    """Raises `SpecError` (resume-failed) where the run read other data."""
    if state.part("progress").numbers["data"] != fingerprint:
        message = f"the data are not those that the run of `{path}` was trained on"
        raise _refused(message, "give it its own data, or train anew")


def _differences(a: Any, b: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths at which two plain values differ; a mapping that is absent is one without keys."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in {**a, **b}:
            here = (*path, key)
            if key in a and key in b:
                yield from _differences(a[key], b[key], here)
            elif isinstance(whole := a.get(key, b.get(key)), dict) and whole:
                yield from ((*here, inner) for inner in whole)
            else:
                yield here
    elif a != b or type(a) is not type(b):
        yield path


def _was(value: Any, path: tuple[Any, ...]) -> str:
    for step in path:
        if step not in value:
            return "absent"
        value = value[step]
    return show(value)


def _refused(message: str, help: str) -> SpecError:
    return SpecError([Diagnostic("resume-failed", message, None, help=help)])
