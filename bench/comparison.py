"""`python -m bench.comparison`: one model in graphspec and in other libraries, as people write it.

A network of three dense layers on handwritten digits: the same examples, batches, optimizer and epochs. What
is written is in `compared/`; each runs as its own process. The time of an epoch is that of the whole run with
21 epochs beyond the one with 1, by 20; starting up is the rest. `--lightning` and `--ludwig` name
interpreters that have these libraries; without them their rows are left out.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.cases import SPECS
from bench.report import Column, Table, Value, seconds

WRITTEN = Path(__file__).with_name("compared")
SHORT, LONG = 1, 21
GRAPHSPEC = Path(sys.executable).with_name("graphspec")


@dataclass(frozen=True, slots=True)
class Way:
    """A library: what a person writes, the command that trains it, how it prints the held-out accuracy."""

    file: str
    command: Sequence[str]
    accuracy: str


def ways(lightning: str | None, ludwig: str | None) -> Mapping[str, Way]:
    """The libraries that are there."""
    found = {
        "graphspec": Way(
            "graphspec.yaml",
            (str(GRAPHSPEC), "train", "graphspec.yaml", "--device", "cpu", "--progress", "lines"),
            r"val_accuracy +([\d.]+)  ",
        ),
        "Keras": Way("with_keras.py", (sys.executable, "with_keras.py"), r"val_accuracy: ([\d.]+)"),
    }
    if lightning is not None:
        found["Lightning"] = Way(
            "with_lightning.py", (lightning, "with_lightning.py"), r"val_accuracy\W+([\d.]+)"
        )
    if ludwig is not None:
        command = (str(Path(ludwig).with_name("ludwig")), "train", "--config", "ludwig.yaml")
        found["Ludwig"] = Way(
            "ludwig.yaml", (*command, "--dataset", "digits.csv"), r"accuracy_micro\W+[\d.]+\W+([\d.]+)"
        )
    return found


def lines(text: str) -> int:
    """The lines that a person writes: without comments, docstrings and blank lines."""
    text = re.sub(r'^\s*"""[\s\S]*?"""', "", text)
    return sum(bool(line.strip()) and not line.lstrip().startswith("#") for line in text.splitlines())


def write_data(folder: Path) -> None:
    """The digits: every tenth is held out."""
    arrays = np.load(SPECS / "data" / "digits.npz")
    pixels = arrays["image"].reshape(-1, 64).astype("float32") / 16
    digit = arrays["digit"].astype("int64")
    held = np.arange(len(digit)) % 10 == 9
    np.savez(folder / "train.npz", pixels=pixels[~held], digit=digit[~held])
    np.savez(folder / "held.npz", pixels=pixels[held], digit=digit[held])
    rows = [
        f"{' '.join(f'{value:g}' for value in row)},{kind},{int(out)}"
        for row, kind, out in zip(pixels, digit, held, strict=True)
    ]
    (folder / "digits.csv").write_text("pixels,digit,split\n" + "\n".join(rows) + "\n")


def run(way: Way, epochs: int) -> tuple[float, float]:
    """The seconds of a training from its command to its end, and the accuracy that it prints last."""
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        write_data(folder)
        text, count = re.subn(r"(epochs ?[:=] ?)20\b", rf"\g<1>{epochs}", (WRITTEN / way.file).read_text())
        assert count == 1, way.file
        (folder / way.file).write_text(text)
        start = time.perf_counter()
        environment = os.environ | {"KERAS_BACKEND": "torch", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(way.command, cwd=folder, env=environment, capture_output=True, text=True)
        taken = time.perf_counter() - start
        assert done.returncode == 0, done.stderr[-2000:]
        found = re.findall(way.accuracy, done.stdout + done.stderr)
        assert found, done.stdout[-2000:]
        return taken, float(found[-1])


def table(found: Mapping[str, Way], rounds: int, tell: Callable[[str], None]) -> Table:
    """A row for each library; rounds go through all of them in turns."""
    taken: dict[str, list[tuple[float, float, float]]] = {name: [] for name in found}
    for number in range(rounds):
        for name, way in found.items():
            tell(f"round {number + 1}, {name}")
            short, _ = run(way, SHORT)
            long, accuracy = run(way, LONG)
            taken[name].append((short, long, accuracy))
    rows: list[Mapping[str, Value]] = []
    for name, samples in taken.items():
        epoch = statistics.median((long - short) / (LONG - SHORT) for short, long, _ in samples)
        rows.append(
            {
                "way": name,
                "lines": lines((WRITTEN / found[name].file).read_text()),
                "start": statistics.median(short for short, _, _ in samples) - epoch,
                "epoch": epoch,
                "whole": statistics.median(long for _, long, _ in samples),
                "accuracy": statistics.median(accuracy for _, _, accuracy in samples),
            }
        )
    columns = (
        Column("way", "library"),
        Column("lines", "lines"),
        Column("start", "start-up", seconds),
        Column("epoch", "an epoch", seconds),
        Column("whole", f"{LONG} epochs", seconds),
        Column("accuracy", "held-out accuracy", "{:.1%}".format),
    )
    return Table("One model in several libraries", f"{rounds} rounds in turns.", columns, tuple(rows))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.comparison", description=__doc__)
    for library in ("lightning", "ludwig"):
        parser.add_argument(f"--{library}", metavar="PYTHON", help=f"an interpreter that has {library}")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    found = ways(given.lightning, given.ludwig)
    print(table(found, given.rounds, lambda line: print(line, file=sys.stderr, flush=True)).markdown())


if __name__ == "__main__":
    main()
