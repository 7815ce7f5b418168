"""Trained runs: the list of them, evaluation, prediction."""

from __future__ import annotations

import csv
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from typer.testing import CliRunner

import graphspec
from graphspec.cli.app import app
from graphspec.diagnostics import SpecError
from graphspec.runs.directory import RunFiles, list_runs
from graphspec.runs.run import Run
from graphspec.train import loop
from graphspec.train.loop import train


def made(path: Path, lines: str, finished: bool = True) -> Path:
    path.mkdir(parents=True)
    (path / "environment.json").write_text(json.dumps({"finished": finished, "root": str(path)}))
    (path / "history.jsonl").write_text(lines)
    (path / "spec.yaml").write_text("")
    return path


TWO = '{"epoch": 1, "loss": 2.0, "val_loss": 1.0}\n{"epoch": 2, "loss": 1.0, "val_loss": null}\n'


def test_a_run_is_listed_with_its_best_epoch(tmp_path: Path) -> None:
    made(tmp_path / "runs" / "a-1", TWO)
    made(tmp_path / "runs" / "a-2", '{"epoch": 1, "loss": 2.0, "val_loss": 3.0}\n{"epoch": 2, "lo', False)
    made(tmp_path / "runs" / "a-3", "")
    (tmp_path / "runs" / "other").mkdir()
    rows = {row.path.name: row for row in list_runs(tmp_path / "runs")}
    assert rows.keys() == {"a-1", "a-2", "a-3"}
    first, torn, empty = rows["a-1"], rows["a-2"], rows["a-3"]
    assert (first.state, first.epochs, first.best_epoch, first.values["val_loss"]) == ("finished", 2, 1, 1.0)
    assert (torn.state, torn.epochs, torn.best_epoch) == ("unfinished", 1, 1)
    assert (empty.epochs, empty.best_epoch, empty.values) == (0, None, {})


def test_runs_are_a_table_or_a_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "graphspec train SPEC" in CliRunner().invoke(app, ["runs"]).stdout
    made(Path("runs/a-1"), TWO)
    shown = CliRunner().invoke(app, ["runs"]).stdout
    assert "runs/a-1" in shown and "val_loss" in shown
    assert CliRunner().invoke(app, ["runs", "runs/a-1"]).stdout == shown
    outputs = {f"val_a_long_output_{index}_accuracy": 0.123456 for index in range(6)}
    made(Path("runs/b-1"), json.dumps({"epoch": 1, "val_loss": 2.5, **outputs}))
    shown = CliRunner().invoke(app, ["runs"]).stdout
    assert all(name in shown for name in outputs) and shown.count("0.1235") == 6 and "…" not in shown
    assert shown.count("written") == 2  # runs of two specs are two tables
    shutil.rmtree("runs/b-1")
    document = json.loads(CliRunner().invoke(app, ["runs", "--json"]).stdout)
    assert document["ok"] and document["runs"][0]["best"] == {"loss": 2.0, "val_loss": 1.0}


def test_searches_are_listed_beside_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        made(Path(f"runs/a-tune/trials/000{number}"), TWO)
    listed = "runs/a-tune: a search of 3 trials: graphspec runs runs/a-tune/trials\n"
    for folder in ("runs", "runs/a-tune"):
        assert CliRunner().invoke(app, ["runs", folder]).stdout == listed
    made(Path("runs/a-1"), TWO)
    shown = CliRunner().invoke(app, ["runs"]).stdout
    assert "runs/a-1" in shown and shown.endswith(listed)
    document = json.loads(CliRunner().invoke(app, ["runs", "--json"]).stdout)
    assert document["studies"] == [{"run_dir": "runs/a-tune", "trials": 3}]
    assert "0002" in CliRunner().invoke(app, ["runs", "runs/a-tune/trials"]).stdout


def test_what_is_no_run_is_told(tmp_path: Path) -> None:
    made(tmp_path / "digits-1", TWO)
    with pytest.raises(SpecError, match=r"did you mean `.*digits-1`"):
        RunFiles(tmp_path / "digit-1")
    with pytest.raises(SpecError, match="holds no run"):
        RunFiles(tmp_path)
    (made(tmp_path / "other-1", TWO) / "environment.json").write_text("")
    (tmp_path / "foreign" / "checkpoints").mkdir(parents=True)
    states = {row.path.name: row.state for row in list_runs(tmp_path)}
    assert states == {"digits-1": "finished", "other-1": "damaged"}
    with pytest.raises(SpecError, match=r"did you mean `.*digits-1`"):
        RunFiles(tmp_path / "digit-1")


@pytest.mark.parametrize("name", ["environment.json", "spec.yaml", "history.jsonl"])
def test_what_is_left_of_a_run_is_listed_as_damaged(tmp_path: Path, name: str) -> None:
    run = made(tmp_path / "digits-1", TWO)
    (run / name).unlink()
    if name == "history.jsonl":
        (run / name).write_bytes(b"\xff")
    shown = CliRunner().invoke(app, ["runs", str(tmp_path)]).stdout
    assert "digits-1" in shown and "no run" not in shown
    assert ("damaged" in shown) == (name != "history.jsonl")


def test_a_run_that_is_not_there_is_told_before_torch_is_imported() -> None:
    code = "import sys, graphspec; graphspec.Run; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# --- a run in use

PEOPLE = """
inputs:
  facts: {shape: [2]}
  kinds: {shape: [2], dtype: int64}
nodes:
  read:    {layer: Embedding, input_dim: $(vocabulary(kinds)), output_dim: 4, from: kinds}
  flat:    {layer: Flatten}
  all:     {merge: concatenate, from: [facts, flat]}
  hidden:  {layer: Dense, units: 16, activation: relu}
  species: {layer: Dense, units: 3, activation: softmax, from: hidden}
  mass:    {layer: Dense, units: 1, from: hidden}
outputs:
  species: {loss: sparse_categorical_crossentropy, metrics: [accuracy], class_weight: balanced}
  mass:    {loss: mse, missing: ignore, metrics: [mae]}
data:
  train: people.csv
  validation: {split: 0.2}
  key: id
  features:
    facts:   {columns: [height, age], encode: number, fill: median, scale: standard}
    kinds:   {columns: [region, plan], encode: category, vocabulary: [6, 4]}
    species: {encode: category}
    mass:    {encode: number, scale: standard}
train: {epochs: 3, optimizer: {name: adam, learning_rate: 0.05}}
"""
NUMBERS = {"oak": 180.0, "ash": 150.0, "elm": 120.0}


def people(count: int = 120) -> str:
    source = random.Random(1)
    lines = ["id,height,age,region,plan,species,mass"]
    for index in range(count):
        species = source.choice(list(NUMBERS))
        height = source.gauss(NUMBERS[species], 5)
        known = "" if index % 17 == 3 else f"{height:.1f}"
        mass = "" if index % 11 == 5 else f"{20 * height:.0f}"
        row = (
            f"p{index}",
            known,
            source.randint(20, 60),
            source.choice("NSEW"),
            source.choice("ab"),
            species,
            mass,
        )
        lines.append(",".join(map(str, row)))
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a table, and the run that learned from it."""
    place = tmp_path_factory.mktemp("people")
    (place / "people.csv").write_text(people())
    (place / "people.yaml").write_text(PEOPLE)
    program = graphspec.compile(place / "people.yaml")
    train(program, root=place, device="cpu", run_dir=place / "run")
    return place


def without_targets(place: Path) -> Path:
    """The same rows as a table that has no targets."""
    path = place / "new.csv"
    rows = [line.split(",")[:5] for line in people().splitlines()]
    path.write_text("\n".join(map(",".join, rows)) + "\n")
    return path


def test_evaluation_says_what_training_said(trained: Path) -> None:
    run = Run(trained / "run")
    best = list_runs(trained)[0].best_epoch
    assert best is not None
    found = run.evaluate(device="cpu")
    assert found.pop("examples") == 24
    assert found == {
        name.removeprefix("val_"): pytest.approx(values[best - 1], rel=1e-6)
        for name, values in run.history.items()
        if name.startswith("val_")
    }


def test_test_values_are_those_of_the_epoch_that_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`mode: max` of a loss that falls: the epoch that is kept is not the last."""
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")
    np.savez("rows.npz", x=x, y=x.sum(1, keepdims=True))
    Path("sums.yaml").write_text("""
inputs: {x: {shape: [4]}}
nodes: {y: {layer: Dense, units: 1}}
outputs: {y: {loss: mse, metrics: [mae]}}
data: {train: rows.npz, validation: {split: 0.2}, test: rows.npz}
train:
  epochs: 3
  optimizer: {name: sgd, learning_rate: 0.05}
  callbacks:
    model_checkpoint: {monitor: val_loss, mode: max, save_best_only: true}
""")
    done = CliRunner().invoke(app, ["train", "sums.yaml", "--device", "cpu", "--json"])
    result = json.loads(done.stdout)
    worst = result["history"]["val_loss"].index(max(result["history"]["val_loss"])) + 1
    assert result["best_epoch"] == worst < 3
    run = Path(result["run_dir"])
    used, last = Run(run).evaluate(device="cpu"), Run(run, "last").evaluate(device="cpu")
    assert result["metrics"]["test_loss"] == pytest.approx(used["loss"], rel=1e-6)
    assert result["metrics"]["test_mae"] == pytest.approx(used["mae"], rel=1e-6)
    assert result["metrics"]["test_loss"] != pytest.approx(last["loss"], rel=1e-6)
    assert list_runs(run.parent)[0].best_epoch == worst
    again = CliRunner().invoke(app, ["train", str(run), "--resume", "--device", "cpu"]).stdout.splitlines()
    assert f"best.safetensors holds the weights of epoch {worst}, which evaluate and predict use" in again
    table = {line.split()[0]: line.split()[1:] for line in again if line.startswith("test_")}
    assert table["test_mae"] == [f"{used['mae']:.4g}", str(worst)]


def test_test_values_leave_the_module_as_it_was(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")
    np.savez(tmp_path / "rows.npz", x=x, y=x.sum(1, keepdims=True))
    program = graphspec.compile("""
inputs: {x: {shape: [4]}}
nodes: {y: {layer: Dense, units: 1}}
outputs: {y: {loss: mse}}
data: {train: rows.npz, test: rows.npz}
train: {epochs: 2, callbacks: {model_checkpoint: {monitor: loss, mode: max, save_best_only: true}}}
""")

    class Keeping:
        def on_train_end(self, logs: Any = None) -> None:
            self.module = self.model.module  # type: ignore[attr-defined]

    kept = Keeping()
    result = train(program, root=tmp_path, device="cpu", run_dir=tmp_path / "run", callbacks=[kept])
    assert result.best_epoch == 1 and "test_loss" in result.metrics
    last = safetensors.torch.load_file(tmp_path / "run" / "last.safetensors")
    assert all(torch.equal(value, last[name]) for name, value in kept.module.state_dict().items())


def test_predictions_are_rows_in_words_and_units(trained: Path) -> None:
    run = Run(trained / "run")
    table = run.predict(trained / "people.csv", device="cpu").to_pydict()
    assert list(table) == ["id", "species", "species.ash", "species.elm", "species.oak", "mass"]
    assert table["id"] == [f"p{index}" for index in range(120)]
    for row in range(120):
        scores = {name: table[f"species.{name}"][row] for name in NUMBERS}
        assert table["species"][row] == max(scores, key=lambda name: scores[name])
        assert sum(scores.values()) == pytest.approx(1, abs=1e-5)
    truth = list(csv.DictReader(people().splitlines()))
    right = [row["species"] == said for row, said in zip(truth, table["species"], strict=True)]
    assert sum(right) > 90
    errors = [abs(float(r["mass"]) - m) for r, m in zip(truth, table["mass"], strict=True) if r["mass"]]
    assert sum(errors) / len(errors) < 300, "in grams, as the column has them"


def test_predictions_need_no_targets_and_no_batch_in_particular(trained: Path) -> None:
    run = Run(trained / "run")
    whole = run.predict(trained / "people.csv", device="cpu")
    assert run.predict(without_targets(trained), device="cpu").equals(whole)
    for options in ({"batch_size": 120}, {"batch_size": 1, "limit": 7}):
        found = run.predict(without_targets(trained), device="cpu", **options)  # type: ignore[arg-type]
        wanted = whole.slice(0, len(found))
        assert len(found) == options.get("limit", 120) and found["species"].equals(wanted["species"])
        assert found["mass"].to_pylist() == pytest.approx(wanted["mass"].to_pylist(), rel=1e-5)
    short = run.predict(trained / "people.csv", device="cpu", probabilities=False)
    assert short.column_names == ["id", "species", "mass"]


def test_a_copied_run_is_complete(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "run", tmp_path / "elsewhere")
    about = json.loads((tmp_path / "elsewhere/environment.json").read_text())
    about["root"] = "/nowhere"
    (tmp_path / "elsewhere/environment.json").write_text(json.dumps(about))
    run = Run(tmp_path / "elsewhere")
    expected = Run(trained / "run").predict(trained / "people.csv", device="cpu")
    assert run.predict(trained / "people.csv", device="cpu").equals(expected)
    assert run.evaluate(trained / "people.csv", device="cpu")["examples"] == 120
    with pytest.raises(SpecError, match="data-missing"):
        run.evaluate(device="cpu")


def test_the_command_line_evaluates_and_predicts(trained: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    result = runner.invoke(app, ["evaluate", str(trained / "run"), "--device", "cpu", "--json"])
    found = json.loads(result.stdout)
    assert found["ok"] and found["examples"] == 24 and "species_accuracy" in found["metrics"]
    told = ["evaluate", str(trained / "run"), "--device", "cpu", "--batch-size", "10", "--progress", "json"]
    events = [json.loads(line) for line in runner.invoke(app, told).stderr.splitlines()]
    assert events == [{"event": "rows", "rows": rows} for rows in (10, 20, 24)]
    output = tmp_path / "p.csv"
    arguments = ["predict", str(trained / "run"), "--data", str(without_targets(trained)), "-o", str(output)]
    done = runner.invoke(app, [*arguments, "--device", "cpu", "--progress", "json"])
    assert done.stdout == f"facts: 7 of 120 rows filled\nwrote {output}: 120 rows\n"
    assert json.loads(done.stderr.splitlines()[-1]) == {"event": "rows", "rows": 120}
    rows = list(csv.DictReader(output.read_text().splitlines()))
    assert len(rows) == 120 and rows[3]["id"] == "p3" and rows[3]["species"] in NUMBERS


def test_rows_may_have_a_delimiter_of_their_own(trained: Path, tmp_path: Path) -> None:
    written = (trained / "people.csv").read_text()
    assert ";" not in written and '"' not in written
    (tmp_path / "other.csv").write_text(written.replace(",", ";"))
    runner = CliRunner()
    made: list[Any] = []
    for data, more in ((trained / "people.csv", []), (tmp_path / "other.csv", ["--delimiter", ";"])):
        options = ["--data", str(data), "--device", "cpu", *more]
        output = tmp_path / f"p{len(made)}.csv"
        predicted = runner.invoke(app, ["predict", str(trained / "run"), "-o", str(output), *options])
        assert predicted.exit_code == 0, predicted.stderr
        judged = runner.invoke(app, ["evaluate", str(trained / "run"), "--json", *options])
        made.append((output.read_text(), json.loads(judged.stdout)))
    assert made[0] == made[1]
    other = ["predict", str(trained / "run"), "-o", str(tmp_path / "p.csv"), "--data"]
    lacking = runner.invoke(app, [*other, str(tmp_path / "other.csv")])
    assert '`predict` and `evaluate` take `--delimiter ";"`' in lacking.stderr.replace("\n", " ")
    for name, wrong in (("other.csv", ";;"), ("other.parquet", ";")):
        refused = runner.invoke(app, [*other, str(tmp_path / name), "--delimiter", wrong])
        assert refused.exit_code == 2 and "--delimiter" in refused.stderr


def test_predictions_tell_what_the_training_never_saw(trained: Path, tmp_path: Path) -> None:
    data, told = tmp_path / "new.csv", list[str]()
    data.write_text("id,height,age,region,plan\np1,150,30,X,a\np2,,30,N,b\np3,150,30,N,a\n")
    run = Run(trained / "run")
    assert sum(part.num_rows for part in run.predictions(data, device="cpu", noted=told.extend)) == 3
    assert told == ["facts: 1 of 3 rows filled", "kinds: 1 of 3 rows unseen"]


def test_numbers_that_are_read_as_values_too_are_counted_as_numbers_alone(tmp_path: Path) -> None:
    rows = [f"{n % 5}.5,{'a tree' if n % 2 else 'the sea'},{n % 2}" for n in range(40)]
    (tmp_path / "t.csv").write_text("\n".join(["size,text,kind", *rows]) + "\n")
    text = """
    inputs: {exact: {shape: [1], dtype: int64}, facts: {shape: [1]}, text: {shape: [3], dtype: int64}}
    nodes:
      codes: {layer: Embedding, from: exact, input_dim: 7, output_dim: 2}
      flat:  {layer: Flatten}
      words: {layer: Embedding, from: text, input_dim: $(vocabulary(text)), output_dim: 2, mask_zero: true}
      mean:  {layer: GlobalAveragePooling1D}
      all:   {merge: concatenate, from: [flat, facts, mean]}
      kind:  {layer: Dense, units: 1, activation: sigmoid}
    outputs: {kind: {loss: binary_crossentropy}}
    data:
      train: t.csv
      features:
        exact: {columns: [size], encode: category, fill: missing}
        facts: {columns: [size], encode: number, fill: median}
        text:  {column: text, encode: text, vocabulary: 9, length: 3}
        kind:  {column: kind, encode: number}
    train: {epochs: 1}
    """
    (tmp_path / "s.yaml").write_text(text)
    graphspec.compile(tmp_path / "s.yaml").fit(run_dir=tmp_path / "run", device="cpu")
    (tmp_path / "new.csv").write_text("size,text\n9.5,a tree\n,the dog\n")
    told = list[str]()
    list(Run(tmp_path / "run").predictions(tmp_path / "new.csv", device="cpu", noted=told.extend))
    assert told == ["facts: 1 of 2 rows filled", "text: 1 of 2 rows with unseen tokens"]


def test_evaluation_tells_what_the_training_never_saw(trained: Path, tmp_path: Path) -> None:
    data = tmp_path / "new.csv"
    data.write_text(
        "id,height,age,region,plan,species,mass\np1,150,30,X,a,oak,\np2,,30,N,b,ash,1500\np3,150,30,N,a,elm,\n"
    )
    notes = [
        "facts: 1 of 3 rows filled",
        "kinds: 1 of 3 rows unseen",
        "mass: 2 of 3 rows without a target",
    ]
    arguments = ["evaluate", str(trained / "run"), "--data", str(data), "--device", "cpu"]
    shown = CliRunner().invoke(app, arguments).stdout.splitlines()
    assert shown[:-1] == notes and shown[-1].endswith("on 3 examples")
    assert json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)["notes"] == notes
    told = list[str]()
    Run(trained / "run").evaluate(device="cpu", noted=told.extend)
    assert all(" of 24 rows " in note and "training" not in note for note in told) and told


def bad_rows(place: Path, text: str) -> Path:
    path = place / "bad.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("id,height,age,region\np1,1,2,N\n", "data-column", "plan"),
        ("height,age,region,plan\n1,2,N,a\n", "data-column", "id"),
        ("id,height,age,region,plan\np1,tall,2,N,a\n", "data-dtype", "tall"),
        ("id,height,age,region,plan\n", "data-empty", "no"),
        ("", "data-empty", "empty"),
    ],
)
def test_what_cannot_be_predicted_for_is_told(
    trained: Path, tmp_path: Path, text: str, code: str, words: str
) -> None:
    output = tmp_path / "p.csv"
    arguments = ["predict", str(trained / "run"), "--data", str(bad_rows(tmp_path, text)), "-o", str(output)]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    (found,) = json.loads(result.stdout)["diagnostics"]
    assert result.exit_code == 1 and found["code"] == code and words in found["message"]
    assert ("its cells may be empty" in (found["help"] or "")) == (words == "id")
    assert not output.exists()


@pytest.mark.parametrize(
    ("place", "error", "told"),
    [
        ("graphspec.data.encoders.written", ValueError("a bug"), False),
        ("torch.nn.Linear.forward", ValueError("no such kernel"), True),
        ("graphspec.runs.engines.TorchEngine.__call__", torch.OutOfMemoryError("no room"), True),
        ("graphspec.runs.engines.TorchEngine.__call__", MemoryError("no room"), True),
    ],
)
def test_only_the_module_and_memory_fail_a_run(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, error: Exception, told: bool
) -> None:
    def fail(*arguments: Any, **keywords: Any) -> None:
        raise error

    monkeypatch.setattr(place, fail)
    data, output = str(trained / "people.csv"), str(tmp_path / "p.csv")
    arguments = ["predict", str(trained / "run"), "--data", data, "-o", output, "--device", "cpu"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert (f"error[run-failed]: running the module fails: {error}" in result.stderr) == told
    assert (result.exception is error) != told


def test_damaged_runs_are_told(trained: Path, tmp_path: Path) -> None:
    for name, damage in (("encoders.json", "{"), ("best.safetensors", "no"), ("spec.yaml", "inputs: {}")):
        place = tmp_path / name
        shutil.copytree(trained / "run", place)
        (place / name).write_text(damage)
        with pytest.raises(SpecError):
            Run(place).predict(trained / "people.csv", device="cpu")
    (tmp_path / "encoders.json" / "encoders.json").unlink()
    with pytest.raises(SpecError, match=r"encoders\.json` is missing"):  # and no row is taken for arrays
        Run(tmp_path / "encoders.json").model("cpu")
    (place / "best.safetensors").unlink()
    shutil.copy(trained / "run" / "spec.yaml", place)
    with pytest.raises(SpecError, match="weights-missing"):
        Run(place).module()
    assert Run(place, "last").module() is not None
    for engine in ("torch", "onnxruntime"):
        with pytest.raises(SpecError, match="weights-missing"):
            Run(place, tmp_path / "no.safetensors").predict(trained / "people.csv", engine=engine)


def test_arrays_are_predicted_for_as_arrays(tmp_path: Path) -> None:
    text = """
inputs: {x: {shape: [3]}}
nodes: {y: {layer: Dense, units: 2, activation: softmax}}
outputs: {y: {loss: sparse_categorical_crossentropy}}
data: {train: d.npz}
"""
    (tmp_path / "a.yaml").write_text(text)
    x = np.random.default_rng(0).normal(size=(50, 3)).astype("float32")
    np.savez(tmp_path / "d.npz", x=x, y=(x[:, 0] > 0).astype(int))
    np.savez(tmp_path / "new.npz", x=x)
    train(graphspec.compile(tmp_path / "a.yaml"), root=tmp_path, device="cpu", run_dir=tmp_path / "run")
    table = Run(tmp_path / "run").predict(tmp_path / "new.npz", device="cpu").to_pydict()
    with torch.no_grad():
        expected = Run(tmp_path / "run").module()(torch.from_numpy(x))
    assert table["y"] == expected.argmax(-1).tolist()
    assert table["y.1"] == pytest.approx(expected[:, 1].tolist(), abs=1e-6)


def test_an_output_of_two_tensors_is_two_columns(tmp_path: Path) -> None:
    text = """
inputs: {a: {shape: [3]}, b: {shape: [3]}}
nodes:
  left:  {layer: Dense, units: 2, from: a}
  right: {layer: Dense, units: 2, from: b}
outputs: {match: {from: [left, right], loss: in_batch_softmax}}
data: {train: d.npz}
"""
    (tmp_path / "a.yaml").write_text(text)
    a, b = np.random.default_rng(0).normal(size=(2, 50, 3)).astype("float32")
    np.savez(tmp_path / "d.npz", a=a, b=b)
    program = graphspec.compile(tmp_path / "a.yaml")
    train(program, root=tmp_path, device="cpu", run_dir=tmp_path / "run")
    run = Run(tmp_path / "run")
    table = run.predict(tmp_path / "d.npz", device="cpu").to_pydict()
    with torch.no_grad():
        expected = run.module()(torch.from_numpy(a), torch.from_numpy(b))
    assert list(table) == ["match.query", "match.key"]
    for column, key in zip(table, program.outputs["match"].keys, strict=True):
        assert np.allclose(table[column], expected[key], atol=1e-6)
    (tmp_path / "a.yaml").write_text(text.replace(", loss: in_batch_softmax", ""))
    named = graphspec.compile(tmp_path / "a.yaml").outputs["match"]
    assert named.columns == named.keys == ["match", "match.1"]  # nothing says what each is


# --- a spec in use


MEMBER = """
inputs: {x: {shape: [3]}}
nodes: {y: {layer: Dense, units: 2, activation: softmax}}
outputs: {y: {loss: sparse_categorical_crossentropy, metrics: [accuracy]}}
data: {train: d.npz, validation: {split: 0.2}}
"""
AVERAGE = """
inputs: {x: {shape: [3]}}
nodes:
  a: {model: member.yaml, weights: a.safetensors, trainable: false, from: x}
  b: {model: member.yaml, weights: b.safetensors, trainable: false, from: x}
  y: {merge: average, from: [a, b]}
outputs: {y: {loss: sparse_categorical_crossentropy, metrics: [accuracy]}}
"""


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a spec, data, two sets of weights that it was trained to, and their ensemble."""
    place = tmp_path_factory.mktemp("members")
    (place / "member.yaml").write_text(MEMBER)
    (place / "average.yaml").write_text(AVERAGE)
    x = np.random.default_rng(0).normal(size=(50, 3)).astype("float32")
    np.savez(place / "d.npz", x=x, y=(x[:, 0] > 0).astype(int))
    for seed, name in enumerate("ab"):
        member = graphspec.compile(place / "member.yaml", settings={"train.seed": seed})
        train(member, root=place, device="cpu", run_dir=place / f"run-{name}")
        shutil.copy(place / f"run-{name}" / "last.safetensors", place / f"{name}.safetensors")
    return place


def test_a_spec_with_a_file_of_weights_is_as_good_as_its_run(members: Path) -> None:
    expected = Run(members / "run-a", "last")
    found = Run(members / "member.yaml", members / "a.safetensors")
    assert found.evaluate(device="cpu") == expected.evaluate(device="cpu")
    for table in (members / "d.npz",):
        assert found.predict(table, device="cpu").equals(expected.predict(table, device="cpu"))
    assert found.history == {} and repr(found) == f"<Run {members / 'member.yaml'}>"


def test_an_ensemble_of_files_is_judged_without_training_it(members: Path) -> None:
    found = Run(members / "average.yaml").predict(members / "d.npz", device="cpu").to_pydict()
    parts = [Run(members / f"run-{name}", "last").predict(members / "d.npz", device="cpu") for name in "ab"]
    first, second = (np.array(part["y.1"]) for part in parts)
    assert found["y.1"] == pytest.approx(((first + second) / 2).tolist(), abs=1e-6)
    arguments = ["evaluate", str(members / "average.yaml"), "--data", str(members / "d.npz"), "--json"]
    assert json.loads(CliRunner().invoke(app, arguments).stdout)["examples"] == 50


def test_a_spec_without_weights_or_with_features_of_its_own_is_refused(members: Path, trained: Path) -> None:
    with pytest.raises(SpecError, match=r"weights-missing.*no trained weights for `y.weight`, `y.bias`"):
        Run(members / "member.yaml").evaluate(members / "d.npz", device="cpu")
    with pytest.raises(SpecError, match=r"name a file, `--weights .*average"):
        (members / "average.safetensors").touch()
        (members / "average.yaml").write_text(AVERAGE.replace("weights: b.safetensors, ", ""))
        Run(members / "average.yaml").module()
    with pytest.raises(SpecError, match=r"data-format.*is in the run that trained it"):
        Run(trained / "people.yaml", trained / "run" / "best.safetensors").predict(trained / "people.csv")


def test_the_directory_of_a_search_names_its_best(tmp_path: Path) -> None:
    (tmp_path / "environment.json").write_text(json.dumps({"root": str(tmp_path)}))
    (tmp_path / "best.yaml").touch()
    with pytest.raises(
        SpecError, match=r"name the best of the search: `.*best.yaml --weights .*best.safetensors`"
    ):
        Run(tmp_path)
    (tmp_path / "best.safetensors").write_text("b")
    for name in "ab":
        (tmp_path / "trials" / name).mkdir(parents=True)
        (tmp_path / "trials" / name / "last.safetensors").write_text(name)
    with pytest.raises(SpecError, match=r"name the best trial of the search: `.*trials/b`"):
        Run(tmp_path)


NORMALIZED = """
inputs: {x: {shape: [8]}}
nodes:
  wide: {layer: Dense, units: 16}
  norm: {layer: BatchNormalization, momentum: 0.5}
  bent: {layer: ReLU}
  y: {layer: Dense, units: 3, activation: softmax}
outputs: {y: {loss: sparse_categorical_crossentropy, metrics: [accuracy]}}
train: {optimizer: adam, epochs: 2}
data: {train: d.npz}
"""


@pytest.mark.parametrize("broken", [False, True])
def test_a_run_in_use_is_folded_where_that_gives_the_same_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    source = np.random.default_rng(0)
    x = source.normal(size=(90, 8)).astype("float32")
    np.savez(tmp_path / "d.npz", x=x, y=(x[:, 0] > 0).astype("int64") + (x[:, 1] > 0))
    train(graphspec.compile(NORMALIZED), root=tmp_path, run_dir=tmp_path / "run", device="cpu")
    run = Run(tmp_path / "run")
    if broken:
        path = tmp_path / "run" / "best.safetensors"
        weights = safetensors.torch.load_file(path)
        weights["norm.running_var"][3] = -0.001  # which leaves epsilon less rounding
        safetensors.torch.save_file(weights, path)
    used: list[str] = []

    def noted(objective: Any, module: torch.nn.Module, *arguments: Any, **more: Any) -> Any:
        used.append(" ".join(name for name, _ in module.named_children()))
        return evaluate(objective, module, *arguments, **more)

    evaluate = loop.evaluate
    monkeypatch.setattr("graphspec.runs.judging.evaluate", noted)
    found = run.evaluate(tmp_path / "d.npz", device="cpu")
    assert ("norm" in used[0]) == broken
    monkeypatch.setattr(Run, "inference", lambda self, place: (self.program, self.module(str(place))))
    assert found == pytest.approx(run.evaluate(tmp_path / "d.npz", device="cpu"), rel=1e-4, nan_ok=True)
