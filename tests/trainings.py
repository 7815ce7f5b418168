"""What each process of a test does: the trainings of a JSON file, one after another.

python tests/trainings.py JOBS OUT, alone or under torchrun; what came of them goes to OUT.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from graphspec.compiler import compile
from graphspec.data import processes, reading
from graphspec.train.loop import Interrupted, train

READING: dict[str, tuple[Any, str]] = {
    "learning": (reading, "part_of"),
    "naming": (processes, "agreed"),
    "writing": (processes, "write_out"),
    "mapping": (np, "memmap"),
}
"""Calls on the way of data to all processes: the first one reads and writes, while the file is named others
can open it, and all map it.
"""
processes.PAGE = 1  # small arrays go this way, too


class StopAfter:
    """Sends this process SIGTERM after so many steps, as the scheduler of a cluster does."""

    def __init__(self, steps: int):
        self.steps = steps
        self.model: Any = None

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.model.optimizer.iterations == self.steps:
            os.kill(os.getpid(), signal.SIGTERM)


class Slowly:
    """Waits at every step, so that there is time for a kill."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        time.sleep(0.04)


def kill_after(checkpoints: Path, number: int) -> None:
    """Kills this process when a checkpoint of this or a later number is there, wherever it then is: the older
    ones are removed.
    """
    while not any(int(path.parent.name) >= number for path in checkpoints.glob("0*/manifest.json")):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)


def kill_in(place: Any, name: str) -> None:
    """Kills this process at the end of the first call of a function."""
    call = getattr(place, name)

    def dying(*arguments: Any) -> None:
        call(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(place, name, dying)


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Train as a job says."""
    steps, code = job.get("stop_after"), 0
    callbacks: list[Any] = [StopAfter(steps)] if steps else []
    victim = job.get("kill")
    if victim is not None:
        callbacks = [Slowly()]
        if os.environ["RANK"] == os.environ["TORCHELASTIC_RESTART_COUNT"] == str(victim):
            path = Path(job["run_dir"]) / "checkpoints"
            threading.Thread(target=kill_after, args=[path, 4], daemon=True).start()
    attempt = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    for number, (rank, moment) in enumerate(job.get("kill_in", ())):
        if number == attempt and os.environ["RANK"] == str(rank):
            kill_in(*READING[moment])
    try:
        result = train(
            compile(job["spec"], allow=["torch"]),
            root=Path(job["root"]),
            run_dir=Path(job["run_dir"]),
            resume=job.get("resume", False),
            device=job.get("device", "cpu"),
            callbacks=callbacks,
            tell=lambda line: None,
        )
    except Interrupted as error:
        result, code = error.result, error.exit_code
    return {**result.to_json(), "exit_code": code, "restarts": attempt}


def watch_writes(root: Path) -> set[str]:
    """A set that gets the path of each file below `root` that this process writes, renames or removes."""
    found: set[str] = set()

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
            made = arguments[0]
        elif event in ("os.rename", "os.remove"):
            made = os.fspath(arguments[1] if event == "os.rename" else arguments[0])
        else:
            return
        if made.startswith(str(root)):
            found.add(made)

    sys.addaudithook(watch)
    return found


def main(jobs: str, out: str) -> None:
    rank = os.environ.get("RANK", "0")
    written = watch_writes(Path(out).parent)
    found = {name: run(job) for name, job in json.loads(Path(jobs).read_text()).items()}
    Path(f"{out}-{rank}").write_text(json.dumps(sorted(written)))
    if rank == "0":
        Path(out).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
