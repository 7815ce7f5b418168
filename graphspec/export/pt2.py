"""The format of `torch.export`: a program that PyTorch loads without its Python source."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from graphspec.export.failures import failing
from graphspec.export.proof import Run, outputs_of
from graphspec.export.tracing import Traced

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from graphspec.program import Program

DESCRIPTION = "graphspec.json"
"""The name of the description among the extra files of a `.pt2`."""


def write(program: Program, traced: Traced, arguments: Iterable[str], description: str, path: Path) -> Run:
    """Writes the file, reads it back, and returns a function that runs it, with the arguments of `forward` by
    name.
    """
    save(program, traced.program, description, path)
    return run_of(program, arguments, path)


def save(program: Program, exported: ExportedProgram, description: str, path: Path) -> None:
    """Writes an exported program."""
    with failing(program, "the exported program cannot be written"), warnings.catch_warnings():
        # torch means weights in channels-last memory, which fill their storage as others do
        warnings.filterwarnings("ignore", "No complete tensor found in the group!", UserWarning)
        torch.export.save(exported, path, extra_files={DESCRIPTION: description})


def load(program: Program, path: Path) -> nn.Module:
    """The program in a file."""
    with failing(program, "the exported program cannot be read"), warnings.catch_warnings():
        # torch 2.10 reads weights into a buffer that is not writable, and nothing writes into them
        warnings.filterwarnings("ignore", "The given buffer is not writable", UserWarning)
        return torch.export.load(path).module()


def run_of(program: Program, arguments: Iterable[str], path: Path) -> Run:
    """Runs a file, with the arguments of `forward` by name."""
    names, loaded = list(arguments), load(program, path)

    def run(inputs: Sequence[Tensor]) -> dict[str, Tensor]:
        with failing(program, "the exported program cannot be run"):
            return outputs_of(program, loaded(**dict(zip(names, inputs, strict=True))))

    return run
