"""A run directory that anyone may have written: every command ends in a diagnostic, whatever it holds."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
import struct
import warnings
import zlib
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner, Result

from graphspec.cli.app import app
from graphspec.data.encoders.images import Refused, opened
from tests import one_in

SPEC = """
inputs: {x: {shape: [3]}, words: {shape: [4], dtype: int32}}
nodes:
  h: {layer: Dense, units: 4, from: x}
  n: {layer: BatchNormalization, from: h}
  e: {layer: Embedding, from: words, input_dim: 30, output_dim: 4}
  m: {layer: GlobalAveragePooling1D, from: e}
  both: {merge: concatenate, from: [n, m]}
  y: {layer: Dense, units: 1, from: both}
outputs: {y: {loss: mse, metrics: [mae], loss_weight: learned}}
data:
  train: data.csv
  validation: {split: 0.5}
  features:
    x: {columns: [a, b, c], encode: number, scale: standard}
    words: {column: text, encode: text, vocabulary: 30, tokenizer: char, length: 4}
    y: {encode: number, scale: standard}
train:
  epochs: EPOCHS
  batch_size: 4
  callbacks:
    early_stopping: {patience: 9, restore_best_weights: true}
    reduce_lr_on_plateau: {}
    backup_and_restore: {delete_checkpoint: false}
"""
DEEP = "[" * 100_000


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of two epochs, data, and the same spec for three epochs."""
    place = tmp_path_factory.mktemp("place")
    values = np.random.default_rng(0).random((16, 4)).round(3)
    rows = [f"{a},{b},{c},{d},word{i % 3}" for i, (a, b, c, d) in enumerate(values)]
    for folder, epochs in (("two", "2"), ("three", "3")):
        (place / folder).mkdir()
        (place / folder / "data.csv").write_text("\n".join(["a,b,c,y,text", *rows]) + "\n")
        (place / folder / "s.yaml").write_text(SPEC.replace("EPOCHS", epochs))
    done = run("train", place / "two" / "s.yaml", "--run-dir", place / "run", "--device", "cpu")
    assert done.exit_code == 0, done.output
    return place


@pytest.fixture
def place(trained: Path, tmp_path: Path) -> Path:
    """A copy, whose run has one checkpoint."""
    shutil.copytree(trained, tmp_path / "place")
    for checkpoint in sorted((tmp_path / "place" / "run" / "checkpoints").iterdir())[:-1]:
        shutil.rmtree(checkpoint)
    return tmp_path / "place"


def resumed(place: Path) -> Result:
    spec = place / "three" / "s.yaml"
    return run("train", spec, "--run-dir", place / "run", "--resume", "--device", "cpu")


def evaluated(place: Path) -> Result:
    return run("evaluate", place / "run", "--device", "cpu")


def predicted(place: Path) -> Result:
    return run("predict", place / "run", "--data", place / "two" / "data.csv", "-o", place / "p.csv")


def every_command(place: Path) -> list[Result]:
    return [
        run("runs", place),
        evaluated(place),
        predicted(place),
        run("train", place / "run", "--resume", "--device", "cpu"),
        resumed(place),
    ]


FILES = ("spec.yaml", "environment.json", "history.jsonl", "encoders.json")
CONTENTS = {
    "deep": DEEP.encode(),
    "binary": bytes(range(256)),
    "digits": b"9" * 5000,
    "text": b'"x"',
    "list": b"[]",
}


def some(*sides: Iterable[object]) -> list[Any]:
    """The combinations of a diagonal, which has each value of a side; `make parity` tries the others."""
    lists = [[*side] for side in sides]
    diagonal = [tuple(side[at % len(side)] for side in lists) for at in range(max(map(len, lists)))]
    for side, met in zip(lists, zip(*diagonal, strict=True), strict=True):
        assert all(value in met for value in side), side
    return [
        each if each in diagonal else pytest.param(*each, marks=pytest.mark.parity)
        for each in product(*lists)
    ]


@pytest.mark.parametrize(("name", "content"), some(FILES, [*CONTENTS, "gone", "folder", "loop"]))
def test_damaged_files_of_a_run(place: Path, name: str, content: str) -> None:
    file = place / "run" / name
    file.unlink()
    if content == "folder":
        file.mkdir()
    elif content == "loop":
        file.symlink_to(name)
    elif content != "gone":
        file.write_bytes(CONTENTS[content])
    every_command(place)


KEYS = ("data", "finished", "best_epoch", "weights", "read", "synthetic", "root")
"""The last meets the path that is too long for the system."""


@pytest.mark.parametrize(("key", "value"), some(KEYS, [None, 5, [[]], {}, True, "\0", "/" + "a" * 5000]))
def test_wrong_values_in_the_environment(place: Path, key: str, value: object) -> None:
    file = place / "run" / "environment.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
    every_command(place)


REGEX = {"type": "Split", "pattern": {"Regex": "(?<"}, "behavior": "Isolated", "invert": False}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("fields", "words", "tokenizer", "pre_tokenizer"), REGEX),
        (("fields", "words", "tokenizer"), {}),
        (("fields", "words", "tokenizer"), None),
        (("fields", "x"), {}),
        (("fields", "x"), {"curves": "x"}),
        (("fields", "x", "curves"), []),
        (("fields", "x", "curves", 0, "scale"), None),
        (("fields", "x", "curves", 1, "scale"), ["x"]),
        (("fields", "y", "curves", 0, "scale"), None),
        (("fields", "y", "curves", 0, "transform"), "quantile"),
        (("fields",), None),
        (("fields",), []),
    ],
)
def test_wrong_values_in_what_encoders_learned(
    place: Path, path: tuple[str | int, ...], value: object
) -> None:
    file = place / "run" / "encoders.json"
    learned = json.loads(file.read_text())
    at = learned
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    file.write_text(json.dumps(learned))
    for result in (evaluated(place), predicted(place)):
        assert result.exit_code == 1
        assert "error[data-format]" in result.stderr


ODD: tuple[object, ...] = (None, "x", [], {}, -1, 1e308, True, [["x"]], {"x": None}, 10**400, "\ud800", "\0")


@pytest.mark.parametrize("name", ["environment.json", "history.jsonl"])
def test_forged_records_of_a_run(place: Path, name: str) -> None:
    """Each value replaced by others, in turn: what reads it without torch ends well or in a diagnostic."""
    file = place / "run" / name
    record = json.JSONDecoder().raw_decode(file.read_text())[0]
    for number, path in enumerate(paths(record)):
        for put in (ODD[number % len(ODD)], ODD[(number * 5 + 3) % len(ODD)]):
            file.write_text(json.dumps(changed(record, path, put)) + "\n")
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                listed = run("runs", place, "--json")
                checked = run("check", place / "run")
            assert listed.exit_code == 0 and checked.exit_code in (0, 1, 2), (path, put)
            (row,) = json.loads(listed.stdout)["runs"]
            assert all(
                value in (None, []) or isinstance(value, int | float) for value in row["best"].values()
            )


def test_a_record_that_no_run_has_written_is_told(place: Path) -> None:
    file = place / "run" / "environment.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "lengths": {"words": -1}}))
    done = evaluated(place)
    assert done.exit_code == 1 and "error[run-missing]" in done.stderr
    assert "`lengths.words` is missing, or not what a run writes" in done.stderr


@pytest.mark.parametrize("value", one_in(2, [{"a": 1}, [1, 2], "x", True, [[1]], 10**30]))
def test_wrong_values_in_the_history(place: Path, value: object) -> None:
    file = place / "run" / "history.jsonl"
    lines = [{**json.loads(line), "val_loss": value} for line in file.read_text().splitlines()]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    every_command(place)


# --- checkpoints whose hashes are right


def sealed(checkpoint: Path) -> None:
    """Writes the manifest of a checkpoint anew."""
    files = [file for file in checkpoint.iterdir() if file.name != "manifest.json"]
    hashes = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    manifest = {file.name: {"bytes": file.stat().st_size, "sha256": hashes[file.name]} for file in files}
    (checkpoint / "manifest.json").write_text(json.dumps(manifest))


def paths(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from paths(inner, (*path, key))


def changed(value: Any, path: tuple[str, ...], put: object, gone: bool = False) -> Any:
    if not path:
        return put
    value = copy.deepcopy(value)
    at = value
    for key in path[:-1]:
        at = at[key]
    if gone:
        del at[path[-1]]
    else:
        at[path[-1]] = put
    return value


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.parity)])
def test_numbers_of_a_checkpoint(place: Path, step: int) -> None:
    """Each value replaced by one of another kind, in turn, and left out; with a step some of them."""
    run_dir, kept = place / "run", place / "kept"
    shutil.copytree(run_dir, kept)
    (checkpoint,) = (run_dir / "checkpoints").iterdir()
    state = json.loads((checkpoint / "state.json").read_text())
    others: tuple[object, ...] = (None, "x", [], {}, -1, 1e308, True)
    for number, path in list(enumerate(paths(state)))[::step]:
        for put, gone in ((others[number % len(others)], False), (None, bool(path))):
            shutil.rmtree(run_dir)
            shutil.copytree(kept, run_dir)
            text = json.dumps(changed(state, path, put, gone))
            (checkpoint / "state.json").write_text(text)
            sealed(checkpoint)
            assert resumed(place).exit_code in (0, 1), (path, put)


@pytest.mark.parametrize("key", ["epoch", "seen", "stopped", "history", "data", "spec"])
def test_progress_of_another_kind_is_told(place: Path, key: str) -> None:
    (checkpoint,) = (place / "run" / "checkpoints").iterdir()
    state = json.loads((checkpoint / "state.json").read_text())
    state["state"]["progress"][key] = [1]
    (checkpoint / "state.json").write_text(json.dumps(state))
    sealed(checkpoint)
    result = resumed(place)
    assert result.exit_code == 1
    assert "error[resume-failed]" in result.stderr
    assert f"`{key}`" in result.stderr


@pytest.mark.parametrize("step", [3, pytest.param(1, marks=pytest.mark.parity)])
def test_tensors_of_a_checkpoint(place: Path, step: int) -> None:
    run_dir, kept = place / "run", place / "kept"
    shutil.copytree(run_dir, kept)
    (checkpoint,) = (run_dir / "checkpoints").iterdir()
    tensors = load_file(checkpoint / "state.safetensors")
    for number, name in list(enumerate(tensors))[::step]:
        shutil.rmtree(run_dir)
        shutil.copytree(kept, run_dir)
        other = {key: tensor.clone() for key, tensor in tensors.items()}
        if number % 2:
            del other[name]
        else:
            other[name] = torch.zeros(7)
        save_file(other, checkpoint / "state.safetensors")
        sealed(checkpoint)
        result = resumed(place)
        assert result.exit_code == 1 or not name.startswith(("module", "optimizer")), name


@pytest.mark.parametrize("name", ["state.json", "manifest.json", "state.safetensors"])
@pytest.mark.parametrize("content", CONTENTS)
def test_damaged_files_of_a_checkpoint(place: Path, name: str, content: str) -> None:
    (checkpoint,) = (place / "run" / "checkpoints").iterdir()
    (checkpoint / name).write_bytes(CONTENTS[content])
    if name != "manifest.json":
        sealed(checkpoint)
    result = resumed(place)
    assert result.exit_code == 1
    assert "no checkpoint" in result.stderr


# --- data


def test_links_that_lead_to_themselves(place: Path) -> None:
    for folder in ("two", "three"):
        (place / folder / "data.csv").unlink()
        (place / folder / "data.csv").symlink_to("data.csv")
    spec = place / "two" / "s.yaml"
    for arguments in (
        ("check", spec),
        ("train", spec),
        ("train", spec, "--data", place / "two" / "data.csv"),
    ):
        assert run(*arguments).exit_code == (2 if "--data" in arguments else 1)
    every_command(place)


def png(width: int, height: int) -> bytes:
    """The header of a picture, which says its size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("side", [9_000, 11_000, 20_000])
def test_a_picture_of_too_many_pixels(tmp_path: Path, side: int) -> None:
    """Pillow warns of the second, and refuses the third itself."""
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        (tmp_path / "images" / name / "big.png").write_bytes(png(side, side))
    (tmp_path / "s.yaml").write_text("""
inputs: {image: {shape: [4, 4, 1]}}
nodes: {flat: {layer: Flatten}, label: {layer: Dense, units: 2, activation: softmax}}
outputs: {label: {loss: sparse_categorical_crossentropy}}
data: {train: images}
train: {epochs: 1}
""")
    result = run("train", tmp_path / "s.yaml", "--device", "cpu", "--run-dir", tmp_path / "run")
    assert result.exit_code == 1
    assert "error[data-range]" in result.stderr
    assert "pixels" in result.stderr


def test_a_picture_of_too_many_pixels_is_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pillow's own warning reaches nobody, whatever filters the process has."""
    (tmp_path / "big.png").write_bytes(png(11_000, 11_000))
    with warnings.catch_warnings(record=True) as seen:
        warnings.resetwarnings()
        with pytest.raises(Refused, match="pixels"), opened(tmp_path / "big.png"):
            pass
    assert seen == []


@pytest.mark.parametrize("rows", ["data.csv", "d*.csv", "."])
def test_predictions_do_not_take_the_place_of_their_rows(place: Path, rows: str) -> None:
    folder = place / "alone"
    folder.mkdir()
    shutil.copy(place / "two" / "data.csv", folder)
    before = (folder / "data.csv").read_bytes()
    command = ["predict", place / "run", "--data", folder / rows, "--device", "cpu", "-o"]
    refused = run(*command, folder / "data.csv")
    assert refused.exit_code == 2 and "is also the input" in refused.stderr
    assert (folder / "data.csv").read_bytes() == before and len(list(folder.iterdir())) == 1
    assert run(*command, place / "p.csv").exit_code == run(*command, place / "p.csv").exit_code == 0


def test_a_run_without_windows_forecasts_after_none(place: Path) -> None:
    data = place / "two" / "data.csv"
    refused = run("predict", place / "run", "--data", data, "-o", place / "p.csv", "--every-window")
    assert refused.exit_code == 2 and "have no windows" in refused.stderr


def test_predictions_onto_what_cannot_be_written(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    data, output = place / "two" / "data.csv", place / "none" / "p.csv"
    result = run("predict", place / "run", "--data", data, "-o", output, "--device", "cpu")
    assert result.exit_code == 1
    assert "error[output-file]" in result.stderr
