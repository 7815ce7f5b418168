"""The run directory of a training, which can be copied elsewhere."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median_low
from typing import Any, TextIO

import torch
import yaml
from torch import Tensor

from graphspec import custom
from graphspec.data.batches import Examples, Shuffle
from graphspec.data.opening import named
from graphspec.diagnostics import Span, SpecError, fail
from graphspec.diagnostics.terminal import for_json
from graphspec.elaborated import BaseProgram
from graphspec.files.folder import refused, refusing
from graphspec.files.locks import NAME, Lock
from graphspec.files.reading import digest, need_regular, read_text
from graphspec.files.remembered import is_signed, signed
from graphspec.files.run_files import CHECKPOINTS, ENVIRONMENT, HISTORY, SOURCE, SPEC, reserved
from graphspec.files.run_folder import READ, REPLACED, WEIGHTS_DIGEST, WRITTEN, RunFolder
from graphspec.files.whole import sync
from graphspec.source.writing import read_back
from graphspec.tensor import sizes_of
from graphspec.train.checkpoint import Checkpoints
from graphspec.train.files import write_weights
from graphspec.version import LANGUAGE, __version__
from graphspec.weights import inside, weight_files

SOME = 64
"""Examples that tell what lengths are usual."""


@dataclass(slots=True)
class RunDirectory:
    """A directory of its own for one run: spec, source, environment, history, weights and checkpoints.

    One process at a time has it; another is refused for as long as that one lives.
    """

    path: Path
    about: dict[str, Any] = field(default_factory=dict)
    _lock: Lock | None = field(default=None, repr=False)

    @classmethod
    def create(cls, name: str, path: Path | None = None, overwrite: bool = False) -> RunDirectory:
        """A new directory: `path`, empty if it exists, else `runs/<name>-<n>` with the next number.

        `overwrite` removes the run that is in `path`, and nothing else there. Raises `SpecError`
        (run-directory).
        """
        try:
            if path is None:
                return cls(numbered(Path("runs"), name))._locked()
            path.mkdir(parents=True, exist_ok=True)
            taken = sorted(entry.name for entry in path.iterdir() if not entry.name.startswith("."))
        except OSError as error:
            raise refused(
                f"the run directory `{error.filename}` cannot be made: {error.strerror}",
                "give another directory",
            ) from None
        run = cls(path)
        if taken and not overwrite:
            help = (
                "continue its run: `--resume`; replace it: `--force`; or give another directory; in Python: "
                "resume=True, overwrite=True"
            )
            raise refused(f"the run directory `{path}` is not empty", help)
        if taken and not is_run(path):
            raise refused(f"`{path}` holds no run, and is not overwritten", "give another directory")
        return run._entered(replaced=bool(taken))

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """Opens the directory of a run to resume, and removes files that a crash left incomplete.

        Raises `SpecError` where another process has it.
        """
        return cls(path)._entered(replaced=False)

    def _entered(self, replaced: bool) -> RunDirectory:
        """Locks the directory; deletes what a crash left, and the run that is `replaced`, or was to be."""
        self._locked()
        try:
            self.files.clean(alone=self._lock is not None and self._lock.is_kept)
            if replaced or self.files.about().replaced:
                self._vacate()
        except SpecError:
            self.close()
            raise
        return self

    def _vacate(self) -> None:
        """Deletes the run. From the first moment on it is marked: whoever goes on with it, however this ends,
        goes on with this, and not with a part of the old run.
        """
        lists = {key: self.files.names(key) for key in (READ, WRITTEN)}
        self.text(ENVIRONMENT, json.dumps({REPLACED: True, **lists}) + "\n")
        self.files.clear()
        self.text(ENVIRONMENT, json.dumps({REPLACED: True}) + "\n")

    @property
    def files(self) -> RunFolder:
        return RunFolder(self.path)

    @property
    def checkpoints(self) -> Checkpoints:
        return Checkpoints(self.path / CHECKPOINTS)

    def begin(self, program: BaseProgram, about: Mapping[str, Any]) -> None:
        """Writes everything known before the first step: the spec with every file that it reads, the source,
        and `about` the run, as JSON.
        """
        read = dict(files_of(program))
        written = [name for name in self.files.names(WRITTEN) if name not in read]
        self.about = {**about, "finished": False, READ: list(read), WRITTEN: written}
        self.about = signed(self.about, named(program).values())
        self._tell()  # with it, the directory is a run
        for name, origin in read.items():
            self.files.write(name, partial(_copy, origin))
        self.text(SPEC, program.resolved)
        self.text(SOURCE, program.source)

    def note(self, **facts: Any) -> None:
        """Writes facts into the record of the run, if they are new."""
        if self.about != {**self.about, **facts}:
            self.about |= facts
            self._tell()

    def finish(self) -> None:
        """Called at the end of training."""
        self.note(finished=True)

    def _tell(self) -> None:
        self.text(ENVIRONMENT, json.dumps(self.about, indent=2) + "\n")

    @property
    def finished(self) -> bool:
        return self.files.about().finished

    def started_from(self, program: BaseProgram, needed: bool = True) -> Path | None:
        """The file of the weights that the run of a program started from, if it started from some; None where
        another than this user says so. Raises `SpecError` (weights-missing) for that where they are `needed`.
        """
        about = self.files.about()
        weights, there = about.weights, about.weights_sha256
        if weights is None:
            return None
        if is_signed(about.model_dump(), named(program).values()):
            if needed and there is not None and Path(weights).is_file() and digest(Path(weights)) != there:
                message = f"`{weights}` has changed since the run of `{self.path}` started from it"
                raise fail("weights-missing", message, "train again, with `--force`")
            return Path(weights)
        if needed:
            message = (
                f"`{self.path / ENVIRONMENT}` names the first weights `{weights}`, but is not signed by you"
            )
            help = f"to start from these weights instead: `--force --weights {weights}`"
            raise fail("weights-missing", f"{message} on this machine", help)
        return None

    def start(self, first: Path | None) -> dict[str, str]:
        """The digest, for the record, of the weights that the run started from, if it started from some; of a
        run that goes on it stays, whatever has become of the file, and whoever wrote where that was.
        """
        known = self.files.about().weights_sha256
        if known is not None:
            return {WEIGHTS_DIGEST: known}
        return {WEIGHTS_DIGEST: digest(first)} if first is not None else {}

    def claim(self, name: str) -> str:
        """A name for a file of a callback, which from now on is one of the run's. Raises `SpecError`
        (run-directory) where the file is another one's.
        """
        if reserved(name) or name in self.about[READ]:
            raise refused(f"a callback would write `{name}`, which is a file of the run", "give another name")
        if name not in self.about[WRITTEN]:
            self.about[WRITTEN].append(name)
            self._tell()
        return name

    def text(self, name: str, content: str) -> None:
        """Writes a text file atomically."""
        self.files.text(name, content)

    def weights(self, name: str, state: Mapping[str, Tensor]) -> None:
        """Write weights, tied ones once, and read them back before they replace what is there."""
        write_weights(self.files.file(name), state)

    def appending(self, name: str) -> AbstractContextManager[TextIO]:
        """The end of a text file, visible to readers at once."""
        return self.files.appending(name)

    def folder(self, name: str) -> Path:
        """A folder in which a library writes."""
        return self.files.folder(name)

    def record(self, entry: Mapping[str, Any]) -> None:
        """Appends an epoch to the history."""
        with self.appending(HISTORY) as stream:
            stream.write(json.dumps(for_json(entry)) + "\n")

    def rewrite(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """The history as it was at a checkpoint, without what came after it."""
        self.text(HISTORY, "".join(json.dumps(for_json(entry)) + "\n" for entry in entries))

    def settle(self) -> None:
        """Flushes the history to the disk, so that no checkpoint is newer."""
        if (self.path / HISTORY).exists():
            with refusing(self.path / HISTORY):
                sync(self.path / HISTORY)

    def close(self) -> None:
        """Releases the directory for other processes."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _locked(self) -> RunDirectory:
        """Takes the lock, which ends with the process, however that ends."""
        lock = Lock(self.path / NAME)
        with refusing(self.path):
            taken = lock.take()
        if not taken:
            message = f"another process is training in `{self.path}`"
            raise refused(message, "wait for it, or stop it")
        self._lock = lock
        return self


class NullRunDirectory(RunDirectory):
    """The run directory for a process that does not write: the first one does, whose directory it is."""

    def begin(self, program: BaseProgram, about: Mapping[str, Any]) -> None: ...

    def note(self, **facts: Any) -> None: ...

    def text(self, name: str, content: str) -> None: ...

    def weights(self, name: str, state: Mapping[str, Tensor]) -> None: ...

    def claim(self, name: str) -> str:
        return name

    def record(self, entry: Mapping[str, Any]) -> None: ...

    def rewrite(self, entries: Sequence[Mapping[str, Any]]) -> None: ...

    def settle(self) -> None: ...


def _copy(origin: Path, target: Path) -> None:
    shutil.copyfile(need_regular(origin), target)


def is_run(path: Path) -> bool:
    """Whether a directory holds a run."""
    return (path / ENVIRONMENT).is_file()


def stored_spec(path: Path) -> dict[str, Any] | None:
    """The spec of a run as plain values; None if it is missing or damaged."""
    try:
        stored = read_back(read_text(path / SPEC))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return None
    return stored if isinstance(stored, dict) else None


def newest(name: str, parent: Path = Path("runs")) -> Path | None:
    """The newest run of a spec of this name, by its number."""
    runs = [path for path in numbers(parent, name).values() if is_run(path)] if parent.is_dir() else []
    return runs[-1] if runs else None


def files_of(program: BaseProgram) -> Iterator[tuple[str, Path]]:
    """The model files, weights and Python files that a spec reads: where they lie from the spec, and from
    here.

    In a run they lie in the same place, so that no path needs to change. Raises `SpecError` where that place
    is one of the run's own.
    """
    if program.path is None:
        return
    root = program.path.parent
    read = (Path(file) for file in program.sources)
    files: dict[Path, Span | None] = {file: None for file in read if file != program.path and file.is_file()}
    for _, weights, span in weight_files(program.graph):
        base = Path(span.file).parent if span is not None else root
        inside(program.path, weights, span)
        files.setdefault(base / weights, span)
    for file, span in custom.files(program):
        files.setdefault(file, span)
    for path, span in files.items():
        name = os.path.normpath(os.path.relpath(path, root))
        if reserved(name):
            message = f"the spec reads `{name}`, and a run writes a file of that name"
            raise fail("run-directory", message, "rename the file", span=span)
        yield name, path


def environment(device: torch.device) -> dict[str, Any]:
    """The environment of a run: everything needed to repeat it."""
    return {
        "graphspec": __version__,
        "language": LANGUAGE,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor(),
        "threads": torch.get_num_threads(),
        "byteorder": sys.byteorder,
    }


def usual_lengths(program: BaseProgram, examples: Examples) -> dict[str, int]:
    """The median of each named size of the inputs, of some training examples from all over the data."""
    if not program.minimum_sizes:
        return {}
    shapes = (
        {name: tuple(array.shape) for name, array in batch.arrays.items()}
        for batch in islice(examples.batches(1, Shuffle(program.training.seed, 0)), SOME)
    )
    lengths = [sizes_of(program.inputs, each) for each in shapes]
    sizes = {name: [each[name] for each in lengths if name in each] for name in program.minimum_sizes}
    return {name: median_low(values) for name, values in sizes.items() if values}


def numbers(parent: Path, name: str) -> dict[int, Path]:
    """The directories `<name>-<n>` in `parent`, by their number."""
    pattern = re.compile(re.escape(name) + r"-(\d{1,9})\Z", re.ASCII)
    directories = {int(match[1]): entry for entry in parent.iterdir() if (match := pattern.match(entry.name))}
    return dict(sorted(directories.items()))


def numbered(parent: Path, name: str) -> Path:
    """The first free `<name>-<n>` after the highest one in `parent`, made."""
    parent.mkdir(parents=True, exist_ok=True)
    number = max(numbers(parent, name), default=0)
    while True:
        number += 1
        path = parent / f"{name}-{number}"
        try:
            path.mkdir()
        except FileExistsError:  # another run took the number
            continue
        return path
