"""Compares two searches of equal time: TPE with the median pruner, and random values without pruning."""

import contextlib
import json
import os
import signal
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil

from bench.processes import GRAPHSPEC
from bench.report import Column, Table, seconds

SPEC = "specs/digits_tuned.yaml"
SEEDS = range(5)
LOOK = 0.2
"""Seconds between two checks of the time that a search has taken."""


def table(directory: Path) -> Table:
    """The best validation accuracy of 30 trials, and of a random search of equal time, for five seeds."""
    rows = [_seed(directory, seed) for seed in SEEDS]
    names = ("tpe", "random", "tpe_trials", "random_trials", "seconds")
    rows.append({"seed": "median", **{name: statistics.median(row[name] for row in rows) for name in names}})
    columns = (
        Column("seed", "seed"),
        Column("tpe", "TPE, median", "{:.4f}".format),
        Column("random", "random", "{:.4f}".format),
        Column("tpe_trials", "trials", "{:.0f}".format),
        Column("random_trials", "trials, random", "{:.0f}".format),
        Column("seconds", "processor time of each", seconds),
    )
    note = (
        f"The best `val_accuracy` of `graphspec tune {SPEC}`, and that of random values without pruning, in "
        "the same processor time."
    )
    return Table("Search", note, columns, tuple(rows))


def _seed(directory: Path, seed: int) -> dict[str, Any]:
    best, spent = _search(directory / f"tpe-{seed}", seed)
    settings = ("tune.sampler=random", "tune.pruner=none", "tune.trials=10000")
    other, _ = _search(directory / f"random-{seed}", seed, settings, spent)
    return {
        "seed": str(seed),
        "tpe": best["best"]["value"],
        "random": other["best"]["value"],
        "tpe_trials": len(best["trials"]),
        "random_trials": len(other["trials"]),
        "seconds": spent,
    }


def _search(
    place: Path, seed: int, settings: tuple[str, ...] = (), limit: float | None = None
) -> tuple[dict[str, Any], float]:
    """The result of a search, and its processor time in seconds; it is stopped at `limit` seconds."""
    command = [*GRAPHSPEC, "tune", SPEC, "--run-dir", str(place), "--device", "cpu", "--json"]
    for setting in (f"train.seed={seed}", *settings):
        command += ["--set", setting]
    report = place.with_suffix(".json")
    with report.open("w") as output:
        process = subprocess.Popen(command, stdout=output)
        spent = _watch(process, limit)
    found: dict[str, Any] = json.loads(report.read_text())
    return found, spent


def _watch(process: subprocess.Popen[bytes], limit: float | None) -> float:
    """The processor time in seconds of a search when it ends; it is stopped at `limit`."""
    told = False
    search = psutil.Process(process.pid)
    while True:
        ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        spent = _processor_seconds(search)
        if ended:
            process.wait()
            return spent
        if limit is not None and spent > limit and not told:
            process.send_signal(signal.SIGTERM)
            told = True
        time.sleep(LOOK)


def _processor_seconds(search: psutil.Process) -> float:
    """The user and system time of a process and its descendants, and of those that these have waited for."""
    spent = 0.0
    for process in (search, *search.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            spent += times.user + times.system + times.children_user + times.children_system
    return spent
