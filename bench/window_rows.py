"""`python -m bench.window_rows`: the memory of windows over a long table, beside that of the table.

Rows of 100 series are in the order of time, mixed. Memory is what the process holds at most beyond what it
held after it loaded a small table of the same kind; a table takes the bytes of its columns in Arrow.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from pyarrow import parquet

from graphspec.compiler import compile
from graphspec.data.batches import Shuffle
from graphspec.data.loading import load

SERIES = 100
SPEC = """
params: {past: 168, next: 24}
inputs: {past: {shape: [$past, 1]}}
nodes:
  flat: {layer: Flatten}
  load: {layer: Dense, units: $next}
outputs: {load: {loss: mae}}
data:
  train: rows.parquet
  validation: {split: 0.1, last_by: ts}
  windows: {by: series, order: ts, past: $past, next: $next, every: 1h}
  features:
    past: {columns: [load], encode: number, steps: past, scale: standard}
    load: {encode: number, steps: next, scale: standard}
"""


def written(rows: int, path: Path) -> int:
    """Writes a table, and returns the bytes of its columns."""
    step = np.repeat(np.arange(rows // SERIES), SERIES)
    names = pa.array([f"series {number}" for number in range(SERIES)])
    series = pa.DictionaryArray.from_arrays(
        pa.array(np.tile(np.arange(SERIES, dtype=np.int32), len(step) // SERIES)), names
    )
    table = pa.table(
        {
            "series": series.cast(pa.string()),
            "ts": pa.array(step * 3600, pa.timestamp("s")),
            "load": np.random.default_rng(0).normal(size=len(step)),
        }
    )
    parquet.write_table(table, path, row_group_size=2**18)
    return table.nbytes


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def loaded(folder: Path) -> int:
    """Loads the rows, reads a few batches, and returns how many windows there are."""
    found = load(compile(SPEC), None, folder, torch.device("cpu"))
    for number, _ in enumerate(found.training.batches(64, Shuffle(0, 0))):
        if number == 100:
            break
    return len(found.training)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.window_rows", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        written(100 * SERIES * 10, folder / "rows.parquet")
        loaded(folder)
        before = peak()
        size = _apart(arguments.rows, folder)
        start = time.process_time()
        count = loaded(folder)
        used, more = time.process_time() - start, peak() - before
    print(f"{arguments.rows:,} rows, {count:,} windows for training, read in {used:.1f} s of processor time")
    print(f"the table takes {size / 2**20:.0f} MiB, loading {more / 2**20:.0f} MiB: {more / size:.2f} of it")


def _apart(rows: int, folder: Path) -> int:
    """Writes the table in a process of its own, whose memory is not counted."""
    import subprocess
    import sys

    code = "import sys; from pathlib import Path; from bench.window_rows import written; "
    code += "print(written(int(sys.argv[1]), Path(sys.argv[2])))"
    command = [sys.executable, "-c", code, str(rows), str(folder / "rows.parquet")]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    main()
