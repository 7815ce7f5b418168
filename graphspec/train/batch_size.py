"""The largest batch that fits: by training steps, each on half as many examples as the one before it."""

from __future__ import annotations

import gc
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Literal

import torch

from graphspec.data.batches import Batch, Examples, Shuffle
from graphspec.data.memory import machine
from graphspec.diagnostics import fail
from graphspec.elaborated import BaseProgram
from graphspec.emit.load import out_of_memory
from graphspec.train.device import typical
from graphspec.train.run import is_run, newest, stored_spec

Auto = Literal["auto"]

BOLD = 1.25
"""How far beyond the memory that is free an estimate may go and still be tried."""
LOOKED_AT = 200
"""Batches among which the longest is looked for, where examples differ in length."""


def begun(program: BaseProgram, run_dir: Path | None) -> int | None:
    """The batch size of the run to resume; None if there is none."""
    path = run_dir if run_dir is not None else newest(program.name)
    if path is None or not is_run(path):
        return None
    training = (stored_spec(path) or {}).get("train")
    size = training.get("batch_size") if isinstance(training, dict) else None
    return size if isinstance(size, int) else program.training.batch_size


def fitting(
    program: BaseProgram,
    examples: Examples,
    place: torch.device,
    trial: Callable[[BaseProgram, Batch], None],
    tell: Callable[[str], None],
) -> BaseProgram:
    """The program with the largest `batch_size` whose training steps do not run out of memory: the spec's,
    doubled as often as may fit, then halved. `trial` makes two steps of a program on a batch.

    Raises `SpecError` (run-failed) where not even one example fits.
    """
    size = first_size(program, len(examples), free(place))
    while True:
        sized = program.with_batch_size(size)
        try:
            trial(sized, widest(sized, examples))
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
        else:
            tell(
                f"batch size {size} is the largest that fits (the batch size of the spec, doubled or halved)"
            )
            return sized
        tell(f"batch size {size} does not fit")
        gc.collect()
        if place.type == "cuda":
            torch.cuda.empty_cache()
        if size == 1:
            help = "make the model or its inputs smaller, or write `checkpoint: true` on its blocks"
            raise fail("run-failed", "not even one example fits in memory", help)
        size //= 2


def first_size(program: BaseProgram, count: int, room: int) -> int:
    """The batch size that is tried first: the spec's, doubled while there are enough examples, and while the
    estimated memory is not far beyond `room` bytes.
    """
    size, summary = program.training.batch_size, program.summary()
    while 2 * size <= count and typical(program, summary.step(2 * size).total_bytes) <= BOLD * room:
        size *= 2
    return size


def free(place: torch.device) -> int:
    """The bytes that a training may use on a device."""
    return torch.cuda.mem_get_info(place)[0] if place.type == "cuda" else machine()


def widest(program: BaseProgram, examples: Examples) -> Batch:
    """A training batch; if lengths differ, the longest of some."""
    batches = examples.batches(program.training.batch_size, Shuffle(program.training.seed, 0))
    if examples.even:
        return next(batches)
    return max(islice(batches, LOOKED_AT), key=lambda b: sum(array.numel() for array in b.arrays.values()))
