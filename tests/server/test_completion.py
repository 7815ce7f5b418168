"""What can be written at a cursor, `¦`, in texts that are whole and in texts that are half typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphspec.server import cursor
from graphspec.server.analysis import Analysis, analysed
from graphspec.server.completion import completions, nearest
from graphspec.server.cursor import cursor_at
from graphspec.server.hover import hover
from graphspec.server.outline import hints
from graphspec.server.positions import Positions
from graphspec.server.tables import columns

BASE = """\
params: {width: 8}
inputs:
  image: {shape: [28, 28, 1]}
blocks:
  core:
    params: {filters: required, rate: 0.5}
    inputs: [x]
    nodes:
      conv: {layer: Conv2D, filters: $filters, kernel_size: 3}
      drop: {layer: Dropout, rate: $rate}
nodes:
  first: {block: core, filters: $width}
  flat: {layer: GlobalAveragePooling2D}
  y: {layer: Dense, units: 10, activation: softmax}
outputs:
  y: {loss: sparse_categorical_crossentropy}
data: {train: rows.csv}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("specs")
    (folder / "rows.csv").write_text("area,price\n1,2\n")
    return folder


@pytest.fixture(scope="module")
def known(folder: Path) -> Analysis:
    return analysed(BASE, folder / "spec.yaml")


@pytest.mark.parametrize(
    ("line", "there", "missing"),
    [
        ("¦", ["params", "nodes", "train"], ["layer"]),
        ("nodes:\n  a: {¦", ["layer", "block", "from"], ["units"]),
        ("nodes:\n  a: {layer: De¦", ["Dense", "Dropout"], ["add"]),
        ("nodes:\n  a: {layer: Dense, units: 3, ¦}", ["activation", "from", "when"], ["units", "filters"]),
        ("nodes:\n  a:\n    layer: Dense\n    ¦\n    units: 3", ["use_bias"], ["layer", "units"]),
        ("nodes:\n  a: {layer: Dense, activation: ¦}", ["relu", "gelu"], ["adam"]),
        ("nodes:\n  a: {layer: Conv2D, padding: ¦}", ["same", "valid"], []),
        ("nodes:\n  a: {layer: Dense, use_bias: ¦}", ["true", "false"], []),
        ("nodes:\n  a: {block: ¦}", ["core"], ["Dense"]),
        ("nodes:\n  a: {block: std/s¦}", ["std/swiglu", "core"], []),
        ("nodes:\n  a: {block: std/swiglu, ¦}", ["hidden", "activation", "repeat"], ["width"]),
        ("nodes:\n  a: {block: std/transformer, from: {¦", ["x", "memory"], ["first"]),
        ("nodes:\n  a: {state: [4], ¦}", ["update", "initializer", "dtype"], ["momentum"]),
        ("nodes:\n  a: {state: [4], update: first * ta¦}", ["tanh", "first"], []),
        ("outputs:\n  a: {loss: {block: core, ¦}}", ["filters", "rate"], ["width"]),
        ("nodes:\n  a: {block: core, ¦}", ["filters", "rate", "repeat"], ["width"]),
        ("nodes:\n  a: {merge: add, from: [first, ¦", ["image", "flat", "y"], ["a", "conv"]),
        ("nodes:\n  a: {merge: add, from: first.¦", ["conv", "drop"], ["image"]),
        ("nodes:\n  a: {layer: Dense, units: $¦}", ["width"], ["filters", "max"]),
        ('nodes:\n  a: {layer: Dense, units: "$(max(¦"}', ["width", "min"], ["image"]),
        ("nodes:\n  a: {compute: first * ta¦}", ["tanh", "first"], []),
        ("blocks:\n  core:\n    nodes:\n      z: {layer: Dense, units: $¦}", ["filters", "width"], []),
        ("blocks:\n  core:\n    nodes:\n      z: {merge: add, from: [¦]}", ["conv", "x"], ["first"]),
        ("outputs:\n  y: {¦}", ["loss", "metrics", "target"], ["layer"]),
        ("outputs:\n  y: {loss: ¦}", ["mean_squared_error"], ["accuracy"]),
        ("outputs:\n  y: {loss: ms¦}", ["mean_squared_error", "mse"], ["accuracy"]),
        ("outputs:\n  y: {metrics: [¦]}", ["accuracy", "mae"], []),
        ("train:\n  freeze: [¦]", ["first.*", "y.*", "first.conv.weight"], ["first", "flat.*"]),
        ("outputs:\n  y: {target: ¦}", ["price"], []),
        ("data:\n  train: rows.csv\n  features:\n    x: {columns: [¦]}", ["area"], []),
        ("data:\n  features:\n    x: {encode: ¦}", ["number", "category"], []),
        ("train:\n  ¦", ["optimizer", "epochs"], ["nodes"]),
        ("train:\n  optimizer: {name: adam, ¦}", ["learning_rate"], ["momentum"]),
        ("train:\n  callbacks:\n    ¦", ["early_stopping"], ["patience"]),
        ("train:\n  callbacks:\n    early_stopping: {¦}", ["patience"], []),
        ("inputs:\n  x: {shape: [4], dtype: ¦}", ["int64"], []),
        ("tune:\n  search:\n    ¦", ["width"], []),
        ("edges:\n  - image -> ¦", ["first", "flat"], ["conv"]),
        ("nodes:\n  a: {op: random_normal, like: ¦}", ["first"], []),
        ("nodes:\n  a: {layer: MultiHeadAttention, from: {¦}}", ["query", "value"], ["first"]),
        ("nodes:\n  a: {block: core, from: {¦}}", ["x"], ["conv"]),
        ("nodes:\n  a: {block: core, repeat: {¦}}", ["filters", "from"], ["layer"]),
        ("nodes:\n  a: {layer: Dense, kernel_initializer: {¦}}", ["name"], ["units"]),
        ("nodes:\n  a: {layer: Dense, kernel_initializer: {name: ¦}}", ["constant"], ["l2", "relu"]),
        ("nodes:\n  a: {layer: Dense, bias_initializer: {name: constant, ¦}}", ["value"], []),
        ("nodes:\n  a:\n    compute: >-\n      first + ¦", ["flat", "tanh"], ["layer"]),
        ('nodes:\n  a: {compute: "first.¦"}', ["conv"], ["tanh", "image"]),
        ("outputs:\n  y:\n    metrics:\n      - ¦", ["accuracy"], []),
        ("outputs:\n  y: {loss_weight: ¦}", ["learned"], ["ignore"]),
        ("outputs:\n  y: {missing: ¦}", ["ignore"], []),
        ("outputs:\n  y: {class_weight: ¦}", ["balanced"], []),
        ("outputs:\n  y: {when: ¦}", ["true", "false"], []),
        ("nodes:\n  a: {layer: Dense, trainable: ¦}", ["false"], []),
        ("inputs:\n  x: {shape: [4], data_format: ¦}", ["channels_first"], []),
        ("data:\n  features:\n    x: {encode: number, scale: ¦}", ["standard"], []),
        ("data: {train: ¦}", ["rows.csv"], ["null"]),
        ("data:\n  validation: {¦}", ["split", "stratify"], []),
        ("train:\n  parameter_groups:\n    - {¦}", ["match", "weight_decay"], ["epochs"]),
        ("train:\n  callbacks: {early_stopping: {monitor: ¦}}", ["val_loss"], []),
        ("tune:\n  search:\n    width: {¦}", ["int", "choice"], ["trials"]),
    ],
)
def test_words_at_a_cursor(
    line: str, there: list[str], missing: list[str], known: Analysis, folder: Path
) -> None:
    offset = line.index("¦")
    analysis = analysed(line.replace("¦", ""), folder / "spec.yaml", known)
    if analysis.current:  # the names are those of the whole file
        analysis = analysed(line.replace("¦", "") + "\n}", folder / "spec.yaml", known)
    labels = [each.label for each in completions(analysis, offset, folder)[1]]
    assert [word for word in there if word not in labels] == [], labels
    assert [word for word in missing if word in labels] == []


MISTAKEN = """\
inputs: {x: {shape: [4]}}
blocks:
  pair:
    inputs: [x]
    nodes: {a: {layer: Dense, units: 2}, b: {layer: Dense, units: 3}}
    outputs: {one: b, two: a}
shared: {enc: {layer: Dense, units: 4}}
nodes:
  first: {block: pair, from: x}
  second: {call: enc, from: first.¦}
  wrong: {layer: Dens, from: ¦}
outputs: {second: {loss: mse}, wrong: {loss: mse, metrics: [mae]}}
train: {callbacks: {early_stopping: {monitor: ¦}}}
"""


def labels(text: str, offset: int) -> list[str]:
    return [each.label for each in completions(analysed(text, None), offset, None)[1]]


def test_paths_are_completed_in_a_text_with_mistakes() -> None:
    parts = MISTAKEN.split("¦")
    text = "".join(parts)
    assert analysed(text, None).program is None
    assert labels(text, len(parts[0])) == ["one", "two", "a", "b"]
    assert labels(text, len(parts[0] + parts[1])) == ["x", "first", "second"], "a shared layer is called"


def test_values_of_an_epoch_and_calls_are_those_of_the_program() -> None:
    parts = MISTAKEN.replace("first.¦", "first").replace("Dens,", "Dense, units: 3,").split("¦")
    text = parts[0] + "second" + parts[1] + "loss" + parts[2]
    assert {"val_second_loss", "wrong_mae"} <= set(labels(text, len(parts[0] + "second" + parts[1])))
    assert "[batch, 3] -> [batch, 4]" in (hover(analysed(text, None), text.index("enc:")) or "")


def test_nodes_above_the_cursor_are_not_read_by_character(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "nodes:\n" + "".join(f"  n{index}: {{layer: Dense, units: 8}}\n" for index in range(50))
    before = cursor_at(text, len(text) - 4)
    read: list[str] = []
    flow = cursor._flow

    def reading(frames: Any, line: str, begun: str) -> str:
        read.append(line)
        return flow(frames, line, begun)

    monkeypatch.setattr(cursor, "_flow", reading)
    assert cursor_at(text, len(text) - 4) == before and len(read) == 1
    assert before.path == ("nodes", "n49") and before.key == "units"


@pytest.mark.parametrize(
    ("text", "word", "says"),
    [
        (
            "outputs: {y: {threshold: 0.4}}",
            "threshold",
            "**threshold** of `outputs`: number >= 0 <= 1\n\n"
            "Probability from which `predict` counts a value as present\n\n"
            "`{loss: binary_crossentropy, threshold: 0.3}`",
        ),
        (
            "data: {train: a.csv, validation: {split: 0.1}}",
            "train",
            "**train** of `data`: mapping or null\n\nRows",
        ),
        ("data: {train: a.csv, validation: {split: 0.1}}", "split", "**split** of `data`"),
        ("train: {callbacks: {early_stopping: {patience: 2}}}", "early", "(callback)"),
    ],
)
def test_a_key_is_explained_where_it_stands(text: str, word: str, says: str) -> None:
    whole = f"inputs: {{x: {{shape: [4]}}}}\nnodes: {{y: {{layer: Dense, units: 2}}}}\n{text}"
    assert says in (hover(analysed(whole, None), whole.index(word) + 1) or "")


def test_every_cursor_in_every_beginning_of_a_text_has_an_answer(folder: Path, known: Analysis) -> None:
    for end in range(0, len(BASE), 7):
        text = BASE[:end]
        assert isinstance(completions(known, min(end, len(BASE)), folder)[1], list)
        assert hover(known, end) is None or hover(known, end)
        cut = analysed(text, folder / "spec.yaml", known)
        assert isinstance(completions(cut, end, folder)[1], list)
        assert cut.nodes  # of the last whole text, where this one is none


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("first:", "[batch, 28, 28, 1] -> [batch, 26, 26, 8]"),
        ("width:", "`8`"),
        ("image:", "float32[batch, 28, 28, 1]"),
        ("GlobalAveragePooling2D", "(layer)"),
        ("kernel_size: 3", "of `Conv2D`"),
        ("kernel_size: 3", "required\n\nHow many elements the kernel reads"),
        ("sparse_categorical_crossentropy", "(loss)"),
        ("core, filters", "a block"),
    ],
)
def test_words_are_explained(word: str, says: str, known: Analysis) -> None:
    assert says in (hover(known, BASE.index(word) + 2) or "")


def test_columns_of_positions_count_units_of_utf_16() -> None:
    positions = Positions("a\r\n\N{GRINNING FACE}b\n")
    assert [positions.position(offset) for offset in range(6)] == [
        *[(0, 0), (0, 1), (0, 2)],
        *[(1, 0), (1, 2), (1, 3)],
    ]
    assert [positions.offset(1, column) for column in (0, 2, 3, 9)] == [3, 4, 5, 5]
    assert positions.offset(9, 0) == 6


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.parquet", "a.npz", "parts"])
def test_columns_are_those_of_every_table(name: str, tmp_path: Path) -> None:
    table = pa.table({"area": [1.0, 2.0], "price": [3.0, 4.0]})
    path = tmp_path / name
    if name == "a.parquet":
        pq.write_table(table, path)
    elif name == "a.jsonl":
        path.write_text('{"area": 1, "price": 3}\n')
    elif name == "a.npz":
        np.savez(path, area=[1.0], price=[3.0])
    elif name == "parts":
        path.mkdir()
        (path / "one.csv").write_text("area,price\n1,3\n")
    else:
        sign = "\t" if name == "a.tsv" else ";"
        path.write_text(f"area{sign}price\n1{sign}3\n")
    assert columns(tmp_path, {"path": name, "delimiter": ";"} if name == "a.csv" else name) == [
        "area",
        "price",
    ]


@pytest.mark.parametrize(
    "file", ["none.csv", "../a.csv", 3, {"paths": "a"}, "broken.parquet", "a.exe", "", ["a"]]
)
def test_what_is_no_table_has_no_columns(file: Any, tmp_path: Path) -> None:
    (tmp_path / "broken.parquet").write_text("no")
    assert columns(tmp_path, file) == []


@pytest.mark.parametrize(
    "line", ["  z: {op: reshape, from: x, newshape: [¦]}", "  z: {module: a.B, shape: [¦]}"]
)
def test_sizes_are_completed_where_sizes_are_written(line: str, tmp_path: Path) -> None:
    text = f"inputs: {{x: {{shape: [steps, 8]}}}}\nnodes:\n{line}\noutputs: [z]\n"
    analysis = analysed(text.replace("¦", ""), tmp_path / "spec.yaml")
    assert [each.label for each in completions(analysis, text.index("¦"), tmp_path)[1]] == ["steps"]


EDITS = st.tuples(st.integers(0, 10_000), st.integers(0, 3), st.sampled_from("aD:{}[],$ \n-0"))


@given(st.lists(EDITS, max_size=6))
def test_edits_leave_nothing_behind(edits: list[tuple[int, int, str]]) -> None:
    """Mistakes and names after any edits are those of the text, whatever it was before."""
    text, known = BASE, analysed(BASE, None)
    for at, gone, sign in edits:
        at %= len(text)
        text = text[:at] + sign + text[at + gone :]
        known, fresh = analysed(text, None, known), analysed(text, None)
        assert known.diagnostics == fresh.diagnostics
        assert known.current == fresh.current
        if fresh.names is not None:
            assert known.names is not None and known.names.occurrences == fresh.names.occurrences
        assert list(hints(known)) == list(hints(fresh)) or fresh.program is None


def test_of_many_names_the_nearest_are_offered() -> None:
    nodes = "".join(f"  n{number}: {{layer: Dense, units: 2}}\n" for number in range(400))
    text = f"inputs: {{x: {{shape: [4]}}}}\nnodes:\n{nodes}outputs: [n399]\n"
    text = text.replace("n300: {layer: Dense, units: 2}", "n300: {layer: Dense, units: 2, from: n2¦}")
    word, candidates = completions(analysed(text.replace("¦", ""), None), text.index("¦"), None)
    assert word == "n2" and len(candidates) == 400  # all but n300, and x
    shown = [each.label for each in nearest(candidates, word, 100)]
    assert shown[:2] == ["n299", "n298"] and len(shown) == 100 and "x" not in shown
