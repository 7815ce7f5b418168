"""Arrays back to cells: each encoder undoes what it did, whatever its columns, sizes and parts are."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphspec.data.rows.calendar import DateParts
from graphspec.data.rows.numbers import NumberCurve
from graphspec.data.rows.values import TICKS
from graphspec.tensor import Tensor
from tests.data.test_encoders import BATCH, IDS, LIST, decoded, encoded, encoders, output

WORDS = st.sampled_from([*"abcdefgh", "two words", "0742", "17", "", "Ä"])
ROWS = 8


def cells(made: Any, array: Any) -> dict[str, list[Any]]:
    """The cells of the input `x`, by column."""
    return {column.name: column.of(array) for column in made.encoders["x"].cells()}


def round_trip(feature: dict[str, Any], columns: dict[str, Any], tensor: Tensor) -> dict[str, list[Any]]:
    made = encoders({"x": tensor}, {"x": {"columns": [*columns], **feature}}, columns)
    array: Any = encoded(made, columns).arrays["x"]
    windows = np.stack([array, array[::-1]], 1)  # two steps of each
    back = cells(made, array)
    assert cells(made, windows) == {
        name: [list(pair) for pair in zip(column, column[::-1], strict=True)] for name, column in back.items()
    }
    return back


@st.composite
def tables(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> dict[str, list[Any]]:
    names = draw(st.lists(st.sampled_from(["a", "b b", "c.d", "e"]), min_size=1, max_size=4, unique=True))
    return {name: draw(st.lists(values, min_size=ROWS, max_size=ROWS)) for name in names}


@given(tables(WORDS), st.data())
def test_categories_come_back_by_name(columns: dict[str, list[str]], data: st.DataObject) -> None:
    found = [len(set(column)) for column in columns.values()]
    sizes = [data.draw(st.integers(2, 12)) for _ in found]
    vocabulary = data.draw(st.sampled_from([None, sizes[0], sizes]))
    alone = len(columns) == 1 and data.draw(st.booleans())
    tensor = Tensor((BATCH,) if alone else (BATCH, len(columns)), "int64")
    feature = {"encode": "category", **({"vocabulary": vocabulary} if vocabulary else {})}
    back = round_trip(feature, columns, tensor)
    for place, (name, column) in enumerate(columns.items()):
        size = vocabulary[place] if isinstance(vocabulary, list) else vocabulary or found[place] + 1
        by_frequency = sorted(Counter(column).items(), key=lambda item: (-item[1], item[0]))
        known = {value for value, _ in by_frequency[: size - 1]}
        assert back[name] == [value if value in known else None for value in column]


@given(tables(WORDS), st.integers(2, 40))
def test_hashes_come_back_as_bins_of_their_column(columns: dict[str, list[str]], bins: int) -> None:
    back = round_trip({"encode": "hash", "bins": bins}, columns, Tensor((BATCH, len(columns)), "int64"))
    for name, column in columns.items():
        by_value = dict(zip(column, back[name], strict=True))
        assert [by_value[value] for value in column] == back[name]
        assert all(0 <= int(value.removeprefix("bin ")) < bins for value in back[name])


CENTS = st.integers(0, 99_999).map(lambda cents: cents / 100)


@given(
    tables(st.none() | CENTS),
    st.sampled_from(["none", "standard", "min_max", "robust"]),
    st.sampled_from([None, "log1p", "sqrt"]),
    st.booleans(),
)
def test_numbers_come_back_with_their_digits(
    columns: dict[str, list[Any]], scale: str, transform: str | None, indicator: bool
) -> None:
    columns = {name: [0.0, *column[1:]] for name, column in columns.items()}  # one is known
    feature = {"encode": "number", "fill": 0.25, "scale": scale, "indicator": indicator}
    feature |= {"transform": transform} if transform else {}
    tensor = Tensor((BATCH, len(columns) * (2 if indicator else 1)))
    missing = None if indicator else 0.25
    back = round_trip(feature, columns, tensor)
    for name, column in columns.items():
        if len(set(column)) == 1:
            continue  # a column of one value becomes 0
        wanted = [missing if value is None else value for value in column]
        if transform is None:
            assert back[name] == wanted
        assert [each == 0 for each in back[name]] == [each == 0 for each in wanted]
        there = [(a, b) for a, b in zip(back[name], wanted, strict=True) if b is not None]
        assert all(a == pytest.approx(b, rel=1e-4, abs=1e-4) for a, b in there)


@given(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=20), st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_the_shortest_number_becomes_the_same_float(values: list[float], shift: float, scale: float) -> None:
    curve = NumberCurve(shift=shift, scale=scale)
    floats = curve(np.array(values)).astype(np.float32)
    exact, short = curve.undo(floats.astype(np.float64)), curve.cells(floats)
    apart = np.spacing(np.abs(floats)).astype(np.float64) + 1e-15 * (1 + abs(shift) / scale)
    assert (np.abs((short - exact) / scale) <= apart).all()


def test_a_number_has_the_fewest_digits() -> None:
    values = np.array([0.0, 19.99, -0.1, 12_345.0, 1e6])
    curve = NumberCurve(shift=7.0612, scale=1234.5678)
    assert curve.cells(curve(values).astype(np.float32)).tolist() == values.tolist()
    assert NumberCurve().cells(np.array([0.1, -0.0, 3e-40], np.float32)).tolist() == [0.1, 0.0, 3e-40]


@given(
    st.floats(-5, 100),
    st.sampled_from([None, "log1p", "sqrt", "quantile"]),
    st.sampled_from([(0.0, 1.0), (2.5, 0.5), (3.0, 0.0)]),
    st.sampled_from([None, 0.5, 2.0]),
)
def test_one_number_is_as_among_many(
    value: float, transform: Any, scaling: tuple[float, float], clip: float | None
) -> None:
    curve = NumberCurve(None, transform, (0.0, 1.0, 1.0, 7.0, 90.0), *scaling, clip)
    among = curve(np.array([value]))
    assert (curve.of_one(value) is None) == bool(np.isnan(among).any() or np.isinf(among).any())
    assert curve.of_one(value) in (None, *among.tolist())


PARTS = ["year", "month", "day", "weekday", "hour_sin", "hour_cos", "day_of_year", "timestamp"]
DATES = st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2040, 1, 1)).map(lambda d: d.replace(microsecond=0))


@given(
    tables(DATES),
    st.lists(st.sampled_from(PARTS), min_size=1, max_size=4, unique=True),
    st.sampled_from(["none", "standard", "min_max"]),
)
def test_each_part_of_a_date_has_its_own_scale(
    columns: dict[str, list[dt.datetime]], parts: list[str], scale: str
) -> None:
    texts = {name: [moment.isoformat() for moment in column] for name, column in columns.items()}
    feature = {"encode": "date", "parts": parts, "scale": scale}
    back = round_trip(feature, texts, Tensor((BATCH, len(columns) * len(parts))))
    for name, column in columns.items():
        ticks = np.array(column, "datetime64[us]").astype(np.int64)
        for part in parts:
            wanted, relative = DateParts(*divmod(ticks, TICKS)).part(part), 1e-6
            if scale == "none":
                relative = 1e-4 if part == "timestamp" else 1e-6
            span = np.ptp(wanted) + 1e-3
            assert [cell[part] for cell in back[name]] == pytest.approx(wanted, rel=relative, abs=1e-6 * span)


@given(st.lists(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=4), min_size=2, max_size=8))
def test_lists_come_back_without_their_padding(lists: list[list[str]]) -> None:
    back = {}
    for kind in ("tokens", "category"):
        made = encoders({"x": LIST}, {"x": {"encode": kind}}, {"x": lists})
        ragged: Any = encoded(made, {"x": lists}).arrays["x"]
        (back[kind],) = cells(made, ragged.padded(4)).values()
    assert back["tokens"] == lists
    assert back["category"] == [each + [None] * (4 - len(each)) for each in lists]  # 0 is any unseen value
    sets = [sorted(set(each)) for each in lists]
    made = encoders({"x": Tensor((BATCH, 6))}, {"x": {"encode": "set", "vocabulary": 6}}, {"x": lists})
    (found,) = cells(made, encoded(made, {"x": lists}).arrays["x"]).values()
    assert [sorted(each) for each in found] == sets


@given(st.lists(WORDS, min_size=3, max_size=8).filter(lambda values: len(set(values)) > 1))
def test_targets_come_back_as_predictions_do(values: list[str]) -> None:
    count = len(set(values))
    for loss in ("sparse_categorical_crossentropy", "categorical_crossentropy"):
        outputs = {"y": output(Tensor((BATCH, count)), loss)}
        made = encoders(
            {"x": IDS},
            {"x": {"encode": "hash", "bins": 2}, "y": {"encode": "category"}},
            {"x": values, "y": values},
            outputs,
        )
        array: Any = encoded(made, {"x": values, "y": values}).arrays["y"]
        (column,) = made.encoders["y"].cells()
        one_hot = array if array.ndim == 2 and array.shape[1] == count else np.eye(count)[array.reshape(-1)]
        predicted = decoded(made, {"y": one_hot.astype(np.float32)}, probabilities=False)["y"]
        assert column.of(array) == values == [str(each) for each in predicted]
