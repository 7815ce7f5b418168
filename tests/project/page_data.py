"""The files of data that specs on pages name, with rows such as these pages speak of."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

RANDOM = np.random.default_rng(0)
ROWS = range(60)


def _table(header: str, row: Callable[[int], object], delimiter: str = ",") -> Callable[[Path], object]:
    lines = [header, *(delimiter.join(map(str, row(number))) for number in ROWS)]  # type: ignore[call-overload]
    return lambda path: path.write_text("\n".join([*lines, ""]), encoding="utf-8")


def _export(path: Path) -> None:
    header = ";".join(["id", *(f"x_{n}" for n in range(8)), "label"])
    rows = [";".join([str(i), *(f"{i % 7 + n},5" for n in range(8)), str(i % 3)]) for i in ROWS]
    path.write_text("\n".join([header, *rows, ""]), encoding="latin-1")


def _held_out(path: Path) -> None:
    columns = {"id": [*ROWS], **{f"x_{n}": [i / 2 for i in ROWS] for n in range(8)}}
    pq.write_table(pa.table({**columns, "label": [i % 3 for i in ROWS]}), path)


def _images(*names: str) -> Callable[[Path], None]:
    arrays = {"image": RANDOM.random((60, 8, 8, 1), "float32"), "digit": RANDOM.integers(0, 10, 60)}
    return lambda path: np.savez(path, **{name: arrays[name] for name in names})  # type: ignore[arg-type]


def _photos(path: Path) -> None:
    for label in ("cat", "dog", "hare"):
        (path / label).mkdir(parents=True, exist_ok=True)
        for number in range(2):
            pixels = RANDOM.integers(0, 256, (64, 64, 3), "uint8")
            Image.fromarray(pixels).save(path / label / f"{number}.png")


def _books(path: Path) -> None:
    path.mkdir(exist_ok=True)
    for name in ("first", "second", "third"):
        words = (f"{name} chapter {number} begins where the last one ended." for number in range(200))
        (path / f"{name}.txt").write_text("\n".join(words), encoding="utf-8")


def _load(path: Path) -> None:
    begin = datetime(2024, 1, 1)
    rows = [
        f"{begin + timedelta(hours=hour)},{series},{100 + hour % 24},{10 + hour % 7}"
        for series in ("north", "south")
        for hour in range(400)
    ]
    path.write_text("\n".join(["ts,series,load,temperature", *rows, ""]), encoding="utf-8")


FILES: dict[str, Callable[[Path], object]] = {
    "houses.csv": _table(
        "area,rooms,year,region,price", lambda i: (80 + i, i % 5, 1950 + i, "ab"[i % 2], 900 * i)
    ),
    "reviews.csv": _table("review,good", lambda i: (f"a film of {i} words", i % 2)),
    "rows.csv": _table("x1,x2,x3,y", lambda i: (i, i % 3, i % 5, i / 2)),
    "animals.csv": _table(
        "length,age,region,sex,weight_g,species",
        lambda i: (
            i,
            i % 9,
            "north" if i % 2 else "",
            "mf"[i % 2],
            "" if i % 8 == 7 else i,
            ["cat", "dog", "hare"][i % 3],
        ),
    ),
    "ratings.csv": _table("user,movie", lambda i: (f"u{i % 9}", f"m{i % 13}")),
    "export.csv": _export,
    "held_out.parquet": _held_out,
    "few.npz": _images("image", "digit"),
    "many.npz": _images("image"),
    "photos": _photos,
    "books": _books,
    "load.csv": _load,
}
"""What writes each, by its name."""


def write_files(folder: Path) -> None:
    for name, write in FILES.items():
        write(folder / name)
