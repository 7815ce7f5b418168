"""`python -m bench.draft_losses`: log losses of first specs as `new` writes them, beside boosting.

Of each table a fifth of the rows is held out; the spec is drafted from the rest, trained, and not edited.
Boosting is scikit-learn's, with its defaults. Needs bokeh_sampledata, vega_datasets, ISLP and lifelines.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

import graphspec
from bench.drafts import as_numbers
from bench.report import Column, Table
from graphspec.data.drafting import draft

COLUMNS = (
    Column("table", "table"),
    Column("rows", "rows", "{:,}".format),
    Column("ours", "graphspec", "{:.4f}".format),
    Column("boosting", "boosting", "{:.4f}".format),
    Column("better", "splits at most boosting's"),
)


def _file(package: str, name: str) -> Path:
    """A file of a package that need not run for it."""
    found = find_spec(package)
    assert found is not None and found.origin is not None, f"install {package}"
    return next(Path(found.origin).parent.rglob(name))


def _csv(package: str, name: str) -> Callable[[], pd.DataFrame]:
    return lambda: pd.read_csv(_file(package, name))


def _sklearn(name: str) -> pd.DataFrame:
    import sklearn.datasets

    frame = getattr(sklearn.datasets, f"load_{name}")(as_frame=True).frame
    return frame.assign(target=[f"c{value}" for value in frame["target"]])


TABLES: dict[str, tuple[Callable[[], pd.DataFrame], str]] = {
    "breast_cancer": (lambda: _sklearn("breast_cancer"), "target"),
    "wine": (lambda: _sklearn("wine"), "target"),
    "titanic": (_csv("bokeh_sampledata", "titanic_all.csv"), "survived"),
    "default": (lambda: _csv("ISLP", "Default.csv")().sample(2_500, random_state=0), "default"),
    "carseats": (_csv("ISLP", "Carseats.csv"), "ShelveLoc"),
    "weather": (lambda: _csv("vega_datasets", "seattle-weather.csv")().drop(columns="date"), "weather"),
    "oj": (_csv("ISLP", "OJ.csv"), "Purchase"),
    "gbsg2": (_csv("lifelines", "gbsg2.csv"), "cens"),
}
"""The last two were looked at once, when nothing was left to choose."""


def boosting(training: pd.DataFrame, held: pd.DataFrame, target: str) -> float:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import log_loss

    inputs = training.drop(columns=target)
    model = HistGradientBoostingClassifier(random_state=0)
    model.fit(as_numbers(inputs, inputs), training[target].astype(str))
    chances = model.predict_proba(as_numbers(held[list(inputs)], inputs))
    return float(log_loss(held[target].astype(str), chances, labels=model.classes_))


def ours(training: pd.DataFrame, held: pd.DataFrame, target: str) -> float:
    """The loss on the held rows of what `new` and `train` make of the others."""
    with tempfile.TemporaryDirectory() as place, contextlib.redirect_stdout(io.StringIO()):
        folder = Path(place)
        training.to_csv(folder / "train.csv", index=False)
        held.to_csv(folder / "held.csv", index=False)
        (folder / "spec.yaml").write_text(draft("spec", folder / "train.csv", [target], folder))
        graphspec.compile(folder / "spec.yaml").fit(run_dir=folder / "run", device="cpu")
        scores = graphspec.Run(folder / "run").evaluate(folder / "held.csv", device="cpu")
        return float(scores["loss"])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.draft_losses", description=__doc__)
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=f"of {', '.join(TABLES)}")
    parser.add_argument("--splits", type=int, default=3, help="divisions of the rows; default 3")
    arguments = parser.parse_args()
    rows = []
    for name in arguments.tables or TABLES:
        load, target = TABLES[name]
        frame = load().dropna(subset=[target]).reset_index(drop=True)
        parts = []
        for split in range(arguments.splits):
            held = np.random.default_rng(100 + split).permutation(len(frame)) < len(frame) // 5
            both = frame[~held], frame[held], target
            parts.append((ours(*both), boosting(*both)))
        mine, theirs = np.mean(parts, 0)
        better = f"{sum(a <= b for a, b in parts)} of {len(parts)}"
        rows.append({"table": name, "rows": len(frame), "ours": mine, "boosting": theirs, "better": better})
    print(Table("First specs", str(__doc__).splitlines()[0], COLUMNS, tuple(rows)).markdown())


if __name__ == "__main__":
    main()
