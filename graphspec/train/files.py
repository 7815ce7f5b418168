"""Tensors as files, verified after writing, and the room for them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import safetensors
import torch
from torch import Tensor

from graphspec.files.folder import Folder, refused, refusing
from graphspec.files.tensors import failing_as_files_do, save

MARGIN = 2**20
"""Bytes that stay free beyond what is written: directories, logs, names."""


def write_weights(path: Path, state: Mapping[str, Tensor]) -> None:
    """Writes a state dict atomically, tied weights once; it is read back and compared before it replaces the
    file.
    """
    tensors, tied = untied(state)
    folder = Folder(path.parent)
    make_room(folder.folder(""), size_of(tensors))
    folder.write(path.name, lambda temporary: write_tensors(temporary, tensors, tied))


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], tied: Mapping[str, str] | None = None, checksum: bool = True
) -> None:
    """Write tensors that share no memory, read them back and compare them bit for bit. Raises `OSError`."""
    save(path, tensors, {"writer": "graphspec", **({"tied": json.dumps(tied)} if tied else {})}, checksum)
    if not holds(path, tensors):
        raise OSError(None, "what was written differs from what is read back", str(path))


def make_room(path: Path, size: int) -> None:
    """Raises if the filesystem of `path` has not enough space. Raises `SpecError` (run-directory)."""
    with refusing(path):
        free = shutil.disk_usage(path).free
    if free < size + MARGIN:
        message = (
            f"`{path}` has {free / 1e6:,.1f} MB free, and {(size + MARGIN) / 1e6:,.1f} MB are to be written"
        )
        raise refused(
            message, "free some space; what was saved before is intact, and `--resume` continues from it"
        )


def untied(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """A state dict's tensors, contiguous and each once; and under which name the further names of one are."""
    tensors: dict[str, Tensor] = {}
    tied: dict[str, str] = {}
    names: dict[tuple[object, ...], str] = {}
    for name, tensor in state.items():
        key = (tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        first = names.setdefault(key, name) if tensor.numel() else name
        if first == name:
            value = tensor.detach().cpu().contiguous()
            part = (
                value.untyped_storage().nbytes() != value.nbytes
            )  # of a larger piece of memory, as others may be
            tensors[name] = value.clone() if part else value
        else:
            tied[name] = first
    return tensors, tied


def size_of(tensors: Mapping[str, Tensor]) -> int:
    """Bytes."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def holds(path: Path, tensors: Mapping[str, Tensor]) -> bool:
    """Whether a file holds exactly these tensors, bit for bit. Raises `OSError`."""
    with failing_as_files_do(path), safetensors.safe_open(path, framework="pt") as stored:
        if set(stored.keys()) != tensors.keys():
            return False
        return all(_same(stored.get_tensor(name), tensor) for name, tensor in tensors.items())


def _same(a: Tensor, b: Tensor) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return torch.equal(a.reshape(-1).view(torch.uint8), b.reshape(-1).view(torch.uint8))
