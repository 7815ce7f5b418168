"""Plausible bugs, one at a time, and the tests of their room: one that no test finds is printed.

python -m tests.mutants [--count 50] [--seed N] [--near] [--room NAME]

The seed is the week, unless one is given. `--near` runs the tests of the room alone that import what was
changed, or all of them where none does.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from tests import ROOT

SWAPPED = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
    ast.And: ("and", "or"),
    ast.Or: ("or", "and"),
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.FloorDiv: ("//", "/"),
}
TWINS = {"min": "max", "max": "min", "any": "all", "all": "any"}
LEFT_OUT = {".git", ".venv", ".venv-lowest", "build", "runs", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
TESTED_BY = {
    "": ("emit",),
    "declarations": ("language",),
    **{room: (room, "language") for room in ("diagnostics", "elaborate", "passes", "settings", "source")},
}
"""The rooms whose tests are in folders of others, too; the files at the top count as one room."""
PATIENCE = 1800
"""Seconds after which a bug counts as found: it may loop without end."""


@dataclass(frozen=True)
class Mutant:
    """What stands between two places of a file, and what stands there instead."""

    path: str
    line: int
    start: int
    end: int
    old: str
    new: str

    @property
    def room(self) -> str:
        parts = Path(self.path).parts
        return parts[1] if len(parts) > 2 else ""

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: `{self.old}` became `{self.new}`"


class Sites:
    """The places of a file where a bug may be: not in annotations, messages and constants of a file."""

    def __init__(self, path: str, text: str):
        self.path, self.bytes = path, text.encode()
        self.lines = [0]
        for line in self.bytes.splitlines(keepends=True):
            self.lines.append(self.lines[-1] + len(line))
        self.tree = ast.parse(text)

    def find(self) -> Iterator[Mutant]:
        for node in self._code(self.tree):
            yield from self._of(node)

    def _code(self, node: ast.AST) -> Iterator[ast.AST]:
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list", "exc", "msg"):
                continue
            for child in value if isinstance(value, list) else [value]:
                if not isinstance(child, ast.AST) or self._is_constant(node, child):
                    continue
                if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                    continue
                yield child
                yield from self._code(child)

    @staticmethod
    def _is_constant(parent: ast.AST, child: ast.AST) -> bool:
        return isinstance(parent, ast.Module | ast.ClassDef) and isinstance(child, ast.Assign | ast.AnnAssign)

    def _of(self, node: ast.AST) -> Iterator[Mutant]:
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            yield from self._between(node.left, node.comparators[0], node.ops[0])
        elif isinstance(node, ast.BoolOp):
            yield from self._between(node.values[0], node.values[1], node.op)
        elif isinstance(node, ast.BinOp):
            yield from self._between(node.left, node.right, node.op)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield self._whole(node, ast.unparse(node.operand))
        elif isinstance(node, ast.IfExp):
            yield self._whole(node.test, f"(not ({ast.unparse(node.test)}))")
        elif isinstance(node, ast.If) and isinstance(node.body[-1], ast.Raise | ast.Return | ast.Continue):
            yield self._whole(node.test, "False")
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            yield self._whole(node, "pass")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in TWINS:
            yield self._whole(node.func, TWINS[node.func.id])
        elif isinstance(node, ast.Constant) and type(node.value) is int:
            yield self._whole(node, str(node.value + 1))

    def _between(self, left: ast.expr, right: ast.expr, operator: ast.AST) -> Iterator[Mutant]:
        """The operator between two operands; chains and brackets of several lines are left out."""
        if type(operator) not in SWAPPED:
            return
        old, new = SWAPPED[type(operator)]
        start, end = self._at(left.end_lineno, left.end_col_offset), self._at(right.lineno, right.col_offset)
        found = re.fullmatch(rf"[\s)]*({re.escape(old)})[\s(]*", self.bytes[start:end].decode())
        if found is not None:
            yield Mutant(self.path, left.lineno, start + found.start(1), start + found.end(1), old, new)

    def _whole(self, node: ast.expr | ast.stmt, new: str) -> Mutant:
        start = self._at(node.lineno, node.col_offset)
        end = self._at(node.end_lineno, node.end_col_offset)
        return Mutant(self.path, node.lineno, start, end, self.bytes[start:end].decode(), new)

    def _at(self, line: int | None, column: int | None) -> int:
        assert line is not None and column is not None
        return self.lines[line - 1] + column


def drawn(count: int, seed: int, room: str | None = None) -> list[Mutant]:
    """So many bugs, the same number in each room where there are enough."""
    source, rooms = random.Random(seed), dict[str, list[Path]]()
    for path in sorted((ROOT / "graphspec").rglob("*.py")):
        parts = path.relative_to(ROOT).parts
        rooms.setdefault(parts[1] if len(parts) > 2 else "", []).append(path)
    names = [room] if room is not None else source.sample(sorted(rooms), len(rooms))
    found: list[Mutant] = []
    while len(found) < count:
        paths = rooms[names[len(found) % len(names)]]
        (path,) = source.choices(paths, [each.stat().st_size for each in paths])
        sites = [*Sites(path.relative_to(ROOT).as_posix(), path.read_text("utf-8")).find()]
        if sites:
            found.append(source.choice(sites))
    return found


def tests_of(mutant: Mutant, near: bool) -> list[str]:
    """The files of tests that import what was changed, and after them the others of the room."""
    module = mutant.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    package, _, name = module.rpartition(".")
    among = rf"from {re.escape(package)} import (?:\([^)]*|.*)\b{name}\b"
    imports = re.compile(rf"{re.escape(module)}\b|{among}")
    rooms = {ROOT / "tests" / name for name in TESTED_BY.get(mutant.room, (mutant.room,))}
    files = sorted((ROOT / "tests").rglob("test_*.py"), key=lambda path: (path.parent not in rooms, path))
    closest = [path for path in files if imports.search(path.read_text("utf-8"))]
    of_room = [path for path in files if rooms.intersection(path.parents)]
    passed_on = re.compile(rf"from {re.escape(package)} import")  # what the room itself gives to others
    near_ones = [path for path in of_room if path in closest or passed_on.search(path.read_text("utf-8"))]
    near_ones = near_ones or of_room
    wanted = near_ones if near else dict.fromkeys([*closest, *of_room])
    return [path.relative_to(ROOT).as_posix() for path in wanted]


class Bench:
    """A copy of the checkout, in which one file at a time has a bug."""

    def __init__(self, copy: Path, near: bool, workers: str):
        self.copy, self.near, self.workers = copy, near, workers
        self._sound: dict[str, bool] = {}
        """Whether the tests of a file pass without a bug."""
        shutil.copytree(ROOT, copy, ignore=_left_out, symlinks=True)

    def finds(self, mutant: Mutant) -> bool:
        """Whether a test fails that passes without the bug."""
        wanted = tests_of(mutant, self.near)
        while wanted:
            failed = self._failed_with(mutant, wanted)
            if not failed:
                return failed is None
            for path in failed - self._sound.keys():
                self._sound[path] = self._failed([path]) == set()
            if any(self._sound[path] for path in failed):
                return True
            wanted = [path for path in wanted if path not in failed]  # the first failure ends a run
        return False

    def _failed_with(self, mutant: Mutant, paths: list[str]) -> set[str] | None:
        file = self.copy / mutant.path
        whole = file.read_bytes()
        file.write_bytes(whole[: mutant.start] + mutant.new.encode() + whole[mutant.end :])
        try:
            return self._failed(paths)
        finally:
            file.write_bytes(whole)

    def _failed(self, paths: list[str]) -> set[str] | None:
        """The file of the first test that fails; None where the tests do not end, or do not begin."""
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-rfE", "-n", self.workers, *paths]
        environment = {**os.environ, "PYTHONPATH": str(self.copy)}
        environment |= {"OMP_NUM_THREADS": "1", "KERAS_BACKEND": "torch"}
        try:
            run = subprocess.run(
                command, cwd=self.copy, env=environment, capture_output=True, timeout=PATIENCE, text=True
            )
        except subprocess.TimeoutExpired:
            return None
        failed = {*re.findall(r"^(?:FAILED|ERROR) ([^\s:]+)", run.stdout, re.MULTILINE)}
        return failed if failed or run.returncode == 0 else None


def _left_out(folder: str, names: list[str]) -> set[str]:
    """What a copy lacks: what tools and runs have left at the top."""
    return (LEFT_OUT if Path(folder) == ROOT else {"__pycache__"}).intersection(names)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    year, week, _ = date.today().isocalendar()
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", type=int, default=100 * year + week)
    parser.add_argument("--room")
    parser.add_argument("--skip", type=int, default=0, help="bugs at the beginning that are left out")
    parser.add_argument("--near", action="store_true")
    parser.add_argument("--workers", default="2")
    given = parser.parse_args()
    mutants, left = drawn(given.count, given.seed, given.room)[given.skip :], list[Mutant]()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder) / "copy", given.near, given.workers)
        for mutant in mutants:
            found = bench.finds(mutant)
            left += [] if found else [mutant]
            print("found   " if found else "SURVIVES", mutant, flush=True)
    print(f"{len(mutants) - len(left)} of {len(mutants)} bugs were found (seed {given.seed})")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
