"""Measures and prints: `python -m bench --help`."""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.report import Table, environment

SECTIONS = (
    "startup",
    "scaling",
    "editing",
    "training",
    "libraries",
    "modules",
    "fold",
    "engines",
    "serving",
    "generation",
    "detectors",
    "memory",
    "source",
    "tuning",
)

# By default glibc returns large blocks to the system and maps them again at each step: 8 % of noise.
ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40), "MALLOC_TOP_PAD_": str(2**28)}

# As installed: an environment that forbids Python to keep what it compiles makes each start slower.
COMPILED = {"PYTHONDONTWRITEBYTECODE": ""}


def main() -> None:
    arguments = _arguments()
    settings = {"OMP_NUM_THREADS": str(arguments.threads), "KERAS_BACKEND": "torch"} | ALLOCATOR | COMPILED
    if any(os.environ.get(name) != value for name, value in settings.items()):
        os.execve(sys.executable, [sys.executable, "-m", "bench", *sys.argv[1:]], os.environ | settings)
    facts = environment(arguments.threads)
    print("# graphspec bench\n")
    for key, value in facts.items():
        print(f"- {key}: {value}")
    print(flush=True)
    tables = []
    with tempfile.TemporaryDirectory() as directory:
        for section in arguments.only:
            print(f"measuring {section} ...", file=sys.stderr, flush=True)
            for table in _measure(section, arguments, Path(directory)):
                tables.append(table)
                print(table.markdown(), flush=True)
    if arguments.json:
        result = {"environment": facts, "tables": [table.to_json() for table in tables]}
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


def _measure(section: str, arguments: argparse.Namespace, directory: Path) -> Iterator[Table]:
    # These import torch into this process; the other sections do not need it.
    if section == "memory":
        from bench import cases, memory

        yield memory.table(arguments.specs or cases.available())
        yield memory.training_table(arguments.specs or cases.available())
    if section == "tuning":
        from bench import tuning

        yield tuning.table(directory)
    if section == "detectors":
        from bench import detectors

        yield detectors.table()
    if section == "source":
        from bench import cases, source

        yield source.table(arguments.specs or cases.available())
    if section == "fold":
        from bench import fold

        yield fold.table(arguments.budget)
    if section == "engines":
        from bench import engines

        yield engines.table(arguments.specs, arguments.budget)
    if section == "serving":
        from bench import serving

        yield serving.table(directory, 2 * arguments.budget)
    if section == "generation":
        from bench import generation

        yield generation.table(arguments.budget)
    if section == "modules":
        from bench import cases, modules

        yield modules.table(arguments.specs or cases.available(), arguments.budget, arguments.noise)
    if section in ("startup", "scaling", "editing", "training"):
        from bench import processes

        yield getattr(processes, section)(directory, 6 * arguments.budget)
    if section == "training":
        from bench import steps

        yield steps.table(directory, 6 * arguments.budget)
    if section == "libraries":
        from bench import training

        yield training.table(directory, 6 * arguments.budget, arguments.specs)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Speed, side by side in one run.")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS, metavar="SECTION")
    parser.add_argument("--specs", nargs="+", metavar="NAME", help="the modules to measure; default: all")
    parser.add_argument("--threads", type=int, default=1, help="torch threads; default 1")
    parser.add_argument("--budget", type=float, default=4.0, help="seconds for a pair of modules; default 4")
    parser.add_argument("--noise", action="store_true", help="twin beside twin: the noise of the machine")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the raw numbers")
    return parser.parse_args()


if __name__ == "__main__":
    main()
