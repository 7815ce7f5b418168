"""Encoders: columns to arrays and back, what is learned from training rows, and every mistake in a column."""

from __future__ import annotations

import datetime as dt
import importlib
import json
import math
import statistics
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from graphspec.compiler import compile
from graphspec.data.batches import InMemory, Shuffle
from graphspec.data.columns import TablePart
from graphspec.data.encoders import Encoded, Encoders
from graphspec.data.encoders.numbers import NumberEncoder, scaling
from graphspec.data.encoders.tokenizers import trained
from graphspec.data.encoding import new_encoders
from graphspec.data.features import parse_features
from graphspec.data.features.plan import plan_fills
from graphspec.data.features.texts import TextFeature
from graphspec.data.loading import load
from graphspec.data.mistakes import lacks
from graphspec.data.ragged import Ragged
from graphspec.diagnostics import SpecError
from graphspec.language.row_settings import RowSettings
from graphspec.objectives import parse_loss
from graphspec.tensor import Tensor, symbol

BATCH, LENGTH = symbol("batch"), symbol("length")
CPU = torch.device("cpu")
FLOATS = Tensor((BATCH, 1))
IDS = Tensor((BATCH, 1), "int64")
LIST = Tensor((BATCH, LENGTH), "int64")


def part(columns: dict[str, Any], **more: Any) -> TablePart:
    table = pa.table(columns)
    return TablePart(table, np.arange(table.num_rows), "t.csv", lambda row: f"line {row + 2}", **more)


def source(columns: dict[str, Any]) -> Any:
    """A table as far as its columns are concerned."""

    def lacking(name: str, span: Any = None, help: str | None = None) -> SpecError:
        return lacks("t.csv", "column", name, columns, help or "", span)

    return SimpleNamespace(file="t.csv", columns=columns, lacks=lacking, read_as_text=lambda names: None)


def output(tensor: Tensor, loss: Any = "mse", target: str = "y", **judged: Any) -> Any:
    found = RowSettings.model_validate(judged)
    return SimpleNamespace(
        tensors=(tensor,), loss=parse_loss(loss), metrics=(), target=target, mask=None, rows=found
    )


def encoders(
    inputs: dict[str, Tensor],
    features: dict[str, Any],
    learned: dict[str, Any],
    outputs: dict[str, Any] | None = None,
    ranges: dict[str, int] | None = None,
) -> Encoders:
    """Encoders that have learned from a table."""
    found = plan_fills(inputs, outputs or {}, parse_features(features), ranges or {})
    made = Encoders(found, outputs or {})
    table = part(learned)
    made.bind(source(learned))
    made.fit([table])
    return made


def encoded(made: Encoders, columns: dict[str, Any], **more: Any) -> Encoded:
    """What the encoders make of a table; those that their JSON restores make the same."""
    again = Encoders(made.plan, made.outputs)
    again.bind(source(columns))
    again.restore(json.loads(json.dumps(made.to_json())))
    first, second = made.encode(part(columns, **more)), again.encode(part(columns, **more))
    for name, array in first.arrays.items():
        same(array, second.arrays[name])
    return first


def same(a: Any, b: Any) -> None:
    if isinstance(a, Ragged):
        same(a.values, b.values)
        same(a.offsets, b.offsets)
    else:
        assert a.dtype == b.dtype and a.tobytes() == b.tobytes() and a.shape == b.shape


def one(
    feature: dict[str, Any], learned: list[Any], given: list[Any] | None = None, tensor: Tensor = FLOATS
) -> Any:
    """The array that one feature of the column `x` makes of values."""
    made = encoders({"x": tensor}, {"x": feature}, {"x": learned})
    return encoded(made, {"x": learned if given is None else given}).arrays["x"]


def rows(ragged: Any) -> list[list[int]]:
    return [ragged.values[a:b].tolist() for a, b in zip(ragged.offsets, ragged.offsets[1:], strict=False)]


def mistake(call: Any, *arguments: Any) -> Any:
    with pytest.raises(SpecError) as caught:
        call(*arguments)
    (diagnostic,) = caught.value.diagnostics
    return diagnostic


# --- numbers


def scikit_learn() -> Any:
    """Its scales; it takes a second to import, which other tests do without."""
    return importlib.import_module("sklearn.preprocessing")


@pytest.mark.parametrize(
    ("scale", "oracle"),
    [("standard", "StandardScaler"), ("min_max", "MinMaxScaler"), ("robust", "RobustScaler")],
)
def test_scales_are_those_of_scikit_learn(scale: str, oracle: str) -> None:
    values = np.random.default_rng(0).normal(3, 5, 200)
    wanted = getattr(scikit_learn(), oracle)().fit_transform(values[:, None])
    found = one({"encode": "number", "scale": scale}, values.tolist())
    assert np.abs(found - wanted).max() < 1e-6


def test_quantiles_are_those_of_scikit_learn() -> None:
    values = np.random.default_rng(0).exponential(3, 300)
    for given_values, most in ((values, 1e-6), (values.round(1), 0.011)):  # its ends have a rule of their own
        wanted = scikit_learn().QuantileTransformer(n_quantiles=300).fit_transform(given_values[:, None])
        found = one({"encode": "number", "transform": "quantile"}, given_values.tolist())
        assert np.abs(found - wanted).max() < most


def test_what_is_missing_is_filled_before_the_scale() -> None:
    given = [1.0, None, 3.0, 8.0]
    assert one({"encode": "number", "fill": "mean"}, given).ravel().tolist() == [1, 4, 3, 8]
    assert one({"encode": "number", "fill": "median"}, given).ravel().tolist() == [1, 3, 3, 8]
    assert one({"encode": "number", "fill": "zero"}, given).ravel().tolist() == [1, 0, 3, 8]
    scaled = one({"encode": "number", "fill": "mean", "scale": "standard"}, given)
    assert np.allclose(
        scaled[:, 0], scikit_learn().StandardScaler().fit_transform([[1], [4], [3], [8]])[:, 0]
    )
    wide = Tensor((BATCH, 2))
    assert one({"encode": "number", "fill": 7.5, "indicator": True}, given, None, wide).tolist() == [
        [1, 0],
        [7.5, 1],
        [3, 0],
        [8, 0],
    ]


def test_rows_of_an_unseen_group_have_the_scale_of_all() -> None:
    feature = {"encode": "number", "scale": {"standard": "shop"}}
    learned = {"x": [1.0, 3.0, 10.0, 30.0], "shop": ["a", "a", "b", "b"]}
    made = encoders({"x": FLOATS}, {"x": feature}, learned)
    array = encoded(made, {"x": [3.0, 30.0, 11.0], "shop": ["a", "b", "c"]}).arrays["x"]
    assert isinstance(array, np.ndarray)
    assert array[:, 0] == pytest.approx([1, 1, 0])
    assert made.counted() == ["x: 1 of 3 rows unseen"]


def test_transforms_apply_to_the_columns_that_are_named() -> None:
    made = encoders(
        {"f": Tensor((BATCH, 2))},
        {"f": {"columns": ["a", "b"], "encode": "number", "transform": {"a": "log1p"}, "clip": 2}},
        {"a": [0.0, 1.0], "b": [9.0, -1.0]},
    )
    found = encoded(made, {"a": [math.e - 1, 100.0], "b": [0.5, 9.0]}).arrays["f"]
    assert isinstance(found, np.ndarray)
    assert found.tolist()[1] == [2, 2] and abs(found[0] - [1, 0.5]).max() < 1e-6


def test_true_and_false_are_one_and_zero_in_every_format() -> None:
    assert one({"encode": "number"}, [True, False]).ravel().tolist() == [1, 0]
    assert one({"encode": "number"}, ["true", "False", "2"]).ravel().tolist() == [1, 0, 2]


def test_a_column_of_one_value_becomes_zero_with_a_warning() -> None:
    made = encoders({"x": FLOATS}, {"x": {"encode": "number", "scale": "standard"}}, {"x": [5.0, 5.0]})
    assert made.notes == ["warning: x: `x` is 5 in every training row, and becomes 0"]
    assert encoded(made, {"x": [5.0, 9.0]}).arrays["x"].tolist() == [[0], [0]]  # type: ignore[union-attr]


NUMBERS: list[tuple[dict[str, Any], list[Any], str, tuple[str, ...]]] = [
    ({}, [1.0, None, None], "data-gap", ("line 3", "and so is 1 more", "fill: mean")),
    ({}, ["1", "NA"], "data-dtype", ('"NA" is not a number', 'na_values: ["", "NA"]', "line 3")),
    ({}, ["1", "1,5"], "data-dtype", ('"1,5"', "decimal")),
    ({}, ["1", "1_0"], "data-dtype", ('"1_0"',)),
    ({}, ["1", "two"], "data-dtype", ('"two"', "category")),
    ({}, [1.0, math.inf], "data-nonfinite", ("line 3", "inf")),
    ({}, ["1", "nan"], "data-nonfinite", ('"nan"', "na_values")),
    ({"fill": "mean"}, [None, None], "data-gap", ("every training row",)),
    ({"transform": "log1p"}, [0.0, -2.0], "data-range", ("line 3", "-2 has no log1p")),
    ({"transform": "log1p"}, [0.0, -1.0], "data-range", ("line 3",)),
    ({"transform": "sqrt"}, [0.0, -0.5], "data-range", ("line 3",)),
    ({}, [[1.0], [2.0]], "data-dtype", ("lists", "tokens")),
    ({}, [dt.date(2024, 1, 1)], "data-dtype", ("dates", "encode: date")),
]


@pytest.mark.parametrize(("more", "values", "code", "words"), NUMBERS)
def test_a_mistake_in_numbers_is_named(
    more: dict[str, Any], values: list[Any], code: str, words: tuple[str, ...]
) -> None:
    kind = pa.float64() if values[0] is None else None
    found = mistake(one, {"encode": "number", **more}, pa.array(values, kind))
    assert found.code == code
    for word in words:
        assert word in f"{found.message} {found.help}", (word, found)


finite = st.floats(-1e12, 1e12, allow_nan=False)


@given(
    st.lists(st.one_of(st.none(), finite), min_size=1, max_size=20),
    st.sampled_from(["none", "standard", "min_max", "robust"]),
    st.sampled_from(["mean", "median", "zero", 3.5]),
    st.booleans(),
)
@example([0.3, 0.3, 0.1 + 0.2, 0.1 + 0.2, 1e12], "robust", "zero", False)
@example([None, None, None, -1.0, -1e-119], "robust", "zero", False)
def test_numbers_are_finite_whatever_they_are(
    values: list[Any], scale: str, fill: Any, indicator: bool
) -> None:
    if all(value is None for value in values):
        return
    feature = {"encode": "number", "scale": scale, "fill": fill, "indicator": indicator}
    found = one(feature, values, None, Tensor((BATCH, 1 + indicator)))
    assert np.isfinite(found).all() and found.shape == (len(values), 1 + indicator)


# --- dates


def test_dates_are_read_and_taken_apart() -> None:
    parts = ["year", "month", "day", "weekday", "day_of_year", "hour", "minute", "second", "timestamp"]
    moments = [dt.datetime(2024, 2, 29, 23, 59, 58), dt.datetime(1969, 12, 31, 1, 2, 3)]
    wanted = [
        [m.year, m.month, m.day, m.weekday(), m.timetuple().tm_yday, m.hour, m.minute, m.second]
        for m in moments
    ]
    feature = {"encode": "date", "parts": parts}
    iso = [m.isoformat() for m in moments]
    for column in (moments, iso, [f"{m} +00:00" for m in moments]):
        found = one(feature, column, None, Tensor((BATCH, 9)))
        assert found[:, :8].tolist() == wanted
        assert found[:, 8].tolist() == [np.float32(m.replace(tzinfo=dt.UTC).timestamp()) for m in moments]
    shifted = one({"encode": "date", "parts": ["hour"]}, ["2024-01-01T00:30:00+02:00"])
    assert shifted.tolist() == [[22]]
    for unit in ("s", "ms", "us", "ns"):
        typed = pa.array(moments, pa.timestamp(unit))
        assert one(feature, typed, None, Tensor((BATCH, 9)))[:, :8].tolist() == wanted
    assert one({"encode": "date", "parts": ["day"]}, [dt.date(2024, 2, 29)]).tolist() == [[29]]


def test_cyclic_parts_go_round() -> None:
    feature = {"encode": "date", "parts": ["hour_sin", "hour_cos", "month_cos"]}
    found = one(feature, ["2024-01-01T06:00", "2024-07-01T18:00"], None, Tensor((BATCH, 3)))
    assert np.allclose(found, [[1, 0, 1], [-1, 0, -1]], atol=1e-6)


@pytest.mark.parametrize(
    ("value", "format", "words"),
    [
        ("01.02.2024", None, ("01.02.2024", "format")),
        ("2024-02-30", None, ("2024-02-30",)),
        ("02/13/2024", "%d/%m/%Y", ("02/13/2024",)),
        ("soon", None, ("soon",)),
    ],
)
def test_a_date_that_cannot_be_read_is_an_error(value: str, format: str | None, words: Any) -> None:
    found = mistake(one, {"encode": "date", "parts": ["day"], "format": format}, ["2024-01-01", value])
    if format is None:
        assert found.code == "data-dtype" and "line 3" in found.message
    for word in words:
        assert found.code == "data-dtype" and (word in f"{found.message} {found.help}" or format)
    if format is not None:
        assert format in found.message and "give its format" not in found.help


def test_a_format_says_which_number_is_the_day() -> None:
    feature = {"encode": "date", "parts": ["day", "month"], "format": "%d.%m.%Y", "fill": "zero"}
    assert one(feature, ["03.02.2024", None], None, Tensor((BATCH, 2))).tolist() == [[3, 2], [0, 0]]


# --- categories


def test_ids_are_by_frequency_then_text_and_zero_is_unseen() -> None:
    feature = {"encode": "category"}
    learned = ["b", "a", "c", "c", "a", "d"]
    assert one(feature, learned, ["a", "c", "b", "d", "new"], IDS).ravel().tolist() == [1, 2, 3, 4, 0]
    assert one({**feature, "vocabulary": 3}, learned, ["a", "c", "b"], IDS).ravel().tolist() == [1, 2, 0]
    assert one({**feature, "min_count": 2}, learned, ["a", "b"], IDS).ravel().tolist() == [1, 0]
    assert one(
        {**feature, "values": ["b", 17, True]}, learned, ["17", "a", "b", "true"], IDS
    ).ravel().tolist() == [
        2,
        0,
        1,
        3,
    ]


def test_columns_have_ranges_one_behind_the_other() -> None:
    made = encoders(
        {"k": Tensor((BATCH, 2), "int64")},
        {"k": {"columns": ["a", "b"], "encode": "category", "vocabulary": [16, 8]}},
        {"a": ["x", "y"], "b": ["x", "x"]},
    )
    assert encoded(made, {"a": ["y", "new"], "b": ["x", "new"]}).arrays["k"].tolist() == [[2, 17], [0, 16]]  # type: ignore[union-attr]


def test_one_value_has_one_text_in_every_format() -> None:
    feature = {"encode": "category"}
    for learned in ([17, 4], ["17", "4"], [17.0, 4.0], pa.array([17, 4], pa.int8())):
        assert one(feature, learned, ["4", "17"], IDS).ravel().tolist() == [2, 1]
        assert one(feature, learned, pa.array([4.0, 17.0]), IDS).ravel().tolist() == [2, 1]
    assert one(feature, ["0742", "742"], ["742", "0742"], IDS).ravel().tolist() == [2, 1]


@pytest.mark.parametrize(
    "learned", [[True, False, True], ["True", "False", "True"], ["TRUE", "FALSE", "TRUE"]]
)
def test_true_has_one_id_however_it_is_written(learned: list[Any]) -> None:
    """pandas writes `True` into CSV, Parquet and JSON have booleans, spreadsheets `TRUE`."""
    feature = {"encode": "category"}
    assert one(feature, learned, pa.array([True, False]), IDS).ravel().tolist() == [1, 2]
    assert one(feature, learned, ["True", "false", "TRUE", "yes"], IDS).ravel().tolist() == [1, 2, 1, 0]


def test_true_has_two_ids_where_training_rows_write_it_in_two_ways() -> None:
    feature = {"encode": "category"}
    assert one(feature, ["true", "True", "True"], ["true", "TRUE", "True"], IDS).ravel().tolist() == [2, 0, 1]
    assert one(feature, ["True", "maybe"], ["true", "True"], IDS).ravel().tolist() == [0, 1]


def test_a_column_of_0_and_1_alone_is_no_measure() -> None:
    """A run remembers it: `true` in a request is one of its numbers, and of no other column's."""
    feature = {"columns": ["a", "b", "c"], "encode": "number", "fill": "zero"}
    rows = {"a": [0, 1, 1], "b": [0.5, 1, 0], "c": [None, True, False]}
    made = encoders({"k": Tensor((BATCH, 3))}, {"k": feature}, rows)
    encoder = made.encoders["k"]
    assert isinstance(encoder, NumberEncoder) and encoder.measured == ("b",)
    encoder.restore({**encoder.state(), "measured": ["a"]})
    assert encoder.measured == ("a",)


@pytest.mark.parametrize(("value", "other"), [("Oslo", "oslo "), ("Malm\u00f6", "Malmo\u0308")])
def test_values_that_look_alike_are_warned_of(value: str, other: str) -> None:
    made = encoders({"x": IDS}, {"x": {"encode": "category"}}, {"x": [value, other, value, "Bergen"]})
    assert made.notes == [
        "x: 3 values",
        f'warning: x: values differ only by spaces, case or how accents are encoded: "{value}" and "{other}"',
    ]


def test_unseen_values_are_counted() -> None:
    made = encoders({"x": IDS}, {"x": {"encode": "category", "min_count": 2}}, {"x": ["a", "a", "b"]})
    labels = {"training": np.array([True, False, False]), "validation": np.array([False, True, True])}
    made.encode(part({"x": ["a", "c", "b"]}), labels)
    assert made.notes == ["x: 2 values, 1 of them rare; validation: 2 of 2 rows unseen"]


@pytest.mark.parametrize(
    ("values", "cells", "ids"),
    [
        (["0.0", "4", "-1.0", "2.5"], ["0", "4.0", "-1", "2.5", "2", "0.00"], [1, 2, 3, 4, 0, 0]),
        (["1", "1.0"], ["1.0", "1"], [2, 1]),
        (["1.0", "none"], ["1", None], [1, 2]),  # `none` is what fills
        (["1.0", "1.0b"], ["1.0", "1"], [1, 0]),  # versions, as not all are numbers
    ],
)
def test_whole_numbers_are_one_value_with_and_without_a_point(
    values: list[str], cells: list[str | None], ids: list[int]
) -> None:
    feature = {"encode": "category", "values": values, "fill": "none"}
    made = encoders({"x": IDS}, {"x": feature}, {"x": values})
    found: Any = made.encode(part({"x": cells})).arrays["x"]
    assert found.ravel().tolist() == ids


def test_counts_of_several_columns_are_not_those_of_the_last() -> None:
    feature = {"encode": "category", "columns": ["a", "b"], "vocabulary": [4, 4]}
    made = encoders({"k": Tensor((BATCH, 2), "int64")}, {"k": feature}, {"a": ["x"], "b": ["y"]})
    made.encode(part({"a": ["new"], "b": ["y"]}))
    assert made.notes[-1] == "k: 1 of 1 rows unseen" == made.counted()[0]
    assert [note.partition(":")[0] for note in made.notes] == ["a", "b", "k"]


CLASSES = Tensor((BATCH, 3))


def target(feature: dict[str, Any], values: list[Any], loss: str, tensor: Tensor, **judged: Any) -> Encoded:
    made = encoders({}, {"y": feature}, {"y": values}, {"y": output(tensor, loss, **judged)})
    return encoded(made, {"y": values})


def test_targets_have_ids_from_zero_sorted_by_text() -> None:
    sparse = "sparse_categorical_crossentropy"
    found = target({"encode": "category"}, ["oak", "ash", "elm", "ash"], sparse, CLASSES).arrays["y"]
    assert found.tolist() == [2, 0, 1, 0] and found.dtype == np.int64  # type: ignore[union-attr]
    given = {"encode": "category", "values": ["oak", "elm", "ash"]}
    assert target(given, ["oak", "ash"], sparse, CLASSES).arrays["y"].tolist() == [0, 2]  # type: ignore[union-attr]
    two = target({"encode": "category"}, ["yes", "no"], "binary_crossentropy", FLOATS).arrays["y"]
    assert two.tolist() == [[1], [0]] and two.dtype == np.float32  # type: ignore[union-attr]


def test_as_many_units_as_values() -> None:
    found = mistake(target, {"encode": "category"}, ["a", "b"], "sparse_categorical_crossentropy", CLASSES)
    assert found.code == "data-range" and "3 classes" in found.message and "2 values" in found.message
    assert found.notes == ('values: "a", "b"',) and "units: 2" in found.help


def test_a_target_without_an_id_is_an_error() -> None:
    made = encoders(
        {},
        {"y": {"encode": "category"}},
        {"y": ["a", "b"]},
        {"y": output(Tensor((BATCH, 2)), "sparse_categorical_crossentropy")},
    )
    found = mistake(made.encode, part({"y": ["a", "B"]}))
    assert found.code == "data-range" and "line 3" in found.message and "spaces, case" in found.help


def test_too_many_ids_for_the_reader_are_an_error_with_their_number() -> None:
    found = mistake(encoders, {"x": IDS}, {"x": {"encode": "category"}}, {"x": ["a", "b", "c"]}, {}, {"x": 3})
    assert found.code == "data-range" and "input_dim: 4" in found.help


def test_a_hash_needs_no_vocabulary() -> None:
    feature = {"columns": ["a", "b"], "encode": "hash", "bins": 10}
    made = encoders({"x": Tensor((BATCH, 2), "int64")}, {"x": feature}, {"a": ["u"], "b": ["u"]})
    found = encoded(made, {"a": ["u", "v", "7"], "b": ["u", "v", "w"]}).arrays["x"]
    assert isinstance(found, np.ndarray) and (found[:2, 1] == found[:2, 0] + 10).all()
    assert encoded(made, {"a": [7], "b": ["u"]}).arrays["x"][0, 0] == found[2, 0]  # type: ignore[index]
    assert found[:, 0].tolist() == [4, 7, 0]  # on every machine


def test_missing_categories_are_filled_with_a_text() -> None:
    feature = {"encode": "category", "fill": "missing"}
    assert one(feature, ["a", None, "missing"], None, IDS).ravel().tolist() == [2, 1, 1]
    found = mistake(one, {"encode": "category"}, ["a", None], None, IDS)
    assert found.code == "data-gap" and "fill: missing" in found.help


# --- sets


def test_sets_are_zeros_and_ones() -> None:
    wide = Tensor((BATCH, 3))
    feature = {"encode": "set", "vocabulary": 3, "separator": ", "}
    learned = ["b, a", "a", "c, c", "a, d"]  # a, c, then b before d
    assert one(feature, learned, ["b, a", "c, d", "", "a, a"], wide).tolist() == [
        [1, 0, 1],
        [0, 1, 0],
        [0, 0, 0],
        [1, 0, 0],
    ]
    listed = {"encode": "set", "values": ["a", "b", "c"]}
    assert one(listed, [["b", "a"], [], ["c"]], None, wide).tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
    found = mistake(one, listed, ["b, a"], None, wide)
    assert found.code == "data-dtype" and "separator" in found.help
    assert mistake(one, listed, [["a"], None], None, wide).code == "data-gap"
    filled = one({**listed, "fill": ""}, [["a"], None], None, wide)
    assert filled.tolist() == [[1, 0, 0], [0, 0, 0]]


def test_a_target_of_no_value_is_an_empty_set() -> None:
    wide = Tensor((BATCH, 2))
    judged = {"y": output(wide, "binary_crossentropy")}
    feature = {"encode": "set", "values": ["a", "b"]}
    made = encoders({}, {"y": {**feature, "fill": ""}}, {"y": [["a"], None]}, judged)
    found = encoded(made, {"y": [None, ["b"]]}).arrays["y"]
    assert isinstance(found, np.ndarray) and found.tolist() == [[0, 0], [0, 1]]
    gap = mistake(encoded, encoders({}, {"y": feature}, {"y": [["a"]]}, judged), {"y": [None]})
    assert gap.code == "data-gap" and 'fill: ""' in gap.help and "missing: ignore" in gap.help


# --- lists and text


def test_tokens_are_by_frequency_from_two() -> None:
    found = one({"encode": "tokens"}, [["b", "a", "a"], ["c"]], [["a", "x", "c"], ["b"]], LIST)
    assert rows(found) == [[2, 1, 4], [3]]
    fixed = Tensor((BATCH, 2), "int64")
    assert one({"encode": "tokens"}, [[5, 5, 6], [6]], None, fixed).tolist() == [[2, 2], [3, 0]]
    start = one({"encode": "tokens", "length": 2, "cut": "start"}, [[5, 5, 6], [6]], None, fixed)
    assert start.tolist() == [[2, 3], [3, 0]]
    assert rows(one({"encode": "tokens", "length": 2}, [[5, 5, 6], [6]], None, LIST)) == [[2, 2], [3]]


def test_an_empty_list_is_an_error_or_filled() -> None:
    found = mistake(one, {"encode": "tokens"}, [["a"], []], None, LIST)
    assert found.code == "data-gap" and "line 3" in found.message
    assert rows(one({"encode": "tokens", "fill": "a"}, [["a"], [], None], None, LIST)) == [[2], [2], [2]]
    assert mistake(one, {"encode": "tokens"}, ["a b"], None, LIST).code == "data-dtype"


def test_a_text_becomes_lower_case_words_and_punctuation() -> None:
    feature = {"encode": "text"}
    learned = ["The cat, the cat.", "A DOG"]
    assert rows(one(feature, learned, ["the dog?"], LIST)) == [[3, 7, 1]]  # cat the , . a dog
    assert rows(one({**feature, "vocabulary": 4}, learned, ["cat the a"], LIST)) == [[2, 3, 1]]
    white = {**feature, "tokenizer": "whitespace"}
    assert rows(one(white, ["a, a, b", "b b"], ["a, a"], LIST)) == [[3, 1]]
    char = {**feature, "tokenizer": "char"}
    assert rows(one(char, ["aab\n"], ["b\nA?"], LIST)) == [[4, 3, 2, 1]]


def test_a_text_may_hold_the_names_of_special_tokens() -> None:
    found = one({"encode": "text"}, ["[PAD] a"], ["[PAD] [UNK]"], LIST)
    assert 0 not in rows(found)[0]


def test_numbers_in_a_column_of_text_are_their_shortest_text() -> None:
    feature = {"encode": "text", "tokenizer": "whitespace"}
    assert rows(one(feature, ["300", "x"], pa.array([300.0]), LIST)) == [[2]]


def test_bpe_is_the_same_every_time() -> None:
    texts = [f"low lower lowest new newer newest wide wider {i % 7}" for i in range(60)]
    feature = {"encode": "text", "tokenizer": "bpe", "vocabulary": 40}
    first = one(feature, texts, ["lowest newish"], LIST)
    assert rows(first) == rows(one(feature, texts, ["lowest newish"], LIST))
    assert first.values.max() < 40


@given(st.lists(st.lists(st.text(max_size=5), min_size=1, max_size=6), min_size=1, max_size=10))
def test_tokens_of_training_rows_are_told_apart(lists: list[list[str]]) -> None:
    found = one({"encode": "tokens"}, lists, None, LIST)
    ids: dict[str, int] = {}
    for texts, numbers in zip(lists, rows(found), strict=True):
        assert len(texts) == len(numbers)
        for text, number in zip(texts, numbers, strict=True):
            assert number >= 2 and ids.setdefault(text, number) == number
    assert len(set(ids.values())) == len(ids)


def test_columns_of_one_size_agree_row_by_row() -> None:
    made = encoders(
        {"a": LIST, "b": LIST},
        {"a": {"encode": "tokens"}, "b": {"encode": "tokens"}},
        {"a": [["x"], ["x"]], "b": [["y"], ["y"]]},
    )
    found = mistake(made.encode, part({"a": [["x"], ["x", "x"]], "b": [["y"], ["y"]]}))
    assert found.code == "data-shape" and "line 3" in found.message
    assert "1 elements" in found.message and "`a` 2" in found.message


# --- targets that are missing, and weights


def test_a_missing_target_is_an_error_unless_it_is_ignored() -> None:
    given = [1.0, None, 3.0]
    found = mistake(target, {"encode": "number"}, given, "mse", FLOATS)
    assert found.code == "data-gap" and "missing: ignore" in found.help
    ignored = target({"encode": "number"}, given, "mse", FLOATS, missing="ignore")
    assert ignored.masks["y"].tolist() == [True, False, True]
    assert np.isfinite(ignored.arrays["y"]).all()  # type: ignore[arg-type]
    sparse = "sparse_categorical_crossentropy"
    classes = target({"encode": "category"}, ["a", None, "b", "c"], sparse, CLASSES, missing="ignore")
    assert classes.masks["y"].tolist() == [True, False, True, True]


def test_steps_of_a_missing_target_do_not_count() -> None:
    """Of rows that are padded to the length of the field, those without a target count nowhere."""
    outputs = {"y": output(Tensor((BATCH, 4, 3)), "sparse_categorical_crossentropy", missing="ignore")}
    columns = {"x": ["a", "b", "c"], "y": [["u"], None, ["v", "w"]]}
    features = {"x": {"encode": "category"}, "y": {"encode": "category"}}
    made = encoders({"x": IDS}, features, columns, outputs)
    assert encoded(made, columns).masks["y"].tolist() == [[1, 0, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0]]


def test_weights_are_those_of_scikit_learn() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    values = ["a"] * 6 + ["b"] * 3 + ["c"]
    sparse = "sparse_categorical_crossentropy"
    found = target({"encode": "category"}, values, sparse, CLASSES, class_weight="balanced")
    wanted = dict(
        zip("abc", compute_class_weight("balanced", classes=np.array(list("abc")), y=values), strict=True)
    )
    assert np.allclose(found.weights["y"], [wanted[v] for v in values])


def weighted(columns: dict[str, Any], **judged: Any) -> Encoded:
    made = encoders(
        {},
        {"y": {"encode": "category"}},
        columns,
        {"y": output(CLASSES, "sparse_categorical_crossentropy", **judged)},
    )
    return encoded(made, columns)


def test_weights_of_rows_and_classes_multiply() -> None:
    columns = {"y": ["a", "b", "c"], "w": [1.0, 2.0, 3.0]}
    found = weighted(columns, sample_weight="w", class_weight={"a": 2.0, "b": 0.5})
    assert found.weights["y"].tolist() == [2, 1, 3]


@pytest.mark.parametrize(
    ("weights", "judged", "words"),
    [
        ([1.0, -1.0, 1.0], {"sample_weight": "w"}, "negative"),
        ([1.0, None, 1.0], {"sample_weight": "w"}, "missing"),
        ([0.0, 0.0, 0.0], {"sample_weight": "w"}, "all 0"),
        ([1.0, 1.0, 1.0], {"class_weight": {"A": 1.0}}, "no training row has"),
        ([1.0, 1.0, 1.0], {"class_weight": {"a": 0.0, "b": 0.0, "c": 0.0}}, "are 0"),
    ],
)
def test_a_mistake_in_weights_is_named(weights: list[Any], judged: dict[str, Any], words: str) -> None:
    found = mistake(lambda: weighted({"y": ["a", "b", "c"], "w": weights}, **judged))
    assert found.code == "data-range" and words in found.message


# --- the way back


def decoded(made: Encoders, values: dict[str, Any], **more: Any) -> dict[str, list[Any]]:
    return made.decode({name: np.array(v, np.float32) for name, v in values.items()}, **more).to_pydict()


def test_classes_come_back_by_name_with_their_probabilities() -> None:
    sparse = "sparse_categorical_crossentropy"
    made = encoders(
        {}, {"y": {"encode": "category"}}, {"y": ["oak", "ash", "elm"]}, {"y": output(CLASSES, sparse)}
    )
    found = decoded(made, {"y": [[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]]})
    assert list(found) == ["y", "y.ash", "y.elm", "y.oak"] and found["y"] == ["elm", "oak"]
    assert np.allclose(found["y.oak"], [0.3, 0.8])
    assert list(decoded(made, {"y": [[0.2, 0.5, 0.3]]}, probabilities=False)) == ["y"]
    logits = {"name": sparse, "from_logits": True}
    made.outputs["y"].loss = parse_loss(logits)
    found = decoded(made, {"y": [[0.0, 1.0, 0.0]]})
    assert np.allclose(found["y.elm"], math.e / (math.e + 2))
    plain = encoders({}, {}, {"y": [0, 2]}, {"y": output(CLASSES, sparse)})
    assert decoded(plain, {"y": [[0.0, 0.0, 1.0]]})["y"] == [2]


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([3, 1, 20], 20),
        (["3", "1", "20"], 20),
        (["-1", "0", "1"], 0),
        (["03", "1", "20"], "1"),
        (["3", "1", "1.5"], "1.5"),
    ],
)
def test_classes_that_are_whole_numbers_come_back_as_numbers(values: list[Any], found: Any) -> None:
    judged = output(CLASSES, "sparse_categorical_crossentropy")
    made = encoders({}, {"y": {"encode": "category"}}, {"y": values}, {"y": judged})
    assert decoded(made, {"y": [[0.2, 0.5, 0.3]]})["y"] == [found]


@pytest.mark.parametrize(
    ("feature", "values"),
    [
        ({"scale": "standard"}, [1.0, 5.0, 9.0, 2.0]),
        ({"scale": "min_max", "transform": "log1p"}, [0.0, 5.0, 90.0, 2.0]),
        ({"scale": "robust", "transform": "sqrt"}, [0.0, 4.0, 9.0, 2.0]),
        ({"transform": "quantile"}, [0.0, 4.0, 9.0, 2.0]),
        ({"scale": "standard"}, [7.0, 7.0]),
    ],
)
def test_scaled_targets_come_back_in_their_own_unit(feature: dict[str, Any], values: list[float]) -> None:
    made = encoders({}, {"y": {"encode": "number", **feature}}, {"y": values}, {"y": output(FLOATS)})
    found = encoded(made, {"y": values}).arrays["y"]
    assert np.allclose(decoded(made, {"y": found})["y"], values, atol=1e-4)
    assert isinstance(found, np.ndarray)
    assert np.allclose(made.units()["y"](torch.from_numpy(found)), np.array(values)[:, None], atol=1e-4)


def test_a_target_without_a_scale_has_no_unit() -> None:
    made = encoders({}, {"y": {"encode": "number"}}, {"y": [1.0, 2.0]}, {"y": output(FLOATS)})
    assert made.units() == {}


@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=20),
    st.sampled_from(["standard", "min_max"]),
)
def test_numbers_come_back(values: list[float], scale: str) -> None:
    made = encoders({}, {"y": {"encode": "number", "scale": scale}}, {"y": values}, {"y": output(FLOATS)})
    found = encoded(made, {"y": values}).arrays["y"]
    assert np.allclose(decoded(made, {"y": found})["y"], values, atol=1e-5 * np.abs(values).max() + 1e-9)


def test_sets_come_back_as_names() -> None:
    wide = Tensor((BATCH, 3))
    feature = {"encode": "set", "values": ["a", "b", "c"]}
    cases: list[tuple[dict[str, Any], list[str]]] = [({}, ["a", "b"]), ({"threshold": 0.6}, ["b"])]
    for said, names in cases:
        judged = output(wide, "binary_crossentropy", **said)
        made = encoders({}, {"y": feature}, {"y": [["a"]]}, {"y": judged})
        found = decoded(made, {"y": [[0.5, 0.9, 0.1], [0, 0, 0]]})
        assert list(found) == ["y", "y.a", "y.b", "y.c"] and found["y"] == [names, []]
        assert np.allclose(found["y.b"], [0.9, 0])


def test_a_sequence_comes_back_with_the_length_of_its_row() -> None:
    steps = Tensor((BATCH, LENGTH, 2))
    judged = output(steps, "sparse_categorical_crossentropy")
    made = encoders(
        {"x": LIST},
        {"x": {"encode": "tokens"}, "y": {"encode": "category"}},
        {"x": [["a", "b"], ["a"]], "y": [["n", "v"], ["n"]]},
        {"y": judged},
    )
    sizes = encoded(made, {"x": [["a", "b"], ["a"]], "y": [["n", "v"], ["n"]]}).sizes
    values = [[[0.9, 0.1], [0.2, 0.8]], [[0.1, 0.9], [1, 0]]]
    assert decoded(made, {"y": values}, sizes=sizes)["y"] == [["n", "v"], ["v"]]
    numbers = encoders(
        {"x": LIST},
        {"x": {"encode": "tokens"}},
        {"x": [["a", "b"], ["a"]], "y": [[1, 2], [3]]},
        {"y": output(Tensor((BATCH, LENGTH, 1)))},
    )
    assert decoded(numbers, {"y": [[[1], [2]], [[3], [0]]]}, sizes=sizes)["y"] == [[1, 2], [3]]


def test_probabilities_and_numbers_come_back_as_they_are() -> None:
    made = encoders(
        {}, {"y": {"encode": "category"}}, {"y": ["no", "yes"]}, {"y": output(FLOATS, "binary_crossentropy")}
    )
    assert decoded(made, {"y": [[0.25]]}) == {"y": [0.25]}
    wide = encoders({}, {}, {"y_0": [1.0], "y_1": [2.0]}, {"y": output(Tensor((BATCH, 2)))})
    assert decoded(wide, {"y": [[1, 2]]}) == {"y": [[1, 2]]}
    several = encoders(
        {},
        {"y": {"columns": ["a", "b"], "encode": "number", "scale": "min_max"}},
        {"a": [0.0, 10.0], "b": [5.0, 7.0]},
        {"y": output(Tensor((BATCH, 2)))},
    )
    assert decoded(several, {"y": [[0.5, 0.5]]}) == {"y.a": [5], "y.b": [6]}


# --- from files


SPEC = """
inputs:
  facts: {shape: [4]}
  kinds: {shape: [2], dtype: int64}
  words: {shape: [length], dtype: int64}
nodes:
  vectors: {layer: Embedding, from: kinds, input_dim: $(vocabulary(kinds)), output_dim: 4}
  flat:    {layer: Flatten}
  codes:   {layer: Embedding, from: words, input_dim: $(vocabulary(words)), output_dim: 4, mask_zero: true}
  mean:    {layer: GlobalAveragePooling1D}
  all:     {merge: concatenate, from: [facts, flat, mean]}
  species: {layer: Dense, units: 3, activation: softmax}
  mass:    {layer: Dense, from: all, units: 1}
outputs:
  species: {loss: sparse_categorical_crossentropy, class_weight: balanced, metrics: [accuracy]}
  mass:    {loss: mse, missing: ignore}
data:
  train: FILE
  features:
    facts:   {columns: [amount, tries], encode: number, fill: median, indicator: true, scale: standard}
    kinds:   {columns: [region, plan], encode: category, vocabulary: [16, 8], fill: missing}
    words:   {column: text, encode: text, vocabulary: 30}
    species: {encode: category, values: [a, b, c]}
    mass:    {column: weight_g, encode: number, scale: standard}
"""


def rows_of_a_table(count: int) -> dict[str, Any]:
    drawn = np.random.default_rng(0)

    def with_gaps(values: list[Any]) -> list[Any]:
        return [None if gap else value for value, gap in zip(values, drawn.random(count) < 0.1, strict=True)]

    words = ["red", "blue", "Red!", "sea"]
    return {
        "amount": with_gaps(drawn.normal(size=count).round(3).tolist()),
        "tries": drawn.integers(0, 5, count).tolist(),
        "region": with_gaps(drawn.choice(list("news"), count).tolist()),
        "plan": drawn.choice(["free", "pro"], count).tolist(),
        "text": [" ".join(drawn.choice(words, drawn.integers(1, 6))) for _ in range(count)],
        "species": drawn.choice(list("abc"), count).tolist(),
        "weight_g": with_gaps(drawn.normal(3000, 500, count).tolist()),
    }


def test_equal_rows_are_equal_bits_from_every_format(tmp_path: Path) -> None:
    columns = rows_of_a_table(60)
    table = pa.table(columns)
    pa.csv.write_csv(table, tmp_path / "t.csv")
    pa.parquet.write_table(table, tmp_path / "t.parquet")
    lines = [json.dumps(row) for row in table.to_pylist()]
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    found = {}
    for name in ("t.csv", "t.jsonl", "t.parquet"):
        program = compile(SPEC.replace("FILE", name))
        data = load(program, tmp_path / name, tmp_path, CPU)
        batches = list(data.training.batches(7, Shuffle(3, 0)))
        found[name] = (data.fingerprint, data.encoders and data.encoders.to_json(), batches, data.notes)
    first = found.pop("t.csv")
    for other in found.values():
        assert other[0] == first[0] and other[1] == first[1] and other[3] == first[3]
        for a, b in zip(first[2], other[2], strict=True):
            assert all(torch.equal(a.arrays[name], b.arrays[name]) for name in a.arrays)
            assert torch.equal(a.weights["species"], b.weights["species"])
            assert torch.equal(a.masks["mass"], b.masks["mass"])


def test_a_batch_is_padded_to_its_longest_row_alone(tmp_path: Path) -> None:
    columns = rows_of_a_table(40)
    pa.parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    program = compile(SPEC.replace("FILE", "t.parquet"))
    training = load(program, tmp_path / "t.parquet", tmp_path, CPU).training
    whole = next(training.batches(40)).arrays["words"]
    lengths = (whole != 0).sum(1)
    assert whole.shape[1] == lengths.max() and lengths.min() < lengths.max()
    for size in (1, 3, 16):
        for start, batch in zip(range(0, 40, size), training.batches(size), strict=True):
            words = batch.arrays["words"]
            wanted = whole[start : start + size]
            assert words.shape[1] == lengths[start : start + size].max()
            assert torch.equal(words, wanted[:, : words.shape[1]])
            assert not wanted[:, words.shape[1] :].any()


def test_encoders_learn_from_training_rows_alone(tmp_path: Path) -> None:
    text = SPEC.replace("train: FILE", "train: t.parquet\n  validation: {column: part}")
    columns = rows_of_a_table(40) | {"part": ["train"] * 30 + ["validation"] * 10}
    columns["amount"][35] = 1e9
    columns["region"][36] = "elsewhere"
    pa.parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    program = compile(text)
    data = load(program, tmp_path / "t.parquet", tmp_path, CPU)
    assert data.validation is not None and len(data.training) == 30
    validation = next(data.validation.batches(10))
    assert validation.arrays["facts"][5, 0] > 1e6 and validation.arrays["kinds"][6, 0] == 0
    assert any("validation: 1 of 10 rows unseen" in note for note in data.notes)


def test_padded_targets_do_not_count(tmp_path: Path) -> None:
    spec = """
inputs:
  words: {shape: [length], dtype: int64}
nodes:
  vectors: {layer: Embedding, input_dim: 10, output_dim: 4}
  tags:    {layer: Dense, units: 2, activation: softmax}
outputs:
  tags: {loss: sparse_categorical_crossentropy}
data:
  train: t.jsonl
  features:
    words: {encode: tokens, vocabulary: 10}
    tags:  {encode: category}
"""
    lines = [{"words": ["a", "b"], "tags": ["n", "v"]}, {"words": ["a"], "tags": ["n"]}]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, lines)))
    training = load(compile(spec), tmp_path / "t.jsonl", tmp_path, CPU).training
    batch = next(training.batches(2))
    assert batch.arrays["tags"].tolist() == [[0, 1], [0, 0]]
    assert batch.masks["tags"].tolist() == [[True, True], [True, False]]
    lines[1]["tags"] = ["n", "n"]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found = mistake(load, compile(spec), tmp_path / "t.jsonl", tmp_path, CPU)
    assert found.code == "data-shape" and "line 2" in found.message


def test_windows_that_need_more_get_more_padding(tmp_path: Path) -> None:
    spec = """
inputs:
  x: {shape: [length, 2]}
nodes:
  conv: {layer: Conv1D, filters: 3, kernel_size: 5}
  pool: {layer: GlobalMaxPooling1D}
outputs:
  pool: {loss: mse}
data: {train: t.jsonl}
"""
    lines = [{"x": [[1, 2], [3, 4]], "pool_0": 1, "pool_1": 1, "pool_2": 0}]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, lines)))
    batch = next(load(compile(spec), tmp_path / "t.jsonl", tmp_path, CPU).training.batches(2))
    assert batch.arrays["x"].tolist() == [[[1, 2], [3, 4], [0, 0], [0, 0], [0, 0]]]


def test_a_step_of_one_number_is_a_number_or_a_list_of_one(tmp_path: Path) -> None:
    spec = """
inputs: {x: {shape: [length, 1]}}
nodes: {y: {layer: Dense, units: 1}}
outputs: {y: {loss: mse}}
data: {train: t.jsonl}
"""
    lines = [{"x": [1, 2], "y": [[3], [4]]}, {"x": [5], "y": [[6]]}]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, lines)))
    batch = next(load(compile(spec), tmp_path / "t.jsonl", tmp_path, CPU).training.batches(2))
    assert batch.arrays["x"].tolist() == [[[1], [2]], [[5], [0]]]
    assert batch.arrays["y"].tolist() == [[[3], [4]], [[6], [0]]]
    (tmp_path / "t.jsonl").write_text(json.dumps({"x": [[1, 2]], "y": [[3]]}))
    assert mistake(load, compile(spec), tmp_path / "t.jsonl", tmp_path, CPU).code == "data-shape"


def test_arrays_may_be_columns_of_features(tmp_path: Path) -> None:
    spec = """
inputs: {x: {shape: [1]}}
nodes: {y: {layer: Dense, units: 2, activation: softmax}}
outputs: {y: {loss: sparse_categorical_crossentropy}}
data: {train: t.npz, features: {x: {encode: number, scale: min_max}, y: {encode: category}}}
"""
    np.savez(tmp_path / "t.npz", x=np.array([2, 4, 6]), y=np.array(["no", "yes", "no"]))
    training = load(compile(spec), tmp_path / "t.npz", tmp_path, CPU).training
    assert isinstance(training, InMemory)
    assert training.arrays["x"].tolist() == [[0], [0.5], [1]] and training.arrays["y"].tolist() == [0, 1, 0]


def test_damaged_encoders_are_refused() -> None:
    made = encoders({"x": FLOATS}, {"x": {"encode": "number"}}, {"x": [1.0]})
    for state in ({}, {"version": 1}, {"version": 1, "fields": {"x": {}}}, {"version": 9, "fields": {}}):
        assert mistake(made.restore, state).code == "data-format"


def test_metrics_are_in_the_unit_of_the_column_and_the_loss_is_not(tmp_path: Path) -> None:
    from graphspec.train.loop import train

    values = np.random.default_rng(0).normal(4000, 800, 64)
    pa.parquet.write_table(pa.table({"x": values / 1000, "y": values}), tmp_path / "t.parquet")
    spec = """
inputs: {x: {shape: [1]}}
nodes: {y: {layer: Dense, units: 1, kernel_initializer: zeros}}
outputs: {y: {loss: mse, metrics: [mae]}}
data: {train: t.parquet, features: {y: {encode: number, scale: standard}}}
train: {optimizer: {name: sgd, learning_rate: 1e-9}, batch_size: 16}
"""
    (tmp_path / "s.yaml").write_text(spec)
    said: list[str] = []
    result = train(compile(tmp_path / "s.yaml"), root=tmp_path, run_dir=tmp_path / "run", tell=said.append)
    assert result.metrics["loss"] == pytest.approx(1, abs=1e-3)
    assert result.metrics["mae"] == pytest.approx(np.abs(values - values.mean()).mean(), rel=1e-3)
    kept = json.loads((tmp_path / "run" / "encoders.json").read_text())
    assert kept["fields"]["y"]["curves"][0]["shift"] == pytest.approx(values.mean())


def test_a_bucket_brings_rows_of_about_one_length_together(tmp_path: Path) -> None:
    pa.parquet.write_table(pa.table(rows_of_a_table(200)), tmp_path / "t.parquet")
    text = SPEC.replace("FILE", "t.parquet") + "train: {bucket: length}\n"
    training = load(compile(text), tmp_path / "t.parquet", tmp_path, CPU).training
    plain = load(compile(SPEC.replace("FILE", "t.parquet")), tmp_path / "t.parquet", tmp_path, CPU).training

    def batches(examples: Any, epoch: int, start: int = 0) -> list[torch.Tensor]:
        return [b.arrays["words"] for b in examples.batches(16, Shuffle(1, epoch), start)]

    found = batches(training, 0)
    assert [len(batch) for batch in found] == [16] * 12 + [8]
    assert sum(batch.numel() for batch in found) < sum(batch.numel() for batch in batches(plain, 0))
    assert all(torch.equal(a, b) for a, b in zip(found, batches(training, 0), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(found[5:], batches(training, 0, 80), strict=True))
    widths = [batch.shape[1] for batch in found[:12]]
    assert widths != sorted(widths) and widths != [b.shape[1] for b in batches(training, 1)[:12]]
    rows = sorted(tuple(row[row != 0].tolist()) for batch in found for row in batch)
    assert rows == sorted(tuple(row[row != 0].tolist()) for batch in batches(plain, 0) for row in batch)
    wrong = compile(SPEC.replace("FILE", "t.parquet") + "train: {bucket: lenght}\n")
    assert mistake(load, wrong, tmp_path / "t.parquet", tmp_path, CPU).help == "did you mean `length`?"


def test_the_schema_takes_what_the_language_takes() -> None:
    from graphspec.reference.json_schema import json_schema

    data = json_schema()["properties"]["data"]["anyOf"][1]["properties"]
    assert {"type": "string"} in data["train"]["anyOf"] and "features" in data
    rules = json_schema()["$defs"]["feature"]["then"]["allOf"]
    date = next(each for each in rules if each["if"] == {"properties": {"encode": {"const": "date"}}})
    assert date["then"]["required"] == ["parts"]


def test_a_tokenizer_of_pieces_takes_the_same_of_equally_frequent_letters() -> None:
    source = np.random.default_rng(0)
    texts = ["".join(source.permutation(list("abcdefghijklmnopqrstuvwxyz"))) for _ in range(40)]
    feature = parse_features({"w": {"encode": "text", "vocabulary": 30, "tokenizer": "bpe"}})["w"]
    assert isinstance(feature, TextFeature)
    states = {trained(feature, [texts]).to_str() for _ in range(5)}
    assert len(states) == 1 and set("abcdefghijklmno") <= set(trained(feature, [texts]).get_vocab())


@pytest.mark.parametrize("power", [-1030, -600, 0, 600, 1020])
def test_huge_and_tiny_numbers_have_a_deviation(power: int) -> None:
    """Their squares are infinite, or 0: a column would become 0 in silence. Python computes in fractions."""
    values = np.array([math.ldexp(number, power) for number in (-3.5, 1.25, 2.0, 7.75)])
    with np.errstate(all="raise"):
        found = scaling(values, "standard")
    assert found == pytest.approx((statistics.fmean(values), statistics.pstdev(values)), rel=1e-12)


def test_two_values_are_the_targets_of_a_probability_without_an_axis(tmp_path: Path) -> None:
    """As of a sum over factors, [batch]; it learns what one of [batch, 1] does."""
    rows = [f"{number},{'yes' if number > 9 else 'no'}" for number in range(20)]
    (tmp_path / "rows.csv").write_text("\n".join(["x,click", *rows]))
    scores: list[Any] = []
    for formula in ("'wide[:, 0]'", "wide * 1"):
        path = tmp_path / "spec.yaml"
        path.write_text(f"""
inputs: {{x: {{shape: [1]}}}}
nodes:
  wide:  {{layer: Dense, units: 1}}
  one:   {{compute: {formula}}}
  click: {{layer: Activation, activation: sigmoid}}
outputs: {{click: {{loss: binary_crossentropy, metrics: [accuracy]}}}}
data: {{train: rows.csv, features: {{x: {{encode: number, scale: standard}}, click: {{encode: category}}}}}}
train: {{optimizer: {{name: sgd, learning_rate: 1.0}}, epochs: 20, batch_size: 20}}
""")
        scores.append(compile(path).fit(run_dir=tmp_path / f"run{len(scores)}").history)
    assert scores[0]["accuracy"][-1] == scores[1]["accuracy"][-1] > 0.9
    assert scores[0]["loss"] == pytest.approx(scores[1]["loss"])


@pytest.mark.parametrize("values", [["a", "b"], ["a", "b", "c", "d"], ["a", "b", "a"], ["a", "b", 3]])
def test_classes_that_a_model_has_not_are_no_state_of_it(values: list[Any]) -> None:
    """Else probabilities would have the names of others."""
    spec = """
inputs: {x: {shape: [1]}}
nodes: {kind: {layer: Dense, units: 3, activation: softmax}}
outputs: {kind: {loss: sparse_categorical_crossentropy}}
data: {train: t.csv, features: {kind: {encode: category}}}
"""
    made = new_encoders(compile(spec))

    def state(values: list[Any]) -> dict[str, Any]:
        kind = {"columns": [{"values": values, "found": len(values), "rare": 0}]}
        return {"version": 1, "images": False, "fields": {"x": {}, "kind": kind}, "weights": {}}

    made.restore(state(["a", "b", "c"]))
    with pytest.raises(SpecError) as caught:
        made.restore(state(values))
    assert [found.code for found in caught.value.diagnostics] == ["data-format"]
