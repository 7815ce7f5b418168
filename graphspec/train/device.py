"""Where a run computes: the device, and how many threads. Nothing here imports torch before it is needed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING

from graphspec.data.memory import CORES, cores
from graphspec.diagnostics import SpecError, fail
from graphspec.elaborated import BaseProgram
from graphspec.tensor import Dim, factors, names_of, value_of
from graphspec.train.parallel.launched import launched

if TYPE_CHECKING:
    import torch

LARGE = 1e9
"""FLOPs of a training step (forward and backward, all examples) from which on several threads pay."""
TYPICAL = 128
"""The assumed value of a symbolic size in that estimate."""


def choose(name: str = "auto") -> torch.device:
    """The device called `cpu`, `cuda` or `cuda:1`; `auto` is CUDA where there is one. Each process of a
    machine takes the GPU of its number.

    Raises `SpecError` (device-missing).
    """
    import torch

    mine, name = launched(), str(name)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if mine.local_size > 1 and name.startswith("cuda:"):
        help = "use `--device cuda`: each process takes the GPU with its number"
        raise _missing(f"`{name}` was asked for, and {mine.local_size} processes need a GPU each", help)
    if mine.size > 1 and name == "cuda":
        name = f"cuda:{mine.local_rank}"
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdecimal()):
        raise _missing(f"there is no device `{name}`", "use auto, cpu, cuda or cuda:0")
    if kind == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        built = torch.version.cuda is not None
        why = "no GPU or driver is visible" if built else "this PyTorch is built for CPUs only"
        raise _missing(f"`{name}` was asked for, but {why}", "use the device cpu, or auto")
    if int(number or 0) >= torch.cuda.device_count():
        count, help = torch.cuda.device_count(), "GPUs count from cuda:0"
        if mine.local_size > 1:
            help = f"start {count} process{'es' * (count > 1)} on this machine, or use `--device cpu`"
        raise _missing(f"`{name}` was asked for, but the number of GPUs is {count}", help)
    return torch.device(name)


def threads(program: BaseProgram) -> int:
    """The number of threads for a training: one for small steps, else every core the process may use.

    Threads that wait for each other cost more than they bring below `LARGE` FLOPs a step, and where other
    processes share the cores ten times what they bring. `OMP_NUM_THREADS` overrides the choice, unless the
    process was given its share of the cores.
    """
    wanted_threads = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if wanted_threads.isdecimal() and int(wanted_threads) and not os.environ.get(CORES):
        return int(wanted_threads)
    flops = typical(program, program.summary().step(program.training.batch_size).flops)
    return 1 if flops < LARGE else max(1, cores() // launched().local_size)


def memory(program: BaseProgram) -> int:
    """Estimates the bytes of a training step: weights, gradients, optimizer and saved activations."""
    return typical(program, program.summary().step(program.training.batch_size).total_bytes)


def typical(program: BaseProgram, cost: Dim) -> int:
    """A cost with `usual_sizes`."""
    return value_of(cost, usual_sizes(program, names_of(cost)))


def usual_sizes(
    program: BaseProgram, names: Iterable[str], known: Mapping[str, int] = MappingProxyType({})
) -> dict[str, int]:
    """For each named size what is `known` of it, or `TYPICAL`, within what the program allows."""
    least, most, factor = program.minimum_sizes, program.maximum_sizes, factors(program.inputs.values())
    wanted = {name: known.get(name, TYPICAL // factor.get(name, 1)) for name in names}
    return {name: min(max(n, least.get(name, 1)), most.get(name, sys.maxsize)) for name, n in wanted.items()}


@contextmanager
def computing(threads: int) -> Iterator[None]:
    """Sets torch's number of threads inside, and restores it afterwards."""
    import torch

    before = torch.get_num_threads()
    if threads != before:  # to set it costs as much as a small product
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


def _missing(message: str, help: str) -> SpecError:
    return fail("device-missing", message, help)
