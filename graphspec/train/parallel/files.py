"""Checkpoints of sharded tensors, as torch.distributed.checkpoint writes safetensors: a file a process.

Each process writes what it holds, and reads what it wants, whatever the number of processes is then: tensors
of any sharding, or whole ones. The same reader takes a file of whole tensors.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

SUFFIX = ".safetensors"


def write(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes the tensors of all processes to a directory; every process calls it. Raises `OSError`."""
    from torch.distributed.checkpoint import save
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter

    writer = HuggingFaceStorageWriter(str(path), save_distributed=True)
    try:
        with _quietly():
            save({name: tensor.detach() for name, tensor in tensors.items()}, storage_writer=writer)
    except CheckpointException as error:
        reasons = [reason for reason, _ in error.failures.values()]
        raise OSError(None, str(reasons[0]) if reasons else str(error), str(path)) from error


class StoredTensors(Mapping[str, Tensor]):
    """The tensors of a directory by their names, those that begin with `start`; read when asked for.

    `tied` has further names of tensors, with the names under which they are stored.
    """

    def __init__(self, path: Path, tied: Mapping[str, str] | None = None, start: str = ""):
        self.path, self.tied, self.start = path, dict(tied or {}), start

    def __iter__(self) -> Iterator[str]:
        return (name.removeprefix(self.start) for name in self._known if name.startswith(self.start))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, name: str) -> Tensor:
        known = self._known[self._stored(name)]
        tensor = torch.empty(known.size, dtype=known.properties.dtype)
        self.fill({name: tensor})
        return tensor

    def part(self, name: str) -> StoredTensors:
        return StoredTensors(self.path, self.tied, f"{self.start}{name}/")

    def fill(self, tensors: Mapping[str, Tensor]) -> None:
        """Reads into these tensors; of a sharded tensor, the part of this process."""
        from torch.distributed.checkpoint import load
        from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader

        wanted = {self._stored(name): tensor.detach() for name, tensor in tensors.items()}
        with _quietly():
            load(wanted, storage_reader=HuggingFaceStorageReader(str(self.path)), no_dist=True)

    def _stored(self, name: str) -> str:
        return self.tied.get(self.start + name, self.start + name)

    @cached_property
    def _known(self) -> Mapping[str, Any]:
        from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader

        with _quietly():
            return HuggingFaceStorageReader(str(self.path)).read_metadata().state_dict_metadata


def fill(tensors: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Gives tensors the values of those of the same names. Raises `ValueError`, `KeyError`."""
    if isinstance(values, StoredTensors):
        values.fill(tensors)
        return
    with torch.no_grad():
        for name, tensor in tensors.items():
            if values[name].shape != tensor.shape:
                raise ValueError(
                    f"`{name}` has the shape {list(values[name].shape)}, not {list(tensor.shape)}"
                )
            tensor.copy_(values[name])


@contextmanager
def _quietly() -> Iterator[None]:
    """Suppresses torch's warnings about reading in one process, and about its own deprecated names."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
