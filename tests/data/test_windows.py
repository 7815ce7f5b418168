"""Windows over time: which rows an example reads, which part it is for, and what becomes of forecasts."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from graphspec.compiler import compile
from graphspec.data.batches import Shuffle
from graphspec.data.features.windows import spacing_of
from graphspec.data.loading import Data, load
from graphspec.data.store import Budget, Store
from graphspec.data.windows import stamps, timeline
from graphspec.data.windows.views import Runs, View, ViewsInFiles
from graphspec.diagnostics import SpecError
from graphspec.runs.run import Run
from graphspec.train.loop import train

CPU = torch.device("cpu")
SPEC = """
params: {past: 6, next: 3}
inputs:
  past: {shape: [$past, 2]}
  ahead: {shape: [$next]}
  who: {shape: [1], dtype: int64}
nodes:
  vector: {layer: Embedding, from: who, input_dim: 4, output_dim: 2}
  code: {layer: Flatten}
  flat: {layer: Flatten, from: past}
  all: {merge: concatenate, from: [flat, ahead, code]}
  y: {layer: Dense, units: $next}
outputs:
  y: {loss: mae, metrics: [mae]}
data:
  train: data.csv
  validation: {split: 0.25, last_by: time}
  windows: {by: shop, order: time, past: $past, next: $next, every: 1h, season: 4}
  features:
    past: {columns: [y, heat], encode: number, steps: past}
    ahead: {column: heat, encode: number, steps: next}
    who: {column: shop, encode: category}
    y: {encode: number, steps: next, scale: {standard: shop}}
train: {epochs: 2, batch_size: 8, seed: 3}
"""
START = datetime(2024, 1, 1)


def frame(lengths: dict[str, int], **columns: Any) -> pd.DataFrame:
    """Long rows, in which `y` tells series and step: 1000 for the second series' first."""
    rows = []
    for number, (shop, count) in enumerate(lengths.items()):
        for step in range(count):
            time = (START + timedelta(hours=step)).isoformat(sep=" ")
            rows.append({"shop": shop, "time": time, "y": 1000.0 * number + step, "heat": step / 10})
    return pd.DataFrame(rows).assign(**columns)


def loaded(folder: Path, data: pd.DataFrame, spec: str = SPEC, **settings: str) -> Data:
    data.to_csv(folder / "data.csv", index=False)
    for old, new in settings.items():
        spec = spec.replace(old, new)
    return load(compile(spec), None, folder, CPU)


def steps_of(examples: Any, name: str = "past") -> list[list[float]]:
    """The values of one field in order, each example as a list."""
    return [row for batch in examples.batches(64) for row in batch.arrays[name].flatten(1).tolist()]


def undone(examples: Any, data: Data) -> np.ndarray:
    """The targets of all examples in their own units."""
    assert data.encoders is not None
    unit = data.encoders.units()["y"]
    batches = list(examples.batches(64))
    return torch.cat([unit(b.arrays["y"], b.arrays["y.unit"]) for b in batches]).numpy()


def test_a_window_reads_its_past_its_horizon_and_its_last_row(tmp_path: Path) -> None:
    data = loaded(tmp_path, frame({"a": 12, "b": 12}))
    first = next(iter(data.training.batches(64)))
    assert first.arrays["past"][0, :, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert first.arrays["past"][0, :, 1].tolist() == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert first.arrays["ahead"][0].tolist() == pytest.approx([0.6, 0.7, 0.8])
    assert undone(data.training, data)[0] == pytest.approx([6, 7, 8])
    assert len({int(each) for each in first.arrays["who"].flatten()}) == 2


def test_no_window_of_training_reads_a_row_of_validation(tmp_path: Path) -> None:
    data = loaded(tmp_path, frame({"a": 40, "b": 40}))
    border = 30
    assert data.validation is not None
    training, held = undone(data.training, data) % 1000, undone(data.validation, data) % 1000
    assert training.max() == pytest.approx(border - 1, abs=1e-3)
    assert held.min() == pytest.approx(border, abs=1e-3)
    assert len(training) == 2 * (30 - 6 - 3 + 1) and len(held) == 2 * (10 - 3 + 1)
    assert data.notes[0].endswith("training 44, validation 16; 4 cross the border")


def test_rows_of_series_that_are_mixed_give_the_same_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timeline, "TOGETHER", 7)
    rows = frame({"a": 20, "b": 20, "c": 20})
    apart, mixed = tmp_path / "apart", tmp_path / "mixed"
    apart.mkdir()
    mixed.mkdir()
    one = loaded(apart, rows)
    other = loaded(mixed, rows.sort_values(["time", "shop"]))
    assert steps_of(one.training) == steps_of(other.training)
    assert steps_of(one.training, "y") == steps_of(other.training, "y")


def test_rows_on_disk_give_the_same_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = frame({"a": 30, "b": 25}).sort_values(["time", "shop"])
    whole = loaded(tmp_path, rows)
    monkeypatch.setenv("GRAPHSPEC_MEMORY", "1K")
    filed = loaded(tmp_path, rows)
    assert steps_of(whole.training) == steps_of(filed.training)
    assert undone(whole.validation, whole).tolist() == undone(filed.validation, filed).tolist()
    assert whole.encoders is not None and filed.encoders is not None
    assert whole.encoders.to_json() == filed.encoders.to_json()
    orders = [
        torch.cat([b.arrays["past"] for b in filed.training.batches(4, Shuffle(3, epoch))])
        for epoch in (0, 1)
    ]
    assert not torch.equal(*orders)
    assert sorted(orders[0].flatten(1).tolist()) == sorted(steps_of(filed.training))
    late = torch.cat([b.arrays["past"] for b in filed.training.batches(4, Shuffle(3, 0), start=8)])
    assert torch.equal(late, orders[0][8:])


@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=5),
    st.integers(1, 9),
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(0, 10**6),
)
def test_views_of_files_read_what_views_of_memory_do(
    runs: list[int], stride: int, before: int, after: int, seed: int
) -> None:
    """Ranges of windows, of which some overlap, in any order; each row of a range is read once."""
    place, origins = before, list[int]()
    for count in runs:
        origins += [place + stride * number for number in range(count)]
        place = origins[-1] + stride + 1 + before
    places, offsets = np.array(origins), torch.arange(-before, after + 1)
    values = np.arange(place + after + 1, dtype=np.float32)
    store = Store(Budget(0))
    store.add({("arrays", "x"): values}, len(values))
    filed = ViewsInFiles(store.files["arrays", "x"], Runs.of(places, stride), offsets)
    whole = View(torch.from_numpy(values), torch.from_numpy(places), offsets)
    assert filed.length == len(places) and (filed.runs.all == places).all()
    assert filed.row == 4 * stride
    cuts = np.random.default_rng(seed).integers(0, len(places) + 1, (3, 2))
    ranges = [(int(min(cut)), int(max(cut))) for cut in cuts]
    found = filed.read(ranges)
    assert isinstance(found, View) and len(found) == sum(stop - start for start, stop in ranges)
    wanted = torch.cat([whole[start:stop] for start, stop in ranges])
    assert torch.equal(found[:], wanted)
    spread = 2 * (1 + before + after)
    assert len(found.values) <= max(0, len(found)) * max(stride, spread) + len(ranges) * spread


def test_a_bucket_brings_windows_with_texts_of_one_length_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = {"a": "one", "b": "one two three four"}
    rows = frame({"a": 30, "b": 30}).assign(name=lambda made: made["shop"].map(words))
    text = SPEC.replace("  who: {shape: [1], dtype: int64}", "  who: {shape: [words], dtype: int64}")
    text = text.replace("code: {layer: Flatten}", "code: {layer: GlobalAveragePooling1D}")
    text = text.replace("input_dim: 4", "input_dim: 8").replace("seed: 3}", "seed: 3, bucket: words}")
    text = text.replace("who: {column: shop, encode: category}", "who: {column: name, encode: text}")
    for memory in ("1G", "1K"):
        monkeypatch.setenv("GRAPHSPEC_MEMORY", memory)
        batches = list(loaded(tmp_path, rows, text).training.batches(4, Shuffle(3, 0)))
        names = [batch.arrays["who"] for batch in batches]
        alone = [len(set((each > 0).sum(1).tolist())) == 1 for each in names]
        assert {each.shape[1] for each in names} == {1, 4} and sum(alone) >= len(alone) - 1
        assert sum(len(batch) for batch in batches) == len(loaded(tmp_path, rows, text).training)


def test_windows_take_no_memory_of_their_own(tmp_path: Path) -> None:
    short = loaded(tmp_path, frame({"a": 400}))
    long = loaded(tmp_path, frame({"a": 400}), **{"past: 6": "past: 96"})
    assert long.training.size <= short.training.size  # type: ignore[attr-defined]


def test_scales_are_those_of_the_series_on_training_rows(tmp_path: Path) -> None:
    data = loaded(tmp_path, frame({"a": 40, "b": 40}))
    first = next(iter(data.training.batches(64)))
    shift, scale = first.arrays["y.unit"][0].tolist()
    assert shift == pytest.approx(np.arange(30).mean()) and scale == pytest.approx(np.arange(30).std())


GAP = frame({"a": 20}).drop(index=[7, 8])


def test_a_gap_is_told_with_both_rows(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        loaded(tmp_path, GAP)
    (mistake,) = caught.value.diagnostics
    assert mistake.code == "data-order" and "line 9" in mistake.message and "line 8" in mistake.message
    assert "3 steps" in mistake.message and "gaps: skip" in (mistake.help or "")


def test_no_window_crosses_a_gap_that_is_skipped(tmp_path: Path) -> None:
    gap = {"every: 1h": "every: 1h, gaps: skip", "validation: {split: 0.25, last_by: time}": ""}
    data = loaded(tmp_path, GAP, **gap)
    assert [row[0] for row in steps_of(data.training)] == [9, 10, 11]


def test_a_gap_is_filled_by_the_fill_of_each_feature(tmp_path: Path) -> None:
    settings = {"every: 1h": "every: 1h, gaps: fill", "validation: {split: 0.25, last_by: time}": ""}
    with pytest.raises(SpecError, match="the step"):
        loaded(tmp_path, GAP, **settings)
    spec = SPEC.replace("steps: past}", "steps: past, fill: zero}").replace(
        "steps: next}", "steps: next, fill: 0}"
    )
    spec = spec.replace("metrics: [mae]}", "metrics: [mae], missing: ignore}")
    data = loaded(tmp_path, GAP, spec, **settings)
    assert len(data.training) == 12
    batch = next(iter(data.training.batches(64)))
    assert batch.arrays["past"][2, :, 0].tolist() == [2, 3, 4, 5, 6, 0]
    assert batch.masks["y"][0].tolist() == [True, False, False]
    assert "2 steps that the file lacks were filled" in data.notes


@pytest.mark.parametrize(
    ("change", "words"),
    [({5: 4}, "repeats"), ({5: 2}, "lies before")],
)
def test_time_that_does_not_rise_is_told_with_both_rows(
    tmp_path: Path, change: dict[int, int], words: str
) -> None:
    rows = frame({"a": 20})
    for row, other in change.items():
        rows.loc[row, "time"] = rows.loc[other, "time"]
    with pytest.raises(SpecError) as caught:
        loaded(tmp_path, rows)
    (mistake,) = caught.value.diagnostics
    assert mistake.code == "data-order" and words in mistake.message
    assert mistake.span is not None and mistake.span.line == 7


def test_short_series_are_left_out_with_their_names(tmp_path: Path) -> None:
    data = loaded(tmp_path, frame({"a": 30, "tiny": 4}))
    assert any('series "tiny" (4 rows)' in note for note in data.notes)
    with pytest.raises(SpecError, match="longest run without a gap has 4 rows"):
        loaded(tmp_path, frame({"tiny": 4}))


def test_whole_series_may_be_held(tmp_path: Path) -> None:
    split = {"split: 0.25, last_by: time": "split: 0.3, group: shop"}
    data = loaded(tmp_path, frame({"a": 20, "b": 20, "c": 20}), **split)
    parts = [{row[0] // 1000 for row in steps_of(each)} for each in (data.training, data.validation)]
    assert len(parts[0]) == 2 and len(parts[1]) == 1 and not parts[0] & parts[1]


def test_months_are_counted_by_the_calendar(tmp_path: Path) -> None:
    rows = frame({"a": 30})
    rows["time"] = [str(month) for month in pd.date_range("2020-01-31", periods=30, freq="ME").date]
    data = loaded(tmp_path, rows, **{"every: 1h": "every: 1mo", "season: 4": "season: 6"})
    assert len(data.training) > 0
    rows["time"] = [str(month) for month in pd.date_range("2020-01-15", periods=31, freq="MS").date[1:]]
    assert len(loaded(tmp_path, rows, **{"every: 1h": "every: 1mo"}).training) > 0


def test_the_past_of_a_training_window_holds_no_row_of_validation(tmp_path: Path) -> None:
    """Where validation lies between two parts for training, too."""
    part = ["train"] * 20 + ["validation"] * 15 + ["train"] * 25
    named = {"validation: {split: 0.25, last_by: time}": "validation: {column: part}"}
    data = loaded(tmp_path, frame({"a": 60}, part=part), **named)
    seen = {value for past in steps_of(data.training) for value in past[::2]}
    assert seen == {*range(17), *range(35, 57)}
    assert data.validation is not None and len(data.validation) == 13


DAYS = st.lists(st.tuples(st.integers(1, 31), st.integers(0, 11), st.integers(0, 23)), min_size=1, max_size=4)


@given(DAYS, st.sampled_from(["1mo", "3mo", "1y"]))
@example([(31, 0, 0), (30, 3, 5), (1, 0, 0)], "1mo")
def test_each_series_has_its_own_day_of_the_month(days: list[tuple[int, int, int]], every: str) -> None:
    spacing = spacing_of(every)
    assert spacing is not None
    series = []
    for day, first, hour in days:
        months = [first + i * int(spacing.amount) for i in range(16)]
        dates = [(2019 + month // 12, 1 + month % 12) for month in months]
        moments = [datetime(y, m, min(day, monthrange(y, m)[1]), hour, tzinfo=UTC) for y, m in dates]
        series.append([int(moment.timestamp()) * 1_000_000 for moment in moments])
    ticks, starts = np.array([tick for each in series for tick in each[:12]]), 12 * np.arange(len(days) + 1)
    apart = np.delete(stamps.counted(ticks, spacing, starts), starts[1:-1] - 1)
    assert apart.tolist() == [1.0] * (11 * len(days))
    for each, anchor in zip(series, stamps.anchors(ticks, starts).tolist(), strict=True):
        assert stamps.after(each[11], 4, spacing, anchor).tolist() == each[12:]
    torn = stamps.counted(ticks + 86_400_000_000 * (np.arange(len(ticks)) == 5), spacing, starts)
    assert (torn[4] % 1, torn[5] % 1) != (0, 0)


def test_a_long_series_without_a_window_is_warned_of(tmp_path: Path) -> None:
    rows = frame({"a": 30, "torn": 30, "b": 4})
    hours = [pd.Timedelta(hours=2 * (i // 4)) for i in range(30)]
    rows.loc[30:59, "time"] = [str(pd.Timestamp(t) + h) for t, h in zip(rows.time[30:60], hours, strict=True)]
    rows.to_csv(tmp_path / "data.csv", index=False)
    (tmp_path / "s.yaml").write_text(SPEC.replace("every: 1h", "every: 1h, gaps: skip"))
    told: list[str] = []
    program = compile(tmp_path / "s.yaml")
    train(program, run_dir=tmp_path / "run", root=tmp_path, epochs=1, device="cpu", tell=told.append)
    warning = (
        'warning: no window of {} steps without a gap is in series "torn" (30 rows): 46.9% of all rows are '
        "left out; correct the times, or `every`; `gaps: fill` fills gaps"
    )
    short = 'left out, as no window of 9 steps is in it: series "b" (4 rows)'
    assert warning.format(9) in told and short in told
    notes: list[str] = []
    [*Run(tmp_path / "run").predictions(tmp_path / "data.csv", device="cpu", noted=notes.extend)]
    assert warning.format(9) in notes  # three of the steps that come are read


def test_a_constant_series_has_no_part_in_mase(tmp_path: Path) -> None:
    rows = frame({"a": 40, "b": 40, "flat": 40})
    rows["y"] = np.where(rows.shop == "flat", 5.0, rows.y + 3 * np.sin(np.arange(len(rows))))
    for folder, shops in (("two", ["a", "b"]), ("all", ["a", "b", "flat"])):
        (tmp_path / folder).mkdir()
        rows[rows.shop.isin(shops)].to_csv(tmp_path / folder / "data.csv", index=False)
        (tmp_path / folder / "s.yaml").write_text(SPEC)
    program = compile(tmp_path / "all" / "s.yaml")
    train(program, run_dir=tmp_path / "run", root=tmp_path / "all", epochs=1, device="cpu")
    run, notes = Run(tmp_path / "run"), list[str]()
    found = run.evaluate(tmp_path / "all" / "data.csv", device="cpu", noted=notes.extend)
    without = run.evaluate(tmp_path / "two" / "data.csv", device="cpu")
    assert found["mase"] == pytest.approx(without["mase"], rel=1e-6)
    assert [note for note in notes if "mase" in note] == [
        "y: mase is without 33.3% of the steps: in training, the seasons of their series are equal"
    ]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("windows")
    rng = np.random.default_rng(0)
    rows = frame({"a": 60, "b": 60})
    rows["y"] = (
        10 * np.sin(rows.index.to_numpy() / 3) + rng.normal(0, 1, len(rows)) + 100 * (rows.shop == "b")
    )
    rows.to_csv(folder / "data.csv", index=False)
    (folder / "spec.yaml").write_text(SPEC)
    train(compile(folder / "spec.yaml"), run_dir=folder / "run", root=folder)
    return folder


def test_errors_by_step_are_those_of_the_backtest(run: Path) -> None:
    found = Run(run / "run").evaluate()
    table = Run(run / "run").predict(run / "data.csv", every_window=True).to_pandas()
    rows = pd.read_csv(run / "data.csv")
    both = table.merge(rows, on=["shop", "time"], suffixes=("_forecast", ""))
    border = rows.time.sort_values().iloc[90]
    whole = both.groupby(["shop", "origin"]).time
    both = both[(whole.transform("min") >= border) & (whole.transform("count") == 3)]
    wrong = (both.y_forecast - both.y).abs()
    assert wrong.mean() == pytest.approx(found["mae"], rel=1e-5)
    step = both.groupby(["shop", "origin"]).cumcount()
    assert wrong.groupby(step).mean().tolist() == pytest.approx(found["by_step"]["y"]["mae"], rel=1e-5)


def test_the_naive_forecast_and_mase_are_those_by_hand(run: Path) -> None:
    found = Run(run / "run").evaluate()
    rows = pd.read_csv(run / "data.csv")
    wide = rows.pivot(index="time", columns="shop", values="y")
    origins = range(44, 57)
    naive = np.array(
        [
            [[abs(wide[s].iloc[o + h] - wide[s].iloc[o + h - 4]) for h in (1, 2, 3)] for o in origins]
            for s in wide
        ]
    )
    assert found["naive_mae"] == pytest.approx(naive.mean(), rel=1e-5)
    scales = {s: wide[s].iloc[:45].diff(4).abs().mean() for s in wide}
    table = Run(run / "run").predict(run / "data.csv", every_window=True).to_pandas()
    both = table.merge(rows, on=["shop", "time"], suffixes=("_forecast", ""))
    both = both[both.origin.isin([wide.index[o] for o in origins])]
    scaled = (both.y_forecast - both.y).abs() / both.shop.map(scales)
    assert found["mase"] == pytest.approx(scaled.mean(), rel=1e-5)


def test_the_last_window_of_each_series_becomes_long_rows(run: Path) -> None:
    table = Run(run / "run").predict(run / "data.csv")
    assert table.column_names == ["shop", "time", "y"] and table.num_rows == 6
    assert table["time"].to_pylist()[:3] == [f"2024-01-03 {hour:02}:00:00" for hour in (9, 10, 11)]


@pytest.mark.parametrize(("gaps", "last"), [("skip", "a"), ("fill", "")])
def test_series_that_a_gap_keeps_from_their_last_row_are_named(gaps: str, last: str, tmp_path: Path) -> None:
    spec = """
inputs: {past: {shape: [4]}}
nodes: {y: {layer: Dense, units: 2}}
outputs: {y: {loss: mse, missing: ignore}}
data:
  train: data.csv
  windows: {by: shop, order: time, past: 4, next: 2, every: 1h, gaps: GAPS}
  features:
    past: {column: y, encode: number, steps: past, fill: zero}
    y: {encode: number, steps: next}
train: {epochs: 1}
"""
    rows = frame({"a": 20, "b": 20}).drop(index=[17])  # 2 rows of `a` follow its gap
    rows.to_csv(tmp_path / "data.csv", index=False)
    (tmp_path / "spec.yaml").write_text(spec.replace("GAPS", gaps))
    train(compile(tmp_path / "spec.yaml"), root=tmp_path, run_dir=tmp_path / "run", tell=lambda line: None)
    told: list[str] = []
    tables = Run(tmp_path / "run").predictions(tmp_path / "data.csv", noted=told.extend)
    found = pd.concat([table.to_pandas() for table in tables])
    first = found.groupby("shop").time.min().to_dict()
    assert first["b"] == "2024-01-01 20:00:00"
    assert first["a"] == ("2024-01-01 17:00:00" if last else "2024-01-01 20:00:00")
    named = [line for line in told if line.startswith("forecast from before the last row")]
    wanted = 'series "a" from "2024-01-01 16:00:00" in place of "2024-01-01 19:00:00"; `gaps: fill`'
    assert [wanted in line for line in named] == [True] * len(last)


@pytest.mark.parametrize("every", [False, True])
def test_a_window_without_a_step_that_comes_is_a_row(every: bool, tmp_path: Path) -> None:
    spec = """
inputs: {past: {shape: [4, 1]}}
nodes: {flat: {layer: Flatten}, code: {layer: Dense, units: 4}, again: {layer: Reshape, target_shape: [4, 1]}}
outputs: {again: {loss: mse, target: past}}
data:
  train: data.csv
  windows: {by: shop, order: time, past: 4}
  features: {past: {columns: [y], encode: number, steps: past, scale: standard}}
train: {epochs: 1}
"""
    rows = frame({"a": 9, "b": 5, "c": 3})
    rows.to_csv(tmp_path / "data.csv", index=False)
    (tmp_path / "spec.yaml").write_text(spec)
    program = compile(tmp_path / "spec.yaml")
    train(program, root=tmp_path, run_dir=tmp_path / "run", tell=lambda line: None)
    run = Run(tmp_path / "run")
    found = run.predict(tmp_path / "data.csv", every_window=every).to_pylist()
    ends = [row for row in rows.to_dict("records") if row["y"] % 1000 >= 3 and row["shop"] != "c"]
    ends = ends if every else [ends[5], ends[7]]
    assert [(row["shop"], str(row["time"])) for row in found] == [(row["shop"], row["time"]) for row in ends]
    windows = np.array([np.arange(row["y"] - 3, row["y"] + 1) for row in ends])
    mean, scale = rows["y"].mean(), rows["y"].std(ddof=0)
    scaled = (windows - mean) / scale
    (wanted,) = run.model().engine({"past": scaled[:, :, None].astype(np.float32)}).values()
    undone = wanted.reshape(len(ends), 4) * scale + mean
    np.testing.assert_allclose([row["again"] for row in found], undone, 1e-4, 1e-2)


def test_a_forecast_needs_no_target_where_it_is_not_known(run: Path, tmp_path: Path) -> None:
    rows = pd.read_csv(run / "data.csv")
    hidden = rows.groupby("shop").cumcount() >= 57
    rows.assign(y=rows.y.where(~hidden)).to_csv(tmp_path / "next.csv", index=False)
    expected = Run(run / "run").predict(run / "data.csv").to_pandas()
    assert Run(run / "run").predict(tmp_path / "next.csv").to_pandas().equals(expected)
    rows.assign(heat=rows.heat.where(~hidden)).to_csv(tmp_path / "next.csv", index=False)
    with pytest.raises(SpecError, match=r"`heat`.*value is missing"):
        Run(run / "run").predict(tmp_path / "next.csv")


def test_the_last_rows_that_hold_what_is_known_are_told(run: Path) -> None:
    notes: list[str] = []
    list(Run(run / "run").predictions(run / "data.csv", noted=notes.extend))
    told = "forecasts are of the last 3 rows of each series, of which `ahead` reads what is known"
    assert told in notes
    notes.clear()
    list(Run(run / "run").predictions(run / "data.csv", every_window=True, noted=notes.extend))
    assert told not in notes


def test_forecasts_after_the_end_of_summer_have_the_offset_of_then(tmp_path: Path) -> None:
    """An hour is there twice, and told apart by its offset."""
    zone, start = ZoneInfo("Europe/Berlin"), datetime(2024, 10, 25, 22, tzinfo=UTC)
    local = [(start + timedelta(hours=step)).astimezone(zone).isoformat() for step in range(60)]
    rows = frame({"a": 60, "b": 60}).assign(time=local * 2)
    spec = SPEC.replace("column: heat, encode: number, steps: next", "column: heat, encode: number, steps: 3")
    rows.to_csv(tmp_path / "data.csv", index=False)
    train(compile(spec), root=tmp_path, run_dir=tmp_path / "run", tell=str)
    found = Run(tmp_path / "run").predict(rows).to_pandas()
    ahead = [(start + timedelta(hours=step)).astimezone(zone).isoformat() for step in range(60, 63)]
    assert found.time.tolist() == ahead * 2


def test_quantiles_are_forecast_with_their_coverage(tmp_path: Path) -> None:
    spec = SPEC.replace(
        "y: {layer: Dense, units: $next}",
        "all_levels: {layer: Dense, units: $(3 * next)}\n  y: {layer: Reshape, target_shape: [$next, 3]}",
    )
    spec = spec.replace(
        "loss: mae, metrics: [mae]",
        "loss: {name: quantile, levels: [0.1, 0.5, 0.9]}, metrics: [mae, coverage]",
    )
    frame({"a": 60}, y=np.random.default_rng(0).normal(0, 1, 60)).to_csv(tmp_path / "data.csv", index=False)
    program = compile(spec)
    train(program, run_dir=tmp_path / "run", root=tmp_path)
    found = Run(tmp_path / "run").evaluate(tmp_path / "data.csv")
    table = Run(tmp_path / "run").predict(tmp_path / "data.csv", every_window=True)
    assert table.column_names == ["shop", "origin", "time", "y", "y.0.1", "y.0.5", "y.0.9"]
    assert table["y"].to_pylist() == table["y.0.5"].to_pylist()
    rows = pd.read_csv(tmp_path / "data.csv")
    both = table.to_pandas().merge(rows, on=["shop", "time"], suffixes=("_forecast", ""))
    covered = (both.y >= both["y.0.1"]) & (both.y <= both["y.0.9"])
    assert covered.mean() == pytest.approx(found["coverage"], abs=1e-6)
    assert (both.y - both.y_forecast).abs().mean() == pytest.approx(found["mae"], rel=1e-5)


@pytest.mark.parametrize("steps", [1, 3])
def test_classes_ahead_have_weights(tmp_path: Path, steps: int) -> None:
    states = ["lo", "hi", "lo", "lo", "hi", "lo", "hi", "hi", "lo", "lo"] * 3
    pd.DataFrame({"t": range(30), "v": np.arange(30.0), "state": states}).to_csv(
        tmp_path / "t.csv", index=False
    )
    last = "y: {layer: Reshape, target_shape: [3, 2]}" if steps > 1 else "y: {layer: Dense, units: 2}"
    program = compile(f"""
inputs: {{past: {{shape: [4, 1]}}}}
nodes:
  flat: {{layer: Flatten, from: past}}
  wide: {{layer: Dense, units: 6, activation: relu}}
  {last}
outputs:
  y: {{loss: {{name: sparse_categorical_crossentropy, from_logits: true}}, class_weight: {{hi: 5}}}}
data:
  train: t.csv
  windows: {{order: t, past: 4, next: {steps}}}
  features:
    past: {{columns: [v], encode: number, steps: past}}
    y: {{column: state, encode: category, steps: next}}
""")
    (batch,) = load(program, None, tmp_path, torch.device("cpu")).training.batches(100)
    assert batch.weights["y"].tolist() == torch.where(batch.arrays["y"] == 0, 5.0, 1.0).tolist()
