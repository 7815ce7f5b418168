"""Engines: each gives the numbers of torch or is refused, and `auto` takes the fastest and remembers it."""

from __future__ import annotations

import json
import os
import random
import runpy
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

import graphspec
from graphspec.cli.app import app
from graphspec.data.rows.values import bin_of
from graphspec.diagnostics import SpecError
from graphspec.export import export
from graphspec.export.columns.proof import example_row
from graphspec.export.proof import RELATIVE
from graphspec.files.folder import Folder
from graphspec.files.remembered import recall, remember
from graphspec.files.run_folder import RunFolder
from graphspec.runs import agreement, engines, fastest
from graphspec.runs.run import Run
from graphspec.runs.shipping import ship
from tests.runs import everything

INSTALLED = [name for name in engines.OF_CPUS if find_spec(name) is not None]
RECORD = "engines/best.json"
ROWS = [everything.row(random.Random(seed)) for seed in range(3)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return everything.train(tmp_path_factory.mktemp("engines"), everything.exported()).path


@pytest.fixture
def run(trained: Path) -> Run:
    return Run(trained)


def forget(run: Run) -> None:
    """Forgets what was measured, and keeps what was exported."""
    about = recall(run.path, RECORD)
    remember(Folder(run.path), RECORD, {key: about[key] for key in about.keys() & {"key", "sha256"}})


def assert_near(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        same = pytest.approx(value, rel=1e-4, abs=1e-5) if isinstance(value, float) else value
        assert found[name] == same, name


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_an_engine_gives_the_numbers_of_torch(run: Run, engine: str) -> None:
    lines: list[str] = []
    for row in ROWS:
        assert_near(run.predict(row, engine=engine).to_pylist()[0], run.predict(row).to_pylist()[0])
    list(run.predictions([ROWS[0]], engine=engine, noted=lines.extend))
    assert lines[0].startswith(f"engine: {engine}, equal to the module to ")


def test_auto_takes_the_fastest_and_remembers_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    (run.path / RECORD).unlink(missing_ok=True)  # of what tests before have measured
    times = {"torch": 2.0, "onnxruntime": 1.0, "openvino": 3.0}
    monkeypatch.setattr(fastest, "timed", lambda found, *_: {name: times[name] for name in found})
    model = run.model(engine="auto")
    assert model.engine.name == "onnxruntime"
    (line,) = model.notes
    told = "engine: onnxruntime, the fastest of torch 2e+03 ms, onnxruntime 1e+03 ms, openvino 3e+03 ms for a"
    assert line == f"{told} row (sounds {run.lengths['sounds']}, words {run.lengths['words']})"
    monkeypatch.setattr(fastest, "timed", None)
    assert Run(run.path).model(engine="auto").engine.name == "onnxruntime"
    times["onnxruntime"] = 9.0
    monkeypatch.setattr(fastest, "timed", lambda found, *_: {name: times[name] for name in found})
    known = recall(run.path, RECORD)
    remember(Folder(run.path), RECORD, {**known, "key": {**known["key"], "threads": 99}})
    assert Run(run.path).model(engine="auto").engine.name == "torch"


def test_auto_really_times_what_is_installed(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever engine it is here: the record says that it was the fastest, and is read back."""
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    forget(Run(folder))
    expected = [Run(folder).predict(row).to_pylist()[0] for row in ROWS]
    model = Run(folder).model(engine="auto")
    record = recall(folder, RECORD)
    assert record["seconds"].keys() == record["apart"].keys() == {"1"}
    (seconds,), (apart,) = record["seconds"].values(), record["apart"].values()
    assert seconds.keys() == {"torch", *INSTALLED} and apart.keys() == {*INSTALLED}
    assert min(seconds.values()) > 0 and max(apart.values()) < 1e-4
    assert model.engine.name == min(seconds, key=seconds.__getitem__)
    assert model.notes[0].startswith(f"engine: {model.engine.name}, the fastest of torch ")
    monkeypatch.setattr(fastest, "timed", None)
    monkeypatch.setattr(fastest, "compare", None)
    again = Run(folder)
    assert again.model(engine="auto").engine.name == model.engine.name
    for row, wanted in zip(ROWS, expected, strict=True):
        assert_near(again.predict(row, engine="auto").to_pylist()[0], wanted)


@pytest.fixture(scope="module")
def said_by_torch(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], Any]:
    return command(trained, "torch", tmp_path_factory.mktemp("torch"))


def command(run: Path, engine: str, folder: Path) -> tuple[list[Any], Any]:
    """What the commands `predict` and `evaluate` say of the rows that a run learned from."""
    data, file = run.parent / "rows.jsonl", folder / "found.jsonl"
    asked = [str(run), "--data", str(data), "--engine", engine, "--json"]
    done = [
        CliRunner().invoke(app, arguments)
        for arguments in (["predict", *asked, "-o", str(file)], ["evaluate", *asked])
    ]
    assert [each.exit_code for each in done] == [0, 0], [each.output for each in done]
    said = [json.loads(each.stdout) for each in done]
    for each in said if engine != "torch" else ():
        wanted = "" if engine == "auto" else f"{engine}, equal to the module to "
        assert each["notes"][0].startswith(f"engine: {wanted}")
    return [json.loads(line) for line in file.read_text().splitlines()], said[1]


@pytest.mark.parametrize("engine", [*INSTALLED, "auto"])
def test_commands_give_the_values_of_torch_with_each_engine(
    trained: Path, tmp_path: Path, said_by_torch: tuple[list[Any], Any], engine: str
) -> None:
    wanted, found = said_by_torch, command(trained, engine, tmp_path)
    assert len(wanted[0]) == len(found[0]) == wanted[1]["examples"] == found[1]["examples"] == 60
    for row, expected in zip(found[0], wanted[0], strict=True):
        assert_near(row, expected)
    assert_near(found[1]["metrics"], wanted[1]["metrics"])


@pytest.mark.skipif(os.name != "posix", reason="processor time has ticks there")
def test_an_engine_that_waits_for_the_processor_is_not_slow() -> None:
    """As on a machine where much else runs."""

    def busy(inputs: Mapping[str, Any]) -> engines.Values:
        until = time.process_time() + 1e-3
        while time.process_time() < until:
            pass
        return {}

    def waiting(inputs: Mapping[str, Any]) -> engines.Values:
        time.sleep(0.01)
        return {}

    seconds = fastest.timed({"torch": cast(Any, busy), "onnxruntime": cast(Any, waiting)}, {}, 1)
    assert seconds["onnxruntime"] < 1e-3 <= seconds["torch"]


def test_what_is_timed_is_as_long_as_what_was_learned_from(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With long texts another engine is the fastest than with short ones."""
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    about = json.loads((folder / "environment.json").read_text())
    assert 1 < about["lengths"]["words"] < 8 and about["lengths"]["sounds"] <= 5
    seen: list[int] = []

    def timed(found: Mapping[str, Any], example: Mapping[str, Any], threads: int) -> dict[str, float]:
        seen.append(example["title"].shape[1])
        return dict.fromkeys(found, 1.0)

    monkeypatch.setattr(fastest, "timed", timed)
    for words in (17, 17, 10**12):
        (folder / "environment.json").write_text(json.dumps({**about, "lengths": {"words": words}}))
        Run(folder).model(engine="auto")
    assert seen == [17, fastest.LONGEST]


def again(run: Run, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Lets exports of a run give what the first one gave, which is soon done: the files of these."""
    run.predict(ROWS[0], engine="onnxruntime")
    content, made = (run.path / "engines/best.onnx").read_bytes(), list[Path]()

    def export(program: Any, form: str, path: Path, *_: Any, **__: Any) -> None:
        path.write_bytes(content)
        made.append(path)

    monkeypatch.setattr("graphspec.export.export", export)
    return made


@pytest.mark.parametrize("kind", ["link", "pipe", "file"])
def test_a_run_in_which_nothing_can_be_kept_is_exported_each_time(
    trained: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written through a link, no pipe is waited for, and `engines` may be a file."""
    folder, mine = tmp_path / "run", tmp_path / "mine"
    made = again(Run(trained), monkeypatch)
    shutil.copytree(trained, folder)
    mine.write_text("mine")
    if kind == "file":
        shutil.rmtree(folder / "engines")
        (folder / "engines").touch()
    for name in ("engines/best.json", "engines/best.onnx") if kind != "file" else ():
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(mine) if kind == "link" else os.mkfifo(folder / name)
    run = Run(folder)
    found = run.predict(ROWS[0], engine="onnxruntime").to_pylist()[0]
    assert_near(found, run.predict(ROWS[0]).to_pylist()[0])
    assert len(made) == 1 and mine.read_text() == "mine"


def test_an_export_of_which_a_byte_has_changed_is_written_again(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = again(run, monkeypatch)
    expected = run.predict(ROWS[0], engine="onnxruntime").to_pylist()[0]
    file = run.path / "engines/best.onnx"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x40
    file.write_bytes(content)
    assert_near(Run(run.path).predict(ROWS[0], engine="onnxruntime").to_pylist()[0], expected)
    assert len(made) == 1 and file.read_bytes() != bytes(content)


def test_an_export_is_kept_for_each_file_of_weights_while_it_is_there(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Archives keep no more of a time than the second: other weights may have the same size and age."""
    made: list[int] = []
    monkeypatch.setattr(
        "graphspec.export.export", lambda program, form, path, *_, **__: made.append(path.write_bytes(b"1"))
    )
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    elsewhere = tmp_path / "best.safetensors"
    for file in (elsewhere, *(folder / f"{name}.safetensors" for name in ("best", "last", "7"))):
        shutil.copy(trained / "last.safetensors", file)
        os.utime(file, (1e9, 1e9))

    def exports(name: str | Path) -> int:
        shelf = fastest._Shelf(Run(folder, weights=name), lambda: pytest.fail("no torch"), 1)
        assert shelf.file.parent == folder / "engines"
        return len(made)

    names: list[str | Path] = ["best", "last", elsewhere, folder / "7.safetensors"]
    shutil.rmtree(folder / "engines", ignore_errors=True)
    assert [exports(name) for name in names] == [1, 2, 3, 4]
    folder = folder.rename(tmp_path / "moved")
    again: list[str | Path] = ["best", "last", os.path.relpath(elsewhere)]
    again += [folder / "best.safetensors", folder / "7.safetensors"]
    assert [exports(name) for name in again] == [4] * 5
    kept = {path.name for path in (folder / "engines").iterdir()}
    assert len(kept) == 8 and {"best.json", "best.onnx", "last.json", "last.onnx"} < kept
    elsewhere.unlink()
    (folder / "7.safetensors").unlink()
    (folder / "engines" / "mine.txt").write_text("mine")
    (folder / "spec.yaml").write_text((folder / "spec.yaml").read_text().replace("relu", "tanh"))
    assert [exports("last"), exports("last")] == [5, 5]
    left = {path.name for path in (folder / "engines").iterdir()}
    assert left == {"best.json", "best.onnx", "last.json", "last.onnx", "mine.txt"}
    monkeypatch.setattr("graphspec.custom.files", lambda program: iter([(folder / "own.py", None)]))
    assert [exports("last"), exports("last")] == [6, 7]
    monkeypatch.undo()
    RunFolder(folder).clear()
    assert [path.name for path in (folder / "engines").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("clear", [RunFolder.clear, RunFolder.clear_weights])
def test_what_earlier_versions_kept_is_deleted(tmp_path: Path, clear: Callable[[RunFolder], None]) -> None:
    """Their export, beside the run's own files, holds all weights."""
    for name in ("engine.json", "engine.onnx", "serving.json", "best.safetensors", "mine.onnx"):
        (tmp_path / name).write_text("")
    clear(RunFolder(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.onnx"]


def test_engines_in_an_archive_have_no_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("openvino/__init__.py", "")
    places = [str(tmp_path / "all.zip")]
    monkeypatch.setattr(engines, "find_spec", lambda name: PathFinder.find_spec(name, places))
    assert engines.versions() == {"openvino": ""}


def test_what_a_run_remembers_needs_no_torch(run: Run) -> None:
    """Neither the first row nor a server of the run: importing torch takes longer than all else together."""
    wanted = run.predict(ROWS[0], engine="onnxruntime").to_pylist()[0]
    code = f"""
import json, sys
from pathlib import Path
import numpy as np
from graphspec.data.rows.cells import Cells
from graphspec.serve import app, served
from graphspec.serve.options import ServeOptions
cells = {{
    Cells.of(np.array([1, 0, 1])).named(["a", "é"]): ["é", "a", "é"],
    Cells.of(np.array([1, 0])).named([7, 8]): [8, 7],
    Cells.of(np.float32([[1, 2], [3, 4]]), np.array([1, 2])): [[1], [3, 4]],
    Cells.of(np.arange(8).reshape(2, 2, 2), np.array([2, 1])): [[[0, 1], [2, 3]], [[4, 5]]],
}}
for each, wanted in cells.items():
    assert each.python() == wanted and each.arrow().to_pylist() == wanted, each
assert "pandas" not in sys.modules
for engine, device in (("onnxruntime", "auto"), ("auto", "cpu")):
    path = Path({str(run.path)!r})
    made = served.Served("run", path, ServeOptions([path], device=device, engine=engine))
    found = made.predict([(0, {ROWS[0]!r})])
    assert found == [json.loads({json.dumps(wanted)!r})], found
assert "torch" not in sys.modules
"""
    before = recall(run.path, RECORD)
    remember(Folder(run.path), RECORD, {**before, "seconds": {"1": {"onnxruntime": 1.0}}})
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    remember(Folder(run.path), RECORD, before)


def test_an_engine_that_lies_is_left_out(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = engines.OnnxEngine.__call__

    def lying(self: Any, inputs: Mapping[str, Any]) -> engines.Values:
        return {name: value + 0.01 for name, value in honest(self, inputs).items()}

    monkeypatch.setattr(engines.OnnxEngine, "__call__", lying)
    forget(run)
    with pytest.raises(SpecError) as error:
        run.predict(ROWS[0], engine="onnxruntime")
    assert error.value.diagnostics[0].code == "export-differs"
    forget(run)
    model = Run(run.path).model(engine="auto")
    assert model.engine.name != "onnxruntime" and "not those of the module" in model.notes[0]
    forget(run)


def test_what_is_wrong_with_an_engine_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match="onnxruntime") as error:
        run.predict(ROWS[0], engine="onnxruntim")
    assert error.value.diagnostics[0].code == "unknown-name"
    found = find_spec
    monkeypatch.setattr(fastest, "find_spec", lambda name: None if name == "openvino" else found(name))
    with pytest.raises(SpecError) as error:
        run.predict(ROWS[0], engine="openvino")
    assert error.value.diagnostics[0].code == "package-missing"


JUDGED = """\
name: judged
inputs:
  tokens: {shape: [steps], dtype: int64}
nodes:
  vectors: {layer: Embedding, input_dim: 12, output_dim: 6, mask_zero: true}
  hidden: {layer: Dense, units: 8, activation: relu, kernel_regularizer: l2}
  tags: {layer: Dense, units: 3, activation: softmax}
  pooled: {layer: GlobalAveragePooling1D, from: hidden}
  odds: {layer: Dense, units: 1, activation: sigmoid}
outputs:
  tags: {loss: sparse_categorical_crossentropy, metrics: [accuracy]}
  odds: {loss: binary_crossentropy, metrics: [auc]}
"""


def judged(folder: Path, text: str = JUDGED) -> tuple[Run, dict[str, Any]]:
    """A spec with weights in a file, and examples with padded steps, whose loss and metrics are masked."""
    spec, weights = folder / "judged.yaml", folder / "judged.safetensors"
    spec.write_text(text)
    save_file(graphspec.compile(spec).module(seed=1).state_dict(), weights)
    random = np.random.default_rng(0)
    tokens = random.integers(1, 12, (20, 7))
    tokens[:10, 4:] = 0
    tags, odds = random.integers(0, 3, (20, 7)), random.integers(0, 2, (20, 1)).astype(np.float32)
    return Run(spec, weights), {"tokens": tokens, "tags": tags, "odds": odds}


def test_an_engine_evaluates_what_torch_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses read logits and masks, which the export returns behind the outputs; penalties read weights."""
    run, data = judged(tmp_path)
    expected, lines = run.evaluate(data, batch_size=6), list[str]()
    export(run.program, "onnx", tmp_path / "judged.onnx", 0, run.state(), logits=True)
    for kind in (engines.OnnxEngine, engines.OpenVinoEngine):
        made = kind(engines.Interface.of(run.program), tmp_path / "judged.onnx", 1)
        monkeypatch.setattr(fastest, "engine_of", lambda *_, made=made: (made, [f"engine: {made.name}"]))
        assert_near(run.evaluate(data, engine=kind.name, batch_size=6, noted=lines.extend), expected)
    assert lines == ["engine: onnxruntime", "engine: openvino"]


Lie = Callable[[Mapping[str, Any], engines.Values], engines.Values]


def more(values: engines.Values, rows: Any = slice(None)) -> engines.Values:
    for value in values.values():
        value[rows] += np.asarray(1e-3, value.dtype) if value.dtype != bool else True
    return values


def padded(inputs: Mapping[str, Any]) -> Any:
    return (inputs["tokens"][:, -1:] == 0).all(1)


LIES: dict[str, tuple[str, Lie]] = {
    "on longer rows": ("outputs", lambda given, values: more(values, given["tokens"].shape[1] > 128)),
    "on shorter rows": ("outputs", lambda given, values: more(values, given["tokens"].shape[1] < 8)),
    "on padded rows": ("outputs", lambda given, values: more(values, padded(given))),
    "in the logits": ("logits", lambda _, values: more({**values, "tags": values["tags"].copy()})),
    "in the mask": ("logits", lambda _, values: {**values, "tags_mask": ~values["tags_mask"]}),
    "in a shape": ("outputs", lambda _, values: {name: value[..., :1] for name, value in values.items()}),
    "nowhere": ("", lambda _, values: values),
}


@pytest.fixture(scope="module")
def judged_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    folder = tmp_path_factory.mktemp("judged")
    run, _ = judged(folder)
    export(run.program, "onnx", folder / "judged.onnx", 0, run.state(), logits=True)
    return run, folder / "judged.onnx"


@pytest.mark.parametrize("where", LIES)
@pytest.mark.parametrize("kind", [engines.OnnxEngine, engines.OpenVinoEngine])
def test_an_engine_that_lies_somewhere_is_found(
    judged_file: tuple[Run, Path], where: str, kind: type[engines.FileEngine]
) -> None:
    """At other lengths than what is timed, on padded rows, or in what only an evaluation reads."""
    run, file = judged_file
    what, lie = LIES[where]

    class Lying(kind):  # type: ignore[valid-type, misc]
        def __call__(self, inputs: Mapping[str, Any]) -> engines.Values:
            values = {name: value.copy() for name, value in super().__call__(inputs).items()}
            return lie(inputs, values) if what == "outputs" else values

        def logits(self, inputs: Mapping[str, Any]) -> engines.Values:
            values: engines.Values = super().logits(inputs)
            return lie(inputs, values) if what == "logits" else values

    base = engines.TorchEngine(run.program, run.module(), torch.device("cpu"))
    engine = Lying(engines.Interface.of(run.program), file, 1)
    wanted = agreement.trials(run.program, 1, fastest.usual_sizes(run))
    if where == "nowhere":
        assert agreement.compare(run.program, base, engine, wanted) < 1e-4
        return
    with pytest.raises(SpecError, match=f"the {what} of `{kind.name}` are not those of the module") as error:
        agreement.compare(run.program, base, engine, wanted)
    assert error.value.diagnostics[0].code == "export-differs"


def arrays_of(run: Run) -> dict[str, Any]:
    reader = run.model().reader
    assert reader is not None
    arrays = reader.read(ROWS[0]).arrays
    return {name: arrays[name] for name in run.program.inputs}


SIGNALLED = """
import gc, os, signal, sys
from pathlib import Path
from graphspec.runs.engines import Interface, OpenVinoEngine
from graphspec.runs.run import Run

interface = Interface.of(Run(Path(sys.argv[1])).program)
made = [OpenVinoEngine(interface, Path(sys.argv[2]), 1) for _ in range(4)]
while made:
    made.pop(0)
    gc.collect()
heard = []
signal.signal(signal.SIGINT, lambda *_: heard.append(1))
os.kill(os.getpid(), signal.SIGINT)
print(heard)
"""


def test_a_signal_is_heard_after_engines_that_are_gone(judged_file: tuple[Run, Path]) -> None:
    run, file = judged_file
    done = subprocess.run([sys.executable, "-c", SIGNALLED, run.path, file], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "[1]\n"), done.stderr


def test_many_rows_are_compared_for_themselves(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = engines.OnnxEngine.__call__

    def lying(self: Any, inputs: Mapping[str, Any]) -> engines.Values:
        values = {name: value.copy() for name, value in honest(self, inputs).items()}
        return more(values) if len(inputs["facts"]) == 64 else values

    monkeypatch.setattr(engines.OnnxEngine, "__call__", lying)
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    for _ in range(2):
        assert Run(folder).model(engine="onnxruntime").engine.name == "onnxruntime"
        with pytest.raises(SpecError, match="are not those of the module for 64 rows"):
            Run(folder).model(engine="onnxruntime", rows=64)


def test_penalties_on_activities_need_the_module(tmp_path: Path) -> None:
    run, data = judged(tmp_path, JUDGED.replace("kernel_regularizer", "activity_regularizer"))
    with pytest.raises(SpecError) as error:
        run.evaluate(data, engine="onnxruntime")
    assert error.value.diagnostics[0].code == "not-supported"
    assert run.evaluate(data, engine="auto") == run.evaluate(data)


def test_rows_that_an_engine_cannot_compute_are_told(run: Run) -> None:
    engine = run.model(engine="onnxruntime").engine
    arrays = {name: tensor.numpy() for name, tensor in run.program.example_inputs(2).items()}
    with pytest.raises(SpecError) as error:
        engine({**arrays, "facts": np.zeros((2, 3, 4), np.float32)})
    assert error.value.diagnostics[0].code == "run-failed"


def test_auto_measures_so_many_rows(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """With many rows at a time another engine may be the fastest; each measurement is remembered."""
    counts: list[int] = []

    def timing(found: Mapping[str, Any], example: Mapping[str, Any], threads: int) -> dict[str, float]:
        counts.append(len(next(iter(example.values()))))
        return {name: float(name != ("torch" if counts[-1] > 1 else "onnxruntime")) for name in found}

    monkeypatch.setattr(fastest, "timed", timing)
    forget(run)
    for _ in range(2):
        assert run.model(engine="auto", rows=64).engine.name == "torch"
        assert run.model(engine="auto").engine.name == "onnxruntime"
    assert counts == [64, 1]
    forget(run)


def test_the_fastest_form_of_a_table_reads_columns(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fastest, "timed", lambda found, *_: {n: float(n != "torch") for n in found})
    forget(run)
    shipped = ship(run, tmp_path / "shipped", run.encoders())
    assert shipped.engine == "onnxruntime" and "no other reads columns" in shipped.notes[-1]
    runpy.run_path(str(tmp_path / "shipped" / "predict.py"), run_name="__main__")
    assert shipped.form is not None
    shown = eval(capsys.readouterr().out, {"array": np.array, "float32": np.float32, "object": object})
    encoders = run.encoders()
    assert encoders is not None
    row = example_row(encoders, shipped.form)
    row |= {"id": 1, **{f"plain_{i}": value for i, value in enumerate(row.pop("plain"))}}
    row["street"] = next(text for text in map(str, range(100)) if bin_of(text, 8) == 0)  # it is given zeros
    expected = run.predict(row)
    np.testing.assert_allclose(shown["price"], expected["price"].to_pylist(), RELATIVE)
    assert shown["kind"].tolist() == expected["kind"].to_pylist()
    forget(run)


def test_an_engine_of_a_settled_process_sets_no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """To set them takes as long as a layer."""
    program = graphspec.compile(
        "inputs: {x: {shape: [3]}}\nnodes: {y: {layer: Dense, units: 2}}\noutputs: y\n"
    )
    engine = engines.TorchEngine(program, program.module(), torch.device("cpu"))
    before, sets = torch.get_num_threads(), list[int]()
    engine.threads = before + 1
    try:
        engines.settle([engine])
        with monkeypatch.context() as patched:
            patched.setattr(torch, "set_num_threads", sets.append)
            engine({"x": np.zeros((1, 3), np.float32)})
        assert torch.get_num_threads() == before + 1 and not sets
    finally:
        torch.set_num_threads(before)
