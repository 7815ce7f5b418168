"""The run directory: what a training leaves behind, and the one place that writes it.

Every file appears whole or not at all: it is written under another name, flushed to the disk, and renamed.
Weights are read back and compared before they count as saved.
"""

from __future__ import annotations

import json
import math
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import graphspec
from graphspec.diagnostics import Diagnostic, SpecError
from graphspec.train.meter import Values
from graphspec.train.progress import plain

SAVE = 60.0
"""Seconds of training that a crash may lose."""
LAST, BEST, HISTORY = "last.safetensors", "best.safetensors", "history.jsonl"


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """A directory of its own for one run: spec, source, environment, history and weights."""

    path: Path

    @classmethod
    def create(cls, name: str, path: Path | None = None) -> RunDirectory:
        """A new directory: `path`, empty if it exists, else `runs/<name>-<n>` with the next number.

        Raises `SpecError` (run-directory).
        """
        try:
            if path is None:
                return cls(_numbered(Path("runs"), name))
            path.mkdir(parents=True, exist_ok=True)
            taken = any(path.iterdir())
        except OSError as error:
            raise _refused(f"the run directory `{error.filename}` cannot be made: {error.strerror}") from None
        if taken:
            help = "give a new one, or leave `--run-dir` out"
            raise _refused(f"the run directory `{path}` is not empty", help)
        return cls(path)

    def begin(self, spec: str, source: str, device: torch.device) -> None:
        """Write what is known before the first step."""
        self.text("spec.yaml", spec)
        self.text("model.py", source)
        self.text("environment.json", environment(device))

    def text(self, name: str, content: str) -> None:
        """Write a text file whole."""
        self._write(name, lambda temporary: temporary.write_text(content, encoding="utf-8"))

    def record(self, entry: Mapping[str, Any]) -> None:
        """Append an epoch to the history, at once visible to readers."""
        with _refusing(self.path / HISTORY), (self.path / HISTORY).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(plain(entry)) + "\n")

    def weights(self, name: str, state: Mapping[str, Tensor]) -> None:
        """Write weights, tied ones once, and read them back before they replace what is there."""
        tensors, tied = untied(state)
        metadata = {"format": "pt", **({"tied": json.dumps(tied)} if tied else {})}

        def write(temporary: Path) -> None:
            save_file(tensors, temporary, metadata)
            temporary.chmod(0o644)  # safetensors makes it private
            if not _holds(temporary, tensors):
                raise OSError(None, "what was written differs from what is read back", str(temporary))

        self._write(name, write)

    def _write(self, name: str, write: Callable[[Path], Any]) -> None:
        temporary = self.path / f".{name}.{os.getpid()}"
        with _refusing(self.path / name):
            try:
                write(temporary)
                _sync(temporary)
                temporary.replace(self.path / name)
                _sync(self.path)
            finally:
                temporary.unlink(missing_ok=True)


class Keeper:
    """Holds on to the weights of the best epoch, and writes best and last when it is time.

    The best has the lowest `val_loss`, or the lowest `loss` where nothing is held out.
    """

    def __init__(self, run: RunDirectory, module: nn.Module):
        self.run, self.module = run, module
        self.lowest = math.inf
        self.best: dict[str, Tensor] = {}
        self.written = time.monotonic()

    def keep(self, values: Values) -> None:
        """An epoch is over."""
        value = values.get("val_loss", values["loss"])
        if isinstance(value, float) and value < self.lowest:
            self.lowest = value
            self.best = {name: tensor.clone() for name, tensor in untied(self.module.state_dict())[0].items()}
        if time.monotonic() - self.written > SAVE:
            self.write()

    def write(self) -> None:
        """Write the last weights, and the best if an epoch is over."""
        self.run.weights(LAST, self.module.state_dict())
        if self.best:
            self.run.weights(BEST, self.best)
        self.written = time.monotonic()


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Turns a failure to write `path` into a diagnostic."""
    try:
        yield
    except (OSError, safetensors.SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise _refused(f"`{path}` cannot be written: {reason}") from None


def untied(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """A state dict's tensors, contiguous and each once; and under which name the further names of one are."""
    tensors: dict[str, Tensor] = {}
    tied: dict[str, str] = {}
    names: dict[tuple[object, ...], str] = {}
    for name, tensor in state.items():
        key = (tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        first = names.setdefault(key, name) if tensor.numel() else name
        if first == name:
            tensors[name] = tensor.detach().cpu().contiguous()
        else:
            tied[name] = first
    return tensors, tied


def environment(device: torch.device) -> str:
    """Where a run took place, as JSON: what one needs to know to repeat it."""
    found = {
        "graphspec": graphspec.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor(),
        "threads": torch.get_num_threads(),
        "byteorder": sys.byteorder,
    }
    return json.dumps(found, indent=2) + "\n"


def _numbered(parent: Path, name: str) -> Path:
    """The first free `<name>-<n>` after the highest one in `parent`, made."""
    parent.mkdir(parents=True, exist_ok=True)
    pattern = re.compile(re.escape(name) + r"-(\d{1,9})\Z", re.ASCII)
    number = max((int(m[1]) for entry in parent.iterdir() if (m := pattern.match(entry.name))), default=0)
    while True:
        number += 1
        path = parent / f"{name}-{number}"
        try:
            path.mkdir()
        except FileExistsError:  # another run took the number
            continue
        return path


def _holds(path: Path, tensors: Mapping[str, Tensor]) -> bool:
    """Whether a file holds exactly these tensors, bit for bit."""
    with safetensors.safe_open(path, framework="pt") as stored:
        if set(stored.keys()) != tensors.keys():
            return False
        return all(_same(stored.get_tensor(name), tensor) for name, tensor in tensors.items())


def _same(a: Tensor, b: Tensor) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return torch.equal(a.reshape(-1).view(torch.uint8), b.reshape(-1).view(torch.uint8))


def _sync(path: Path) -> None:
    """Force a file, or a directory's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refused(message: str, help: str | None = None) -> SpecError:
    return SpecError([Diagnostic("run-directory", message, None, help=help)])
