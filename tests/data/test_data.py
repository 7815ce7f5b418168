"""Data: files to arrays, every mistake in them, order and split, and synthetic data."""

import csv
import re
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphspec.compiler import compile
from graphspec.data.arrays import open_arrays
from graphspec.data.batches import SPLIT, InMemory, Shuffle, generator, held_out, permutation
from graphspec.data.config import parse_data
from graphspec.data.fields import fields, read
from graphspec.data.folders import find
from graphspec.data.loading import load
from graphspec.diagnostics import SpecError
from graphspec.language.row_settings import RowSettings
from graphspec.objectives import SettingError, parse_loss, parse_metric
from graphspec.tensor import Limit, Tensor, symbol

BATCH, LENGTH = symbol("batch"), symbol("length")
CPU = torch.device("cpu")


def program(
    inputs: dict[str, Tensor],
    output: Tensor,
    loss: Any = "mse",
    ranges: dict[str, Limit] | None = None,
    minimum: dict[str, int] | None = None,
    data: Any = None,
) -> Any:
    """A program as far as data are concerned: one output `y`."""
    judged = SimpleNamespace(
        tensors=(output,),
        activation=None,
        loss=parse_loss(loss),
        metrics=(),
        target="y",
        mask=None,
        rows=RowSettings(),
        ranks_candidates=False,
        reads_candidates=False,
    )
    return SimpleNamespace(
        inputs=inputs,
        outputs={"y": judged},
        ranges=ranges or {},
        minimum_sizes=minimum or {},
        maximum_sizes={},
        defaults={},
        data=parse_data(data) if data else None,
        training=SimpleNamespace(seed=0, batch_size=4),
        path=None,
        folder=None,
        span=lambda path, key=False: None,
    )


VECTOR = program({"x": Tensor((BATCH, 3))}, Tensor((BATCH, 1)))
CLASSES = program({"x": Tensor((BATCH, 3))}, Tensor((BATCH, 4)), "sparse_categorical_crossentropy")
ONE_HOT = program({"x": Tensor((BATCH, 3))}, Tensor((BATCH, 4)), "categorical_crossentropy")
BINARY = program({"x": Tensor((BATCH, 3))}, Tensor((BATCH, 1)), {"name": "bce", "from_logits": True})
TOKENS = program(
    {"x": Tensor((BATCH, LENGTH), "int64")}, Tensor((BATCH, 1)), "mse", {"x": 100}, {"length": 5}
)
TABLE = program({"x": Tensor((BATCH, 3), "int64")}, Tensor((BATCH, 1)), "mse", {"x": (10, None, 200)})
PAIR = program({"x": Tensor((BATCH, LENGTH)), "z": Tensor((BATCH, LENGTH))}, Tensor((BATCH, 1)))
IMAGE = program({"x": Tensor((BATCH, 2, 2, 1))}, Tensor((BATCH, 1)))


def arrays(path: Path, program: Any, **given: Any) -> dict[str, np.ndarray]:
    np.savez(path / "data.npz", **given)
    found, _ = read(open_arrays(find(path / "data.npz")), fields(program), program.minimum_sizes)
    return found


def table(path: Path, program: Any, text: str) -> dict[str, np.ndarray]:
    (path / "data.csv").write_text(text)
    return arrays_of(path / "data.csv", program)


# --- .npz


def test_arrays_are_read_in_the_types_of_the_program(tmp_path: Path) -> None:
    found = arrays(tmp_path, CLASSES, x=np.arange(6.0).reshape(2, 3), y=np.array([0, 3], "int32"))
    assert found["x"].dtype == np.float32 and found["x"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found["y"].dtype == np.int64 and found["y"].tolist() == [0, 3]


def test_bytes_stay_bytes_until_a_batch_is_made(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.full((3, 2, 2, 1), 255, "uint8"), y=np.zeros(3))
    images = program(IMAGE.inputs, IMAGE.outputs["y"].tensors[0], data="data.npz")
    training = cast(InMemory, load(images, None, tmp_path, CPU).training)
    assert training.arrays["x"].dtype == torch.uint8
    batch = next(training.batches(2))
    assert batch.arrays["x"].dtype == torch.float32 and batch.arrays["x"].unique().tolist() == [255.0]


def test_an_axis_of_one_may_be_missing_or_too_many(tmp_path: Path) -> None:
    assert arrays(tmp_path, VECTOR, x=np.zeros((2, 3)), y=np.ones(2))["y"].shape == (2, 1)
    assert arrays(tmp_path, CLASSES, x=np.zeros((2, 3)), y=np.ones((2, 1), int))["y"].shape == (2,)
    assert arrays(tmp_path, IMAGE, x=np.zeros((2, 2, 2)), y=np.ones(2))["x"].shape == (2, 2, 2, 1)


X = np.zeros((4, 3))
NAN = np.where(np.arange(12).reshape(4, 3) == 7, np.nan, 0.0)
MISTAKES: list[tuple[Any, dict[str, Any], str, tuple[str, ...]]] = [
    (VECTOR, {"x": X, "labels": np.zeros(4)}, "data-column", ("`y`", "`labels`")),
    (VECTOR, {"X": X, "y": np.zeros(4)}, "data-column", ("did you mean `X`?",)),
    (VECTOR, {"x": X, "y": np.zeros((4, 7))}, "data-shape", ("[4, 7]", "float32[batch, 1]")),
    (VECTOR, {"x": np.zeros((4, 5)), "y": np.zeros(4)}, "data-shape", ("[4, 5]", "float32[batch, 3]")),
    (VECTOR, {"x": X, "y": np.float64(1)}, "data-shape", ("[]",)),
    (VECTOR, {"x": X, "y": np.zeros(5)}, "data-shape", ("`x` 4, `y` 5",)),
    (VECTOR, {"x": X[:0], "y": np.zeros(0)}, "data-empty", ("no examples",)),
    (VECTOR, {"x": X.astype("U"), "y": np.zeros(4)}, "data-dtype", ("text",)),
    (VECTOR, {"x": X.astype(complex), "y": np.zeros(4)}, "data-dtype", ("complex128",)),
    (VECTOR, {"x": NAN, "y": np.zeros(4)}, "data-nonfinite", ("NaN", "row 2")),
    (VECTOR, {"x": X, "y": np.array([0, 0, np.inf, 0])}, "data-nonfinite", ("infinity", "row 2")),
    (VECTOR, {"x": X + 1e300, "y": np.zeros(4)}, "data-nonfinite", ("as float32", "row 0")),
    (CLASSES, {"x": X, "y": np.array([0, 1, 2, 4])}, "data-range", ("is 4", "row 3", "4 classes")),
    (CLASSES, {"x": X, "y": np.array([0, -1, 2, 3])}, "data-range", ("is -1", "row 1")),
    (CLASSES, {"x": X, "y": np.array([1, 2, 3, 4])}, "data-range", ("subtract 1",)),
    (CLASSES, {"x": X, "y": np.array([0.0, 1.0, 2.0, 3.0])}, "data-dtype", ("float64", ".astype")),
    (CLASSES, {"x": X, "y": np.array([0, 0.5, 1, 1])}, "data-dtype", ("0.5", "row 1")),
    (CLASSES, {"x": X, "y": np.eye(4, dtype=int)}, "data-shape", ("categorical_crossentropy",)),
    (ONE_HOT, {"x": X, "y": np.arange(4)}, "data-shape", ("sparse_categorical_crossentropy",)),
    (ONE_HOT, {"x": X, "y": np.eye(4) * 2}, "data-range", ("is 2", "row 0")),
    (BINARY, {"x": X, "y": np.array([0, 1, -1, 1])}, "data-range", ("is -1", "row 2")),
    (TOKENS, {"x": np.full((4, 6), 100), "y": np.zeros(4)}, "data-range", ("is 100", "row 0", "100")),
    (TOKENS, {"x": np.zeros((4, 6)), "y": np.zeros(4)}, "data-dtype", ("int64",)),
    (TOKENS, {"x": np.zeros((4, 4), int), "y": np.zeros(4)}, "data-shape", ("`length` is 4", "at least 5")),
    (TOKENS, {"x": np.full((4, 6), 2**63, "uint64"), "y": np.zeros(4)}, "data-range", ("int64",)),
    (
        PAIR,
        {"x": np.zeros((4, 6)), "z": np.zeros((4, 7)), "y": np.zeros(4)},
        "data-shape",
        ("`length` is 6 in `x`",),
    ),
    (VECTOR, {"x": np.array([[None] * 3] * 4), "y": np.zeros(4)}, "data-dtype", ("Python objects",)),
    (
        TABLE,
        {"x": np.array([[9, -7, 199], [3, 4000, 200]]), "y": np.zeros(2)},
        "data-range",
        ("200 at row 1", "position 2 of the last axis", "from 0 to 199", "input_dim: 200"),
    ),
    (TABLE, {"x": np.array([[10, 0, 1]]), "y": np.zeros(1)}, "data-range", ("from 0 to 9",)),
]


@pytest.mark.parametrize(("wanted", "given", "code", "words"), MISTAKES)
def test_a_mistake_in_an_archive_is_named(
    tmp_path: Path, wanted: Any, given: dict[str, Any], code: str, words: tuple[str, ...]
) -> None:
    with pytest.raises(SpecError) as caught:
        arrays(tmp_path, wanted, **given)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == code
    for word in words:
        assert word in str(caught.value)


def test_every_array_with_a_mistake_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        arrays(tmp_path, CLASSES, x=np.zeros((4, 9)), y=np.array([9, 0, 0, 0]))
    assert [d.code for d in caught.value.diagnostics] == ["data-shape", "data-range"]


def test_targets_that_are_ignored_may_be_out_of_range(tmp_path: Path) -> None:
    ignoring = program(
        CLASSES.inputs,
        Tensor((BATCH, 4)),
        {"name": "sparse_categorical_crossentropy", "ignore_class": -1},
    )
    assert arrays(tmp_path, ignoring, x=X, y=np.array([0, -1, 3, -1]))["y"].tolist() == [0, -1, 3, -1]
    with pytest.raises(SpecError, match="is -2 at row 1"):
        arrays(tmp_path, ignoring, x=X, y=np.array([0, -2, 3, -1]))


def test_an_archive_that_lies_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, x=X, y=np.zeros(4))
    whole = path.read_bytes()
    for cut in (
        whole[:100],
        whole[:-10],
        b"",
        b"PK\x03\x04" + b"x" * 50,
        whole.replace(b"(4, 3)", b"(9, 9)"),
    ):
        path.write_bytes(cut)
        with pytest.raises(SpecError) as caught:
            arrays_of(path, VECTOR)
        assert {d.code for d in caught.value.diagnostics} <= {"data-format", "data-column", "data-shape"}


def test_a_bomb_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "data.npz", x=np.zeros((4, 3)), y=np.zeros(2**20))
    monkeypatch.setattr("graphspec.data.arrays.machine", lambda: 2**20)
    with pytest.raises(SpecError, match="unpacks to"):
        arrays_of(tmp_path / "data.npz", VECTOR)


def arrays_of(path: Path, program: Any) -> dict[str, np.ndarray]:
    training = load(program, path, None, CPU).training
    assert isinstance(training, InMemory)
    return {name: array.numpy() for name, array in training.arrays.items()}


@given(st.binary(max_size=400), st.sampled_from(["data.npz", "data.csv"]))
def test_any_bytes_end_in_a_diagnostic(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str
) -> None:
    path = tmp_path_factory.mktemp("bytes") / name
    path.write_bytes(content)
    with pytest.raises(SpecError) as caught:
        arrays_of(path, VECTOR)
    assert all(d.code.startswith("data-") for d in caught.value.diagnostics)


@given(st.integers(0, 1000), st.integers(0, 255), st.sampled_from([np.savez, np.savez_compressed]))
def test_one_flipped_byte_is_read_whole_or_refused(
    tmp_path_factory: pytest.TempPathFactory, position: int, value: int, save: Any
) -> None:
    path = tmp_path_factory.mktemp("flip") / "data.npz"
    save(path, x=X + 1, y=np.zeros(4))
    content = bytearray(path.read_bytes())
    content[position % len(content)] = value
    path.write_bytes(content)
    try:
        found = arrays_of(path, VECTOR)
    except SpecError as error:
        assert all(d.code.startswith("data-") for d in error.diagnostics)
    else:
        assert found["x"].tolist() == (X + 1).tolist()


def test_members_of_other_kinds_are_passed_over(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=X, y=np.zeros(4))
    with zipfile.ZipFile(tmp_path / "data.npz", "a") as archive:
        archive.writestr("../evil.txt", "no")
    assert sorted(arrays_of(tmp_path / "data.npz", VECTOR)) == ["x", "y"]
    assert not (tmp_path.parent / "evil.txt").exists()


# --- .csv


def test_a_table_gives_scalars_vectors_and_images(tmp_path: Path) -> None:
    assert table(tmp_path, VECTOR, "y,x_0,x_1,x_2\n1,2,3,4\n\n5,6,7,8\n")["x"].tolist() == [
        [2, 3, 4],
        [6, 7, 8],
    ]
    assert table(tmp_path, VECTOR, "x.3,x.2,x.1,y\n3,2,1,0\n")["x"].tolist() == [[1, 2, 3]]
    found = table(tmp_path, IMAGE, "x_0,x_1,x_2,x_3,y\n1,2,3,4,0\n")
    assert found["x"].tolist() == [[[[1], [2]], [[3], [4]]]]
    scalar = program({"x": Tensor((BATCH, 1))}, Tensor((BATCH, 1)))
    assert table(tmp_path, scalar, "\ufeffx,y\n1,2\n")["x"].tolist() == [[1]]
    assert table(tmp_path, TOKENS, "x_0,x_1,x_2,x_3,x_4,y\n1,2,3,4,99,0\n")["x"].tolist() == [
        [1, 2, 3, 4, 99]
    ]


def test_a_column_may_be_quoted(tmp_path: Path) -> None:
    scalar = program({"x": Tensor((BATCH, 1))}, Tensor((BATCH, 1)))
    assert table(tmp_path, scalar, 'name,x,y\n"a, b","1",2\n"c\nd",3,4\n')["x"].tolist() == [[1], [3]]


@pytest.mark.parametrize(
    ("wanted", "text", "code", "words"),
    [
        (VECTOR, "x_0,x_1,x_2,label\n1,2,3,4\n", "data-column", "`label`"),
        (VECTOR, "x_0,x_2,y\n1,2,3\n", "data-column", "number 1"),
        (VECTOR, "x_0,x_1,y\n1,2,3\n", "data-shape", "[1, 2]"),
        (VECTOR, "x_0,x_0,y\n1,2,3\n", "data-column", "two columns `x_0`"),
        (VECTOR, "x_0,x_1,x_2,y\n1,2,3,4\n1,two,3,4\n", "data-dtype", 'line 3: "two"'),
        (VECTOR, "x_0,x_1,x_2,y\n\n1,2,3,\n", "data-gap", "line 3: the value is missing"),
        (VECTOR, "x_0,x_1,x_2,y\n1,2,3,4\n1,2\n", "data-format", "line 3"),
        (VECTOR, "x_0,x_1,x_2,y\n1,2,3,4\n\n1,nan,3,4\n", "data-nonfinite", "line 4"),
        (VECTOR, "x_0,x_1,x_2,y\n", "data-empty", "no examples"),
        (VECTOR, "", "data-empty", "empty"),
        (VECTOR, " \n \n  \n", "data-empty", "names no column"),
        (VECTOR, ",,,\n1,2,3,4\n", "data-empty", "names no column"),
        (CLASSES, "x_0,x_1,x_2,y\n1,2,3,0\n1,2,3,7\n", "data-range", "is 7 at line 3"),
        (CLASSES, "x_0,x_1,x_2,y\n1,2,3,0\n1,2,3,1.5\n", "data-dtype", "1.5 at line 3"),
    ],
)
def test_a_mistake_in_a_table_is_named(tmp_path: Path, wanted: Any, text: str, code: str, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        table(tmp_path, wanted, text)
    assert caught.value.diagnostics[0].code == code
    assert words in str(caught.value)


@given(st.lists(st.lists(st.floats(-1e6, 1e6, width=32), min_size=4, max_size=4), min_size=1, max_size=20))
def test_a_table_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[float]]
) -> None:
    path = tmp_path_factory.mktemp("table") / "data.csv"
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([["x_0", "x_1", "x_2", "y"], *rows])
    found = arrays_of(path, VECTOR)
    assert np.concatenate([found["x"], found["y"]], 1).tolist() == rows


# --- paths


def test_a_missing_file_names_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "movies.csv").write_text("x\n")
    with pytest.raises(SpecError, match=r"did you mean `movies\.csv`") as caught:
        arrays_of(tmp_path / "movie.csv", VECTOR)
    assert caught.value.diagnostics[0].code == "data-missing"


@pytest.mark.parametrize("path", ["../data.npz", "sub/../../data.npz", "link/data.npz"])
def test_data_lie_below_the_spec_unless_named_on_the_command_line(tmp_path: Path, path: str) -> None:
    np.savez(tmp_path / "data.npz", x=X, y=np.zeros(4))
    root = tmp_path / "spec"
    (root / "sub").mkdir(parents=True)
    (root / "link").symlink_to(tmp_path)
    given = program(VECTOR.inputs, Tensor((BATCH, 1)), data=path)
    with pytest.raises(SpecError) as caught:
        load(given, None, root, CPU)
    assert caught.value.diagnostics[0].code == "data-outside"
    training = load(given, root / path, root, CPU).training
    assert len(training) == 4


@pytest.mark.parametrize(
    ("value", "code", "path"),
    [
        ({"train": "a.npz", "features": {"x": {}}}, "missing-key", ("features", "x")),
        ({"train": "a.xlsx"}, "data-format", ("train",)),
        ({"trian": "a.npz"}, "unknown-key", ("trian",)),
        ({"train": 3}, "wrong-type", ("train",)),
        ({"validation": 0.1}, "wrong-type", ("validation",)),
        ({"validation": {"split": 1.0}}, "out-of-range", ("validation", "split")),
        (
            {"features": {"x": {"encode": "number", "decimal": ",", "thousands": ","}}},
            *("out-of-range", ("features", "x")),
        ),
        ({"validation": {"spilt": 0.1}}, "unknown-key", ("validation", "spilt")),
        (["a.npz"], "wrong-type", ()),
    ],
)
def test_a_wrong_data_section_says_what_is_wrong(value: Any, code: str, path: tuple[str, ...]) -> None:
    with pytest.raises(SettingError) as caught:
        parse_data(value)
    problem = caught.value.problems[0]
    assert (problem.code, problem.path) == (code, path)


# --- order and split


@given(st.integers(1, 300), st.integers(0, 2**63 - 1), st.integers(0, 50))
def test_order_is_a_permutation_that_seed_and_epoch_decide(count: int, seed: int, epoch: int) -> None:
    torch.manual_seed(seed % 7)
    state = torch.get_rng_state()
    found = Shuffle(seed, epoch).order(count)
    assert found.sort().values.tolist() == list(range(count))
    assert torch.equal(found, Shuffle(seed, epoch).order(count))
    assert torch.equal(state, torch.get_rng_state())
    if count > 20:
        assert not torch.equal(found, Shuffle(seed, epoch + 1).order(count))
        assert not torch.equal(found, Shuffle((seed + 1) % 2**63, epoch).order(count))


@given(st.integers(2, 300), st.floats(0.01, 0.99), st.integers(0, 1000))
def test_a_split_holds_its_share_which_follows_from_the_seed(count: int, fraction: float, seed: int) -> None:
    held = held_out(count, fraction, seed)
    assert len(held) == count and int((~held).sum()) == int(count * (1 - fraction))
    drawn = torch.randperm(count, generator=generator(seed, SPLIT))[int(count * (1 - fraction)) :]
    assert held.nonzero()[:, 0].tolist() == drawn.sort().values.tolist()


@pytest.mark.parametrize("count", [0, 1, 29_999, 30_001, 70_000])  # torch draws large ones in another way
def test_a_permutation_in_half_of_the_memory_has_the_same_numbers(count: int) -> None:
    found = permutation(count, torch.Generator().manual_seed(3))
    assert found.element_size() == 4
    assert torch.equal(found.long(), torch.randperm(count, generator=torch.Generator().manual_seed(3)))


@given(st.integers(1, 40), st.integers(1, 9), st.booleans())
def test_batches_cover_everything_and_the_last_may_be_small(count: int, size: int, shuffled: bool) -> None:
    examples = InMemory({"x": torch.arange(count)}, {"x": torch.float32})
    index = Shuffle(1, 0).order(count) if shuffled else torch.arange(count)
    batches = [batch.arrays["x"] for batch in examples.batches(size, Shuffle(1, 0) if shuffled else None)]
    assert torch.cat(batches).tolist() == index.tolist()
    assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)


def test_batches_are_the_same_however_many_are_gathered_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    examples = InMemory({"x": torch.arange(50).view(25, 2)}, {"x": torch.float32})
    whole = [batch.arrays["x"].tolist() for batch in examples.batches(4, Shuffle(0, 0))]
    monkeypatch.setattr("graphspec.data.batches.GATHERED", 1)
    assert [batch.arrays["x"].tolist() for batch in examples.batches(4, Shuffle(0, 0))] == whole


def test_a_split_that_leaves_nothing_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=X[:1], y=np.zeros(1))
    single = program(
        VECTOR.inputs, Tensor((BATCH, 1)), data={"train": "data.npz", "validation": {"split": 0.5}}
    )
    with pytest.raises(SpecError) as caught:
        load(single, None, tmp_path, CPU)
    assert caught.value.diagnostics[0].code == "data-empty"


# --- what a program wants


def judged(loss: Any, *metrics: Any, target: str = "y", inputs: Tensor | None = None) -> Any:
    """A program of one output of 4 values."""
    made = program({"x": inputs or Tensor((BATCH, 3))}, Tensor((BATCH, 4)), loss or "mse")
    made.outputs["y"].loss = parse_loss(loss) if loss else None
    made.outputs["y"].metrics = tuple(parse_metric(metric) for metric in metrics)
    made.outputs["y"].target = target
    return made


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        (judged("sparse_categorical_crossentropy", "precision"), "loss-misfit", "class numbers"),
        (
            judged(None, "categorical_accuracy", "sparse_categorical_accuracy"),
            "loss-misfit",
            "different targets",
        ),
        (judged("mse", target="x"), "data-shape", "float32[batch, 3]"),
        (
            judged("sparse_categorical_crossentropy", target="x", inputs=Tensor((BATCH,))),
            "data-shape",
            "int64",
        ),
    ],
)
def test_targets_that_cannot_be_read_are_refused_before_the_data(given: Any, code: str, words: str) -> None:
    with pytest.raises(SpecError, match=re.escape(words)) as caught:
        fields(given)
    assert caught.value.diagnostics[0].code == code


def test_an_output_may_have_an_input_or_another_output_as_its_target() -> None:
    assert [f.name for f in fields(judged("mse", target="x", inputs=Tensor((BATCH, 4), "uint8")))] == ["x"]
    two = judged("sparse_categorical_crossentropy", "accuracy")
    two.outputs["z"] = two.outputs["y"]
    assert [f.name for f in fields(two)] == ["x", "y"]
    assert [f.name for f in fields(judged("mean", "mse"))] == ["x", "y"]
    assert [f.name for f in fields(judged("mean"))] == ["x"]


# --- synthetic data

SPEC = """
inputs:
  text: {shape: [length], dtype: int64}
  image: {shape: [4, 4, 1]}
nodes:
  vectors: {layer: Embedding, from: text, input_dim: 50, output_dim: 4}
  code: {layer: GlobalAveragePooling1D}
  flat: {layer: Flatten, from: image}
  both: {merge: concatenate, from: [code, flat]}
  kind: {layer: Dense, from: both, units: 3, activation: softmax}
  hot: {layer: Dense, from: both, units: 3, activation: softmax}
  yes: {layer: Dense, from: both, units: 1, activation: sigmoid}
  value: {layer: Dense, from: both, units: 2}
  level: {layer: Dense, from: both, units: 3}
  share: {layer: Dense, from: both, units: 1, activation: sigmoid}
outputs:
  kind: {loss: sparse_categorical_crossentropy}
  hot: {loss: categorical_crossentropy}
  yes: {loss: binary_crossentropy}
  value: {loss: mse}
  level: {loss: {name: quantile, levels: [0.1, 0.5, 0.9]}}
  share: {loss: mae}
  picture: {from: flat, target: image, loss: mean}
"""


def test_synthetic_data_are_legal_and_the_same_for_a_seed() -> None:
    made = compile(SPEC)
    examples = cast(InMemory, load(made, None, None, CPU).training)
    found = {name: array.numpy() for name, array in examples.arrays.items()}
    assert len(examples) == 320
    assert found["text"].dtype == np.int64 and found["text"].min() >= 0 and found["text"].max() < 50
    assert set(np.unique(found["kind"])) == {0, 1, 2}
    assert (found["hot"].sum(1) == 1).all() and found["hot"].any(0).all()
    assert set(np.unique(found["yes"])) == {0, 1}
    assert found["value"].shape == (320, 2) and found["level"].shape == (320,)
    assert found["share"].min() > 0 and found["share"].max() < 1
    again = cast(InMemory, load(made, None, None, CPU).training)
    assert all(torch.equal(examples.arrays[name], again.arrays[name]) for name in found)


@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 5), st.booleans())
def test_an_epoch_can_begin_after_some_of_its_batches(count: int, size: int, seen: int, whole: bool) -> None:
    values = torch.arange(count)
    rows = None if whole else torch.arange(0, count, 2)
    examples = InMemory({"x": values}, {"x": torch.int64}, rows, {"y": values * 2.0}, {"y": values % 3 > 0})
    batches = list(examples.batches(size, Shuffle(3, 1)))
    rest = list(examples.batches(size, Shuffle(3, 1), start=seen * size))
    assert [b.arrays["x"].tolist() for b in rest] == [b.arrays["x"].tolist() for b in batches[seen:]]
    for batch in rest:
        assert torch.equal(batch.weights["y"], batch.arrays["x"] * 2.0)
        assert torch.equal(batch.masks["y"], batch.arrays["x"] % 3 > 0)
