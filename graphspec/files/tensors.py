"""Tensors as a `.safetensors` file: equal tensors and words give equal bytes."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from graphspec.diagnostics.text import first_line

CHECKSUM = "sha256"
"""In the metadata: the SHA-256 of the whole file, in which `BLANK` is in its place."""
BLANK = "0" * 64
OF_SYSTEM = re.compile(r"\(os error ([0-9]+)\)")
"""How safetensors tells of an error of the system."""
_PLACE = re.compile(rb'"%s":"([^"]{%d})"' % (CHECKSUM.encode(), len(BLANK)))


def save(path: Path, tensors: Mapping[str, Tensor], words: Mapping[str, str], checksum: bool = True) -> None:
    """Writes tensors that share no memory, with `words` as metadata, and a checksum for `is_whole`, unless it
    is kept elsewhere. Raises `OSError`.
    """
    blank = {CHECKSUM: BLANK} if checksum else {}
    contiguous = {key: tensor.contiguous() for key, tensor in tensors.items()}
    with failing_as_files_do(path):
        save_file(contiguous, path, {"format": "pt", **words, **blank})
    _sort_metadata(path)
    if checksum:
        with path.open("r+b") as stream:
            place, _, digest = _digest(stream)
            stream.seek(place)
            stream.write(digest.encode())
    path.chmod(0o644)  # safetensors makes it private


@contextmanager
def failing_as_files_do(path: Path) -> Iterator[None]:
    """Turns what safetensors raises, of files that cannot be read or written, too, into `OSError`."""
    try:
        yield
    except SafetensorError as error:
        if (of_system := OF_SYSTEM.search(str(error))) is not None:
            number = int(of_system[1])
            raise OSError(number, os.strerror(number), str(path)) from None
        raise OSError(None, first_line(error), str(path)) from None


def is_whole(path: Path) -> bool:
    """Whether a `.safetensors` file holds what `save` wrote, to the byte; true of one without a checksum.

    Raises `OSError`.
    """
    with path.open("rb") as stream:
        place, written, digest = _digest(stream)
    return not place or written == digest


def _digest(stream: BinaryIO) -> tuple[int, str, str]:
    """The place of the checksum in a file, 0 if it has none; what is written there, and what is right."""
    header = stream.read(8)
    header += stream.read(int.from_bytes(header, "little"))
    match = _PLACE.search(header)
    if match is None:
        return 0, "", ""
    digest = hashlib.sha256(header[: match.start(1)] + BLANK.encode() + header[match.end(1) :])
    while part := stream.read(1 << 20):
        digest.update(part)
    return match.start(1), match[1].decode("latin-1"), digest.hexdigest()


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
