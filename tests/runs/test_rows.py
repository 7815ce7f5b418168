"""One row in Python: as fast as a row can be, and the same numbers and mistakes as a table has."""

from __future__ import annotations

import datetime as dt
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from safetensors.torch import save_file

import graphspec
from graphspec.data.columns import TablePart, dates
from graphspec.data.rows.calendar import PERIODS, DateParts
from graphspec.data.rows.functions import ONE
from graphspec.data.rows.reader import as_rows
from graphspec.data.rows.values import TICKS, ticks_of, ticks_of_row
from graphspec.diagnostics import SpecError
from graphspec.runs.rows import RowReader
from graphspec.runs.run import Run
from graphspec.serve.openapi import answer_schema
from graphspec.serve.options import ServeOptions
from graphspec.serve.served import Served
from graphspec.train.loop import train
from tests.runs import everything
from tests.serve.serving import same


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return everything.train(tmp_path_factory.mktemp("everything"))


def reader(run: Run) -> RowReader:
    encoders = run.encoders()
    assert encoders is not None
    return RowReader(run.program, encoders)


def test_a_row_is_read_as_its_table_is(run: Run) -> None:
    draw, found = random.Random(1), reader(run)
    plain = 0
    for _ in range(60):
        row = everything.gaps(everything.row(draw), draw)
        read = found.read(row)
        assert found.plain is not None
        quick = found.plain.read(row)
        plain += quick is not None
        through = found.through_table(row)
        for each in filter(None, (quick, read)):
            assert each.sizes == through.sizes
            assert each.arrays.keys() == through.arrays.keys() == run.program.inputs.keys()
            for name, array in through.arrays.items():
                same = each.arrays[name]
                assert array.dtype == same.dtype and np.array_equal(array, same), name
    assert 5 < plain < 60  # both ways were taken


def test_a_row_predicts_what_a_table_of_it_predicts(run: Run) -> None:
    draw = random.Random(2)
    for _ in range(10):
        row = everything.gaps(everything.row(draw), draw)
        assert run.predict(pa.Table.from_pylist([row])).equals(run.predict(row))
        assert run.predict([row]).equals(run.predict(row))


NAN, INFINITY = float("nan"), float("inf")
VALUES: list[Any] = [None, "", "?", "x", -5, -1, 0, 2.0**70, True, 1e300, NAN, INFINITY, [], ["x"], {}]


def test_what_is_wrong_with_a_row_is_what_is_wrong_with_its_table(run: Run) -> None:
    """Whatever stands in a cell: both ways refuse it with the same diagnostics, or predict the same."""
    draw, refused = random.Random(3), 0
    base = everything.row(draw)
    for name in base:
        for value in draw.sample(VALUES, 5):
            row = {**base, name: value}
            table = pa.Table.from_pylist([row])
            try:
                expected: Any = run.predict(table).to_pylist()
            except SpecError as error:
                expected, refused = error.diagnostics, refused + 1
            try:
                actual: Any = run.predict([row]).to_pylist()
            except SpecError as error:
                actual = error.diagnostics
            assert repr(actual) == repr(expected), (name, value)
    assert refused > 20


def test_values_that_no_table_of_arrow_holds_are_those_of_their_file(run: Run, tmp_path: Path) -> None:
    """A row, plain or not, has the numbers of a line of JSON, or a mistake of its code in our words."""
    base, file, refused = everything.row(random.Random(6)), tmp_path / "rows.jsonl", 0
    base["plain"] = [base.pop("plain_0"), base.pop("plain_1")]
    values: dict[str, list[Any]] = {
        "id": [2**63, [True, 2.5]],
        "amount": [2**63, 10**400],
        "region": [-(2**63) - 1, [1, "a"]],
        "plain": [[True, 2.5], [2**64, 1], [1, [2]], [True, False]],
        "moods": [[1, "calm"], ["calm", True], ["calm", ["loud"]], [True, 2, "calm"], [1, 2.5]],
    }
    for name, value in ((name, value) for name, some in values.items() for value in some):
        row = {**base, name: value}
        file.write_text(json.dumps(row) + "\n")
        by_row, by_file = result(run.predict, row), result(run.predict, file)
        if isinstance(by_row, tuple):
            refused += 1
            assert [each.code for each in by_row] == [each.code for each in by_file], (name, value)
            assert "row 0, counting from 0" in by_row[0].message and "onvert" not in by_row[0].message
            assert "changed from" not in by_file[0].message
        else:
            assert repr(by_row) == repr(by_file), (name, value)
    assert 4 < refused < 12
    with pytest.raises(SpecError, match=r"row 7, counting from 0: it holds true and 2\.5"):
        reader(run).read({**base, "plain": [True, 2.5]}, 7)


@pytest.mark.parametrize("name", [2, "\ud800"])
def test_a_name_that_no_column_has_is_told(run: Run, name: Any) -> None:
    with pytest.raises(SpecError, match="data-column"):
        run.predict({**everything.row(random.Random(7)), name: 3})
    for column in ("id", "title", "region"):
        with pytest.raises(SpecError, match=r"row 0, .* holds half of a character\nhelp: write the whole"):
            run.predict({**everything.row(random.Random(7)), column: "\ud800"})


def test_rows_are_lines_of_json_wherever_they_come_from(run: Run, tmp_path: Path) -> None:
    """A dict, a list of dicts, a file and a server: absent keys are missing values, and values of several
    types texts as JSON writes them.
    """
    draw, file = random.Random(4), tmp_path / "rows.jsonl"
    rows = [everything.row(draw) for _ in range(8)]
    for name in ("amount", "size", "region", "day", "genres", "code"):
        for row in draw.sample(rows, 4):
            del row[name]
    rows[0] |= {"street": True, "plan": 7}
    rows[1] |= {"street": "true", "plan": "free"}
    for given in (
        rows,
        [{k: v for k, v in row.items() if k not in ("region", "genres")} for row in rows],
    ):
        file.write_text("".join(json.dumps(row) + "\n" for row in given))
        wanted = run.predict(file, batch_size=1).to_pylist()  # the pooling of this spec reads padding, too
        for found in (run.predict(given, batch_size=1), run.predict(tuple(given), batch_size=1)):
            assert found.to_pylist() == wanted
        alone = [run.predict(row).to_pylist()[0] for row in given]
        served = Served("run", run.path).predict(list(enumerate(given)))
        assert all(map(same, alone, wanted)) and all(map(same, served, wanted))


def test_a_misspelt_key_is_no_missing_value(run: Run, tmp_path: Path) -> None:
    row, file = everything.row(random.Random(4)), tmp_path / "rows.jsonl"
    wrong = {"regoin" if name == "region" else name: value for name, value in row.items()}
    file.write_text(json.dumps(wrong) + "\n")
    for given in (wrong, [wrong, wrong], file):
        with pytest.raises(
            SpecError, match=r"data-column.*no column `region`\n(.*\n)*.*did you mean `regoin`"
        ):
            run.predict(given)
    assert run.predict({**row, "other": 1}).num_rows == 1
    with pytest.raises(SpecError, match="no column `region`"):  # the header of a table names its columns
        run.predict(pa.Table.from_pylist([{k: v for k, v in row.items() if k != "region"}]))


def test_what_is_one_row() -> None:
    assert as_rows({"a": 1, "b": None}) == as_rows([{"a": 1, "b": None}]) == [{"a": 1, "b": None}]
    assert as_rows({"a": [1], "b": "x"}) == [{"a": [1], "b": "x"}] and as_rows([{"a": [1]}]) == [{"a": [1]}]
    assert as_rows(({"a": 1}, {"b": 2})) == [{"a": 1}, {"b": 2}]
    others: list[Any] = [{}, [], {"a": [1]}, {"a": np.zeros(1)}, "rows.csv", None, [1], [{}]]
    columns = [{"a": each} for each in (pa.array([1]), pa.chunked_array([[1]]), range(1), pd.Series([1]))]
    for other in (*others, *columns, [{"a": np.ones(2)}, {}]):
        assert as_rows(other) is None


def test_what_numpy_and_pandas_have_for_single_values_is_a_row(run: Run) -> None:
    """As `frame.iloc[0].to_dict()` has them."""
    row = everything.row(random.Random(8))
    row["tries"] = 4
    frame = pd.DataFrame([row])
    of_frame = {
        **frame.iloc[0].to_dict(),
        "tries": np.int64(4),
        "size": pd.NA,
        "curve": np.array(row["curve"]),
    }
    of_frame["moods"] = tuple(row["moods"])
    assert run.predict(of_frame).equals(run.predict({**row, "size": None}))
    assert run.predict({**row, "region": np.bool_(True)}).equals(run.predict({**row, "region": True}))


def test_a_run_reads_its_weights_again_when_they_changed(run: Run, tmp_path: Path) -> None:
    row = everything.row(random.Random(5))
    other = Run(run.path, weights=tmp_path / "weights.safetensors")
    for name in ("best", "last"):
        (tmp_path / "weights.safetensors").write_bytes((run.path / f"{name}.safetensors").read_bytes())
        before = other.predict(row)
        assert before.equals(Run(run.path, weights=name).predict(row))


ARRAYS = """\
inputs: {x: {shape: [3]}, ids: {shape: [n], dtype: int64}}
nodes:
  words: {layer: Embedding, from: ids, input_dim: 5, output_dim: 2}
  mean:  {layer: GlobalAveragePooling1D}
  all:   {merge: concatenate, from: [x, mean]}
  y:     {layer: Dense, units: 3, activation: softmax}
outputs: {y: {loss: sparse_categorical_crossentropy}}
"""


def test_plain_arrays_predict_what_others_do(tmp_path: Path) -> None:
    """Both ways give the same table, and refuse the same arrays with the same diagnostics."""
    spec, weights = tmp_path / "spec.yaml", tmp_path / "w.safetensors"
    spec.write_text(ARRAYS)
    save_file(graphspec.compile(spec).module(seed=0).state_dict(), weights)
    run, source = Run(spec, weights), np.random.default_rng(0)
    x, ids = source.random((4, 3), np.float32), source.integers(0, 5, (4, 2))
    plain = {"x": x, "ids": ids}

    def by_parts(data: Any) -> pa.Table:
        return pa.concat_tables(list(run.predictions(data)))

    model = run.model()
    found = model.predict_arrays(plain, 32, True)
    assert found is not None and found.equals(by_parts(plain))
    huge = {**plain, "x": np.where(x > 0.5, np.finfo(np.float32).max, x)}
    assert model.predict_arrays(huge, 32, True) is not None, "finite, though its square is not"
    others: list[dict[str, Any]] = [
        {**plain, "x": x.astype(np.float64)},
        {**plain, "x": x[:, :2]},
        {**plain, "x": x[:3]},
        {**plain, "x": np.where(x > 0.5, np.inf, x)},
        {**plain, "x": x.astype(str)},
        {**plain, "x": x > 0.5},
        {**plain, "x": x.tolist()},
        {**plain, "ids": ids + 3},
        {**plain, "ids": ids.astype(np.float32)},
        {**plain, "ids": ids.astype(np.int32)},
        {**plain, "ids": ids[:, :0]},
        {**plain, "ids": ids[0]},
        {**plain, "x": x[::-1], "ids": ids[:, ::-1]},
        {**plain, "x": np.broadcast_to(x[:1], x.shape)},
        {**plain, "z": np.array([1, "a", None, 2], object)},
        {**plain, "z": np.array([1, 2, True, 2**70], object)},
        {"x": x},
        {**plain, "z": np.array(["a"] * 4)},
        {**plain, "z": None},
        {**plain, "z": np.array(["a"] * 3)},
        {**plain, "z": np.zeros(4)},
    ]
    for data in others:
        assert result(run.predict, data) == result(by_parts, data), data
    assert model.predict_arrays({**plain, "ids": ids + 3}, 32, True) is None
    assert model.predict_arrays(plain, 3, True) is None

    rows = [{"x": [1.0, 2.0, 3.0], "ids": ids} for ids in ([1, 2], [[1], [2]], [2, 1])]
    one, numbered = Served("run", spec, ServeOptions([spec], weights=str(weights))), list(enumerate(rows))
    wanted = [pytest.approx(one.predict([each])[0]) for each in numbered]
    assert one.predict(numbered) == wanted, "rows that are read in two ways go together"


def result(predict: Callable[[Any], pa.Table], data: Any) -> Any:
    try:
        return predict(data).to_pylist()
    except SpecError as error:
        return error.diagnostics


POINTS = """\
inputs: {words: {shape: [length], dtype: int64}}
nodes:
  one:  {layer: Embedding, input_dim: $(vocabulary(words)), output_dim: 1}
  flat: {layer: Flatten}
  word: {layer: Softmax}
outputs: {word: {loss: sparse_categorical_crossentropy}}
data: {train: rows.jsonl, features: {words: {encode: tokens, vocabulary: 8}}}
train: {optimizer: sgd, epochs: 1, batch_size: 2}
"""


def test_one_class_for_each_word_of_a_row(tmp_path: Path) -> None:
    """Then how many classes there are is known of a row alone: they are numbers."""
    (tmp_path / "spec.yaml").write_text(POINTS)
    (tmp_path / "rows.jsonl").write_text('{"words": ["a", "b"], "word": 1}\n{"words": ["c"], "word": 0}\n')
    run_dir = tmp_path / "run"
    train(graphspec.compile(tmp_path / "spec.yaml"), root=tmp_path, run_dir=run_dir, tell=lambda line: None)
    (found,) = Run(run_dir).predict([{"words": ["a", "b", "c"]}]).to_pylist()
    odds = [found.pop(f"word.{number}") for number in range(3)]
    assert found == {"word": odds.index(max(odds))} and sum(odds) == pytest.approx(1)
    one = Served("run", run_dir)
    assert one.predict([(0, {"words": ["a", "b", "c"]})])[0]["word"] == found["word"]
    assert answer_schema(one)["properties"] == {"word": {"type": "integer"}}


def test_the_parts_of_one_date_are_those_of_many() -> None:
    """To the bit, before 1970, too, in the first year and the last."""
    source = random.Random(0)
    least, most = (ticks_of(text, None) for text in ("0001-01-01", "9999-12-31T23:59:59.999999"))
    moments = [least, -1, 0, 1, most, ticks_of("2024-02-29T12:00", None)]
    moments += [source.randint(least, most) for _ in range(50)]
    many_moments = DateParts(*divmod(np.array(moments), TICKS))
    for part in ("timestamp", "year", *PERIODS, *(f"{p}_{wave}" for p in PERIODS for wave in ("sin", "cos"))):
        ones = [DateParts(*divmod(ticks, TICKS)).part(part, ONE) for ticks in moments]
        np.testing.assert_array_max_ulp(np.array(ones), many_moments.part(part), 1)


@pytest.mark.parametrize("format", [None, "%d.%m.%Y %H:%M %z"])
def test_one_date_is_as_among_many(format: str | None) -> None:
    texts = ["2024-03-01T00:30+02:00", "2024-02-29 23:30:00.25-05:30", "1969-12-31T23:00Z", "2024-01-01"]
    if format is not None:
        texts = ["01.03.2024 00:30 +0200", "29.02.2024 23:30 -0530"]
    column = TablePart(pa.table({"x": texts}), np.arange(len(texts)), "t.csv", str)
    moments = [dt.datetime(2024, 2, 29, 22, 30), dt.datetime(2024, 3, 1, 5, 0)]
    if format is None:
        moments[1] += dt.timedelta(seconds=0.25)
        moments += [dt.datetime(1969, 12, 31, 23), dt.datetime(2024, 1, 1)]
    wanted = [(moment - dt.datetime(1970, 1, 1)) // dt.timedelta(microseconds=1) for moment in moments]
    assert [ticks_of_row(text, format) for text in texts] == wanted
    assert dates(column, "x", format)[0].tolist() == wanted


def test_numbers_that_mean_a_missing_value_do_so_in_a_row(tmp_path: Path) -> None:
    lines = [f"{'-999' if i % 5 == 0 else i},{i}" for i in range(20)]
    (tmp_path / "t.csv").write_text("\n".join(["x,y", *lines]) + "\n")
    (tmp_path / "s.yaml").write_text(
        """
inputs: {x: {shape: [2]}}
nodes: {y: {layer: Dense, units: 1}}
outputs: {y: {loss: mse}}
data:
  train: t.csv
  na_values: ["", "-999"]
  features: {x: {columns: [x], encode: number, fill: mean, indicator: true}, y: {encode: number}}
train: {epochs: 1}
"""
    )
    program = graphspec.compile(tmp_path / "s.yaml")
    train(program, run_dir=tmp_path / "run", root=tmp_path, device="cpu", tell=lambda note: None)
    run = Run(tmp_path / "run")
    missing = run.predict(pa.table({"x": ["-999"]}), device="cpu")
    for value in (None, "-999", -999, -999.0):
        assert run.predict({"x": value}, device="cpu").equals(missing), value
        assert run.predict([{"x": value}, {"x": value}], device="cpu").slice(1).equals(missing), value
    assert not run.predict({"x": -998}, device="cpu").equals(missing)
