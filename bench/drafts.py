"""`python -m bench.drafts`: first specs as `new` writes them, trained once, beside AutoGluon.

Of each table a fifth of the rows is held out; `new` and `train` see the rest, and nothing is edited.
AutoGluon predicts each target with the best of its models, without ensembles of these. It needs versions of
its own: `--autogluon PYTHON` names an interpreter that has it, `--neuralforecast PYTHON` one for forecasts.
Errors are the root of the mean square; seconds are the processor time of whole processes.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.draft_tasks import HOURS, NEXT, PAST, TASKS, Task, hourly
from bench.report import Column, Table, seconds

HERE = Path(__file__).parent
FORECAST = "hourly"
COLUMNS = (
    Column("task", "task"),
    Column("rows", "rows", "{:,}".format),
    Column("target", "target"),
    Column("measure", "measure"),
    Column("ours", "graphspec", "{:.4g}".format),
    Column("theirs", "AutoGluon", "{:.4g}".format),
    Column("ratio", "of it", "{:.3f}".format),
    Column("boosting", "boosting", "{:.4g}".format),
    Column("our_seconds", "graphspec", seconds),
    Column("their_seconds", "AutoGluon", seconds),
    Column("seconds_ratio", "of it", "{:.2f}".format),
)


def timed(command: Sequence[object]) -> tuple[str, float]:
    """What a command prints, and the processor time that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{command} exited with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def ours(
    task: Task, training: pd.DataFrame, held: pd.DataFrame, folder: Path
) -> tuple[dict[str, float], float]:
    """The score of each target on the held rows, and the processor time of `new` and `train`."""
    data = [_written(task, part, folder / name) for name, part in (("train", training), ("held", held))]
    named = [] if task.shape else [word for target in task.targets for word in ("--target", target)]
    command, run = [sys.executable, "-m", "graphspec"], folder / "run"
    used = timed([*command, "new", folder / "spec", "--data", data[0], *named])[1]
    used += timed([*command, "train", folder / "spec.yaml", "--run-dir", run, "--device", "cpu"])[1]
    said = timed([*command, "evaluate", run, "--data", data[1], "--json"])[0]
    values, scores = json.loads(said)["metrics"], dict[str, float]()
    for target, kind in task.targets.items():
        word = "".join(c if c.isalnum() else "_" for c in target)
        if kind == "number":
            timed([*command, "predict", run, "--data", data[1], "-o", folder / "guess.csv"])
            wrong = pd.read_csv(folder / "guess.csv")[word] - held[target].to_numpy()
            scores[target] = float(np.sqrt((wrong**2).mean()))
        else:
            scores[target] = values["accuracy" if len(task.targets) == 1 else f"{word}_accuracy"]
    return scores, used


def _written(task: Task, part: pd.DataFrame, path: Path) -> Path:
    """The rows as a file, or as a folder of images."""
    if task.shape is None:
        part.to_csv(path.with_suffix(".csv"), index=False)
        return path.with_suffix(".csv")
    from PIL import Image

    pixels = part.drop(columns="label").to_numpy(np.uint8).reshape(-1, *task.shape)
    for number, (picture, label) in enumerate(zip(pixels, part["label"], strict=True)):
        (path / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path / label / f"{number}.png")
    return path


def autogluon(
    python: str, task: Task, training: pd.DataFrame, held: pd.DataFrame, folder: Path
) -> tuple[dict[str, float], float]:
    """The same of AutoGluon, which predicts one target at a time."""
    scores, used = {}, 0.0
    for target, kind in task.targets.items():
        others = [each for each in task.targets if each != target]
        for name, part in (("train", training), ("held", held)):
            part.drop(columns=others).to_csv(folder / f"{name}_of_one.csv", index=False)
        rows = [folder / f"{name}_of_one.csv" for name in ("train", "held")]
        place = tempfile.mkdtemp(dir=folder)
        said, took = timed([python, HERE / "anchor.py", *rows, target, kind, place])
        scores[target], used = json.loads(said.splitlines()[-1])["score"], used + took
    return scores, used


def boosting(task: Task, training: pd.DataFrame, held: pd.DataFrame) -> dict[str, float]:
    """scikit-learn's, with its defaults, on columns of numbers and of categories."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    inputs = [name for name in training if name not in task.targets]
    parts = [as_numbers(part[inputs], training[inputs]) for part in (training, held)]
    found = {}
    for target, kind in task.targets.items():
        number = kind == "number"
        model = (HistGradientBoostingRegressor if number else HistGradientBoostingClassifier)(random_state=0)
        values = [part[target] if number else part[target].astype(str) for part in (training, held)]
        guess = model.fit(parts[0], values[0]).predict(parts[1])
        good = np.sqrt(((guess - values[1]) ** 2).mean()) if number else (guess == values[1]).mean()
        found[target] = float(good)
    return found


def as_numbers(part: pd.DataFrame, like: pd.DataFrame) -> np.ndarray:
    """Numbers as they are, texts as the numbers of their values in training."""
    made = []
    for name in part:
        column = part[name]
        if not pd.api.types.is_numeric_dtype(column):
            values = sorted(like[name].dropna().astype(str).unique())
            column = column.astype(str).map({value: index for index, value in enumerate(values)})
        made.append(column.astype(float).to_numpy())
    return np.stack(made, 1)


def measured(name: str, arguments: argparse.Namespace, known: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A row for each target of a task: means over splits. `known` are results of AutoGluon and boosting."""
    task = TASKS[name]
    rows, parts = task.rows(), []
    for split in range(arguments.splits):
        held = np.random.default_rng(split).permutation(len(rows)) < len(rows) // 5
        training, rest = rows[~held], rows[held]
        with tempfile.TemporaryDirectory() as place:
            mine = ours(task, training, rest, Path(place))
            key = f"{name} {split}"
            if arguments.autogluon and key not in known:
                theirs = autogluon(arguments.autogluon, task, training, rest, Path(place))
                known[key] = [*theirs, boosting(task, training, rest)]
        parts.append((mine, known.get(key)))
        print(f"{key}: {parts[-1]}", file=sys.stderr, flush=True)
    others = [theirs for _, theirs in parts if theirs is not None]
    for number, (target, kind) in enumerate(task.targets.items()):
        row: dict[str, Any] = {"task": name, "rows": len(rows), "target": target}
        row["measure"] = "error" if kind == "number" else "accuracy"
        row["ours"] = float(np.mean([mine[0][target] for mine, _ in parts]))
        row["our_seconds"] = None if number else float(np.mean([mine[1] for mine, _ in parts]))
        if len(others) == len(parts):
            row["theirs"] = float(np.mean([theirs[0][target] for theirs in others]))
            row["boosting"] = float(np.mean([theirs[2][target] for theirs in others]))
            row["their_seconds"] = None if number else float(np.mean([theirs[1] for theirs in others]))
            row["ratio"] = row["ours"] / row["theirs"]
            row["seconds_ratio"] = None if number else row["our_seconds"] / row["their_seconds"]
        yield row


# --- the forecast


def forecast(python: str | None) -> Table:
    """The last fifth of four hourly series: a window after each step, 24 steps ahead."""
    rows = hourly()
    border = rows["ts"].iloc[int(HOURS * 0.8)]
    past = rows["ts"].iloc[int(HOURS * 0.8) - PAST]
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        rows[rows["ts"] < border].to_csv(folder / "train.csv", index=False)
        rows[rows["ts"] >= past].to_csv(folder / "held.csv", index=False)
        command = [sys.executable, "-m", "graphspec"]
        named = ["--target", "load", "--time", "ts", "--series", "series"]
        named += ["--past", str(PAST), "--next", str(NEXT)]
        used = timed([*command, "new", folder / "spec", "--data", folder / "train.csv", *named])[1]
        run = ["--run-dir", folder / "run", "--device", "cpu"]
        used += timed([*command, "train", folder / "spec.yaml", *run])[1]
        said = timed([*command, "evaluate", folder / "run", "--data", folder / "held.csv", "--json"])[0]
        values = json.loads(said)["metrics"]
        found.append({"way": "the week before", "error": values["naive_mae"]})
        found.append({"way": "graphspec", "error": values["mae"], "seconds": used})
        way = [sys.executable, HERE / "forecast_anchor.py", "boosting"]
        files = [folder / "train.csv", folder / "held.csv", str(PAST), str(NEXT)]
        said, took = timed([*way, *files])
        found.append({"way": "boosting on lags", "error": float(said.split()[-1]), "seconds": took})
        for name in ("NHITS", "DLinear") if python else ():
            said, took = timed([python, HERE / "forecast_anchor.py", name, *files])
            error = float(said.split()[-1])
            found.append({"way": f"NeuralForecast, {name}", "error": error, "seconds": took})
    columns = (
        Column("way", "way"),
        Column("error", "mean absolute error", "{:.2f}".format),
        Column("seconds", "processor time", seconds),
    )
    return Table("A first forecast", str(forecast.__doc__), columns, tuple(found))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.drafts", description=__doc__)
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"of {', '.join([*TASKS, FORECAST])}")
    parser.add_argument("--autogluon", metavar="PYTHON", help="an interpreter that has AutoGluon")
    parser.add_argument("--neuralforecast", metavar="PYTHON", help="an interpreter that has NeuralForecast")
    parser.add_argument("--splits", type=int, default=3, help="divisions of the rows; default 3")
    parser.add_argument("--known", type=Path, metavar="FILE", help="results of AutoGluon, read and added to")
    arguments = parser.parse_args()
    if not arguments.autogluon:
        print("AutoGluon is left out: name an interpreter that has it with --autogluon", file=sys.stderr)
    known = json.loads(arguments.known.read_text()) if arguments.known and arguments.known.exists() else {}
    rows: list[dict[str, Any]] = []
    for name in arguments.tasks or [*TASKS, FORECAST]:
        if name == FORECAST:
            print(forecast(arguments.neuralforecast).markdown(), flush=True)
            continue
        rows += measured(name, arguments, known)
        if arguments.known:
            arguments.known.write_text(json.dumps(known, indent=1) + "\n")
    if rows:
        print(Table("First specs", str(__doc__).splitlines()[0], COLUMNS, tuple(rows)).markdown())


if __name__ == "__main__":
    main()
