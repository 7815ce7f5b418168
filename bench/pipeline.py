"""An epoch of data that do not fit in memory, with a slow disk: read ahead, and read when it is needed.

python -m bench.pipeline [--delays 0 0.01 0.05] [--work 0.002] [--rows 20000] [--rounds 5]

Each read of a window takes so many seconds longer, in which the processor is free, as with a disk or object
storage; a step works for `work` seconds on the processor. What reads when it is needed takes the sum, what
reads ahead the larger of the two.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Generator, Iterator
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from graphspec.data import streamed
from graphspec.data.ahead import ahead
from graphspec.data.batches import Shuffle
from graphspec.data.store import Budget, Store
from graphspec.data.streamed import Streamed

BATCH, WIDTH, WINDOWS = 32, 64, 40


def examples(rows: int) -> Streamed:
    """Random rows in temporary files."""
    store, source = Store(Budget(0)), np.random.default_rng(0)
    store.add({("arrays", "x"): source.normal(size=(rows, WIDTH)).astype(np.float32)}, rows)
    return Streamed({"x": store.files["arrays", "x"]}, {"x": torch.float32})


def epoch(found: Streamed, delay: float, work: float) -> tuple[float, float]:
    """The seconds of an epoch, and a sum over its numbers."""
    read = streamed._read

    def slowly(group: Any, ranges: Any) -> Any:
        if group is found.arrays:
            time.sleep(delay)
        return read(group, ranges)

    total, began = 0.0, time.perf_counter()
    with patch.object(streamed, "_read", slowly):
        for batch in found.batches(BATCH, Shuffle(0, 0)):
            total += float(batch.arrays["x"].sum())
            until = time.thread_time() + work
            while time.thread_time() < until:
                batch.arrays["x"].square().sum()
    return time.perf_counter() - began, total


def as_needed(items: Generator[Any, None, None]) -> Iterator[Any]:
    return items


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--delays", type=float, nargs="+", default=[0, 0.01, 0.05])
    parser.add_argument("--work", type=float, default=0.002)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    window = given.rows * WIDTH * 4 // WINDOWS
    with patch.object(streamed, "WINDOW", window):
        found = examples(given.rows)
        for delay in given.delays:
            taken: dict[str, list[float]] = {"as needed": [], "ahead": []}
            sums = set()
            for _ in range(given.rounds):
                for way, function in (("as needed", as_needed), ("ahead", ahead)):
                    with patch.object(streamed, "ahead", function):
                        seconds, total = epoch(found, delay, given.work)
                    taken[way].append(seconds)
                    sums.add(total)
            assert len(sums) == 1, "both read the same"
            best = ", ".join(f"{min(each):.2f} s {way}" for way, each in taken.items())
            print(f"{delay:g} s for a window, {given.rounds} rounds, the best: {best}", flush=True)


if __name__ == "__main__":
    main()
