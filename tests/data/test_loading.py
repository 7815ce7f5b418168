"""From files to examples: equal rows in any format are equal examples, in equal parts."""

import csv
import gzip
import json
import tempfile
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from graphspec.compiler import compile
from graphspec.data.batches import InMemory
from graphspec.data.loading import Data, load
from graphspec.data.streamed import Streamed
from graphspec.diagnostics import SpecError
from graphspec.program import Program
from graphspec.runs.run import Run
from graphspec.train.loop import train
from graphspec.train.objective import Objective

CPU = torch.device("cpu")
SPEC = """
inputs:
  x: {shape: [2]}
  word: {shape: [1], dtype: int64}
nodes:
  code: {layer: Embedding, from: word, input_dim: 9, output_dim: 2}
  flat: {layer: Flatten}
  all: {merge: concatenate, from: [x, flat]}
  kind: {layer: Dense, units: 3, activation: softmax}
outputs:
  kind: {loss: sparse_categorical_crossentropy}
data:
  train: DATA
  validation: VALIDATION
  features:
    word: {encode: category, fill: none}
    kind: {encode: category, values: [a, b, c]}
"""
Row = dict[str, Any]


def program(data: str = "unused.csv", validation: str = "null") -> Program:
    return compile(SPEC.replace("DATA", data).replace("VALIDATION", validation))


def text(value: Any) -> str:
    return "" if value is None else str(value)


def write_csv(path: Path, rows: list[Row]) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerows([list(rows[0]), *([text(value) for value in row.values()] for row in rows)])


def write_tsv(path: Path, rows: list[Row]) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_ALL)
        writer.writerows([list(rows[0]), *([text(value) for value in row.values()] for row in rows)])


def write_lines(path: Path, rows: list[Row]) -> None:
    """What is missing is null in the first row, which names all columns, and left out in the others."""
    others = ({name: value for name, value in row.items() if value is not None} for row in rows[1:])
    path.write_text("".join(json.dumps(row) + "\n" for row in (rows[0], *others)))


def write_parquet(path: Path, rows: list[Row]) -> None:
    parquet.write_table(pa.Table.from_pylist(rows), path, row_group_size=5)


def write_shards(path: Path, rows: list[Row]) -> None:
    path.mkdir(exist_ok=True)
    for index, first in enumerate(range(0, len(rows), 4)):
        parquet.write_table(pa.Table.from_pylist(rows).slice(first, 4), path / f"{index:03}.parquet")


def write_gzip(path: Path, rows: list[Row]) -> None:
    write_csv(path, rows)
    path.write_bytes(gzip.compress(path.read_bytes()))


def write_zstd(path: Path, rows: list[Row]) -> None:
    write_lines(path, rows)
    path.write_bytes(pa.compress(path.read_bytes(), "zstd", asbytes=True))


WRITERS = {
    "t.csv": write_csv,
    "t.tsv": write_tsv,
    "t.jsonl": write_lines,
    "t.parquet": write_parquet,
    "shards": write_shards,
    "t.csv.gz": write_gzip,
    "t.jsonl.zst": write_zstd,
}


def write(place: Path, rows: list[Row]) -> list[Path]:
    """The same rows in every format."""
    for name, writer in WRITERS.items():
        writer(place / name, rows)
    return [place / name for name in WRITERS]


def row(x: float = 0.5, word: str | None = "w", kind: str = "a", **more: Any) -> Row:
    return {"x_0": x, "x_1": -x, "word": word, "kind": kind, **more}


def whole(examples: Any) -> dict[str, torch.Tensor]:
    (batch,) = examples.batches(10_000)
    return dict(batch.arrays)


def same(a: Data, b: Data) -> None:
    assert a.fingerprint == b.fingerprint
    for one, other in ((a.training, b.training), (a.validation, b.validation)):
        for name, array in whole(one).items():
            assert torch.equal(array, whole(other)[name])


ROWS = st.lists(
    st.builds(
        row,
        st.floats(-1e30, 1e30, allow_subnormal=False),
        st.none() | st.sampled_from(["10", "w", "é ,", '"', "007"]),
        st.sampled_from("abc"),
        group=st.sampled_from("pqrs"),
        when=st.integers(0, 10**9),
    ),
    min_size=6,
    max_size=30,
)
VALIDATIONS = [
    "{split: 0.3}",
    "{split: 0.3, stratify: kind}",
    "{split: 0.3, group: group}",
    "{split: 0.3, last_by: when}",
]


@given(ROWS, st.sampled_from(VALIDATIONS), st.lists(st.sampled_from(list(WRITERS)), min_size=2, max_size=2))
@example([row(word=None, group="p", when=0) for _ in range(6)], "{split: 0.3}", ["t.csv", "t.jsonl"])
def test_equal_rows_are_equal_bits_in_equal_parts(
    rows: list[Row], validation: str, formats: list[str]
) -> None:
    rows[0]["group"], rows[1]["group"] = "p", "q"
    made = program(validation=validation)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in formats]
        for path in paths:
            WRITERS[path.name](path, rows)
        try:
            first, other = (load(made, path, None, CPU) for path in paths)
        except SpecError as error:  # no two rows of one kind are there to be divided
            assert "one part empty" in str(error)
            return
    same(first, other)
    assert len(first.training) + len(cast(InMemory, first.validation)) == len(rows)


def test_a_column_may_say_the_part_of_each_row(tmp_path: Path) -> None:
    parts = ["train", "val", "test", "train", "val"]
    rows = [row(float(i), part=part) for i, part in enumerate(parts)]
    for path in write(tmp_path, rows):
        found = load(program(validation="{column: part}"), path, None, CPU)
        assert whole(found.training)["x"][:, 0].tolist() == [0, 3]
        assert whole(found.validation)["x"][:, 0].tolist() == [1, 4]
        assert whole(found.test)["x"][:, 0].tolist() == [2]
    with pytest.raises(SpecError, match="has no column `past`") as caught:
        load(program(validation="{column: past}"), tmp_path / "t.csv", None, CPU)
    span = caught.value.diagnostics[0].span
    assert span is not None and span.line == 14
    rows[1]["part"] = "vla"
    with pytest.raises(SpecError, match='line 3: "vla" names no part of the data'):
        load(program(validation="{column: part}"), write(tmp_path, rows)[0], None, CPU)


def test_a_limit_reads_the_first_rows_of_each_file(tmp_path: Path) -> None:
    write(tmp_path, [row(float(i)) for i in range(9)])
    for name in ("t.csv", "t.parquet", "shards"):
        found = load(program("t.csv", "t.jsonl"), tmp_path / name, tmp_path, CPU, limit=4)
        assert whole(found.training)["x"][:, 0].tolist() == whole(found.validation)["x"][:, 0].tolist()
        assert len(found.training) == 4
    assert len(load(program(), tmp_path / "t.csv", None, CPU, limit=99).training) == 9


def test_other_data_are_read_with_the_options_of_the_spec(tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text('x_0;x_1;word;kind\n"1,5";2;w;a\n')
    given = program('{path: missing.csv, delimiter: ";", decimal: ","}')
    found = load(given, tmp_path / "other.csv", None, CPU)
    assert whole(found.training)["x"].tolist() == [[1.5, 2.0]]
    write(tmp_path, [row()])
    assert whole(load(given, tmp_path / "t.tsv", None, CPU).training)["x"].tolist() == [[0.5, -0.5]]


def test_a_checkpoint_of_before_knows_its_data(tmp_path: Path) -> None:
    """Checkpoints hold the fingerprint, and `--resume` compares it: for the same data it stays as it is."""
    (tmp_path / "t.csv").write_text("x,y,w\n1,0.5,1\n2,,3\n3,1.5,1\n")
    masked = compile("""
inputs: {x: {shape: [1]}}
nodes: {y: {layer: Dense, units: 1}}
outputs: {y: {loss: mse, missing: ignore, sample_weight: w}}
data: {train: t.csv, features: {x: {encode: number}, y: {encode: number}}}
""")
    found = load(masked, tmp_path / "t.csv", tmp_path, CPU)
    assert found.fingerprint == "56a9b2f6b7cc8ffaa8b675cb34aa60ae"


def test_more_than_memory_holds_is_read_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row(float(i), f"w{i % 7}") for i in range(200)]
    paths = write(tmp_path, rows)
    kept = load(program(validation="{split: 0.2}"), paths[0], None, CPU)
    monkeypatch.setenv("GRAPHSPEC_MEMORY", "1K")
    for path in paths:
        found = load(program(validation="{split: 0.2}"), path, None, CPU)
        assert isinstance(found.training, Streamed) and isinstance(kept.training, InMemory)
        assert found.fingerprint != kept.fingerprint  # an epoch has another order
        assert any("are read from" in note for note in found.notes)
        for name, array in whole(kept.training).items():
            assert torch.equal(array, whole(found.training)[name])
    monkeypatch.setenv("GRAPHSPEC_MEMORY", "much")
    with pytest.raises(SpecError, match="GRAPHSPEC_MEMORY is `much`"):
        load(program(), paths[0], None, CPU)


FIELD = "x_0,x_1,word,kind\n"
MISTAKES = [
    (FIELD + "1,2,w,a\n1,x,w,a\n", "data-dtype", ["`x_1`", "line 3", '"x"']),
    (FIELD + "1,2,w,a\n1,nan,w,a\n", "data-nonfinite", ["`x_1`", "line 3"]),
    (FIELD + "1,2,w,a\n,2,w,a\n", "data-gap", ["`x_0`", "line 3"]),
    (FIELD + "1,2,w,a\n1,2,w,d\n", "data-range", ["`kind`", "line 3", '"d"']),
    (FIELD + "1,2,w,a\n1,2,w\n", "data-format", ["line 3", "3 cells"]),
    ("x_0,word,kind\n1,w,a\n", "data-shape", ["[1]", "float32[batch, 2]"]),
    ("x_0,x_1,wrd,kind\n1,2,w,a\n", "data-column", ["`word`", "did you mean `wrd`?"]),
    (FIELD, "data-empty", ["holds no examples"]),
]


CASES = [
    (*mistake, ending)
    for mistake in MISTAKES
    for ending in ("csv", "jsonl", "parquet", "shards")
    if ending == "csv" or mistake[1] not in ("data-format", "data-empty")  # others have no such rows
]


@pytest.mark.parametrize(("content", "code", "words", "ending"), CASES)
def test_bad_data_end_before_the_first_step_in_every_format(
    tmp_path: Path, content: str, code: str, words: list[str], ending: str
) -> None:
    header, *lines = list(csv.reader(content.splitlines()))
    rows = [dict(zip(header, [cell or None for cell in line], strict=False)) for line in lines]
    path = tmp_path / f"t.{ending}"
    if ending == "csv":
        path.write_text(content)
    elif ending == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        words = [word.replace("line 3", "line 2") for word in words]
    else:
        (tmp_path / "shards").mkdir(exist_ok=True)
        path = path if ending == "parquet" else tmp_path / "shards"
        parquet.write_table(pa.Table.from_pylist(rows), path if path.suffix else path / "0.parquet")
        words = [word.replace("line 3", "row 1, counting from 0") for word in words]
    with pytest.raises(SpecError) as caught:
        load(program(), path, None, CPU)
    assert caught.value.diagnostics[0].code == code, caught.value
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("given", ["balanced", "{a: 0, c: 4}"])
def test_classes_of_steps_have_weights_in_the_loss(tmp_path: Path, given: str) -> None:
    rows: list[Row] = [
        {"x": [1.0, 2.0, 3.0], "y": ["a", "a", "b"]},
        {"x": [4.0], "y": ["c"]},
        {"x": [5.0], "y": ["a"]},
    ]
    write_lines(tmp_path / "t.jsonl", rows)
    made = compile(f"""
inputs: {{x: {{shape: [length]}}}}
nodes:
  wide: {{layer: Reshape, target_shape: [-1, 1]}}
  y: {{layer: Dense, units: 3}}
outputs:
  y: {{loss: {{name: sparse_categorical_crossentropy, from_logits: true}}, class_weight: {given}}}
data:
  train: t.jsonl
  features:
    y: {{encode: category}}
""")
    found = load(made, None, tmp_path, torch.device("cpu"))
    (batch,) = found.training.batches(3)
    known = {"a": 5 / 9, "b": 5 / 3, "c": 5 / 3} if given == "balanced" else {"a": 0.0, "b": 1.0, "c": 4.0}
    weights = [[known[y] for y in row["y"]] for row in rows]
    assert [batch.weights["y"][i, : len(w)].tolist() for i, w in enumerate(weights)] == [
        pytest.approx(each) for each in weights
    ]
    module = made.module()
    result = Objective(made.inputs, made.outputs, torch.device("cpu"))(module, batch)
    each = torch.nn.functional.cross_entropy(
        result.outputs["y"].transpose(1, 2), batch.arrays["y"].long(), reduction="none"
    )
    summed = sum(each[i, j].item() * w for i, row in enumerate(weights) for j, w in enumerate(row))
    assert result.loss.item() == pytest.approx(summed / 5, rel=1e-5)


def test_tokens_have_the_weights_of_their_texts_and_what_a_tokenizer_cuts_has_none(tmp_path: Path) -> None:
    """Ids of tokens begin behind padding; texts that look like numbers are texts."""
    spec = """
inputs: {{x: {{shape: [3]}}}}
nodes:
  wide: {{layer: Reshape, target_shape: [-1, 1]}}
  y: {{layer: Dense, units: 5}}
outputs:
  y: {{loss: {{name: sparse_categorical_crossentropy, from_logits: true}}, class_weight: {{'1': 0, '3': 4}}}}
data:
  train: t.jsonl
  features:
    y: {{encode: {}, length: 3}}
"""
    rows: list[Row] = [{"x": [1.0, 2.0, 3.0], "y": ["1", "2", "3"]}]
    write_lines(tmp_path / "t.jsonl", rows)
    found = load(compile(spec.format("tokens, values: ['1', '2', '3']")), None, tmp_path, torch.device("cpu"))
    (batch,) = found.training.batches(1)
    assert batch.weights["y"].tolist() == [[0.0, 1.0, 4.0]]
    write_lines(tmp_path / "t.jsonl", [{"x": [1.0, 2.0, 3.0], "y": "1 2 3"}])
    with pytest.raises(SpecError, match="it is cut into tokens"):
        load(
            compile(spec.format("text, tokenizer: whitespace, vocabulary: 5")),
            None,
            tmp_path,
            torch.device("cpu"),
        )


@pytest.mark.parametrize(
    ("loss", "units", "values"),
    [
        ("categorical_crossentropy", 3, [[1, 0, 0, 0, 1, 0], [1, 0, 0, 1, 0, 0]]),
        ("binary_crossentropy", 1, [[True, False], [True, True]]),
    ],
)
def test_classes_that_no_encoder_numbers_are_balanced(
    tmp_path: Path, loss: str, units: int, values: list[Any]
) -> None:
    """Shares of classes as flat lists, and booleans."""
    write_lines(tmp_path / "t.jsonl", [{"x": [1.0, 2.0], "y": each} for each in values])
    program = compile(f"""
inputs: {{x: {{shape: [2]}}}}
nodes:
  wide: {{layer: Reshape, target_shape: [2, 1]}}
  y: {{layer: Dense, units: {units}}}
outputs: {{y: {{loss: {{name: {loss}, from_logits: true}}, class_weight: balanced}}}}
data: {{train: t.jsonl}}
""")
    (batch,) = load(program, None, tmp_path, torch.device("cpu")).training.batches(2)
    wanted = torch.tensor([[2 / 3, 2.0], [2 / 3, 2 / 3]])  # three of one class, one of the other
    torch.testing.assert_close(batch.weights["y"].reshape(2, 2), wanted)


@pytest.mark.parametrize("last", ["units: 1, activation: sigmoid", "units: 2, activation: softmax", None])
def test_a_part_of_one_class_is_told(tmp_path: Path, last: str | None) -> None:
    """Its metrics say little: an AUC of it is 0."""
    kind: dict[str | None, str] = {None: "categorical", "units: 1, activation: sigmoid": "binary"}
    loss = kind.get(last, "sparse_categorical")
    rows = [f"{n},{'yes' if n % 2 and n < 16 else 'no'},{'val' if n >= 16 else 'train'}" for n in range(24)]
    (tmp_path / "t.csv").write_text("\n".join(["x,y,part", *rows]) + "\n")
    text = (
        "inputs: {x: {shape: [1]}}\n"
        f"nodes: {{y: {{layer: Dense, {last or 'units: 2, activation: softmax'}}}}}\n"
        f"outputs: {{y: {{loss: {loss}_crossentropy}}}}\n"
        "data: {train: t.csv, validation: {column: part}, "
        "features: {x: {encode: number}, y: {encode: category}}}"
    )
    device = torch.device("cpu")
    assert "y: 2 values; validation: only `no`" in load(compile(text), None, tmp_path, device).notes
    (tmp_path / "t.csv").write_text("\n".join(["x,y,part", *rows, "1,yes,val"]) + "\n")
    assert "y: 2 values" in load(compile(text), None, tmp_path, device).notes


CTC = """\
inputs: {x: {shape: [9, 3]}}
nodes:
  h: {layer: GRU, units: 4, return_sequences: true}
  y: {layer: Dense, units: 5, activation: softmax}
outputs: {y: {loss: ctc}}
data: {train: FILE, validation: {split: 0.25}, key: []}
train: {epochs: 2, batch_size: 4}
"""


def test_targets_of_ctc_are_lists_of_their_own_lengths(tmp_path: Path) -> None:
    """As in arrays that zeros pad: as numbers, and as words, whose ids are these numbers. Their steps are not
    those of the output.
    """
    draw = np.random.default_rng(0)
    x, y = draw.random((12, 9, 3), np.float32), np.zeros((12, 4), np.int64)
    for index, row in enumerate(y):
        row[: index % 4 + 1] = draw.choice([2, 2, 2, 2, 3, 3, 4], index % 4 + 1)
    assert (y == 2).sum() > (y == 3).sum() > (y == 4).sum() > 0, "ids are in this order"
    np.savez(tmp_path / "arrays.npz", x=x, y=y)
    for name, words in (("numbers", [0, 1, 2, 3, 4]), ("words", ["", "", "a", "b", "c"])):
        rows = [{"x": a.tolist(), "y": [words[n] for n in b if n]} for a, b in zip(x, y, strict=True)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    losses = []
    for name in ("arrays.npz", "numbers.jsonl", "words.jsonl"):
        feature = "features: {y: {encode: tokens, vocabulary: 5}}" if name == "words.jsonl" else "key: []"
        (tmp_path / "spec.yaml").write_text(CTC.replace("FILE", name).replace("key: []", feature))
        train(
            compile(tmp_path / "spec.yaml"), root=tmp_path, run_dir=tmp_path / name[:3], tell=lambda _: None
        )
        losses.append(Run(tmp_path / name[:3]).history)
    assert losses[0] == losses[1] == losses[2] and len(losses[0]["val_loss"]) == 2


def test_the_first_class_of_ctc_is_no_value(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"feature-misfit.*is the blank(.*\n)*.*write `encode: tokens`"):
        compile(CTC.replace("FILE", "words.jsonl").replace("key: []", "features: {y: {encode: category}}"))
