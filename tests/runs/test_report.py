"""`graphspec report`: its numbers are those by hand, and its page opens without network or script."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from graphspec.cli.app import app
from graphspec.cli.report import page
from graphspec.compiler import compile
from graphspec.runs.report import before, report
from graphspec.runs.run import Run
from graphspec.train.loop import train
from tests.browser import CHROMIUM, browser

SPEC = """
name: shapes
inputs:
  facts: {shape: [2]}
  kind: {shape: [1], dtype: int64}
  photo: {shape: [4, 4, 1]}
nodes:
  vector: {layer: Embedding, from: kind, input_dim: 8, output_dim: 4}
  code: {layer: Flatten}
  pixels: {layer: Flatten, from: photo}
  all: {merge: concatenate, from: [facts, code, pixels]}
  size: {layer: Dense, units: 1}
  label: {layer: Dense, from: all, units: 2, activation: softmax}
outputs:
  size: {loss: mse, metrics: [mae]}
  label: {loss: sparse_categorical_crossentropy, metrics: [accuracy]}
data:
  train: data.parquet
  validation: {split: 0.5}
  features:
    facts: {columns: [told, noise], encode: number, scale: standard}
    kind: {encode: category}
    size: {encode: number, scale: standard}
    label: {encode: category}
train: {epochs: 30, batch_size: 16, seed: 1, optimizer: {name: adam, learning_rate: 0.03}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import pyarrow as pa
    from pyarrow import parquet

    place = tmp_path_factory.mktemp("report")
    rng = np.random.default_rng(0)
    told = rng.normal(0, 1, 160)
    table = {
        "told": told,
        "noise": rng.normal(0, 1, 160),
        "kind": [f"<b>{letter}</b>" for letter in rng.choice(list("abc"), 160)],
        "photo": [[[[0.0]] * 4] * 4 for _ in told],
        "size": 10 * told + 50,
        "label": np.where(told > 0, "high", "low").tolist(),
    }
    table["photo"] = [list(np.ravel(each)) for each in table["photo"]]
    parquet.write_table(pa.table(table), place / "data.parquet")
    (place / "spec.yaml").write_text(SPEC)
    for number, rate in enumerate((0.01, 0.03), start=1):
        settings = {"train.optimizer.learning_rate": rate}
        program = compile(place / "spec.yaml", settings=settings)
        train(program, run_dir=place / "runs" / f"shapes-{number}", root=place, device="cpu")
    return place


def test_a_column_that_tells_the_target_is_important_and_noise_is_not(folder: Path) -> None:
    found = report(Run(folder / "runs" / "shapes-2"), device="cpu")
    for output in found.outputs:
        rises = {each.column: each.rise for each in output.importance}
        assert rises["told"] > 10 * abs(rises["noise"]) and rises["told"] == max(rises.values())
        assert all(each.spread >= 0 for each in output.importance)


def test_errors_are_those_of_evaluate(folder: Path) -> None:
    run = Run(folder / "runs" / "shapes-2")
    found, values = report(run, device="cpu"), run.evaluate(device="cpu")
    size, label = found.outputs
    assert size.error == pytest.approx(values["size_mae"], rel=1e-4)
    assert label.error == pytest.approx(values["label_loss"], rel=1e-3)
    table = np.array(label.confusion)
    assert table.trace() / table.sum() == pytest.approx(values["label_accuracy"]) and table.sum() == 80
    assert sum(each["count"] for each in label.calibration) == 80
    assert label.worst[0].error >= label.best[-1].error and label.worst[0].inputs["kind"].startswith("<b>")
    groups = [each for each in size.groups if each.column == "kind"]
    assert sum(each.examples for each in groups) == 80
    ranges = [each for each in size.groups if each.column == "told"]
    words = [re.sub(r"-?[\d.]+", "#", each.value) for each in ranges]
    assert words == ["up to #", "above # to #", "above # to #", "above #"]  # in the order of the numbers
    bounds = [float(number) for each in ranges for number in re.findall(r"-?[\d.]+", each.value)]
    assert bounds == sorted(bounds) and [each.examples for each in ranges] == [20] * 4
    weighed = sum(each.examples * each.error for each in groups) / 80
    assert weighed == pytest.approx(size.error, rel=1e-6)
    assert found.before is not None and found.before.endswith("shapes-1")
    assert found.changes == [
        {"what": "train.optimizer.learning_rate", "before": "0.01", "after": "0.03"},
    ]


def test_a_run_of_another_release_tells_nothing_of_this_one(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "runs", tmp_path / "runs")
    spec = tmp_path / "runs" / "shapes-1" / "spec.yaml"
    spec.write_text(spec.read_text().replace("layer: Dense", "layer: Queue"))
    os.utime(spec, (0, 0))
    assert before(Run(tmp_path / "runs" / "shapes-2")) == (None, [])


def test_rows_without_a_target_have_no_error(folder: Path, tmp_path: Path) -> None:
    """Their targets are filled with a legal value, which means nothing."""
    from pyarrow import csv

    rng = np.random.default_rng(1)
    lines = ["x,size,kind"]
    for index, x in enumerate(rng.normal(0, 1, 60)):
        number = "" if index % 3 == 0 else f"{1000 + 10 * x:.3f}"
        lines.append(f"{x:.3f},{number},{'' if index % 4 == 0 else 'ab'[int(x > 0)]}")
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    (tmp_path / "spec.yaml").write_text(
        """
inputs: {x: {shape: [1]}}
nodes:
  size: {layer: Dense, from: x, units: 1}
  kind: {layer: Dense, from: x, units: 2, activation: softmax}
outputs:
  size: {loss: mse, metrics: [mae], missing: ignore}
  kind: {loss: sparse_categorical_crossentropy, metrics: [accuracy], missing: ignore}
data:
  train: rows.csv
  features:
    x: {columns: [x], encode: number}
    size: {encode: number}
    kind: {encode: category}
train: {epochs: 1, seed: 1}
"""
    )
    train(compile(tmp_path / "spec.yaml"), run_dir=tmp_path / "run", root=tmp_path, device="cpu")
    run = Run(tmp_path / "run")
    rows = csv.read_csv(tmp_path / "rows.csv").to_pylist()
    told = [row for row in rows if row["size"] is not None]
    predicted = run.predict(told, device="cpu").to_pylist()
    by_hand = np.mean([abs(row["size"] - each["size"]) for row, each in zip(told, predicted, strict=True)])
    size, kind = report(run, tmp_path / "rows.csv", device="cpu").outputs
    assert size.error == pytest.approx(by_hand, rel=1e-4) and len(size.points) == len(told) == 40
    assert all(target > 900 for target, _ in size.points)
    assert sum(each.examples for each in size.groups) == 40
    assert np.sum(kind.confusion) == sum(each["count"] for each in kind.calibration) == 45
    assert kind.error == pytest.approx(
        run.evaluate(tmp_path / "rows.csv", device="cpu")["kind_loss"], rel=1e-3
    )


def test_the_command_writes_numbers_as_json(folder: Path) -> None:
    answer = CliRunner().invoke(app, ["report", str(folder / "runs" / "shapes-2"), "--json"])
    found = json.loads(answer.stdout)
    assert (
        found["ok"]
        and found["best_epoch"]
        and [each["name"] for each in found["outputs"]] == ["size", "label"]
    )


@pytest.mark.skipif(CHROMIUM is None, reason="no browser on this machine")
def test_the_page_opens_without_network(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    answer = CliRunner().invoke(app, ["report", str(folder / "runs" / "shapes-2"), "-o", str(target)])
    assert answer.exit_code == 0, answer.output
    text = target.read_text()
    assert "http:" not in text.replace('xmlns="http://www.w3.org/2000/svg"', "") and "<script" not in text
    with browser(tmp_path / "profile") as page:
        page.open(target)
        assert page.errors == []
        sections = page.evaluate("[...document.querySelectorAll('section')].map(each => each.id).join(' ')")
        assert {"curves", "changes", "confusion", "residuals", "calibration", "importance", "groups"} <= set(
            sections.split()
        )
        assert page.evaluate("document.querySelectorAll('#residuals circle').length") == 80
        shown = page.evaluate("document.querySelector('#residuals').textContent")
        assert "target" in shown and "prediction" in shown
        _, label = report(Run(folder / "runs" / "shapes-2"), device="cpu").outputs
        wrong = [each for each in (*label.worst, *label.best) if not each.predicted.startswith(each.target)]
        assert page.evaluate("document.querySelectorAll('.wrong').length") == len(wrong)  # no number is
        pictures = "[...document.images].every(each => each.naturalWidth === 4) && document.images.length > 0"
        assert page.evaluate(pictures) is True
        assert (
            page.evaluate("document.querySelectorAll('td b, p b b').length") == 0
        )  # texts of data are texts
        page.open(target, width=390)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


TEXTS = """
name: reviews
inputs: {review: {shape: [words], dtype: int64}, past: {shape: [4, 2]}}
nodes:
  vectors: {layer: Embedding, from: review, input_dim: $(vocabulary(review)), output_dim: 4, mask_zero: true}
  mean: {layer: GlobalAveragePooling1D}
  flat: {layer: Flatten, from: past}
  all: {merge: concatenate, from: [mean, flat]}
  load: {layer: Dense, units: 2}
outputs: {load: {loss: mae}}
data:
  train: t.csv
  validation: {split: 0.5, last_by: hour}
  windows: {by: place, order: hour, past: 4, next: 2}
  features:
    review: {encode: text, vocabulary: 30}
    past: {columns: [load, other], encode: number, steps: past, scale: standard}
    load: {encode: number, steps: next, scale: standard}
train: {epochs: 8, seed: 1, optimizer: {name: adam, learning_rate: 0.03}}
"""


def test_texts_and_windows_are_shown_as_people_read_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = ["place,hour,review,load,other"]
    for place, words, level in (("a", "cold and grey", 0), ("b", "warm & <i>bright</i>", 40)):
        lines += [f"{place},{h},{words},{level + h % 2},{rng.normal():.3f}" for h in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    program = compile(TEXTS)
    train(program, run_dir=tmp_path / "runs" / "r-1", root=tmp_path, device="cpu", tell=lambda note: None)
    (found,) = report(Run(tmp_path / "runs" / "r-1"), device="cpu").outputs
    rises = {each.column: each.rise for each in found.importance}
    assert rises["load"] > abs(rises["other"]) and set(rises) == {"review", "load", "other"}
    shown = found.worst[0].inputs
    assert shown["review"] in ("cold and grey", "warm & < i > bright </ i >")
    assert set(map(float, shown["load"].split(", "))) <= {0.0, 1.0, 40.0, 41.0}
    assert not found.groups
    assert shown["place"] == ("b" if "bright" in shown["review"] else "a") and 30 <= int(shown["origin"]) < 58
    target = tmp_path / "report.html"
    answer = CliRunner().invoke(app, ["report", str(tmp_path / "runs" / "r-1"), "-o", str(target)])
    assert answer.exit_code == 0 and "review: " in target.read_text()
    if CHROMIUM is not None:
        with browser(tmp_path / "profile") as page:
            page.open(target)
            assert page.errors == [] and page.evaluate("document.querySelectorAll('i').length") == 0
            assert page.evaluate("document.querySelectorAll('.example').length") == 12


NAMES = """
inputs: {places: {shape: [3], dtype: int64}, facts: {shape: [6]}}
nodes:
  vectors: {layer: Embedding, from: places, input_dim: $(vocabulary(places)), output_dim: 2}
  flat: {layer: Flatten}
  all: {merge: concatenate, from: [flat, facts]}
  cost: {layer: Dense, units: 1}
  tags: {layer: Dense, from: all, units: 3, activation: sigmoid}
outputs: {cost: {loss: mse}, tags: {loss: binary_crossentropy}}
data:
  train: t.csv
  validation: {split: 0.5}
  features:
    places: {columns: [town, state, size], encode: category, vocabulary: [20, 30, 9]}
    facts: {columns: [a, b], encode: date, parts: [month, weekday, year], scale: standard}
    cost: {encode: number, scale: standard}
    tags: {encode: set, values: [red, green, blue], separator: "|", fill: ""}
train: {epochs: 1, seed: 1}
"""


def test_cells_are_those_of_the_file(tmp_path: Path) -> None:
    """Sizes larger than what was found, parts with scales of their own, zeros, sets."""
    towns, states, tags = (
        ["Charleston AFB", "Bend", "Reno"],
        ["Georgia", "Ohio", "Utah"],
        ["", "red", "red|green"],
    )
    lines, shown = ["town,state,size,a,b,cost,tags"], set()
    for i in range(40):
        a, b = dt.date(2010 + i % 9, 1 + i % 7, 10 + i % 5), dt.date(1990 - i, 10 + i % 3, 1 + i % 9)
        cost = 0.0 if i % 3 else round(1234.5 + i, 2)
        places = towns[i % 3], states[i // 3 % 3], "SML"[i // 9 % 3]
        lines.append(",".join(map(str, (*places, a, b, cost, tags[i % 3]))))
        parts = [f"month {each.month}, weekday {each.weekday()}, year {each.year}" for each in (a, b)]
        shown.add((*places, *parts, f"{cost:.4g}", ", ".join(filter(None, tags[i % 3].split("|")))))
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    train(compile(NAMES), run_dir=tmp_path / "run", root=tmp_path, device="cpu", tell=lambda note: None)
    costs, sets = report(Run(tmp_path / "run"), device="cpu").outputs
    columns = ("town", "state", "size", "a", "b")
    for output, place in ((costs, -2), (sets, -1)):
        known = {(*row[:5], row[place]) for row in shown}
        for each in (*output.best, *output.worst):
            assert (*(each.inputs[name] for name in columns), each.target) in known
    assert 0.0 in [target for target, _ in costs.points]
    assert {each.value for each in costs.groups if each.column == "state"} == set(states)


def test_baselines_copies_and_columns_that_tell_all_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    told, noise = rng.normal(0, 1, 600).round(3), rng.normal(0, 1, 600).round(3)
    told[300:], noise[300:] = told[:300], noise[:300]  # each row twice
    lines = [f"{t},{n},{'high' if t > 0 else 'low'}" for t, n in zip(told, noise, strict=True)]
    Path("d.csv").write_text("told,noise,label\n" + "\n".join(lines) + "\n")
    Path("s.yaml").write_text(ALONE)
    train(compile(Path("s.yaml")), run_dir=Path("run"), root=Path(), device="cpu")
    found = report(Run(Path("run")), device="cpu")
    assert found.baselines.keys() == {"the majority", "a linear model", "boosted trees"}
    assert found.baselines["boosted trees"]["accuracy"] > 0.97
    assert found.copies is not None and 60 <= found.copies <= 240
    (output,) = found.outputs
    assert output.alone.keys() == {"told"}
    text = page(found)
    assert "told alone tells" in text and "boosted trees" in text and "inputs that a training example" in text


ALONE = """\
inputs: {facts: {shape: [2]}}
nodes: {label: {layer: Dense, from: facts, units: 2, activation: softmax}}
outputs: {label: {loss: sparse_categorical_crossentropy, metrics: [accuracy]}}
data:
  train: d.csv
  validation: {split: 0.4}
  features:
    facts: {columns: [told, noise], encode: number}
    label: {encode: category}
train: {epochs: 6, batch_size: 16, optimizer: {name: adam, learning_rate: 0.05}}
"""
