"""What first specs are tried on: tables and pictures of installed packages, and hourly series."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

FOLDER = "_data"
RARE = 10
"""Rows that have a class fewer times are left out: of so few, parts of the table may have none."""
MOVIES = """
SELECT omdb.ID, Title, Year, omdb.Rating AS mpaa, Runtime, Genre, Released, Director, Writer, "Cast",
       Language, Country, Oscars, Reviews, {target}
FROM omdb, tomatoes WHERE omdb.ID = tomatoes.ID AND Reviews >= 40
"""
TILE = 32
SERIES, HOURS, PAST, NEXT = 4, 24 * 150, 168, 24
NOISE = 7.95
"""The deviation of hourly values: the week before is wrong by 9.3."""


@dataclass(frozen=True, slots=True)
class Task:
    """Rows, and the columns to predict: a `number` or a `class`. With `shape` the columns besides the target
    are the pixels of an image.
    """

    load: Callable[[], pd.DataFrame]
    targets: Mapping[str, str]
    shape: tuple[int, ...] | None = None

    def rows(self) -> pd.DataFrame:
        """The rows that have each target."""
        found = self.load().dropna(subset=list(self.targets))
        for target, kind in self.targets.items():
            if kind == "class":
                counts = found[target].map(found[target].value_counts())
                found = found[counts >= RARE]
        return found.reset_index(drop=True)


def _bokeh(name: str) -> pd.DataFrame:
    import bokeh_sampledata

    return pd.read_csv(Path(bokeh_sampledata.__file__).parent / FOLDER / name)


def _movies(target: str) -> pd.DataFrame:
    import bokeh_sampledata

    with sqlite3.connect(Path(bokeh_sampledata.__file__).parent / FOLDER / "movies.db") as connection:
        return pd.read_sql(MOVIES.format(target=target), connection)


def _cars() -> pd.DataFrame:
    import vega_datasets

    return pd.read_json(Path(vega_datasets.__file__).parent / FOLDER / "cars.json")


def _statsmodels(name: str) -> pd.DataFrame:
    import statsmodels.api as sm

    return getattr(sm.datasets, name).load_pandas().data


def _pictures(pictures: Any, labels: Any) -> pd.DataFrame:
    flat = pictures.reshape(len(pictures), -1)
    columns = {f"p{place}": flat[:, place] for place in range(flat.shape[1])}
    return pd.DataFrame(columns | {"label": labels})


def _digits() -> pd.DataFrame:
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = (digits.images * (255 / 16)).astype(np.uint8)
    return _pictures(pixels, [f"d{each}" for each in digits.target])


def _skimage(name: str) -> Path:
    """A file of scikit-image, which need not run for it."""
    found = find_spec("skimage")
    assert found is not None and found.origin is not None, "install scikit-image"
    return Path(found.origin).parent / "data" / name


def _faces() -> pd.DataFrame:
    """A hundred faces, and a hundred pictures without one."""
    pictures = (np.load(_skimage("lfw_subset.npy")) * 255).astype(np.uint8)
    return _pictures(pictures, ["face"] * 100 + ["none"] * 100)


def _textures() -> pd.DataFrame:
    """Tiles of three photographs: brick, grass and gravel."""
    from PIL import Image

    tiles, labels = [], []
    for name in ("brick", "grass", "gravel"):
        whole = np.asarray(Image.open(_skimage(f"{name}.png")))
        down, across = whole.shape[0] // TILE, whole.shape[1] // TILE
        cut = whole[: down * TILE, : across * TILE].reshape(down, TILE, across, TILE).swapaxes(1, 2)
        tiles.append(cut.reshape(-1, TILE, TILE))
        labels += [name] * len(tiles[-1])
    return _pictures(np.concatenate(tiles), labels)


def hourly() -> pd.DataFrame:
    """Four series with a shape of the day and of the week, a slow drift, and noise."""
    draw, hour = np.random.default_rng(0), np.arange(HOURS)
    times = pd.date_range("2024-01-01", periods=HOURS, freq="h")
    parts = []
    for number in range(SERIES):
        peak, second = draw.uniform(7, 19), draw.uniform(0.2, 0.6)
        day = np.cos((hour % 24 - peak) * np.pi / 12) + second * np.cos((hour % 24 - peak) * np.pi / 6)
        week = np.where(times.dayofweek < 5, 1.0, draw.uniform(0.4, 0.8))
        drift = draw.uniform(-15, 15) * np.sin(hour / HOURS * np.pi * draw.uniform(1, 3))
        level, height = draw.uniform(100, 300), draw.uniform(25, 60)
        load = level + height * day * week + drift + draw.normal(0, NOISE, HOURS)
        parts.append(pd.DataFrame({"series": f"s{number}", "ts": times, "load": load.round(2)}))
    return pd.concat(parts)


TASKS: dict[str, Task] = {
    "penguins": Task(lambda: _bokeh("penguins.csv"), {"body_mass_g": "number", "sex": "class"}),
    "movies": Task(lambda: _movies("Meter"), {"Meter": "number", "mpaa": "class"}),
    "box office": Task(lambda: _movies("BoxOffice"), {"BoxOffice": "number", "mpaa": "class"}),
    "cars": Task(_cars, {"Miles_per_Gallon": "number", "Origin": "class"}),
    "titanic": Task(lambda: _bokeh("titanic_all.csv"), {"survived": "class"}),
    "auto-mpg": Task(lambda: _bokeh("auto-mpg.csv"), {"mpg": "number"}),
    "fair": Task(lambda: _statsmodels("fair"), {"rate_marriage": "class"}),
    "randhie": Task(lambda: _statsmodels("randhie"), {"mdvis": "number"}),
    "digits": Task(_digits, {"label": "class"}, (8, 8)),
    "faces": Task(_faces, {"label": "class"}, (25, 25)),
    "textures": Task(_textures, {"label": "class"}, (TILE, TILE)),
}
