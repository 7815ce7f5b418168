"""Runs that are repeated with several seeds or folds, and what is more than chance between two groups."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]
from typer.testing import CliRunner

from graphspec.cli.app import app
from graphspec.data.columns import TablePart
from graphspec.data.files import parse_validation
from graphspec.data.splits import by_split
from graphspec.runs.repeats import beyond, chance, holm, repeated, spread_text
from graphspec.settings import SettingError

SPEC = """\
inputs: {x: {shape: [1]}}
nodes:
  y: {layer: Dense, from: x, units: 1}
outputs:
  y: {loss: mse}
data: {train: rows.csv}
train: {epochs: 1, batch_size: 8}
"""


def group(path: Path, word: str, values: list[float]) -> Path:
    for index, value in enumerate(values):
        run = path / f"{word}-{index}"
        run.mkdir(parents=True)
        (run / "environment.json").write_text(json.dumps({"finished": True}))
        (run / "spec.yaml").write_text(f"train: {{seed: {index}}}\nparams: {{width: {len(values)}}}\n")
        (run / "history.jsonl").write_text(json.dumps({"epoch": 1, "loss": 1.0, "val_loss": value}) + "\n")
    return path


@given(st.floats(-50, 50), st.floats(1, 400))
def test_tails_are_those_of_students_distribution(t: float, freedom: float) -> None:
    assert beyond(t, freedom) == pytest.approx(2 * stats.t.sf(abs(t), freedom), rel=1e-3, abs=1e-12)


def test_seeds_are_compared_with_the_test_of_welch(tmp_path: Path) -> None:
    one, two = [0.5, 0.52, 0.49, 0.53], [0.6, 0.66, 0.7]
    first, other = (group(tmp_path / name, "seed", v) for name, v in (("a", one), ("b", two)))
    p = chance(repeated(first), repeated(other), "val_loss")
    assert p == pytest.approx(stats.ttest_ind(two, one, equal_var=False).pvalue, rel=1e-4)
    alone = group(tmp_path / "c", "seed", [0.5])
    assert chance(repeated(first), repeated(alone), "val_loss") is None


def test_folds_are_compared_in_pairs_that_share_rows(tmp_path: Path) -> None:
    one, two = [0.5, 0.9, 0.7, 0.6, 0.8], [0.55, 0.93, 0.77, 0.66, 0.84]
    first, other = (group(tmp_path / name, "fold", v) for name, v in (("a", one), ("b", two)))
    apart = np.subtract(two, one)
    corrected = apart.mean() / np.sqrt(apart.var(ddof=1) * (1 / 5 + 1 / 4))
    p = chance(repeated(first), repeated(other), "val_loss")
    assert p == pytest.approx(2 * stats.t.sf(corrected, 4), rel=1e-4)
    fewer = group(tmp_path / "c", "fold", one[:3])
    assert chance(repeated(first), repeated(fewer), "val_loss") is None


def test_several_chances_are_corrected_after_holm() -> None:
    assert holm([0.01, None, 0.04, 0.03]) == [0.03, None, 0.06, 0.06]


def test_a_mean_has_the_digits_of_its_deviation() -> None:
    assert spread_text(0.971234, 0.00312) == "0.9712 ± 0.0031"
    assert spread_text(123.4, 25.0) == "123 ± 25"
    assert spread_text(0.5, None) == "0.5"
    assert spread_text(None, None) == "-"


VALUES = st.lists(st.sampled_from("abcde"), min_size=10, max_size=100)


@given(VALUES, st.integers(2, 5), st.integers(0, 99))
def test_folds_hold_each_row_once(values: list[str], folds: int, seed: int) -> None:
    whole = TablePart(pa.table({"kind": values}), np.arange(len(values)), "t.csv", str)
    ways = [{}, {"stratify": "kind"}] + [{"group": "kind"}] * (len(set(values)) >= folds)
    for way in ways:
        parts = []
        for fold in range(folds):
            division = parse_validation({"split": 1 / folds, "fold": fold, **way})
            parts.append(by_split(division, whole if way else None, len(values), seed))  # type: ignore[arg-type]
        assert (np.sum(parts, axis=0) == 1).all()
        for kind in set(values):
            counts = [int(part[np.array(values) == kind].sum()) for part in parts]
            if "stratify" in way:
                assert max(counts) - min(counts) <= 1
            if "group" in way:
                assert np.count_nonzero(counts) == 1
        if "group" not in way:
            assert np.ptp([part.sum() for part in parts]) <= 1


def test_a_seed_of_the_split_keeps_its_rows() -> None:
    division = parse_validation({"split": 0.5, "seed": 3})
    one, two, other = (
        by_split(each, None, 40, seed)  # type: ignore[arg-type]
        for each, seed in ((division, 1), (division, 2), (parse_validation({"split": 0.5}), 1))
    )
    assert (one == two).all() and (one != other).any()


@pytest.mark.parametrize(
    "value, message",
    [
        ({"split": 0.2, "fold": 5}, "`fold` is 5, but parts of 0.2 are 5, counted from 0"),
        ({"split": 0.2, "fold": 0, "last_by": "day"}, "they have no folds"),
    ],
)
def test_folds_that_are_not_there_are_told(value: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError) as error:
        parse_validation(value)
    assert message in str(error.value)


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("rows.csv").write_text("x,y\n" + "".join(f"{i / 20},{i % 7}\n" for i in range(20)))
    Path("line.yaml").write_text(SPEC)
    return tmp_path


def test_training_with_seeds_keeps_the_rows_of_validation(there: Path) -> None:
    spec = SPEC.replace("rows.csv}", "rows.csv, validation: {split: 0.3}}")
    Path("line.yaml").write_text(spec)
    made = CliRunner().invoke(app, ["train", "line.yaml", "--seeds", "2", "--json"])
    assert made.exit_code == 0
    document = json.loads(made.stdout)
    assert document["runs"] == ["runs/line-1/seed-0", "runs/line-1/seed-1"]
    assert document["deviation"]["val_loss"] > 0
    specs = [Path(run, "spec.yaml").read_text() for run in document["runs"]]
    validation = [yaml.safe_load(text)["data"]["validation"] for text in specs]
    assert validation == [{"split": 0.3, "seed": 0}] * 2
    again = CliRunner().invoke(app, ["train", "line.yaml", "--seeds", "3", "--resume", "--progress", "lines"])
    assert again.exit_code == 0 and "runs/line-1" in again.stdout and "3 seeds" in again.stdout
    shown = CliRunner().invoke(app, ["runs"]).stdout
    assert "3 seeds" in shown and "±" in shown
    evaluated = CliRunner().invoke(app, ["evaluate", "runs/line-1", "--json"])
    assert "name one, `runs/line-1/seed-0`" in evaluated.stdout


def test_training_with_folds_divides_what_has_no_validation(there: Path) -> None:
    made = CliRunner().invoke(app, ["train", "line.yaml", "--folds", "2", "--json", "--run-dir", "both"])
    assert made.exit_code == 0
    assert json.loads(made.stdout)["runs"] == ["both/fold-0", "both/fold-1"]
    assert "fold: 1" in Path("both/fold-1/spec.yaml").read_text()


@pytest.mark.parametrize(
    "options, message",
    [
        (["--seeds", "2", "--folds", "2"], "leave --seeds out"),
        (["--seeds", "2", "--devices", "2"], "leave --devices out"),
        (["--folds", "2", "--set", "data.validation=rows.csv"], "`validation` names its rows"),
        (["--folds", "2", "--set", "data.validation={split: 0.5, last_by: x}"], "have no folds"),
    ],
)
def test_what_cannot_be_repeated_is_told(there: Path, options: list[str], message: str) -> None:
    refused = CliRunner().invoke(app, ["train", "line.yaml", *options, "--json"])
    assert refused.exit_code != 0
    said = json.loads(refused.stdout)["diagnostics"][0]
    assert message in said["message"] + str(said["help"])
    assert not Path("runs").exists() or not any(Path("runs").iterdir())


def test_compared_groups_are_told_apart_from_chance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    group(Path("a"), "seed", [0.50, 0.51, 0.49, 0.50])
    group(Path("b_2"), "seed", [0.90, 0.91, 0.89])
    group(Path("c"), "seed", [0.40, 0.60])
    command = ["runs", "compare", "a", "b_2", "c"]
    shown = CliRunner().invoke(app, command).stdout
    assert "b_2 is 0.4000 higher than a, more than chance explains (p below 0.0001)" in shown
    assert "c is as high as a" in shown
    assert "train.seed" not in shown and "params.width" in shown
    for name in ("t.md", "t.tex"):
        assert CliRunner().invoke(app, [*command, "-o", name]).exit_code == 0
        assert CliRunner().invoke(app, [*command, "-o", name]).exit_code == 0, "it may replace its own"
    assert "| b_2 | 3 | 0.900 ± 0.010* |" in Path("t.md").read_text()
    assert r"b\_2 & 3 & 0.900 $\pm$ 0.010$^*$ \\" in Path("t.tex").read_text()
    (document,) = [json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)]
    assert [each["significant"] for each in document["differences"]] == [True, False]
    wrong = CliRunner().invoke(app, [*command, "-o", "t.csv", "--json"])
    assert "none of .svg, .md and .tex" in json.loads(wrong.stdout)["diagnostics"][0]["message"]


def test_each_preset_is_trained_with_each_seed(there: Path) -> None:
    spec = SPEC.replace(
        "inputs:", "params: {width: 1}\npresets: {wide: {width: 4}, thin: {width: 2}, a/b: {}}\ninputs:"
    )
    spec = spec.replace(
        "  y: {layer: Dense, from: x", "  h: {layer: Dense, from: x, units: $width}\n  y: {layer: Dense", 1
    )
    Path("line.yaml").write_text(spec)
    both = ["train", "line.yaml", "--preset", "wide", "--preset", "thin"]
    run = CliRunner()
    assert "add --seeds 5, or name one" in " ".join(run.invoke(app, both).stderr.split())
    unnamed = run.invoke(app, ["train", "line.yaml", "--preset", "a/b", "--preset", "wide", "--seeds", "2"])
    assert unnamed.exit_code == 2 and "`a/b` is to name a directory" in unnamed.stderr
    assert not Path("runs").exists()
    made = run.invoke(app, [*both, "--seeds", "2", "--json"])
    assert made.exit_code == 0
    groups = {group["run_dir"]: group for group in json.loads(made.stdout)["repeated"]}
    assert list(groups) == ["runs/line-1/thin", "runs/line-1/wide"]
    assert groups["runs/line-1/wide"]["runs"] == [f"runs/line-1/wide/seed-{seed}" for seed in range(2)]
    shown = run.invoke(app, ["runs"]).stdout
    assert "runs/line-1/thin" in shown and "runs/line-1/wide" in shown
    assert "name one, `runs/line-1/thin/seed-0`" in run.invoke(app, ["evaluate", "runs/line-1"]).stderr
    compared = run.invoke(app, ["runs", "compare", "runs/line-1", "-o", "t.md", "-o", "t.tex"])
    assert compared.exit_code == 0 and "loss: runs/line-1/wide is" in " ".join(compared.stdout.split())
    lines = Path("t.md").read_text().splitlines()
    assert lines[0] == "|  | params.width | loss |" and lines[2].startswith("| thin | 2 | ")
    assert "wide & 4 &" in Path("t.tex").read_text()
    again = run.invoke(app, [*both, "--seeds", "3", "--resume", "--json"])
    assert [len(group["runs"]) for group in json.loads(again.stdout)["repeated"]] == [3, 3]
