"""Interleaved timing: every subject runs in every round, so that changes of the machine affect all alike."""

import gc
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SAMPLE_SECONDS = 0.005  # a sample repeats its call until it lasts about this long


@dataclass(frozen=True, slots=True)
class Samples:
    """Seconds per call, one value per round: elapsed time, and processor time of this process."""

    seconds: tuple[float, ...]
    processor: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def minimum(self) -> float:
        return min(self.seconds)

    def ratio(self, other: "Samples") -> float:
        """The median over rounds of self / other; both ran within each round."""
        return _median_ratio(self.seconds, other.seconds)

    def processor_ratio(self, other: "Samples") -> float:
        """As `ratio`, but of processor time, which other processes on the machine do not affect."""
        return _median_ratio(self.processor, other.processor)


def _median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def interleave(
    subjects: Mapping[str, Callable[[], object]],
    *,
    warmup: int,
    budget_seconds: float,
    min_rounds: int = 5,
    max_rounds: int = 200,
) -> dict[str, Samples]:
    """Times the subjects round by round, in reverse order every other round, until the budget is used up."""
    slowest = 0.0
    for call in subjects.values():
        for _ in range(warmup):
            start = time.perf_counter()
            call()
            slowest = time.perf_counter() - start
    repeats = max(1, round(SAMPLE_SECONDS / slowest)) if slowest else 1
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in subjects}
    order = list(subjects)
    gc.collect()
    gc.disable()
    try:
        end = time.perf_counter() + budget_seconds
        for done in range(max_rounds):
            if done >= min_rounds and time.perf_counter() > end:
                break
            for name in order:
                taken[name].append(_sample(subjects[name], repeats))
            order.reverse()
    finally:
        gc.enable()
    return {name: Samples(*zip(*values, strict=True)) for name, values in taken.items()}


def _sample(call: Callable[[], object], repeats: int) -> tuple[float, float]:
    start, processor = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats, (time.process_time() - processor) / repeats


def process(command: Sequence[str], directory: Path | None = None) -> Callable[[], str]:
    """A subject that runs `command` as a whole process in `directory`, and returns its output.

    The command must exit with 0.
    """

    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}

    def run() -> str:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=directory)
        if done.returncode:
            said = done.stdout + done.stderr
            raise RuntimeError(f"{' '.join(command)} exited with {done.returncode}:\n{said}")
        return done.stdout

    return run
