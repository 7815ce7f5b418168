"""No command replaces what it reads, what a run holds, or what somebody else has written."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner, Result

from graphspec.cli import outputs
from graphspec.cli.app import app
from tests import one_in
from tests.files.test_strangers import contents
from tests.killing import ended_owner

SPEC = """
inputs: {x: {shape: [3]}}
nodes: {h: {model: part.yaml, weights: part.safetensors}, y: {layer: Dense, units: 1}}
outputs: {y: {loss: mse}}
data: {train: data.csv, features: {x: {columns: [a, b, c], encode: number}, y: {encode: number}}}
train: {epochs: 1}
tune: {objective: loss, trials: 1, search: {train.batch_size: {int: [5, 10]}}}
"""


def graphspec(*arguments: object) -> Result:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    return done


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a spec, its weights and data, a run, a search, and a file of somebody else's."""
    place = tmp_path_factory.mktemp("outputs")
    rows = np.random.default_rng(0).random((12, 4)).round(2)
    lines = [",".join(map(str, row)) for row in rows]
    (place / "data.csv").write_text("\n".join(["a,b,c,y", *lines]) + "\n")
    (place / "part.yaml").write_text(
        "inputs: {x: {shape: [3]}}\nnodes: {h: {layer: Dense, units: 4}}\noutputs: [h]\n"
    )
    kernel = np.ones((4, 3), np.float32)
    save_file({"h.weight": kernel, "h.bias": kernel[:, 0].copy()}, place / "part.safetensors")
    (place / "s.yaml").write_text(SPEC)
    cpu = ("--device", "cpu")
    done = graphspec("train", place / "s.yaml", "--run-dir", place / "run", *cpu)
    assert done.exit_code == 0, done.output
    done = graphspec("tune", place / "s.yaml", "--run-dir", place / "search", "--progress", "none", *cpu)
    assert done.exit_code == 0, done.output
    shutil.copy(place / "run" / "best.safetensors", place / "from.safetensors")
    (place / "mine.txt").write_text("mine\n")
    return place


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(made, tmp_path / "place", dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path / "place")
    return tmp_path / "place"


WRITING = {
    "build": "build s.yaml --format py -o {}",
    "build fold": "build s.yaml --fold -o {}",
    "build onnx": "build run --format onnx -o {}",
    "build fastest": "build run --fastest -o {}",
    "plot": "plot s.yaml -o {}",
    "schema": "schema -o {}",
    "report": "report run -o {} --data data.csv --device cpu",
    "predict": "predict run --data data.csv -o {} --device cpu",
    "weights": "weights s.yaml --from from.safetensors -o {}",
    "weights rules": "weights s.yaml --from from.safetensors --write-rules {}",
    "migrate": "migrate run s.yaml -o {}",
    "runs": "runs compare run run -o {}",
}
"""Commands that write a file that the user names."""
INPUTS = """
build s.yaml --format py -o s.yaml
build s.yaml --format py -o part.safetensors
build s.yaml --fold --weights from.safetensors -o from.py
build s.yaml --fold -o part.py
build s.yaml --fold -o run/best.py
build s.yaml --fold -o search/best.py
build s.yaml -o ./run/../run/model.py
build run -o run/model.py
build run --format onnx -o run/engines/best.onnx
build run --fastest -o run
weights s.yaml --from from.safetensors -o from.safetensors
weights s.yaml --from from.safetensors -o part.safetensors
weights s.yaml --from from.safetensors --write-rules s.yaml
migrate run s.yaml -o part.safetensors
migrate run s.yaml -o run/best.safetensors
migrate run s.yaml -o run/last.safetensors
migrate run s.yaml -o search/best.safetensors
migrate run s.yaml -o search/trials/0000/best.safetensors
predict run --data data.csv -o data.csv --device cpu
plot s.yaml -o run/curves.svg
runs compare run run -o search/search.svg
schema -o run/spec.yaml
schema -o search/study.log
""".strip().splitlines()
"""Commands onto what they read, or what a run or a search holds."""


@pytest.mark.parametrize("command", one_in(2, INPUTS))
def test_what_is_read_and_what_a_run_holds_is_replaced_by_no_option(place: Path, command: str) -> None:
    before = contents(place)
    for force in ([], ["--force"]):
        done = graphspec(*command.split(), *force)
        assert done.exit_code == 2 and contents(place) == before, (done.output, force)
    assert re.search(r"is also the input|is a file of the (run|search)", done.stderr), done.stderr


ENDINGS = {
    **{"build onnx": ".onnx", "plot": ".svg", "runs": ".svg", "report": ".html", "predict": ".csv"},
    **{"weights": ".safetensors", "migrate": ".safetensors", "weights rules": ".yaml", "schema": ".json"},
}


@pytest.mark.parametrize("name", one_in(2, WRITING))
def test_what_somebody_else_has_written_is_replaced_by_force_alone(place: Path, name: str) -> None:
    target = Path("out" if name == "build fastest" else f"out{ENDINGS.get(name, '.py')}")
    theirs = target / "model.py" if name == "build fastest" else target
    theirs.parent.mkdir(exist_ok=True)
    theirs.write_text("mine: 1\n")
    command = WRITING[name].format(target).split()
    refused = graphspec(*command)
    assert refused.exit_code == 2 and "--force overwrites" in refused.stderr, refused.output
    assert theirs.read_text() == "mine: 1\n"
    assert graphspec(*command, "--force").exit_code == 0
    again = graphspec(*command)
    kept = name in ("weights", "weights rules", "migrate", "build fastest")  # which do not know their own
    assert again.exit_code == (2 if kept else 0), again.output


def test_imports_replace_no_input(place: Path) -> None:
    (place / "net.py").write_text("from torch import nn\nNet = lambda: nn.Linear(3, 2)\n")
    state = {"weight": np.ones((2, 3), np.float32), "bias": np.ones(2, np.float32)}
    save_file(state, place / "net.safetensors")
    before = (place / "net.safetensors").read_bytes()
    command = [
        "import",
        "torch",
        "net:Net",
        "--allow",
        "net",
        "--input",
        "input: {shape: [3]}",
        "--name",
        "net",
    ]
    done = graphspec(*command, "--weights", "net.safetensors", "--force")
    assert done.exit_code == 2 and "is also the input" in done.stderr, done.output
    assert (place / "net.safetensors").read_bytes() == before
    done = graphspec(*command[:-1], "best", "-o", "run", "--force")
    assert done.exit_code == 2 and "is a file of the run" in done.stderr, done.output


def test_weights_of_others_are_not_those_of_a_folded_file(place: Path) -> None:
    """What an import, a training or `weights` wrote says graphspec, too."""
    shutil.copy("from.safetensors", "s.safetensors")
    refused = graphspec("build", "s.yaml", "--fold")
    assert refused.exit_code == 2 and "was not written by graphspec" in refused.stderr
    assert Path("s.safetensors").read_bytes() == Path("from.safetensors").read_bytes()


def test_a_schema_of_somebody_else_stays_beside_a_new_spec(place: Path) -> None:
    schema = place / "graphspec.schema.json"
    schema.write_text("mine")
    refused = graphspec("new", "cars")
    assert refused.exit_code == 2 and schema.read_text() == "mine" and not Path("cars.yaml").exists()
    assert graphspec("schema", "-o", schema, "--force").exit_code == 0
    assert graphspec("new", "cars").exit_code == graphspec("new", "boats").exit_code == 0


def test_both_outputs_are_files_of_their_own(place: Path) -> None:
    command = [*WRITING["weights"].format("o.safetensors").split(), "--write-rules", "o.safetensors"]
    refused = graphspec(*command)
    assert refused.exit_code == 2 and not Path("o.safetensors").exists()


def test_a_search_replaces_no_spec_that_it_reads(place: Path) -> None:
    before = contents(place)
    done = graphspec(
        "tune", "search/best.yaml", "--run-dir", "search", "--device", "cpu", "--progress", "none"
    )
    assert done.exit_code == 1 and "would replace" in done.stderr, done.output
    assert contents(place) == before


def test_one_place_decides() -> None:
    """Every option that is called output, or names a file to write, is checked there."""
    folder = Path(outputs.__file__).parent
    for path in folder.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert path.name == "outputs.py" or "--force overwrites" not in text, path
        writes = re.search(r"\breplacing(_both)?\(|\bwrite_model\(|\bwriting\(output", text)
        assert path.name in ("common.py", "outputs.py") or not writes or "check_output(" in text, path


@pytest.mark.parametrize(
    "command",
    [
        ["weights", "s.yaml", "--from", "from.safetensors", "-o", "mine.txt"],
        ["migrate", "run", "s.yaml", "-o", "mine.txt"],
        ["build", "s.yaml", "-o", "mine.txt", "--format", "py"],
    ],
)
def test_what_a_killed_process_left_is_deleted_where_a_command_is_refused_too(
    place: Path, command: list[str]
) -> None:
    left = place / f".mine.txt.{ended_owner()}"
    left.mkdir()
    (left / "mine.txt").write_text("half")
    assert graphspec(*command).exit_code == 2 and not left.exists()
    assert (place / "mine.txt").read_text() == "mine\n"
