"""`new` of a table of who has what: two towers; of other tables what it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphspec
from graphspec.data.drafting import draft
from graphspec.diagnostics import SpecError
from graphspec.train.loop import train


def table(path: Path, header: str, *columns: Any) -> Path:
    lines = [",".join(map(str, row)) for row in zip(*columns, strict=True)]
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


@pytest.fixture
def ratings() -> tuple[Any, Any, Any, Any]:
    """Users like the movies that leave the same rest as their number, divided by 3."""
    source = np.random.default_rng(0)
    user = source.integers(1, 31, 900)
    movie = 100 + 3 * source.integers(0, 10, 900) + user % 3
    return user, movie, source.integers(1, 6, 900), 880_000_000 + source.integers(0, 10**6, 900)


def test_ratings_become_two_towers_that_find_more_than_what_is_popular(tmp_path: Path, ratings: Any) -> None:
    data = table(tmp_path / "ratings.csv", "user,movie,rating,timestamp", *ratings)
    text = draft("likes", data, [], tmp_path)
    assert "from: [user_vector, movie_vector]" in text and "`rating`, `timestamp`" in text
    assert "vocabulary: 31}" in text
    program = graphspec.compile(text, settings={"train.epochs": 12, "train.batch_size": 32})
    result = train(program, root=tmp_path, run_dir=tmp_path / "run", baselines=True, device="cpu")
    popular: Any = result.baselines["what is popular"]["val_recall_at_k"]
    found_of_all: Any = max(result.history["val_recall_at_k"])
    assert found_of_all > 1.5 * popular
    found = graphspec.Run(tmp_path / "run").predict([{"user": 4}], top=3).to_pylist()[0]
    assert found["user"] == 4 and len(found["match"]) == 3


def test_names_are_read_in_any_writing(tmp_path: Path, ratings: Any) -> None:
    user, movie, *_ = ratings
    for header in ("userId,movieId", "customer_id,product code", "PLANE,AIRPORT", "User,movie"):
        data = table(tmp_path / "d.csv", header, [f"p{each}" for each in user], movie)
        text = draft("likes", data, [], tmp_path)
        assert "in_batch_softmax" in text
        graphspec.compile(text)


def test_with_a_target_users_and_movies_are_categories(tmp_path: Path, ratings: Any) -> None:
    data = table(tmp_path / "ratings.csv", "user,movie,rating,timestamp", *ratings)
    text = draft("stars", data, ["rating"], tmp_path)
    assert "columns: [user, movie], encode: category" in text and "in_batch_softmax" not in text


@pytest.mark.parametrize(
    "header",
    ["user,movie,price", "a,movie,b", "user,rating"],
)
def test_a_table_that_may_be_another_needs_its_target(tmp_path: Path, ratings: Any, header: str) -> None:
    user, movie, _, _ = ratings
    columns = {"user": user, "a": user, "movie": movie, "rating": movie % 4 + 1}
    columns |= {"price": np.round(movie * 1.37 + user, 2), "b": movie}
    data = table(tmp_path / "d.csv", header, *(columns[name] for name in header.split(",")))
    with pytest.raises(SpecError, match="named as the target"):
        draft("likes", data, [], tmp_path)


def test_measured_numbers_are_no_names(tmp_path: Path) -> None:
    source = np.random.default_rng(0)
    data = table(tmp_path / "d.csv", "height,weight", source.normal(size=90), source.normal(size=90))
    with pytest.raises(SpecError, match="named as the target"):
        draft("likes", data, [], tmp_path)


def test_rows_without_a_movie_share_a_value_and_what_describes_movies_is_no_obstacle(
    tmp_path: Path, ratings: Any
) -> None:
    user, movie, *_ = ratings
    titles = [f"Title {each}" if each != 104 else "" for each in movie]
    genres = ["Drama|Crime" if each % 2 else "Comedy" for each in movie]
    data = table(tmp_path / "d.csv", "userId,title,genres", user, titles, genres)
    with pytest.raises(SpecError, match="no column of it is named as the target"):
        draft("likes", data, [], tmp_path)  # nothing says that a title is chosen
    data = table(tmp_path / "d.csv", "userId,movieId,title,genres", user, movie, titles, genres)
    assert "not read: `title`, `genres`" in draft("likes", data, [], tmp_path)
    other = [f"m{n % 7}" for n in range(len(user))]
    data = table(tmp_path / "d.csv", "userId,movieId,mood", user, movie, other)
    with pytest.raises(SpecError, match="no column of it is named as the target"):
        draft("likes", data, [], tmp_path)
    data = table(tmp_path / "d.csv", "userId,title", user, titles)
    text = draft("likes", data, [], tmp_path)
    assert f"# {titles.count('')} rows have none" in text and "vocabulary: 31, fill: missing}" in text
    options = {"train.epochs": 1, "train.batch_size": 64}
    train(graphspec.compile(text, settings=options), root=tmp_path, run_dir=tmp_path / "run", device="cpu")
