"""Compares trainings: graphspec, a hand-written loop, Keras on torch and on JAX, Lightning."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from bench.report import Column, Table, Value, duration, seconds
from bench.trainers import NEEDS, ON_JAX, ONLY, SUBJECTS, WAYS, write_data

NOTE = """Each training runs as its own process, in turns, with the same data, batches and Adam, and without
metrics. The time of a step is that of the shortest epoch after the first, over all rounds. Compiling is the
time of the first epoch beyond the shortest one. A whole run lasts from the command to its end, including
imports. `of by hand` compares steps."""

COLUMNS = (
    Column("spec", "spec"),
    Column("way", "way"),
    Column("step", "a step", duration),
    Column("ratio", "of by hand", "{:.2f}".format),
    Column("compiling", "compiling", seconds),
    Column("whole", "whole run", seconds),
    Column("rounds", "rounds"),
    Column("note", ""),
)
LEAST = 0.1
"""Seconds that the first epoch must take beyond the shortest one to count as compiling."""
LONGEST = 900


def table(directory: Path, budget_seconds: float, names: list[str] | None = None) -> Table:
    """Rounds of whole processes, at least one, until the budget per subject is used up."""
    rows: list[Mapping[str, Value]] = []
    for name in names or SUBJECTS:
        if name not in SUBJECTS:
            continue
        data = directory / f"{name}.npz"
        write_data(name, data)
        ways = [way for way in _ways(name) if way not in NEEDS or find_spec(NEEDS[way])]
        found: dict[str, list[tuple[list[float], float]]] = {way: [] for way in ways}
        failed: dict[str, str] = {}
        end = time.perf_counter() + budget_seconds
        while time.perf_counter() < end or not any(found.values()):
            for way in [way for way in ways if way not in failed]:
                try:
                    found[way].append(_run(way, name, data))
                except RuntimeError as error:
                    failed[way] = str(error)
            ways.reverse()
        rows += _rows(name, found, failed)
    return Table("Trainings beside other libraries", NOTE, COLUMNS, tuple(rows))


def _ways(name: str) -> list[str]:
    """Those in which a subject trains."""
    return [way for way in WAYS if ONLY.get(way, name) == name]


def _rows(
    name: str, found: Mapping[str, list[tuple[list[float], float]]], failed: Mapping[str, str]
) -> list[Mapping[str, Value]]:
    subject = SUBJECTS[name]
    steps = -(-subject.examples // subject.batch_size)
    best = {way: min(min(epochs[1:]) for epochs, _ in runs) for way, runs in found.items() if runs}
    rows: list[Mapping[str, Value]] = []
    for way in _ways(name):
        if way in NEEDS and way not in found:
            note = f"{NEEDS[way]} is not installed: pip install -e '.[bench]'"
            rows.append({"spec": name, "way": way, "note": note})
        elif way in failed:
            rows.append({"spec": name, "way": way, "note": failed[way]})
        else:
            runs, least = found[way], best[way]
            first = statistics.median(epochs[0] for epochs, _ in runs) - least
            row: dict[str, Value] = {"spec": name, "way": way, "step": least / steps, "note": ""}
            row |= {"ratio": least / best["by hand"], "compiling": first if first > LEAST else None}
            row |= {"whole": min(whole for _, whole in runs), "rounds": len(runs)}
            rows.append(row)
    return rows


def _run(way: str, name: str, data: Path) -> tuple[list[float], float]:
    """The seconds of each epoch, and of the whole process."""
    environment = os.environ | {"KERAS_BACKEND": "jax" if way == ON_JAX else "torch"}
    if environment.get("OMP_NUM_THREADS") == "1":
        environment["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    began = time.perf_counter()
    command = [sys.executable, "-m", "bench.trainers", way, name, str(data)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=LONGEST)
    whole = time.perf_counter() - began
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise RuntimeError(lines[-1][:100])
    return json.loads(done.stdout.splitlines()[-1]), whole
