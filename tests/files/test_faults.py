"""Every command that writes, with a fault at each change of a file: what it writes is whole, the one before
or the new one; it says what went wrong; and the next run ends well, and leaves nothing behind.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from graphspec import compile
from graphspec.files.whole import HALF
from graphspec.train.loop import train
from tests import ROOT, faults, processes

SPEC = """\
inputs: {x: {shape: [2]}}
nodes: {hidden: {layer: Dense, units: 3, activation: relu}, y: {layer: Dense, units: 1}}
outputs: {y: {loss: mse}}
data:
  train: d.csv
  features: {x: {columns: [a, b], encode: number}, y: {column: c, encode: number}}
train: {epochs: 1, batch_size: 4}
"""
NET = """
import torch
class Net(torch.nn.Linear):
    def __init__(self):
        super().__init__(4, 2)
    def forward(self, x):
        return super().forward(x)
"""
FILES = {
    "s.yaml": SPEC,
    "loose.yaml": SPEC.replace(": ", ":   "),
    "wrong.yaml": SPEC.replace("units: 3", "unit: 3").replace("activation: relu", "activation: Relu"),
    "wide.yaml": SPEC.replace("units: 3", "units: 4"),
    "t.yaml": SPEC + "tune: {objective: loss, trials: 1, search: {train.batch_size: {choice: [4]}}}\n",
    "former.yaml": "language: 1\ntitle: a\n" + SPEC,
    "plain.yaml": "inputs: {x: {shape: [4]}}\nnodes: {y: {layer: Dense, units: 2}}\noutputs: y\n",
    "d.csv": "a,b,c\n" + "".join(f"{n},{n % 3},{n * 2}\n" for n in range(20)),
    "net.py": NET,
    "old.py": "# a file of others\n",
}
FROM_RUN = ["--from", "run/best.safetensors"]
OF_NET = ["--allow", "net", "--input", "x: {shape: [4]}", "-o", "models"]


@dataclass(frozen=True)
class Command:
    """A command line; `again` is added to it where what it writes is there already. What it writes are
    `files`, together where one is read with the other: then the first is what users name. Files that it only
    keeps for the next time are `spare`: it ends well without them.
    """

    line: Sequence[str]
    files: Sequence[str]
    again: Sequence[str] = ()
    together: bool = False
    spare: bool = False


COMMANDS = {
    "fmt": Command(["fmt", "loose.yaml"], ["loose.yaml"]),
    "check": Command(["check", "--fix", "--unsafe-fixes", "wrong.yaml"], ["wrong.yaml"]),
    "new": Command(["new", "n"], ["n.yaml", "graphspec.schema.json"]),
    "new of a table": Command(["new", "m", "--data", "d.csv", "--target", "c"], ["m.yaml"]),
    "schema": Command(["schema", "-o", "x.json"], ["x.json"]),
    "plot": Command(["plot", "s.yaml", "-o", "p.svg"], ["p.svg"]),
    "prepare": Command(
        ["prepare", "s.yaml", "-o", "kept", "--jobs", "1"], ["kept/index.json", "kept/training-00000.arrow"]
    ),
    "prove": Command(
        ["prove", "plain.yaml", "--against", "net.py:Net", "--allow", "net", "-o", "c.json"],
        ["c.json"],
        ["--force"],
    ),
    "predict": Command(["predict", "run", "--data", "d.csv", "-o", "p.csv"], ["p.csv"]),
    "predict to Parquet": Command(["predict", "run", "--data", "d.csv", "-o", "p.parquet"], ["p.parquet"]),
    "predict to arrays": Command(["predict", "run", "--data", "d.csv", "-o", "p.npz"], ["p.npz"]),
    "report": Command(["report", "run", "--data", "d.csv", "-o", "r.html"], ["r.html"]),
    "migrate": Command(
        ["migrate", "run", "wide.yaml", "-o", "m.safetensors"], ["m.safetensors"], ["--force"]
    ),
    "migrate of a spec": Command(["migrate", "--spec", "former.yaml"], ["former.yaml"]),
    "reload": Command(["reload", "run"], ["run/engines/best.onnx"], spare=True),
    "weights": Command(
        ["weights", "s.yaml", *FROM_RUN, "-o", "w.safetensors", "--write-rules", "r.yaml"],
        ["w.safetensors", "r.yaml"],
        ["--force"],
    ),
    "import": Command(
        ["import", "torch", "net:Net", *OF_NET],
        ["models/net.yaml", "models/net.safetensors"],
        ["--force"],
        together=True,
    ),
    "build": Command(["build", "s.yaml", "-o", "b.py"], ["b.py"]),
    "build over another": Command(["build", "s.yaml", "-o", "old.py", "--force"], ["old.py"]),
    "build folded": Command(
        ["build", "s.yaml", "--weights", "run/best.safetensors", "--fold", "-o", "f.py"],
        ["f.py", "f.safetensors"],
        ["--force"],
        together=True,
    ),
    "build of pt2": Command(["build", "run", "-o", "b.pt2"], ["b.pt2"]),
    "build of ONNX": Command(["build", "run", "-o", "b.onnx"], ["b.onnx"]),
    "tune": Command(
        ["tune", "t.yaml", "--run-dir", "tuned", "--progress", "none"],
        ["tuned/best.yaml", "tuned/best.safetensors"],
    ),
    "train": Command(["train", "s.yaml", "--run-dir", "new"], ["new/best.safetensors"], ["--force"]),
}


@pytest.fixture(scope="module")
def begin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What each command begins with: files, and a run."""
    if faults.library() is None:
        pytest.skip("there is no compiler for the library that lets changes fail, or it is not Linux")
    place = tmp_path_factory.mktemp("faults") / "begin"
    place.mkdir()
    for name, text in FILES.items():
        (place / name).write_text(text)
    train(compile(place / "s.yaml"), root=place, run_dir=place / "run", tell=lambda line: None)
    return place


def surveyed(name: str, begin: Path, fault: str, step: int) -> Any:
    command = COMMANDS[name]
    line = [*command.line]
    job = [line, [*line, *command.again], str(begin), fault, step]
    done = processes.run(
        ["-c", "from tests import faults; faults.main()", json.dumps(job)],
        environment={"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def check(name: str, begin: Path, fault: str, step: int = 1) -> None:
    command = COMMANDS[name]
    before, (code, said, changes, new), found = surveyed(name, begin, fault, step)
    assert code == 0 and changes and found, said
    for moment, code, said, left, code_again, said_again, after in found:
        where = f"{name}, {fault} at change {moment} of {changes}"
        assert "Traceback" not in said + said_again, f"{where}: {said}{said_again}"
        assert code == -9 if fault == "killed" else code in (0, 1, 2), f"{where}: {code}, {said}"
        states = [{file: tree.get(file) for file in command.files} for tree in (before, new, left, after)]
        was, would, is_now, ends = states
        if command.spare:
            assert code in (0, -9), f"{where}: {said}"
        elif code == 0:
            assert is_now == would, where
        for file in command.files:
            assert is_now[file] in (was[file], would[file]), f"{where}: {file} is half written"
        if command.together and is_now[command.files[0]] is not None:
            assert is_now in (was, would), f"{where}: files of two versions"
        refused = code_again == 2 and "exists" in said_again
        assert code_again == 0 or (refused and is_now[command.files[0]] == would[command.files[0]]), (
            f"{where}: {said_again}"
        )
        assert ends == would, where
        halves = [path for path in after if any(HALF.fullmatch(part) for part in Path(path).parts)]
        assert not halves, f"{where}: {halves} stays"


@pytest.mark.parametrize(
    ("name", "fault", "step"),
    [
        ("fmt", "failed", 1),
        ("check", "killed", 2),
        pytest.param(*("new", "killed", 3), marks=pytest.mark.parity),
        pytest.param(*("new", "failed", 10), marks=pytest.mark.parity),
        ("weights", "full", 3),
        pytest.param(*("migrate", "failed", 5), marks=pytest.mark.parity),
        ("predict", "full", 2),
        ("migrate of a spec", "killed", 1),
        ("build folded", "failed", 6),
        pytest.param(*("reload", "full", 13), marks=pytest.mark.parity),
    ],
)
def test_some_changes_of_a_file_fail(name: str, fault: str, step: int, begin: Path) -> None:
    check(name, begin, fault, step)


STEPS = {"tune": 7, "train": 5, "reload": 5, "build of pt2": 5, "build of ONNX": 3}
"""Of commands that take seconds."""


@pytest.mark.parity
@pytest.mark.hypothesis
@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("fault", faults.FAULTS)
def test_each_change_of_a_file_may_fail(name: str, fault: str, begin: Path) -> None:
    check(name, begin, fault, STEPS.get(name, 1))
