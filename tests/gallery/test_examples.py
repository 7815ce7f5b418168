"""The specs on real data reach what they are there to show, beside scikit-learn on the same rows."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from graphspec.compiler import compile
from graphspec.data import splits
from graphspec.data.batches import held_out
from graphspec.data.columns import TablePart
from graphspec.data.files import Split
from graphspec.runs.run import Run
from graphspec.train.loop import train
from tests import ROOT

SPECS = ROOT / "specs"


def rows(name: str) -> dict[str, np.ndarray]:
    with (SPECS / "data" / name).open(encoding="utf-8", newline="") as stream:
        table = list(csv.DictReader(stream))
    return {key: np.array([row[key] for row in table]) for key in table[0]}


def trained(name: str, tmp_path: Path) -> Any:
    program = compile(SPECS / f"{name}.yaml")
    return train(program, root=SPECS, run_dir=tmp_path / name, device="cpu", tell=lambda note: None)


@pytest.mark.parity
def test_a_table_is_learned_as_well_as_by_gradient_boosting(tmp_path: Path) -> None:
    from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
    from sklearn.feature_extraction.text import CountVectorizer

    cars = rows("cars.csv")
    chosen = held_out(len(cars["mpg"]), 0.25, 0).numpy()
    training, held = np.flatnonzero(~chosen), np.flatnonzero(chosen)
    numbers = np.stack(
        [np.where(cars[key] == "", "93", cars[key]).astype(float) for key in ("displacement", "horsepower")]
        + [cars[key].astype(float) for key in ("weight", "acceleration", "cylinders")]
        + [np.array([float(year[:4]) for year in cars["year"]])],
        1,
    )
    words = CountVectorizer(max_features=200).fit(cars["name"][training]).transform(cars["name"]).toarray()
    columns = np.concatenate((numbers, words), 1)
    known = cars["mpg"] != ""
    mpg = np.where(known, cars["mpg"], "0").astype(float)
    fit, unseen = training[known[training]], held[known[held]]
    boosted = GradientBoostingRegressor(random_state=0).fit(columns[fit], mpg[fit])
    error = np.abs(boosted.predict(columns[unseen]) - mpg[unseen]).mean()
    classes = GradientBoostingClassifier(random_state=0).fit(columns[training], cars["origin"][training])
    accuracy = classes.score(columns[held], cars["origin"][held])

    found = trained("cars", tmp_path).metrics
    assert found["val_mpg_mae"] <= error < 2.5
    assert found["val_origin_accuracy"] >= accuracy > 0.9


@pytest.mark.parity
def test_text_is_learned_better_than_from_word_counts(tmp_path: Path) -> None:
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    names = rows("names.csv")
    count = len(names["name"])
    whole = TablePart(pa.table({"language": names["language"].tolist()}), np.arange(count), "names.csv", str)
    parts = splits.by_split(Split(split=0.2, stratify="language"), whole, count, 0)
    training, held = parts == splits.TRAINING, parts == splits.VALIDATION
    counts = CountVectorizer(token_pattern=r"(?u)\b\w+\b").fit(names["name"][training])
    linear = LogisticRegression(max_iter=2000)
    linear.fit(counts.transform(names["name"][training]), names["language"][training])
    accuracy = linear.score(counts.transform(names["name"][held]), names["language"][held])

    found = trained("names", tmp_path).metrics
    assert found["val_accuracy"] > 0.7 > accuracy + 0.2


@pytest.mark.parity
def test_digits_from_a_folder_are_read_as_well_as_from_arrays(tmp_path: Path) -> None:
    result = trained("digit_images", tmp_path)
    digits = np.load(SPECS / "data" / "digits.npz")
    seen = np.zeros(10, int)
    others = []
    for index, digit in enumerate(digits["digit"]):
        seen[digit] += 1
        if seen[digit] > 100:  # the first 100 of each are in the folder
            others.append(index)
    weights = result.run_dir / "last.safetensors"
    module = compile(SPECS / "digit_images.yaml").module(weights=weights).eval()
    pictures = (digits["image"][others] * 15.9375).astype(np.uint8)
    with torch.no_grad():
        found = module(torch.from_numpy(pictures)).argmax(1).numpy()
    assert (found == digits["digit"][others]).mean() >= 0.97


@pytest.mark.parity
@pytest.mark.parametrize(("name", "most"), [("carbon_dioxide", 0.6), ("carbon_dioxide_quantiles", 0.9)])
def test_forecasts_are_better_than_the_season_before(name: str, most: float, tmp_path: Path) -> None:
    """Over its mean error in training (MASE), and beside its error on the same weeks."""
    found = Run(trained(name, tmp_path).run_dir).evaluate()
    assert found["mase"] < most and found["mae"] < most * found["naive_mae"]


@pytest.mark.parity
def test_what_comes_next_in_a_novel_is_learned_better_than_from_two_letters(tmp_path: Path) -> None:
    """Beside the shares of what followed each two letters in training, with one added to each count."""
    text = (SPECS / "data" / "alice.txt").read_text()
    border = text.rindex("\n", 0, int(len(text) * 0.9)) + 1
    letters = {letter: index for index, letter in enumerate(sorted(set(text)))}
    codes = np.array([letters[letter] for letter in text])
    counts = np.ones((len(letters),) * 3)
    np.add.at(counts, (codes[: border - 2], codes[1 : border - 1], codes[2:border]), 1)
    shares = counts / counts.sum(-1, keepdims=True)
    held = codes[border:]
    bigrams = np.exp(-np.log(shares[held[:-2], held[1:-1], held[2:]]).mean())
    assert trained("novel", tmp_path).metrics["val_perplexity"] < 7.5 < bigrams


@pytest.mark.parity
def test_names_are_invented_in_the_language_that_is_asked_for(tmp_path: Path) -> None:
    """Beside the shares of what followed each two letters in training, and by the ends of what it says."""
    names = rows("names.csv")
    texts = [f"{a}^{b}$" for a, b in zip(names["language"], names["name"], strict=True)]
    letters = {letter: index for index, letter in enumerate(sorted({*"".join(texts)}))}
    whole = TablePart(pa.table({"language": names["language"].tolist()}), np.arange(len(texts)), "", str)
    held = splits.by_split(Split(split=0.1, stratify="language"), whole, len(texts), 0) == splits.VALIDATION
    counts, total, said = np.ones((len(letters),) * 3), 0.0, 0
    codes = [np.array([letters[letter] for letter in text]) for text in texts]
    for known, each in zip(held, codes, strict=True):
        np.add.at(counts, (each[:-2], each[1:-1], each[2:]), not known)
    shares = counts / counts.sum(-1, keepdims=True)
    for text, each in zip(np.array(texts)[held], np.array(codes, object)[held], strict=True):
        learned = each[text.index("^") - 1 :]
        total -= np.log(shares[learned[:-2], learned[1:-1], learned[2:]]).sum()
        said += len(learned) - 2
    run = Run(trained("invented", tmp_path).run_dir)
    assert run.evaluate()["perplexity"] < 6.5 < np.exp(total / said)
    german = [*run.generate(["German"] * 20)]
    assert sum(name.endswith(("isch", "Inseln", "land", "en")) for name in german) > 10


@pytest.mark.parity
def test_dates_are_written_as_iso_has_them(tmp_path: Path) -> None:
    run = Run(trained("dates", tmp_path).run_dir)
    asked = {"5 March 1998": "1998-03-05", "Jun 30 2011": "2011-06-30", "February 29, 2024": "2024-02-29"}
    assert [*run.generate([*asked])] == [*asked.values()]
    assert run.evaluate()["accuracy"] > 0.99


@pytest.mark.parity
def test_digits_of_noise_are_digits(tmp_path: Path) -> None:
    """Digits that a reader of real ones recognizes, all ten, that are among real ones by their neighbours:
    of digits whose pixels come from different ones, each by chance, 78 % have a nearest neighbour like them.
    """
    from sklearn.neighbors import KNeighborsClassifier

    known = np.load(SPECS / "data" / "digits.npz")
    real = known["image"].reshape(-1, 64) / 8 - 1
    made = np.stack([*Run(trained("digits_diffusion", tmp_path).run_dir).generate(samples=300)]).reshape(
        -1, 64
    )
    reader = KNeighborsClassifier(5).fit(real, known["digit"])
    assert reader.predict_proba(made).max(1).mean() > 0.85
    assert np.bincount(reader.predict(made), minlength=10).min() >= 8
    both = np.concatenate([made, real[np.random.default_rng(0).permutation(len(real))[:300]]])
    distances = ((both[:, None] - both[None]) ** 2).sum(-1) + 1e9 * np.eye(600)
    nearest = distances.argmin(1) < 300
    assert (nearest == (np.arange(600) < 300)).mean() < 0.72


@pytest.mark.parity
def test_two_towers_find_more_than_what_is_popular(tmp_path: Path) -> None:
    program = compile(SPECS / "two_towers.yaml")
    run = tmp_path / "two_towers"
    result = train(program, root=SPECS, run_dir=run, device="cpu", tell=lambda note: None, baselines=True)
    popular: Any = result.baselines["what is popular"]["val_recall_at_k"]
    found: Any = max(result.history["val_recall_at_k"])
    assert found > 0.95 and found > 1.5 * popular
