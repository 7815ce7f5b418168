"""The command line: what it prints, its JSON, and its exit codes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
import yaml
from typer.main import get_command
from typer.testing import CliRunner, Result

from graphspec.cli.app import app
from graphspec.contract import REGISTRY
from graphspec.data.features.settings import Part
from graphspec.language.schema import FORMS, NODE_KEYS, Spec
from graphspec.objectives import LOSSES, METRICS
from graphspec.train.config import CALLBACKS, OPTIMIZERS, SCHEDULES
from graphspec.version import __version__
from tests import ROOT

GOOD = """
params: {width: 8}
presets: {wide: {width: 64}}
inputs: {x: {shape: [4]}}
nodes: {hidden: {layer: Dense, units: $width, activation: relu}, y: {layer: Dense, units: 2}}
outputs: {y: {loss: mse}}
"""
BAD = GOOD.replace("layer: Dense, units: 2", "layer: Linear, units: 2")


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A good spec in the current directory."""
    monkeypatch.chdir(tmp_path)
    Path("good.yaml").write_text(GOOD)
    Path("bad.yaml").write_text(BAD)
    return Path("good.yaml")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def parsed(result: Result) -> Any:
    return json.loads(result.stdout)


def test_check_says_ok(spec: Path) -> None:
    result = run("check", spec)
    assert (result.exit_code, result.stdout) == (0, "good.yaml: ok\n")


def test_check_shows_the_place_and_counts(spec: Path) -> None:
    result = run("check", spec, "bad.yaml")
    assert result.exit_code == 1
    assert "error[unknown-layer]" in result.stdout
    assert "--> bad.yaml:5:" in result.stdout
    assert "did you mean `Dense`?" in result.stdout
    assert result.stdout.startswith("good.yaml: ok\n")
    assert result.stdout.endswith("\n\n1 error in 1 file\n")
    assert "\x1b" not in result.stdout


def test_check_json(spec: Path) -> None:
    result = run("check", spec, "bad.yaml", "--json")
    assert result.exit_code == 1
    found = parsed(result)
    assert found["ok"] is False
    assert found["files"][0] == {"file": "good.yaml", "ok": True, "diagnostics": []}
    (diagnostic,) = found["files"][1]["diagnostics"]
    assert (diagnostic["code"], diagnostic["file"], diagnostic["line"]) == ("unknown-layer", "bad.yaml", 5)


def test_a_missing_spec(spec: Path) -> None:
    result = run("summary", "goood.yaml")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "spec-missing" in result.stderr
    assert "did you mean `good.yaml`?" in result.stderr


def test_a_spec_that_may_not_be_read(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def refused(path: Any, *arguments: Any, **more: Any) -> int:
        if str(path).endswith("good.yaml"):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **more)

    monkeypatch.setattr(os, "open", refused)
    for command in ("check", "summary"):
        result = run(command, "good.yaml")
        assert result.exit_code == 1
        assert "`good.yaml` cannot be read: Permission denied" in result.stdout + result.stderr


@pytest.mark.parametrize(
    ("written", "word"), [("graphspec su", "summary"), ("graphspec train --comp", "--compile")]
)
def test_completion(written: str, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMP_WORDS", written)
    monkeypatch.setenv("COMP_CWORD", str(written.count(" ")))
    result = CliRunner().invoke(app, prog_name="graphspec", env={"_GRAPHSPEC_COMPLETE": "complete_bash"})
    assert result.stdout.split() == [word]


@pytest.mark.parametrize("command", ["summary", "build", "train"])
def test_a_spec_error_in_json(spec: Path, command: str) -> None:
    result = run(command, "bad.yaml", "--json")
    assert result.exit_code == 1
    found = parsed(result)
    assert found["ok"] is False
    assert [diagnostic["code"] for diagnostic in found["diagnostics"]] == ["unknown-layer"]


def test_summary(spec: Path) -> None:
    assert "Total params: 58 (232 bytes)" in run("summary", spec).stdout
    assert parsed(run("summary", spec, "--json"))["total_params"] == 58
    assert (
        "Training step on 3 examples"
        in run("summary", spec, "--flops", "--memory", "--batch-size", "3").stdout
    )


@pytest.mark.parametrize(
    ("arguments", "units"),
    [
        (("--set", "width=16"), 16),
        (("--preset", "wide"), 64),
        (("--preset", "wide", "--set", "width=5"), 5),
        (("--set", "nodes.hidden.units=$(width + 1)"), 9),
    ],
)
def test_set_and_preset(spec: Path, arguments: tuple[str, ...], units: int) -> None:
    found = parsed(run("summary", spec, "--json", *arguments))
    assert found["layers"][1]["output_shape"] == [None, units]


def test_set_reads_yaml(spec: Path) -> None:
    result = run("summary", spec, "--set", "width=[1, 2]")
    assert (result.exit_code, "wrong-type" in result.stderr) == (1, True)
    result = run("summary", spec, "--set", "nodes.hiden.units=3")
    assert result.exit_code == 1 and "did you mean `hidden`?" in result.stderr
    result = run("summary", spec, "--set", "width=[1")
    assert (result.exit_code, "yaml-syntax" in result.stderr) == (1, True)
    assert "--set width" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("summary", "good.yaml", "--set", "width"),
        ("summary", "good.yaml", "--batch-size", "0"),
        ("summary",),
        ("check",),
        ("nonsense",),
        ("build", "good.yaml", "--format", "tflite"),
        ("build", "good.yaml", "-o", "nowhere/model.py"),
        ("build", "good.yaml", "-o", "good.yaml"),
        ("build", "good.yaml", "-o", "."),
        ("new", "good"),
        ("new", ""),
        ("new", ".."),
        ("new", "./"),
        ("new", ".yaml"),
        ("report", "run", "-o", "good.yaml"),
        ("runs", "nowhere"),
        ("train", "good.yaml", "--max-restarts", "2"),
        ("tune", "good.yaml", "--storage", "good.yaml"),
    ],
)
def test_wrong_usage(spec: Path, arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert spec.read_text() == GOOD


@pytest.mark.parametrize(
    "arguments", [("nonsense",), ("check",), ("summary", "good.yaml", "--batch-size", "0")]
)
def test_wrong_usage_is_a_document_too(spec: Path, arguments: tuple[str, ...]) -> None:
    result = run(*arguments, "--json")
    assert result.exit_code == 2
    found = json.loads(result.stdout)
    assert not found["ok"] and [d["code"] for d in found["diagnostics"]] == ["usage"]


def test_short_options() -> None:
    assert run("-V").stdout == run("--version").stdout
    assert parsed(run("-V", "--json")) == {"ok": True, "version": 1, "graphspec": __version__, "language": 1}
    assert run("-h").stdout == run("--help").stdout != ""
    assert "Example:" in run("check", "-h").stdout


def test_check_takes_directories_and_standard_input(spec: Path) -> None:
    hidden = Path("folder/.hidden")
    hidden.mkdir(parents=True)
    for name in ("folder/a.yaml", "folder/b.yml"):
        Path(name).write_text(GOOD)
    (hidden / "c.yaml").write_text("nothing")
    result = run("check", "folder", "--json")
    assert [file["file"] for file in json.loads(result.stdout)["files"]] == ["folder/a.yaml", "folder/b.yml"]
    assert run("check", "folder/.hidden/c.yaml").exit_code == 1
    Path("empty").mkdir()
    assert run("check", "empty").exit_code == 2
    assert CliRunner().invoke(app, ["check", "-"], input=GOOD).exit_code == 0
    result = CliRunner().invoke(app, ["check", "-"], input=GOOD.replace("Dense", "Dance"))
    assert result.exit_code == 1 and "unknown-layer" in result.stdout


def test_data_that_are_elsewhere_need_not_be_there(spec: Path) -> None:
    Path("data.yaml").write_text(f"{GOOD}data: {{train: absent.csv}}\ntrain: {{epoch: 3}}\n")
    assert "data-missing" not in run("check", "data.yaml", "--no-data").stdout
    wrong = parsed(run("check", "data.yaml", "--no-data", "--fix", "--json"))["files"][0]
    assert wrong["fixed"] == 1 and wrong["not_checked"] == ["data"]
    result = run("check", "data.yaml", "good.yaml", "--no-data")
    assert (result.exit_code, result.stdout) == (0, "data.yaml: ok; not checked: data\ngood.yaml: ok\n")
    assert run("check", "data.yaml").exit_code == 1


def test_check_finds_missing_weights(spec: Path) -> None:
    text = """
inputs: {x: {shape: [4]}}
nodes:
  a: {model: good.yaml, weights: parts/frst.safetensors}
  b: {model: good.yaml, weights: ../b.safetensors, from: x}
  c: {model: good.yaml, weights: parts/first.safetensors, from: x}
outputs: [a, b, c]
"""
    Path("parts").mkdir()
    Path("parts/first.safetensors").touch()
    Path("all.yaml").write_text(text)
    result = run("check", "all.yaml", "--json")
    assert result.exit_code == 1
    first, second = parsed(result)["files"][0]["diagnostics"]
    assert (first["code"], first["line"], first["help"]) == (
        "weights-missing", 4, "did you mean `first.safetensors`?",
    )  # fmt: skip
    assert first["message"] == "there is no file of weights `parts/frst.safetensors`"
    assert (second["code"], second["line"]) == ("weights-missing", 5)
    assert "outside" in second["message"]
    Path("all.yaml").write_text(text.replace("frst", "first").replace("../b", "parts/first"))
    assert run("check", "all.yaml").stdout == "all.yaml: ok\n"


def test_build_writes_what_it_proved(spec: Path) -> None:
    assert run("build", spec).stdout == "wrote good.py\n"
    source = Path("good.py").read_text()
    assert run("build", spec, "-o", "-").stdout == source
    assert parsed(run("build", spec, "--json")) == {
        "ok": True, "version": 1, "file": "good.py", "source": None,
    }  # fmt: skip
    assert Path("good.py").read_text() == source  # its own file may be written again
    Path("mine.py").write_text("import torch\n")
    assert run("build", spec, "-o", "mine.py").exit_code == 2
    assert run("build", spec, "-o", "mine.py", "--force").exit_code == 0
    assert Path("mine.py").read_text() == source
    assert sorted(path.name for path in Path().iterdir()) == ["bad.yaml", "good.py", "good.yaml", "mine.py"]


def test_build_writes_nothing_that_fails(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **keywords: Any) -> None:
        raise RuntimeError("not to be written")

    monkeypatch.setattr("graphspec.emit.load.load_module", fail)
    assert run("build", spec).exit_code == 1
    assert not Path("good.py").exists()


TOO_LARGE = ("--set", "width=100000000000000")  # 1.6 PB of weights


def test_a_model_too_large_for_memory(spec: Path) -> None:
    result = run("build", spec, *TOO_LARGE, "--json")
    assert result.exit_code == 1
    (found,) = parsed(result)["diagnostics"]
    assert (found["code"], found["file"], found["line"]) == ("build-failed", "good.yaml", 5)
    assert "--no-check" in found["help"]
    assert not Path("good.py").exists()
    assert run("build", spec, *TOO_LARGE, "--no-check").exit_code == 0
    assert "width: int = 100000000000000" in Path("good.py").read_text()
    result = run("train", spec, *TOO_LARGE, "--device", "cpu")
    assert result.exit_code == 1
    assert "error[run-failed]: training fails: " in result.stderr
    assert "--> good.yaml:5:" in result.stderr


@pytest.mark.parametrize("error", [RuntimeError, ValueError, IndexError, torch.OutOfMemoryError])
def test_what_torch_raises_points_at_the_node(
    spec: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(*arguments: Any) -> None:
        raise error("no room\nC++ CapturedTraceback: ...")

    monkeypatch.setattr(torch.nn.Linear, "forward", fail)
    classifier = ("--set", "nodes.y.activation=sigmoid", "--set", "outputs.y.loss=binary_crossentropy")
    for command, code in (("build", "build-failed"), ("train", "run-failed")):
        result = run(command, spec, *classifier, "--json")
        assert result.exit_code == 1
        (found,) = parsed(result)["diagnostics"]
        assert (found["code"], found["line"], found["message"].split(": ")[1]) == (code, 5, "no room")


def test_build_without_the_forward_pass_imports_no_torch(spec: Path) -> None:
    code = (
        "import sys; sys.argv = ['graphspec', 'build', 'good.yaml', '--no-check']\n"
        "from graphspec.cli import main\n"
        "try: main()\n"
        "finally: assert 'torch' not in sys.modules\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, stdout=subprocess.DEVNULL)
    written = Path("good.py").read_text()
    assert run("build", spec, "-o", "-").stdout == written


def test_train_prints_a_line_an_epoch(spec: Path) -> None:
    result = run("train", spec, "--device", "cpu", "--set", "train.epochs=2", "--run-dir", "run")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith("synthetic data") and lines[1].startswith("model good on cpu: ")
    assert lines[2] == "examples in synthetic data: 320 for training"
    assert [line.split("  ")[0] for line in lines[3:5]] == ["epoch 1/2", "epoch 2/2"]
    assert "loss" in lines[3] and "examples/s" in lines[3]
    assert lines[-1] == "run directory: run"
    assert Path("run", "last.safetensors").exists()


def test_train_json(spec: Path) -> None:
    result = run("train", spec, "--device", "cpu", "--json")
    assert result.exit_code == 0
    found = parsed(result)
    assert set(found) == {
        "ok", "version", "run_dir", "epochs", "steps", "device", "metrics", "history", "seconds",
        "examples_per_second", "synthetic_data", "best_epoch", "baselines",
    }  # fmt: skip
    assert found["history"]["loss"] == [found["metrics"]["loss"]]


def test_train_refusals(spec: Path) -> None:
    result = run("train", spec, "--device", "tpu")
    assert (result.exit_code, "device-missing" in result.stderr) == (1, True)
    result = run("train", spec, "--data", "none.npz", "--json")
    assert result.exit_code == 1
    assert parsed(result)["diagnostics"][0]["code"] == "data-missing"
    result = run("train", spec, "--weights", "none.safetensors")
    assert (result.exit_code, "there is no file of weights `none.safetensors`" in result.stderr) == (1, True)
    result = run("train", spec, "--weights", "none.safetensors", "--resume")
    assert (result.exit_code, "--weights" in result.stderr) == (2, True)


def test_an_interrupted_training_tells_where_the_weights_are(
    spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from graphspec.train import loop
    from graphspec.train.progress import Result as Trained

    def interrupt(*arguments: Any, **keywords: Any) -> None:
        raise loop.Interrupted(Trained(Path("runs/good-1"), 0, 3, "cpu", {}, {}, 1.0, 2.0))

    monkeypatch.setattr(loop, "train", interrupt)
    result = run("train", spec)
    assert result.exit_code == 130
    assert "runs/good-1/last.safetensors" in result.stderr.replace("\\", "/")


def test_new_writes_a_spec_that_passes(spec: Path) -> None:
    assert run("new", "first").exit_code == 0
    assert run("check", "first.yaml").stdout == "first.yaml: ok\n"


def test_layers_lists_everything() -> None:
    found = parsed(run("layers", "--json"))["layers"]
    named = {(entry["kind"], entry["name"]) for entry in found}
    assert named >= {(kind, name) for kind, classes in REGISTRY.items() for name in classes}
    families = {"loss": LOSSES, "metric": METRICS, "optimizer": OPTIMIZERS, "schedule": SCHEDULES}
    for kind, family in {**families, "callback": CALLBACKS}.items():
        assert named >= {(kind, cls.names()[0]) for cls in family.members.values()}
    assert {name for kind, name in named if kind == "form of a node"} == set(FORMS)
    assert {name for kind, name in named if kind == "key of a node"} == set(NODE_KEYS)
    assert {name for kind, name in named if kind == "section"} == set(Spec.model_fields)
    text = run("layers").stdout
    assert "\n  Dense " in text
    assert all(entry["doc"] for entry in found)
    assert len(text.splitlines()) < 380 and max(map(len, text.splitlines())) < 160


@pytest.mark.parametrize(
    ("name", "heads"),
    [
        ("mse", ["mean_squared_error (loss)", "mean_squared_error (metric)"]),
        ("adam", ["adam (optimizer)"]),
        ("glorot_uniform", ["glorot_uniform (initializer)"]),
        ("parameter", ["parameter (form of a node)"]),
        ("repeat", ["{op: repeat,", "repeat (key of a node)"]),
        ("early_stopping", ["early_stopping (callback)"]),
        ("category", ["category (encoder)"]),
        ("Linear", ["{layer: Dense,"]),
        ("linear", ["linear (activation)"]),
        ("l2", ["l2 (regularizer)"]),
        ("train", ["train (section)"]),
    ],
)
def test_layers_finds_what_has_a_name(name: str, heads: list[str]) -> None:
    text = run("layers", name).stdout
    assert [line for line in text.splitlines() if line.startswith(tuple(heads))] and text.count("example: ")
    assert all(f"\n{head}" in f"\n{text}" for head in heads)


def test_a_page_of_the_reference() -> None:
    """Outputs with the option that gives them, PyTorch's words, an example that compiles, long lists cut."""
    text = run("layers", "LSTM").stdout
    assert "outputs: the first, state_h (return_state: true), state_c (return_state: true)" in text
    assert "... (" in text and " words)" in text
    dates = run("layers", "date").stdout
    assert all(word in dates for word in get_args(Part))  # which have no pages of their own
    assert "also called: Linear" in run("layers", "Dense").stdout
    for entry in parsed(run("layers", "--json"))["layers"]:
        if entry["kind"] in REGISTRY and entry["example"]:
            node = yaml.safe_load(entry["example"])
            assert node[entry["kind"]] == entry["name"]


def test_layers_explains_one() -> None:
    text = run("layers", "Dense").stdout
    assert "units" in text
    assert "required" in text
    assert "default: true" in text
    result = run("layers", "Dens")
    assert result.exit_code == 1
    assert "did you mean `Dense`?" in result.stderr


def test_schema_knows_every_layer_and_lets_expressions_in() -> None:
    found = parsed(run("schema"))
    assert found["$schema"].endswith("2020-12/schema")
    definitions = found["$defs"]
    for kind, classes in REGISTRY.items():
        options = definitions[f"{kind}s"]["anyOf"]
        named = [name for option in options for name in option.get("enum", [option.get("const")])]
        assert set(named) == set(classes)
    references = set(_references(found))
    assert {reference.removeprefix("#/$defs/") for reference in references} <= set(definitions)


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        here = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return here + [found for item in value.values() for found in _references(item)]
    return [found for item in value for found in _references(item)] if isinstance(value, list) else []


def test_interrupted(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: Any, **keywords: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("graphspec.compiler.check", interrupt)
    assert run("check", spec).exit_code == 130
    assert run("summary", spec).exit_code == 130


def test_whole_process_is_quiet_when_nobody_reads_and_imports_no_torch(spec: Path) -> None:
    code = (
        "import sys; sys.argv = ['graphspec', 'summary', 'good.yaml']\n"
        "from graphspec.cli import main\n"
        "try: main()\n"
        "finally: assert not {'torch', 'numpy', 'rich'} & set(sys.modules), sorted(sys.modules)\n"
    )
    root = ROOT
    environment = {**os.environ, "PYTHONPATH": str(root)}
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.run(
        [sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, env=environment
    )
    os.close(writer)
    assert process.stderr == b""


def test_what_is_to_be_done_at_exit_is_done(spec: Path) -> None:
    """Without it the process ends at once, with everything that was printed and its exit code."""
    root = ROOT
    environment = {**os.environ, "PYTHONPATH": str(root)}
    code = (
        "import atexit, sys, threading\n{}\nsys.argv = ['graphspec', 'check', '{}']\n"
        "from graphspec.__main__ import main\nmain()"
    )
    register = "atexit.register(print, 'done')"
    thread = "threading.Thread(target=lambda: (threading.main_thread().join(), print('done'))).start()"
    for before, file, status, told in (
        ("", "good.yaml", 0, "good.yaml: ok\n"),
        ("", "absent.yaml", 1, "1 error in 1 file\n"),
        (register, "good.yaml", 0, "good.yaml: ok\ndone\n"),
        (thread, "good.yaml", 0, "good.yaml: ok\ndone\n"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code.format(before, file)], capture_output=True, text=True, env=environment
        )
        assert done.returncode == status and done.stdout.endswith(told) and done.stderr == ""


def test_sizes_on_the_command_line(spec: Path) -> None:
    Path("free.yaml").write_text(GOOD.replace("[4]", "[length, 4]"))
    result = parsed(run("summary", "free.yaml", "--flops", "--size", "length=16", "--json"))
    assert result["ok"] and result["layers"][0]["output_shape"] == [None, 16, 4]
    for wrong, said in (("lenght=16", "`length`"), ("length", "NAME=N"), ("length=0", "at least 1")):
        failed = run("summary", "free.yaml", "--size", wrong)
        assert failed.exit_code == 2 and said in failed.stderr
    assert "all are numbers" in run("summary", spec, "--size", "length=3").stderr


def test_schema_into_a_file(spec: Path) -> None:
    assert run("schema", "-o", "s.json").stdout == "wrote s.json\n"
    assert json.loads(Path("s.json").read_text()) == parsed(run("schema")) == parsed(run("schema", "-o", "-"))
    assert parsed(run("schema", "--json"))["schema"] == parsed(run("schema"))
    assert run("schema", "-o", "nowhere/s.json").exit_code == 2


NAMES = sorted(set(get_command(app).commands) - {"import"})  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", [*NAMES, "import keras"])
def test_a_help_text(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 80 columns: a verb first, an example last, on one line, nothing cut."""
    monkeypatch.setenv("COLUMNS", "80")
    lines = run(*command.split(), "--help").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    end = next(index for index, line in enumerate(lines) if line in ("Arguments:", "Options:"))
    text = [line.strip() for line in lines[1:end] if line.strip()]
    assert text[-1].startswith(f"Example: graphspec {command}") and text[0].endswith(".")
    whole = run("--help" if " " not in command else "import", *(["--help"] * (" " in command))).stdout
    (listed,) = [line for line in whole.splitlines() if line.strip().startswith(f"{command.split()[-1]} ")]
    assert listed.endswith(text[0]) and not listed.endswith("...")
    assert text[0].split()[0].rstrip(",") in VERBS


VERBS = ["Check", "Print", "Write", "Draw", "Search", "Train", "Evaluate", "Predict", "List", "Convert"]
VERBS += ["Explain", "Format", "Offer", "Run", "Serve", "Show"]


def documented() -> dict[str, set[str]]:
    """The words in backticks of each line of the reference's table of JSON documents."""
    text = (ROOT / "docs" / "language" / "json.md").read_text()
    rows = re.findall(r"^\| `([a-z ]+)` \| (.*) \|$", text, re.MULTILINE)
    return {command: set(re.findall(r"`([a-z_]+)`", cells)) for command, cells in rows}


def keys(value: Any) -> set[str]:
    """The keys of a document, and of the objects that its lists hold."""
    rows = [row for item in value.values() if isinstance(item, list) for row in item[:1]]
    return set(value) | {key for row in rows if isinstance(row, dict) for key in row}


def test_the_reference_has_the_shape_of_every_document(spec: Path) -> None:
    table = documented()
    np.savez("d.npz", x=np.zeros((4, 4), "float32"), y=np.zeros((4, 2), "float32"))
    calls: dict[str, list[Any]] = {
        "check": ["check", spec],
        "summary": ["summary", spec, "--flops", "--memory"],
        "resolve": ["resolve", spec],
        "build": ["build", spec],
        "plot": ["plot", spec, "-o", "a.svg"],
        "schema": ["schema"],
        "layers": ["layers", "Dense"],
        "new": ["new", "first"],
        "train": ["train", spec, "--run-dir", "run", "--data", "d.npz", "--device", "cpu"],
        "evaluate": ["evaluate", "run", "--data", "d.npz", "--device", "cpu"],
        "predict": ["predict", "run", "--data", "d.npz", "-o", "p.csv", "--device", "cpu"],
        "runs": ["runs", "."],
    }
    for command, arguments in calls.items():
        result = run(*arguments, "--json")
        found = parsed(result)
        assert found["ok"] is True and result.exit_code == 0, (command, result.stderr)
        if command == "schema":
            found = {key: {} for key in found}
        assert keys(found) - {"ok", "version"} <= table[command], command
    assert set(table) == {name for name in NAMES if name not in ENDLESS} | {"import keras"}


ENDLESS = ("serve", "server", "mcp")
"""Commands that answer others until they are stopped: they print no document."""
