"""Processor time of reading a table with one process and with several.

python -m bench.reading [--rows 100000] [--processes 2] [--runs 3]

Two tables of Parquet are made of random values: one of texts, for which a tokenizer is trained, and one of
numbers and categories. What counts is the time on all threads of a process, from opening the file to examples
that are ready; docs/scaling.md quotes the medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from pyarrow import parquet

import graphspec
from graphspec.data.loading import load
from graphspec.train.parallel.world import joined

GROUPS = 10
"""Row groups of a table."""
WORDS, LENGTH = 20_000, 12
NUMBERS, CATEGORIES = 6, 3
CPU = torch.device("cpu")

TEXTS = """
inputs: {text: {shape: [length], dtype: int64}}
nodes:
  words: {layer: Embedding, input_dim: 5000, output_dim: 4, mask_zero: true}
  mean: {layer: GlobalAveragePooling1D}
  y: {layer: Dense, units: 1}
outputs: {y: {loss: mse}}
data: {train: texts.parquet, features: {text: {encode: text, tokenizer: bpe, vocabulary: 5000}}}
"""
CELLS = f"""
inputs: {{n: {{shape: [{NUMBERS}]}}, c: {{shape: [{CATEGORIES}], dtype: int64}}}}
nodes:
  kinds: {{layer: Embedding, from: c, input_dim: $(vocabulary(c)), output_dim: 2}}
  flat: {{layer: Flatten}}
  both: {{merge: concatenate, from: [n, flat]}}
  y: {{layer: Dense, units: 1}}
outputs: {{y: {{loss: mse}}}}
data:
  train: cells.parquet
  features:
    n: {{columns: [{", ".join(f"n{i}" for i in range(NUMBERS))}], encode: number, scale: standard}}
    c: {{columns: [{", ".join(f"c{i}" for i in range(CATEGORIES))}], encode: category, vocabulary: 50}}
"""


def write_tables(root: Path, rows: int) -> None:
    """A table of `rows` texts, and one of ten times as many rows of numbers and categories."""
    source = np.random.default_rng(0)
    words = ["".join(map(chr, source.integers(97, 123, source.integers(2, 10)))) for _ in range(WORDS)]
    drawn = np.minimum(source.zipf(1.3, (rows, LENGTH)), WORDS) - 1
    texts = [" ".join(words[number] for number in row) for row in drawn]
    table = pa.table({"text": texts, "y": source.normal(size=rows)})
    parquet.write_table(table, root / "texts.parquet", row_group_size=-(-rows // GROUPS))
    (root / "texts.yaml").write_text(TEXTS)
    many = 10 * rows
    columns: dict[str, Any] = {f"n{index}": source.normal(size=many) for index in range(NUMBERS)}
    kinds = pa.array([f"kind {number}" for number in range(40)])
    for index in range(CATEGORIES):
        columns[f"c{index}"] = kinds.take(pa.array(source.integers(0, 40, many)))
    table = pa.table({**columns, "y": source.normal(size=many)})
    parquet.write_table(table, root / "cells.parquet", row_group_size=-(-many // GROUPS))
    (root / "cells.yaml").write_text(CELLS)


def read(spec: Path) -> None:
    """Reads the data of a spec, as one process of torchrun; the first prints the seconds of all."""
    program = graphspec.compile(spec)
    with joined(CPU) as world:
        world.gather(None)
        processor, clock = time.process_time(), time.perf_counter()
        load(program, None, spec.parent, CPU, processes=world.machine())
        taken = time.process_time() - processor, time.perf_counter() - clock
        found = world.gather(taken)
        if world.is_first:
            print(json.dumps({"processor": [own for own, _ in found], "clock": max(c for _, c in found)}))


def measured(spec: Path, processes: int, runs: int) -> dict[str, float]:
    """Medians over some runs: the processor time of the busiest process, that of all, and the wall time."""
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}"]
    found = []
    for _ in range(runs):
        done = subprocess.run([*command, __file__, "--read", str(spec)], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr)
        found.append(json.loads(done.stdout))
    return {
        "processor, busiest": statistics.median(max(each["processor"]) for each in found),
        "processor, all": statistics.median(sum(each["processor"]) for each in found),
        "wall": statistics.median(each["clock"] for each in found),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.read is not None:
        read(given.read)
        return
    with tempfile.TemporaryDirectory() as folder:
        write_tables(Path(folder), given.rows)
        for name in ("texts", "cells"):
            for processes in (1, given.processes):
                found = measured(Path(folder) / f"{name}.yaml", processes, given.runs)
                shown = ", ".join(f"{what} {seconds:.2f} s" for what, seconds in found.items())
                print(f"{name}, {processes} processes: {shown}", flush=True)


if __name__ == "__main__":
    main()
