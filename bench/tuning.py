"""A search beside another one of the same time: TPE with pruning, and random values without."""

import json
import signal
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

from bench.processes import GRAPHSPEC
from bench.report import Column, Table, seconds

SPEC = "specs/digits_tuned.yaml"
SEEDS = range(5)
PATIENCE = 120
"""Seconds that a search has to end after it is told to."""


def table(directory: Path) -> Table:
    """The best validation accuracy of 30 trials, and of as long a search at random, for five seeds."""
    rows = [_seed(directory, seed) for seed in SEEDS]
    names = ("tpe", "random", "tpe_trials", "random_trials", "seconds")
    rows.append({"seed": "median", **{name: statistics.median(row[name] for row in rows) for name in names}})
    columns = (
        Column("seed", "seed"),
        Column("tpe", "TPE, hyperband", "{:.4f}".format),
        Column("random", "random", "{:.4f}".format),
        Column("tpe_trials", "trials", "{:.0f}".format),
        Column("random_trials", "trials, random", "{:.0f}".format),
        Column("seconds", "time of each", seconds),
    )
    note = f"The best `val_accuracy` of `graphspec tune {SPEC}`; random values, unpruned, in the same time."
    return Table("Search", note, columns, tuple(rows))


def _seed(directory: Path, seed: int) -> dict[str, Any]:
    started = time.perf_counter()
    best = _search(directory / f"tpe-{seed}", seed, (), None)
    spent = time.perf_counter() - started
    settings = ("tune.sampler=random", "tune.pruner=none", "tune.trials=10000")
    other = _search(directory / f"random-{seed}", seed, settings, spent)
    return {
        "seed": str(seed),
        "tpe": best["best"]["value"],
        "random": other["best"]["value"],
        "tpe_trials": len(best["trials"]),
        "random_trials": len(other["trials"]),
        "seconds": spent,
    }


def _search(place: Path, seed: int, settings: tuple[str, ...], limit: float | None) -> dict[str, Any]:
    """What a search came to; after `limit` seconds it is told to stop."""
    command = [*GRAPHSPEC, "tune", SPEC, "--run-dir", str(place), "--device", "cpu", "--json"]
    for setting in (f"train.seed={seed}", *settings):
        command += ["--set", setting]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        text, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
        text, _ = process.communicate(timeout=PATIENCE)
    found: dict[str, Any] = json.loads(text)
    return found
