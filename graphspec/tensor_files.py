"""Tensors as a `.safetensors` file: equal tensors and words give equal bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor


def save(path: Path, tensors: Mapping[str, Tensor], words: Mapping[str, str]) -> None:
    """Writes tensors that share no memory, with `words` as metadata. Raises `OSError`."""
    save_file(dict(tensors), path, {"format": "pt", **words})
    _sort_metadata(path)
    path.chmod(0o644)  # safetensors makes it private


def _sort_metadata(path: Path) -> None:
    """Sorts the metadata of a file, which safetensors shuffles."""
    with path.open("r+b") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
        header = {"__metadata__": dict(sorted(header.pop("__metadata__").items())), **header}
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(length)
        assert len(text) == length
        stream.seek(8)
        stream.write(text)
