"""Checkpoints: the complete state that a run needs to resume exactly.

    runs/digits-1/checkpoints/000007/   state.safetensors   state.json   manifest.json

A checkpoint is a directory that appears by a rename, after everything in it was flushed to the disk and
read back. The manifest, with the size and the SHA-256 of each file, is written last: without it, or with a
byte that differs, a checkpoint is torn. A torn one is passed over, never loaded, and never counts as kept.

Where processes hold shards, each writes a file of its own in place of `state.safetensors`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import load_file
from torch import Tensor

from graphspec.diagnostics import SpecError
from graphspec.files.folder import refusing
from graphspec.files.reading import content, digest, parse_json, read_text
from graphspec.files.records import StoredNumbers, record_of
from graphspec.files.run_files import CHECKPOINT, CHECKPOINTS, IN_CHECKPOINT, MANIFEST, NUMBERS, TENSORS
from graphspec.files.run_folder import RunFolder
from graphspec.files.whole import discard, half_of, sync
from graphspec.train.files import make_room, size_of, untied, write_tensors
from graphspec.train.parallel import files as shards
from graphspec.train.parallel.shards import is_sharded
from graphspec.train.parallel.world import World

KEPT = 2
"""How many good checkpoints stay: one to walk back to."""


@dataclass(frozen=True, slots=True)
class State:
    """The state of a part of a run: tensors by name, and JSON data. `path` is its checkpoint."""

    tensors: Mapping[str, Tensor]
    numbers: Any
    path: Path | None = None

    def part(self, name: str) -> State:
        """The part that `joined` stored under `name`."""
        if isinstance(self.tensors, shards.StoredTensors):
            return State(self.tensors.part(name), self.numbers.get(name))
        start = f"{name}/"
        tensors = {
            key.removeprefix(start): value for key, value in self.tensors.items() if key.startswith(start)
        }
        return State(tensors, self.numbers.get(name))


def joined(parts: Mapping[str, State]) -> State:
    """Several states as one, each under its name."""
    tensors = {f"{name}/{key}": value for name, part in parts.items() for key, value in part.tensors.items()}
    return State(tensors, {name: part.numbers for name, part in parts.items()})


class Checkpoints:
    """The checkpoints of a run, numbered as they were made, in the folder `checkpoints` of its directory."""

    def __init__(self, path: Path):
        self.path, self.run = path, RunFolder(path.parent)
        self._good: list[Path] = []

    def save(self, state: State, world: World = World()) -> Path:  # noqa: B008 - a frozen value
        """Saves and verifies a checkpoint, and then deletes older ones. Raises `SpecError` (run-directory).

        Whatever happens on the way, the checkpoints that were there stay. Where tensors are sharded, every
        process calls it; else the one that has them.
        """
        sharded = any(map(is_sharded, state.tensors.values()))
        tensors, tied = (dict(state.tensors), {}) if sharded else untied(state.tensors)
        numbers = json.dumps({"tied": tied, "state": state.numbers})
        self.run.folder(CHECKPOINTS)
        self._make_room(size_of(tensors) + len(numbers))
        name = f"{max((int(path.name) for path in self._all()), default=0) + 1:06d}"
        final = self.path / name
        temporary = half_of(final)
        if sharded:
            temporary, final = world.of_first((temporary, final))
        with refusing(final):
            try:
                temporary.mkdir(exist_ok=sharded)
                files = self._write(temporary, tensors, world) if sharded else None
                if not world.is_first:
                    return final
                if files is None:
                    write_tensors(temporary / TENSORS, tensors, checksum=False)  # the manifest has it
                    files = {TENSORS: _digest(temporary / TENSORS)}
                (temporary / NUMBERS).write_text(numbers, encoding="utf-8")
                manifest = files | {NUMBERS: _digest(temporary / NUMBERS)}
                (temporary / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
                for file in (*manifest, MANIFEST):
                    sync(temporary / file)
                sync(temporary)
                temporary.rename(final)
                sync(self.path)
            finally:
                if world.is_first:
                    discard(temporary)
        self._good.append(final)
        self._prune()
        return final

    def _write(self, path: Path, tensors: Mapping[str, Tensor], world: World) -> dict[str, Any]:
        """Every process writes its shards; the digests of all files."""
        shards.write(path, tensors)
        files_here = sorted(path.glob(f"shard-{world.rank + 1:05d}-*{shards.SUFFIX}"))
        for file in files_here:
            sync(file)
        digests: dict[str, Any] = {}
        for files in world.gather({file.name: _digest(file) for file in files_here}):
            digests |= files
        return digests

    def newest(self, sharded: bool = False) -> State | None:
        """The newest checkpoint that verifies, as `read` returns it; None if there is none."""
        for path in reversed(self._all()):
            try:
                state = read(path, sharded) if _verifies(path) else None
            except (OSError, ValueError, safetensors.SafetensorError):
                state = None
            if state is not None:
                self._good = [path]
                return state
        return None

    def clear(self) -> None:
        """Remove them all."""
        self.run.clear_checkpoints()
        self._good.clear()

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> list[Path]:
        paths = [path for path in self.path.glob("*") if CHECKPOINT.fullmatch(path.name)]
        return sorted(paths, key=lambda path: int(path.name))

    def _make_room(self, size: int) -> None:
        """Deletes old checkpoints when the disk is nearly full, except one valid one."""
        try:
            make_room(self.path, size)
        except SpecError:
            self._prune(1)
            make_room(self.path, size)

    def _prune(self, kept: int = KEPT) -> None:
        """Removes all but the newest good ones: torn ones, too."""
        self._good = self._good[-kept:]
        for path in reversed(self._all()):
            if path not in self._good and len(self._good) < kept and _verifies(path):
                self._good.insert(0, path)
            elif path not in self._good:
                self.run.remove_folder(f"{CHECKPOINTS}/{path.name}", IN_CHECKPOINT)


def _verifies(path: Path) -> bool:
    """Whether all files of a checkpoint match its manifest."""
    try:
        manifest = parse_json(read_text(path / MANIFEST))
        there = {NUMBERS, *(file.name for file in path.glob(f"*{shards.SUFFIX}"))}
        return bool(manifest == {file: _digest(path / file) for file in there})
    except (OSError, ValueError):
        return False


def read(path: Path, sharded: bool = False) -> State:
    """A checkpoint that verifies; for a sharded module its tensors are read when they are asked for. Raises
    `ValueError` for one that no run has written.
    """
    numbers = record_of(StoredNumbers, parse_json(content(path / NUMBERS, 2**34).decode("utf-8")))
    tied = numbers.tied
    if sharded:
        return State(shards.StoredTensors(path, tied), numbers.state, path)
    if (path / TENSORS).exists():
        # a copy each: what safetensors returns need not lie where torch's own tensors would
        tensors = {name: tensor.clone() for name, tensor in load_file(path / TENSORS).items()}
    else:
        tensors = dict(shards.StoredTensors(path))
    unknown = next((first for first in tied.values() if first not in tensors), None)
    if unknown is not None:
        raise ValueError(f"there is no tensor `{unknown}`")
    tensors |= {name: tensors[first] for name, first in tied.items()}
    return State(tensors, numbers.state, path)


def _digest(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": digest(path)}
