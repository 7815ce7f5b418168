"""The processes of a training, and their communication besides gradients.

Alone, a process tells itself; everything here is then free.
"""

from __future__ import annotations

import atexit
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from graphspec.diagnostics import fail
from graphspec.train.parallel.launched import Launched, elastic, launched, meeting

T = TypeVar("T")

ENDLESS = timedelta(days=365)
"""torch waits half an hour, unless it is told how long."""
_trainings = count()
SIGNS = ("gloo", "NCCL", "Connection closed", "Connection reset", "Broken pipe", "recvValue failed")
"""Texts in errors of torch.distributed when another process has ended."""


class Deserted(Exception):
    """Another process of the training has ended, and has reported why."""


@dataclass(frozen=True, slots=True)
class World:
    """The processes that train together: this one is `rank` of `size`, counted from 0, and `training` counts
    what they train one after another.
    """

    rank: int = 0
    size: int = 1
    training: int = 0
    group: Any = None
    """Those of torch's processes that these are; None for all."""

    @property
    def alone(self) -> bool:
        return self.size == 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def agree(self, value: float, *flags: bool) -> tuple[float, list[bool]]:
        """The sum of a value over the processes, NaN where one has that; and of each flag whether one has it
        set. One exchange.
        """
        if self.alone:
            return value, list(flags)
        total = torch.tensor([value, *flags], dtype=torch.float64)
        dist.all_reduce(total)
        value, *counts = total.tolist()
        return value, [count > 0 for count in counts]

    def sums(self, numbers: Sequence[int | Tensor], device: torch.device) -> list[Tensor]:
        """Each number summed over the processes, float64 on the device, in one exchange."""
        totals = torch.stack([torch.as_tensor(n, dtype=torch.float64).to(device) for n in numbers])
        dist.all_reduce(totals)
        return list(totals)

    def rows(self, rows_here: Tensor, counts: Sequence[int]) -> Tensor:
        """The rows of all processes, in order of rank, of which this one has the first `counts[rank]` rows of
        `rows_here`. Gradients reach only these.
        """
        if rows_here.dtype == torch.bool:
            return self.rows(rows_here.byte(), counts).bool()
        mine = rows_here[: counts[self.rank]]
        sent = rows_here.new_zeros(max(counts), *rows_here.shape[1:])
        sent[: len(mine)] = mine.detach()
        received = [torch.empty_like(sent) for _ in counts]
        dist.all_gather(received, sent, self.group)
        rows = [rows[:count] for rows, count in zip(received, counts, strict=True)]
        rows[self.rank] = mine
        return torch.cat(rows)

    def gather(self, value: T) -> list[T]:
        """The value of each process, in order of rank."""
        if self.alone:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, self.group)
        return values

    def machine(self) -> World:
        """The processes of this machine, which wait for one another however long. All processes call this."""
        if self.alone:
            return self
        mine = launched()
        spans = sorted(set(self.gather((mine.rank - mine.local_rank, mine.local_size))))
        groups = {
            first: dist.new_group(range(first, first + size), timeout=ENDLESS, backend="gloo")
            for first, size in spans
        }
        group = groups[mine.rank - mine.local_rank]
        return World(mine.local_rank, mine.local_size, self.training, group)

    def of_first(self, value: T) -> T:
        """The value of the first process."""
        if self.alone:
            return value
        values = [value]
        dist.broadcast_object_list(values)
        return values[0]


@contextmanager
def joined(place: torch.device) -> Iterator[World]:
    """The processes that were started together, for a training on `place`.

    Raises `Deserted` where another one ends before this one has, and `SpecError` (run-failed) where they
    cannot connect.
    """
    mine = launched()
    if mine.size == 1:
        yield World()
        return
    if not dist.is_initialized():  # and it stays so: torch cannot join the same processes twice
        _connect(mine, place)
    try:
        yield World(mine.rank, mine.size, next(_trainings))
    except RuntimeError as error:
        if any(sign in str(error) for sign in SIGNS):
            raise Deserted(str(error)) from error
        raise
    dist.barrier()
    atexit.unregister(_leave)
    atexit.register(_leave)


def _connect(mine: Launched, place: torch.device) -> None:
    backend = "gloo"
    if place.type == "cuda":
        backend = "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(place)  # where FSDP puts shards
    try:
        if elastic():
            dist.init_process_group(backend, store=meeting(), rank=mine.rank, world_size=mine.size)
        else:
            dist.init_process_group(backend)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0].partition("remote=")[0].rstrip(", ")  # all say the same once
        message = f"the processes cannot connect to one another: {reason}"
        set_both = "set GLOO_SOCKET_IFNAME, and for GPUs NCCL_SOCKET_IFNAME, to its network interface"
        help = f"if the name of a machine resolves to 127.0.0.1, {set_both}"
        raise fail("run-failed", message, help) from error


def _leave() -> None:
    """After an error this is not called: others wait where they cannot answer, and the launcher ends them."""
    if dist.is_initialized():
        dist.destroy_process_group()
