"""Where a run computes: the device, and how many threads."""

from __future__ import annotations

import torch
from torch import nn

from graphspec.data.batches import Examples
from graphspec.diagnostics import Diagnostic, SpecError


def choose(name: str = "auto") -> torch.device:
    """The device called `cpu`, `cuda` or `cuda:1`; `auto` is CUDA where there is one.

    Raises `SpecError` (device-missing).
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdecimal()):
        raise _missing(f"there is no device `{name}`", "use auto, cpu, cuda or cuda:0")
    if kind == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        built = torch.version.cuda is not None
        why = "no GPU or driver is visible" if built else "this PyTorch is built for CPUs only"
        raise _missing(f"`{name}` was asked for, but {why}", "use `--device cpu`, or `auto`")
    if int(number or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise _missing(f"`{name}` was asked for, but the number of GPUs is {count}", "they count from cuda:0")
    return torch.device(name)


def set_threads(module: nn.Module, training: Examples, batch_size: int) -> None:
    """Choose how many threads torch uses."""


def _missing(message: str, help: str) -> SpecError:
    return SpecError([Diagnostic("device-missing", message, None, help=help)])
