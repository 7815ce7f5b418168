"""Queries and keys: metrics over the keys of all training rows, corrected popularity, what is found."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor

import graphspec
from graphspec.compiler import check
from graphspec.data.batches import Shuffle
from graphspec.data.candidates import fingerprints
from graphspec.diagnostics import Diagnostics, SpecError
from graphspec.serve.options import ServeOptions
from graphspec.serve.served import Served
from graphspec.train.loop import Interrupted, train

SPEC = """
name: m
inputs: {user: {shape: [1], dtype: int64}, movie: {shape: [1], dtype: int64}, genre: {shape: [3]}}
nodes:
  one: {layer: Embedding, from: user, input_dim: $(vocabulary(user)), output_dim: 4}
  users: {layer: Flatten}
  two: {layer: Embedding, from: movie, input_dim: $(vocabulary(movie)), output_dim: 4}
  kinds: {layer: Dense, from: genre, units: 4}
  flat: {layer: Flatten, from: two}
  movies: {merge: add, from: [flat, kinds]}
outputs:
  likes:
    from: [users, movies]
    loss: {name: in_batch_softmax, similarity: dot, temperature: 1, correct_popularity: true}
    metrics: [{name: recall_at_k, k: 3}, {name: hit_rate, k: 3}, {name: ndcg, k: 3}, {name: mrr, k: 3}]
data:
  train: d.csv
  validation: {column: part}
  key: user
  features:
    user: {encode: category, vocabulary: 16}
    movie: {encode: category, vocabulary: 31}
    genre: {columns: [a, b, c], encode: number}
train: {batch_size: 16, epochs: 2, optimizer: {name: sgd, learning_rate: 0.5}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """160 rows of training and 60 of validation: some twice, and two of a movie that no other has."""
    folder, source = tmp_path_factory.mktemp("likes"), np.random.default_rng(0)
    genres = source.integers(0, 2, (31, 3))
    lines = ["user,movie,a,b,c,part"]
    for row in range(220):
        movie = int(30 * source.random() ** 2) if row < 218 else 30
        user = int(source.integers(15))
        kinds = ",".join(map(str, genres[movie]))
        lines.append(f"u{user},m{movie},{kinds},{'train' if row < 160 else 'validation'}")
    (folder / "d.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def run(folder: Path) -> Any:
    return fitted(folder, "run")


def fitted(folder: Path, name: str, spec: str = SPEC, **options: Any) -> Any:
    result = train(graphspec.compile(spec), root=folder, run_dir=folder / name, device="cpu", **options)
    return result, graphspec.Run(folder / name, "last")


def rows(folder: Path) -> list[list[str]]:
    return [line.split(",") for line in (folder / "d.csv").read_text().splitlines()[1:]]


def scores_by_hand(folder: Path, run: Any) -> tuple[list[str], dict[str, dict[str, float]]]:
    """The scores of the movies of training rows for each user, by tensors of the weights alone."""
    names = json.loads((run.path / "encoders.json").read_text())["fields"]
    module = run.module()
    ids = {
        word: {value: 1 + place for place, value in enumerate(_values(names[word]))}
        for word in ("user", "movie")
    }
    genres = {row[1]: [float(each) for each in row[2:5]] for row in rows(folder)}
    movies = sorted({row[1] for row in rows(folder) if row[5] == "train"})
    with torch.no_grad():
        vectors = torch.stack(
            [
                module.two.weight[ids["movie"][each]] + module.kinds(torch.tensor(genres[each]))
                for each in movies
            ]
        )
        users = {user: module.one.weight[place] for user, place in ids["user"].items()}
        scores = {user: (vectors @ vector).tolist() for user, vector in users.items()}
    return movies, {user: dict(zip(movies, each, strict=True)) for user, each in scores.items()}


def _values(state: Any) -> list[str]:
    text = json.dumps(state)
    found: list[str] = []

    def visit(value: Any) -> None:
        if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
            found.extend(each for each in value if each[:1] in "um")
        elif isinstance(value, dict | list):
            for each in value.values() if isinstance(value, dict) else value:
                visit(each)

    visit(json.loads(text))
    return found


def metrics_by_hand(folder: Path, scores: dict[str, dict[str, float]]) -> dict[str, float]:
    wanted: dict[str, set[str]] = {}
    seen: dict[str, set[str]] = {}
    for user, movie, *_, part in rows(folder):
        (seen if part == "train" else wanted).setdefault(user, set()).add(movie)
    every: dict[str, list[float]] = {"recall_at_k": [], "hit_rate": [], "ndcg": [], "mrr": []}
    for user, relevant in wanted.items():
        gone = seen.get(user, set()) - relevant
        order = sorted((m for m in scores[user] if m not in gone), key=lambda m: -scores[user][m])[:3]
        hits = [movie in relevant for movie in order]
        gains = [1 / np.log2(2 + place) for place in range(3)]
        every["recall_at_k"].append(sum(hits) / len(relevant))
        every["hit_rate"].append(float(any(hits)))
        best = sum(gains[: len(relevant)])
        every["ndcg"].append(sum(g for g, hit in zip(gains, hits, strict=False) if hit) / best)
        every["mrr"].append(1 / (1 + hits.index(True)) if any(hits) else 0.0)
    return {name: float(np.mean(values)) for name, values in every.items()}


def test_metrics_are_those_of_all_movies_sorted_by_hand(folder: Path, run: Any) -> None:
    result, loaded = run
    _, scores = scores_by_hand(folder, loaded)
    wanted = metrics_by_hand(folder, scores)
    evaluated = loaded.evaluate(device="cpu")
    for name, value in wanted.items():
        assert result.metrics[f"val_{name}"] == pytest.approx(value) == evaluated[name]
        assert name not in result.metrics
    assert 0 < wanted["recall_at_k"] < 1


def test_what_is_popular_is_measured_beside(tmp_path: Path) -> None:
    """Movie 0 is in six training rows, movie 1 in five, and so on. User 9 has seen movie 0."""
    movies = np.repeat(np.arange(6), [6, 5, 4, 3, 2, 1])
    users = np.arange(len(movies)) % 4
    users[0] = 9
    parts = {"train": (users, movies), "held": (np.array([8, 9, 7, 7]), np.array([2, 1, 0, 3]))}
    for name, (user, movie) in parts.items():
        genre = np.zeros((len(user), 3), np.float32)
        np.savez(tmp_path / f"{name}.npz", user=user[:, None], movie=movie[:, None], genre=genre)
    spec = (
        SPEC.partition("data:")[0].replace("$(vocabulary(user))", "10").replace("$(vocabulary(movie))", "6")
    )
    spec += "data: {train: train.npz, validation: held.npz}\ntrain: {batch_size: 8, epochs: 1}\n"
    result, run = fitted(tmp_path, "run", spec, baselines=True)
    ndcg = (1 / np.log2(4) + 1 + 1 / (1 + 1 / np.log2(3))) / 3
    wanted = {"recall_at_k": (1 + 1 + 0.5) / 3, "hit_rate": 1, "ndcg": ndcg, "mrr": (1 / 3 + 1 + 1) / 3}
    found = result.baselines["what is popular"]
    assert found == pytest.approx({f"val_{name}": value for name, value in wanted.items()})
    again = run.evaluate(device="cpu", baselines=True)["baselines"]["what is popular"]
    assert again == pytest.approx(wanted)


def test_twenty_steps_are_those_of_a_loop_by_hand(folder: Path, run: Any) -> None:
    """The logits lose the logarithm of a movie's share; a movie that is twice in a batch is no negative."""
    _, loaded = run
    encoders, module = loaded.encoders(), graphspec.compile(SPEC).module()
    table = [row for row in rows(folder) if row[5] == "train"]
    ids = [
        torch.tensor(
            [[1 + encoders.encoders[name].vocabularies[0].values.index(row[place])] for row in table]
        )
        for place, name in enumerate(("user", "movie"))
    ]
    kinds = torch.tensor([[float(each) for each in row[2:5]] for row in table])
    share = torch.bincount(ids[1][:, 0])[ids[1][:, 0]] / len(table)
    weights = [*module.parameters()]
    for epoch in range(2):
        for part in Shuffle(0, epoch).order(160).split(16):
            outputs = module(ids[0][part], ids[1][part], kinds[part])
            logits = outputs["likes"] @ outputs["likes.1"].T - share[part].log()
            same = ids[1][part] == ids[1][part].T
            logits = logits.masked_fill(same & ~torch.eye(16, dtype=torch.bool), -torch.inf)
            loss = torch.nn.functional.cross_entropy(logits, torch.arange(16))
            for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
                weight.data -= 0.5 * gradient
    for name, value in module.state_dict().items():
        torch.testing.assert_close(loaded.module().state_dict()[name], value, rtol=1e-4, atol=1e-6)


class Stop:
    def __init__(self, steps: int):
        self.steps = steps
        self.model: Any = None

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.model.iterations == self.steps:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_run_goes_on_to_the_bit(folder: Path, run: Any) -> None:
    with pytest.raises(Interrupted):
        fitted(folder, "killed", callbacks=[Stop(13)])
    result, loaded = fitted(folder, "killed", resume=True)
    whole = run[1].module().state_dict()
    assert all(torch.equal(loaded.module().state_dict()[name], value) for name, value in whole.items())
    assert result.metrics == run[0].metrics


def test_the_best_are_found_without_what_is_known(folder: Path, run: Any) -> None:
    _, loaded = run
    _, scores = scores_by_hand(folder, loaded)
    found = loaded.predict([{"user": "u3"}, {"user": "u7"}], top=4, device="cpu")
    assert found.column_names == ["user", "likes", "likes.score"]
    for row in found.to_pylist():
        seen = {movie for user, movie, *_, part in rows(folder) if (user, part) == (row["user"], "train")}
        mine = scores[row["user"]]
        order = sorted((movie for movie in mine if movie not in seen), key=lambda movie: -mine[movie])[:4]
        assert row["likes"] == order
        assert row["likes.score"] == pytest.approx([mine[movie] for movie in order], rel=1e-4)
    one = loaded.predict({"user": "nobody"}, top=50, device="cpu").to_pylist()[0]
    assert len(one["likes"]) == len({row[1] for row in rows(folder) if row[5] == "train"})
    assert loaded.predict([{"user": "u3"}], top=1, probabilities=False).column_names == ["user", "likes"]


def test_a_server_finds_what_predict_finds(folder: Path, run: Any) -> None:
    _, loaded = run
    asked = ServeOptions([loaded.path], weights="last", device="cpu", top=3)
    rows = [{"user": "u3"}, {"user": "u7"}]
    served = Served("likes", loaded.path, asked)
    answers = served.predict([*enumerate([*rows, {"movie": "m1"}])])
    assert answers[:2] == loaded.predict(rows, top=3, device="cpu").to_pylist()
    assert [each.code for each in answers[2]] == ["data-column"]
    plain = Served("likes", loaded.path, ServeOptions([loaded.path], weights="last", device="cpu"))
    assert [note for note in plain.notes if "`--top 10`" in note] and plain.notes != served.notes


def test_a_file_of_candidates_that_is_gone_or_damaged_is_told(folder: Path, run: Any, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(run[1].path, tmp_path / "run")
    path = tmp_path / "run" / "candidates.safetensors"
    state = load_file(path)
    changes: list[dict[str, Tensor]] = [
        {},
        {**state, "likes.found": state["likes.found"] + 1000},
        {**state, "likes.row.movie": state["likes.row.movie"][1:]},
        {**state, "likes.prints": state["likes.prints"].float()},
        {key: value for key, value in state.items() if key != "likes.counts"},
    ]
    for change in changes:
        path.unlink(missing_ok=True)
        if change:
            save_file(change, path)
        with pytest.raises(SpecError, match="keys of the rows that the run learned from") as caught:
            graphspec.Run(tmp_path / "run", "last").predict([{"user": "u3"}], top=3)
        assert [each.code for each in caught.value.diagnostics] == ["data-format"]


def test_arrays_are_named_by_their_numbers(tmp_path: Path) -> None:
    spec = (
        SPEC.partition("data:")[0].replace("$(vocabulary(user))", "9").replace("$(vocabulary(movie))", "12")
    )
    spec += "data: {train: d.npz, validation: {split: 0.2}}\ntrain: {batch_size: 8, epochs: 1}\n"
    source = np.random.default_rng(0)
    user, movie = source.integers(0, 9, (60, 1)), source.integers(0, 12, (60, 1))
    np.savez(tmp_path / "d.npz", user=user, movie=movie, genre=np.eye(3, dtype=np.float32)[movie[:, 0] % 3])
    _, run = fitted(tmp_path, "run", spec)
    found = run.predict({"user": np.array([[2], [5]])}, top=2, device="cpu").to_pylist()
    assert all(len(row["likes"]) == 2 and set(row["likes"]) <= set(range(12)) for row in found)


def refused(old: str, new: str) -> list[tuple[str, str]]:
    diagnostics = Diagnostics()
    assert old in SPEC
    check(SPEC.replace(old, new), diagnostics, {})
    return [(each.code, each.message) for each in diagnostics.sorted() if each.severity == "error"]


@pytest.mark.parametrize(
    ("old", "new", "code", "words"),
    [
        ("[flat, kinds]", "[flat, kinds, users]", "loss-misfit", "both depend on the input `user`"),
        (
            "correct_popularity: true",
            "correct_popularity: true, symmetric: true",
            "out-of-range",
            "symmetric",
        ),
        ("hit_rate, k: 3", "hit_rate, weighted: true", "loss-misfit", "counts each query once"),
        ("{name: ndcg, k: 3}", "accuracy", "loss-misfit", "a metric takes one node"),
        ("correct_popularity", "correct_popularty", "unknown-key", "correct_popularty"),
    ],
)
def test_what_ranks_nothing_is_refused(old: str, new: str, code: str, words: str) -> None:
    found = refused(old, new)
    assert code in [each for each, _ in found] and any(words in message for _, message in found)


def test_a_run_that_ranks_nothing_finds_nothing(folder: Path) -> None:
    spec = SPEC.partition("    metrics")[0] + SPEC[SPEC.index("data:") :]
    _, run = fitted(folder, "plain", spec)
    with pytest.raises(SpecError, match="ranks keys for a query"):
        run.predict([{"user": "u3"}], top=3)


def test_a_key_without_a_name_is_told(folder: Path) -> None:
    spec = SPEC.replace("movie: {encode: category, vocabulary: 31}", "movie: {encode: hash, bins: 31}")
    _, run = fitted(folder, "hashed", spec)
    with pytest.raises(SpecError, match="nothing names the keys") as caught:
        run.predict([{"user": "u3"}], top=3)
    assert "encode: category" in str(caught.value)


def test_a_monitor_is_of_validation_alone() -> None:
    stopping = "callbacks: {early_stopping: {monitor: NAME}}, batch_size: 16"
    for name, legal in (("val_recall_at_k", True), ("recall_at_k", False)):
        found = refused("batch_size: 16", stopping.replace("NAME", name))
        assert (not found) is legal


def test_fingerprints_tell_rows_apart_and_not_their_padding() -> None:
    source = torch.Generator().manual_seed(0)
    words = torch.randint(0, 9, (400, 6), generator=source)
    numbers = torch.randn(400, 2, generator=source)
    numbers[200:], words[200:] = numbers[:200], words[:200]
    prints = fingerprints({"a": words, "b": numbers}, ["a", "b"])
    assert torch.equal(prints[:200], prints[200:]) and prints.unique().numel() == 200
    padded = torch.nn.functional.pad(words, (0, 3))
    assert torch.equal(fingerprints({"a": padded, "b": numbers}, ["a", "b"]), prints)
    assert not torch.equal(fingerprints({"a": words.flip(1), "b": numbers}, ["a", "b"]), prints)
    grid = torch.cartesian_prod(torch.arange(300), torch.arange(300))
    assert fingerprints({"a": grid[:, :1], "b": grid[:, 1:]}, ["a", "b"]).unique().numel() == 90_000
    assert fingerprints({"a": grid}, ["a"]).unique().numel() == 90_000


def test_predictions_of_a_file_are_written_as_lists(folder: Path, run: Any) -> None:
    parts = run[1].predictions(folder / "d.csv", top=2, limit=5, device="cpu")
    table = pa.concat_tables(list(parts))
    assert table.num_rows == 5 and table.column("likes").type == pa.list_(pa.string())
