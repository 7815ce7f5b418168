"""Finds the run to resume, and checks that spec and data are the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch

from graphspec.diagnostics import SpecError, fail
from graphspec.elaborated import BaseProgram
from graphspec.files.folder import refused
from graphspec.files.reading import is_within
from graphspec.files.run_files import SPEC
from graphspec.settings import show
from graphspec.source.writing import read_back
from graphspec.train.checkpoint import State, read
from graphspec.train.parallel.launched import remember, remembered
from graphspec.train.parallel.spread import is_sharded
from graphspec.train.parallel.world import World
from graphspec.train.run import NullRunDirectory, RunDirectory, files_of, is_run, newest, stored_spec
from graphspec.train.state import spec_digest
from graphspec.train.stored import progress_of, restoring
from graphspec.version import __version__

FREE = (("train", "epochs"), ("train", "parallel"), ("language",))
"""The settings that may differ between a run and its continuation: a run may be given more epochs, be spread
otherwise, and its spec be translated.
"""

ANEW = "train again, or continue with the run's own spec: `graphspec train RUN --resume`"


def continued(
    program: BaseProgram, world: World, run_dir: Path | None, resume: bool
) -> tuple[RunDirectory | None, State | None]:
    """The run to resume and its state, as `resumed` finds them; None twice for a new run.

    The first process opens it, and tells the others. Processes that the launcher restarted continue their
    run.
    """
    sharded = is_sharded(program, world)
    if world.alone:
        return resumed(program, run_dir) if resume else (None, None)
    if world.is_first:
        begun = remembered(world.training)
        run, state = resumed(program, begun or run_dir, sharded) if resume or begun else (None, None)
        if run is not None:
            remember(world.training, run.path)
        world.of_first((run and run.path, state and state.path))
        return run, state
    paths: tuple[Path | None, Path | None] = world.of_first((None, None))
    path, checkpoint = paths
    others = NullRunDirectory(path) if path is not None else None
    return others, read(checkpoint, sharded) if checkpoint is not None else None


def created(
    program: BaseProgram, world: World, run_dir: Path | None, overwrite: bool, first: Path | None
) -> RunDirectory:
    """The directory of a new run, which the first process makes. `first` are the weights that it starts from.
    Raises `SpecError` (run-directory).
    """
    if not world.is_first:
        return NullRunDirectory(world.of_first(Path()))
    if overwrite and run_dir is not None:
        _need_apart(program, run_dir, first)
    run = RunDirectory.create(program.name, run_dir, overwrite)
    if not world.alone:
        remember(world.training, run.path)
    world.of_first(run.path)
    return run


def _need_apart(program: BaseProgram, run_dir: Path, first: Path | None) -> None:
    """Raises `SpecError` where a run is to be replaced that holds what the new one is made of."""
    for path in (program.path, first, *(path for _, path in files_of(program))):
        if path is not None and is_within(path, run_dir):
            message = f"`{path}`, which this training reads, lies in the run that it would replace"
            raise refused(message, "train in another directory, or copy the file to one")


def resumed(
    program: BaseProgram, run_dir: Path | None, sharded: bool = False
) -> tuple[RunDirectory | None, State | None]:
    """The run to resume, and its state; None twice if there is none.

    That is the run of `run_dir`, else the newest one of the spec's name. Raises `SpecError` (resume-failed)
    where it is the run of another spec, or where no checkpoint can be read.
    """
    path = run_dir if run_dir is not None else newest(program.name)
    if path is None or not is_run(path):
        return None, None
    run = RunDirectory.open(path)
    try:
        state = run.checkpoints.newest(sharded)
        if state is None:
            if len(run.checkpoints):
                help = "train again, with `--force`, or start from its weights: `--weights`"
                raise _refused(f"no checkpoint of `{path}` is complete", help)
            if run.finished:
                message = f"the run of `{path}` has ended, and its checkpoints were deleted"
                raise _refused(message, "keep them: {backup_and_restore: {delete_checkpoint: false}}")
            return run, None
        with restoring(path):
            progress_of(state.part("progress").numbers)
        _same_spec(program, path, state)
    except SpecError:
        run.close()
        raise
    return run, state


def _same_spec(program: BaseProgram, path: Path, state: State) -> None:
    stored = stored_spec(path)
    if stored is None:
        raise _refused(f"`{path / SPEC}` is missing or damaged", "train again, with `--force`")
    other = f"the spec is not the one of `{path}`"
    for where in _differences(stored, read_back(program.resolved)):
        if where[:2] not in FREE:
            raise _refused(
                f"{other}: `{'.'.join(map(str, where))}` differs, {_was(stored, where)} there", ANEW
            )
    if state.part("progress").numbers["spec"] != spec_digest(program):
        raise _refused(f"{other}: a model file that it reads has changed", ANEW)


def need_same_options(world: World, program: BaseProgram, options: Mapping[str, Any]) -> None:
    """Raises `SpecError` (run-failed) where the processes were given different specs or options: each would
    wait for others in another place. It comes before all else that they do together.
    """
    if world.alone:
        return
    versions = {"the version of graphspec": __version__, "the version of torch": torch.__version__}
    code = {"the code of the model": spec_digest(program)}
    named = {f"`{name}`": value for name, value in options.items()}
    told = world.gather((program.resolved, {**versions, **named, **code}))
    spec, values = told[0]
    for rank, (other, others) in enumerate(told):
        both = f"process {rank} and process 0"
        if other != spec:
            first, there = read_back(spec), read_back(other)
            where = next(_differences(there, first))
            pair = f"{_was(there, where)} and {_was(first, where)}"
            _differ(f"`{'.'.join(map(str, where))}` differs between {both}: {pair}")
        for name, value in values.items():
            if others[name] != value:
                pair = f": {others[name]} and {value}" if name not in code else ""
                _differ(f"{name} differs between {both}{pair}")


def _differ(message: str) -> NoReturn:
    raise fail("run-failed", message, "give every process the same spec and the same options")


def alike(world: World, fingerprint: str) -> None:
    """Raises `SpecError` (data-range) where the processes read different data."""
    others = world.gather(fingerprint)
    if len(set(others)) > 1:
        wrong = next(rank for rank, other in enumerate(others) if other != others[0])
        message = f"process {wrong} reads other data than process 0"
        help = "give every machine the same files, at the same paths"
        raise fail("data-range", message, help)


def same_data(state: State, fingerprint: str, path: Path) -> None:
    """Raises `SpecError` (resume-failed) where the run read other data."""
    if state.part("progress").numbers["data"] != fingerprint:
        message = f"the data are not those that the run of `{path}` was trained on"
        raise _refused(message, "give it its own data, or train again")


def _differences(a: Any, b: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths at which two plain values differ; a mapping that is absent is one without keys. They lead
    into lists of as many mappings, as phases are.
    """
    if isinstance(a, dict) and isinstance(b, dict):
        for key in {**a, **b}:
            here = (*path, key)
            if key in a and key in b:
                yield from _differences(a[key], b[key], here)
            elif isinstance(mapping := a.get(key, b.get(key)), dict) and mapping:
                yield from ((*here, inner) for inner in mapping)
            else:
                yield here
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b) and isinstance((a or [0])[0], dict):
        for place, (one, other) in enumerate(zip(a, b, strict=True)):
            yield from _differences(one, other, (*path, place))
    elif a != b or type(a) is not type(b):
        yield path


def _was(value: Any, path: tuple[Any, ...]) -> str:
    for step in path:
        if step not in (value if isinstance(value, dict) else range(len(value))):
            return "absent"
        value = value[step]
    return show(value)


def _refused(message: str, help: str) -> SpecError:
    return fail("resume-failed", message, help)
