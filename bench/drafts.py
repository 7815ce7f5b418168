"""`python -m bench.drafts`: first specs as `new` writes them, trained once, beside gradient boosting.

Each task is a table of an installed package (bokeh_sampledata, vega_datasets, statsmodels, scikit-learn). A
fifth of its rows is held out; `new` and `train` see the rest, and nothing is edited. Boosting is
scikit-learn's HistGradientBoosting with its defaults, on columns of numbers and of categories. AutoGluon
is not among the rows: it asks for another torch than the one that is tested here.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from graphspec.compiler import compile
from graphspec.data.drafting import draft
from graphspec.runs.run import Run
from graphspec.train.loop import train

FOLDER = "_data"


def _bokeh(name: str) -> pd.DataFrame:
    import bokeh_sampledata

    return pd.read_csv(Path(bokeh_sampledata.__file__).parent / FOLDER / name)


def _movies() -> pd.DataFrame:
    import sqlite3

    import bokeh_sampledata

    path = Path(bokeh_sampledata.__file__).parent / FOLDER / "movies.db"
    with sqlite3.connect(path) as connection:
        columns = "omdb.ID, Title, Year, omdb.Rating AS mpaa, Runtime, Genre, Released, Director, Language"
        columns += ", imdbRating, BoxOffice, Meter, Reviews"
        where = "omdb.ID = tomatoes.ID AND CAST(Reviews AS INTEGER) >= 40"
        query = f"SELECT {columns} FROM omdb, tomatoes WHERE {where}"
        found = pd.read_sql(query, connection)
    return found.dropna(subset=["imdbRating"])


def _cars() -> pd.DataFrame:
    import vega_datasets

    return pd.read_json(Path(vega_datasets.__file__).parent / FOLDER / "cars.json")


def _statsmodels(name: str) -> pd.DataFrame:
    import statsmodels.api as sm

    return getattr(sm.datasets, name).load_pandas().data


def _digits() -> pd.DataFrame:
    from sklearn.datasets import load_digits

    digits = load_digits()
    columns = {f"p{i}": digits.data[:, i] for i in range(64)}
    return pd.DataFrame({**columns, "digit": [f"d{each}" for each in digits.target]})


TASKS: dict[str, tuple[Callable[[], pd.DataFrame], list[str]]] = {
    "penguins": (lambda: _bokeh("penguins.csv"), ["body_mass_g", "sex"]),
    "movies": (_movies, ["imdbRating"]),
    "cars": (_cars, ["Miles_per_Gallon", "Origin"]),
    "titanic": (lambda: _bokeh("titanic_all.csv"), ["survived"]),
    "autompg": (lambda: _bokeh("auto-mpg.csv"), ["mpg"]),
    "fair": (lambda: _statsmodels("fair"), ["rate_marriage"]),
    "digits": (_digits, ["digit"]),
}


def task(name: str) -> dict[str, Any]:
    load, targets = TASKS[name]
    table = load()
    targets = [target for target in targets if target in table]
    table = table.dropna(subset=targets).reset_index(drop=True)
    held = np.random.default_rng(0).permutation(len(table)) < len(table) // 5
    row: dict[str, Any] = {"task": name, "rows": len(table)}
    row |= _ours(table[~held], table[held], targets)
    return row | _boosting(table[~held], table[held], targets)


def _ours(training: pd.DataFrame, held: pd.DataFrame, targets: list[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        training.to_csv(folder / "train.csv", index=False)
        held.to_csv(folder / "held.csv", index=False)
        start = time.process_time()
        text = draft("spec", folder / "train.csv", targets, folder)
        (folder / "spec.yaml").write_text(text)
        train(compile(folder / "spec.yaml"), run_dir=folder / "run", root=folder, device="cpu")
        seconds = time.process_time() - start
        values = Run(folder / "run").evaluate(folder / "held.csv", device="cpu")
    single = len(targets) == 1
    found = {}
    for target in targets:
        numeric = _numeric(training[target])
        metric = "mae" if numeric else "accuracy"
        word = "".join(c if c.isalnum() else "_" for c in target)
        found[f"{target} {metric}"] = values[metric if single else f"{word}_{metric}"]
    return {"graphspec": found, "graphspec_seconds": seconds}


def _numeric(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and column.nunique() > 20


def _boosting(training: pd.DataFrame, held: pd.DataFrame, targets: list[str]) -> dict[str, Any]:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    inputs = [name for name in training if name not in targets]
    parts = [_columns(part[inputs], training[inputs]) for part in (training, held)]
    found, start = {}, time.process_time()
    for target in targets:
        numeric = _numeric(training[target])
        model = (HistGradientBoostingRegressor if numeric else HistGradientBoostingClassifier)(random_state=0)
        values = [part[target] if numeric else part[target].astype(str) for part in (training, held)]
        guess = model.fit(parts[0], values[0]).predict(parts[1])
        score = float(np.abs(guess - values[1]).mean()) if numeric else float((guess == values[1]).mean())
        found[f"{target} {'mae' if numeric else 'accuracy'}"] = score
    return {"boosting": found, "boosting_seconds": time.process_time() - start}


def _columns(part: pd.DataFrame, like: pd.DataFrame) -> np.ndarray:
    """Numbers as they are, dates as numbers, texts as the numbers of their values in training."""
    made = []
    for name in part:
        column = part[name]
        if not pd.api.types.is_numeric_dtype(column):
            known = {
                value: index for index, value in enumerate(sorted(like[name].dropna().astype(str).unique()))
            }
            column = column.astype(str).map(known)
        made.append(column.astype(float).to_numpy())
    return np.stack(made, 1)


def main() -> None:
    for name in sys.argv[1:] or TASKS:
        print(json.dumps(task(name)), flush=True)


if __name__ == "__main__":
    main()
