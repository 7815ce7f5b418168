"""`runs`, `evaluate`, `predict`: list and use trained runs."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphspec.cli import completing
from graphspec.cli.common import (
    Allow,
    AllowUrl,
    Device,
    Json,
    ProgressOption,
    events,
    misuse,
    one_of,
    running,
)
from graphspec.cli.outputs import (
    OVERWRITES,
    Force,
    check_output,
    marked,
    need_apart,
    need_apart_from,
    of_format,
    write,
)
from graphspec.cli.printing import answer, print_json, print_table, reporting, show
from graphspec.diagnostics.terminal import cells, columns, say
from graphspec.diagnostics.text import plain

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.table import Table

    from graphspec.diagnostics import Diagnostic
    from graphspec.runs.directory import RunRow
    from graphspec.runs.repeats import Difference, RunGroup
    from graphspec.runs.run import Run


RunArgument = Annotated[
    Path,
    typer.Argument(
        metavar="RUN",
        help="A run directory, or a spec whose weights are in files.",
        autocompletion=completing.runs,
    ),
]
Weights = Annotated[
    str,
    one_of("--weights", words="best|last|FILE", help="Weights: best, last (epoch), or a file."),
]
BatchSize = Annotated[
    int | None,
    typer.Option("--batch-size", min=1, metavar="N", help="Batch size. [default: the spec's]"),
]
EngineOption = Annotated[
    str,
    one_of(
        "--engine",
        words="auto|torch|onnxruntime|openvino",
        help="Engine; auto: the fastest installed one that agrees with torch.",
    ),
]
Delimiter = Annotated[
    str | None,
    typer.Option(
        "--delimiter",
        metavar="CHAR",
        help="What separates the cells of --data, .csv or .tsv. [default: as in training]",
    ),
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="Read only the first N rows.")]


Tiles = Annotated[
    int | None,
    typer.Option(
        "--tiles",
        min=0,
        metavar="N",
        help="Keep the size of pictures: blend masks of tiles that overlap by N pixels.",
    ),
]


def _delimited(data: Path | None, delimiter: str | None) -> Any:
    """The file of `--data`, with the delimiter that it has of its own."""
    from pydantic import ValidationError

    from graphspec.data.files import DataFile, format_of

    if delimiter is None:
        return data
    if data is None or format_of(data.name) not in ("delimited", None):
        raise misuse("--delimiter", "it is for --data files that end in .csv or .tsv")
    delimiter = "\t" if delimiter == "\\t" else delimiter
    try:
        return DataFile(path=str(data), delimiter=delimiter)
    except ValidationError as error:
        raise misuse("--delimiter", str(error.errors()[0]["ctx"]["error"])) from None


def evaluate(
    run: RunArgument,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="PATH", help="Data with targets. [default: the spec's test data]"),
    ] = None,
    weights: Weights = "best",
    device: Device = "auto",
    engine: EngineOption = "torch",
    batch_size: BatchSize = None,
    limit: Limit = None,
    delimiter: Delimiter = None,
    tiles: Tiles = None,
    progress: ProgressOption = "auto",
    allow: Allow = None,
    allow_url: AllowUrl = False,
    as_json: Json = False,
) -> None:
    """Evaluate a trained model on data.

    Example: graphspec evaluate runs/digits-1 --data new.npz
    """
    from graphspec.cli.training_report import beside
    from graphspec.objectives.history import directions

    tell = events(progress)
    notes: list[str] = []
    with using(run, weights, as_json, allow, allow_url) as loaded:
        values = loaded.evaluate(
            _delimited(data, delimiter),
            device=device,
            engine=engine,
            batch_size=batch_size,
            limit=limit,
            progress=lambda rows: tell("rows", rows=rows),
            noted=notes.extend,
            baselines=tiles is None,
            tiles=tiles,
        )
        examples, steps = values.pop("examples"), values.pop("by_step", {})
        baselines = values.pop("baselines", {})
        if as_json:
            said: dict[str, object] = {"synthetic_data": True} if loaded.files.synthetic else {}
            said |= {"by_step": steps} if steps else {}
            said |= {"baselines": baselines} if baselines else {}
            print_json({"ok": True, "metrics": values, "examples": examples, "notes": notes, **said})
        else:
            for note in notes:
                say(note)
            shown = "  ".join(f"{name} {_number(value)}" for name, value in values.items())
            say(f"{shown}  on {examples:,} examples")
            for line in beside(values, baselines, directions(loaded.program.outputs)):
                say(line)


def predict(
    run: RunArgument,
    data: Annotated[
        Path, typer.Option("--data", metavar="PATH", help="Rows to predict; targets in them are ignored.")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Output: .csv, .tsv, .jsonl, .json (of boxes COCO's results), .parquet or .npz; "
            "or a folder, in which masks and boxes are drawn.",
        ),
    ],
    weights: Weights = "best",
    device: Device = "auto",
    engine: EngineOption = "torch",
    batch_size: BatchSize = None,
    limit: Limit = None,
    delimiter: Delimiter = None,
    probabilities: Annotated[
        bool,
        typer.Option(
            "--probabilities/--no-probabilities",
            help="Also write the probability of each class, and of each value of a set.",
        ),
    ] = True,
    every_window: Annotated[
        bool,
        typer.Option("--every-window", help="Forecast after every window, not only the last of a series."),
    ] = False,
    top: Annotated[
        int | None,
        typer.Option(
            "--top",
            metavar="N",
            min=1,
            help="Name the N keys that suit each query best, without those that training rows have with it.",
        ),
    ] = None,
    tiles: Tiles = None,
    progress: ProgressOption = "auto",
    force: Force = False,
    allow: Allow = None,
    as_json: Json = False,
) -> None:
    """Predict with a trained model.

    It writes a row for each row of the file, or for each step of a forecast. A folder has masks as PNG files,
    and pictures with their boxes.

    Example: graphspec predict runs/digits-1 --data new.csv -o predictions.csv
    """
    from graphspec.data.folders import find
    from graphspec.data.remote import is_remote
    from graphspec.data.writers import columns_of, writing

    tell = events(progress)
    named = () if weights in ("best", "last") else [Path(weights)]
    if str(output) == "-":
        raise misuse("-o", "predictions are written to a file", "name it: `-o predictions.csv`")
    folder = output if not output.suffix or output.is_dir() else None
    if folder is not None:
        output = folder / PREDICTIONS
        if folder.is_dir() and any(folder.iterdir()) and not force:
            raise misuse("-o", f"{folder} holds files", f"name an empty folder, or {OVERWRITES}")
    check_output(output, lambda path: True, force, named)
    with ExitStack() as opened:
        loaded = opened.enter_context(using(run, weights, as_json, allow))
        if folder is not None:
            from graphspec.runs.pictures import Drawings

            Drawings(loaded.program, loaded.encoders())
            folder.mkdir(parents=True, exist_ok=True)
        append, made = opened.enter_context(writing(output)), _as_written(output, loaded)
        need_apart_from(loaded.program, output)
        if output.exists() and not is_remote(data):
            need_apart(output, find(data).files)
        if every_window and (loaded.program.data is None or loaded.program.data.windows is None):
            raise misuse("--every-window", "the data of this run have no windows")
        rows = 0
        notes: list[str] = []
        for part in loaded.predictions(
            _delimited(data, delimiter),
            device=device,
            engine=engine,
            batch_size=batch_size,
            limit=limit,
            probabilities=probabilities,
            every_window=every_window,
            noted=notes.extend,
            pictures=folder,
            top=top,
            tiles=tiles,
        ):
            made_part = made(part)
            if not (rows or force) and columns_of(output) not in (None, made_part.column_names):
                raise misuse("-o", f"{output} exists and has other columns", OVERWRITES)
            append(made_part)
            rows += part.num_rows
            tell("rows", rows=rows)
    text = "\n".join([*notes, f"wrote {output}: {rows:,} rows"])
    answer(as_json, text, file=str(output), rows=rows, notes=notes)


def _as_written(output: Path, run: Run) -> Callable[[pa.Table], pa.Table]:
    """What makes of predictions what a file has: of boxes in .json, COCO's results."""
    from graphspec.runs.boxes import RESULTS, Boxes, Results

    boxes = Boxes(run.program, run.encoders())
    return Results(boxes).of if output.suffix.lower() == RESULTS and boxes.encoders else lambda part: part


@contextmanager
def using(
    path: Path, weights: str, as_json: bool, allow: list[str] | None = None, allow_url: bool = False
) -> Iterator[Run]:
    """The run in a directory; errors in it, or in its use inside, end the command."""
    from graphspec.runs.run import Run

    sources: dict[str, str] = {}
    gc.enable()
    with reporting(as_json, sources):
        run = Run(path, weights, allow or (), allow_url)
        sources |= run.program.sources
        if run.files.synthetic and not as_json:
            show([synthetic(path)], sources, sys.stderr)
        help = "if memory ran out, lower `--batch-size`"
        with running(run.program, "run-failed", "running the module fails", help):
            yield run


def synthetic(path: Path) -> Diagnostic:
    """The warning about a run that was trained on synthetic data."""
    from graphspec.diagnostics import Diagnostic

    message = f"`{path}` was trained on synthetic data: its results on other data mean nothing"
    help = "train on data: `graphspec train SPEC --data PATH`"
    return Diagnostic("synthetic-data", message, None, severity="warning", help=help)


PREDICTIONS = "predictions.csv"
"""The table in a folder of predicted masks."""
COMPARE = "compare"
SETTINGS = 6
"""Settings that a table of runs shows in columns."""


def runs(
    words: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[DIR | compare RUN...]",
            help="Directory of runs; or `compare` and two runs or more.",
            show_default=False,
        ),
    ] = None,
    outputs: Annotated[
        list[Path] | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="With compare: curves as .svg, or a table as .md or .tex; may be repeated.",
        ),
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """List runs with their best epochs, or compare runs.

    It also shows the settings that differ, and of runs repeated with `train --seeds` or `--folds` whether a
    difference is more than chance.

    Example: graphspec runs compare runs/digits-1 runs/digits-2 -o curves.svg
    """
    from graphspec.cli.repeating import show as show_repeated
    from graphspec.runs.directory import list_runs, list_studies
    from graphspec.runs.repeats import list_repeated

    arguments = list(words or [])
    comparing = len(arguments) > 1 and str(arguments[0]) == COMPARE
    if outputs and not comparing:
        raise misuse("-o", "it is of `compare`", "write `graphspec runs compare A B -o FILE`")
    if len(arguments) > 1 and not comparing:
        raise misuse("[DIR]", "one directory is listed", "to compare runs: `graphspec runs compare RUN RUN`")
    with reporting(as_json):
        if comparing:
            _compare(arguments[1:], outputs or [], force, as_json)
            return
        folder = arguments[0] if arguments else Path("runs")
        if arguments and not folder.is_dir():
            raise misuse("[DIR]", f"there is no directory {folder}")
        rows, studies, groups = list_runs(folder), list_studies(folder), list_repeated(folder)
        if as_json:
            listing = {"runs": _as_json(rows), "studies": [each.to_json() for each in studies]}
            print_json({"ok": True, **listing, "repeated": [each.to_json() for each in groups]})
            return
        _show(rows)
        show_repeated(groups)
        for study in studies:
            count = f"{study.trials} trial{'s' * (study.trials > 1)}"
            say(f"{study.path}: a search of {count}: graphspec runs {study.runs}")
        if not rows and not studies and not groups:
            say(f"no run in {folder}: graphspec train SPEC makes one")


def _as_json(rows: list[RunRow]) -> list[dict[str, Any]]:
    """The runs, each with the settings in which it differs from others of the list."""
    from graphspec.runs.settings import differing

    columns = differing([row.path for row in rows])
    return [
        {**row.to_json(), "settings": {path: values[index] for path, values in columns.items()}}
        for index, row in enumerate(rows)
    ]


def _compare(paths: list[Path], outputs: list[Path], force: bool, as_json: bool) -> None:
    """Shows settings that differ beside the values of the best epochs, runs in columns; of repeated runs
    means, and whether these differ by more than chance.
    """
    from graphspec.compare.table import show_value
    from graphspec.runs.directory import RunFiles
    from graphspec.runs.repeats import differences, members, presets_of, repeated

    paths = [inner for path in paths for inner in presets_of(path)]
    firsts = [(members(path) or [path])[0] for path in paths]
    files = [RunFiles(path) for path in firsts]
    groups, different = [repeated(path) for path in paths], _settings(firsts, paths)
    for output in outputs:
        if output.suffix not in (".svg", ".md", ".tex"):
            raise misuse("-o", f"{output} ends in none of .svg, .md and .tex")
        check_output(output, of_format(output.suffix[1:]), force)
    found = differences(groups)
    for output in outputs:
        if output.suffix == ".svg":
            from graphspec.view.curves import curves_of

            histories = {str(path): each.history() for path, each in zip(paths, files, strict=True)}
            text = curves_of(histories, "runs")
        else:
            text = _table(output.suffix, groups, different)
        write(output, marked(text.encode("utf-8"), output.suffix[1:]))
    if as_json:
        tested = {"repeated": [g.to_json() for g in groups], "differences": [d.to_json() for d in found]}
        rows = [row.to_json() for group in groups for row in group.rows if group.word == "run"]
        print_json({"ok": True, "runs": rows, "settings": different, **tested})
        return
    print_table(_compared(groups, {name: [*map(show_value, each)] for name, each in different.items()}))
    for each in found:
        if any(group.word != "run" for group in groups):
            say(_verdict(each))
    for path in outputs:
        say(f"wrote {path}")


def _settings(firsts: list[Path], paths: list[Path]) -> dict[str, list[Any]]:
    """The settings in which runs differ, without those that number repeated ones."""
    from graphspec.runs.settings import differing

    numbers = () if firsts == paths else ("train.seed", "data.validation.fold", "data.validation.seed")
    return {name: values for name, values in differing(firsts).items() if name not in numbers}


def _compared(groups: list[RunGroup], settings: dict[str, list[str]]) -> Table:
    from rich.table import Table

    from graphspec.runs.repeats import spread_text

    table = Table(*columns("", *(str(group.path) for group in groups)))
    for name, values in settings.items():
        table.add_row(*cells(name, *values))
    if settings:
        table.add_section()
    single = [group.rows[0] if group.rows and group.word == "run" else None for group in groups]
    if any(single):
        table.add_row(*cells("best epoch", *(str((row and row.best_epoch) or "-") for row in single)))
    if not all(single):
        counts = (f"{len(group.rows)} {group.word}s" if group.word != "run" else "1" for group in groups)
        table.add_row(*cells("runs", *counts))
    for name in dict.fromkeys(name for group in groups for name in group.names):
        values = [
            _number(row.values.get(name)) if row else spread_text(*group.spread(name))
            for row, group in zip(single, groups, strict=True)
        ]
        table.add_row(*cells(name, *values))
    return table


def _verdict(found: Difference) -> str:
    """Whether a difference is more than chance, as a sentence."""
    if found.difference == 0:
        return f"{found.name}: {found.run} is as high as {found.other}"
    way = "higher" if found.difference > 0 else "lower"
    apart = f"{found.name}: {found.run} is {plain(abs(found.difference))} {way} than {found.other}"
    if found.p is None:
        return f"{apart}; too few runs, or other folds, to tell whether by chance: train both with --seeds 5"
    chance = f"p {plain(found.p)}" if found.p >= 1e-4 else "p below 0.0001"
    return f"{apart}, {'more than' if found.significant else 'no more than'} chance explains ({chance})"


def _table(suffix: str, groups: list[RunGroup], different: dict[str, list[Any]]) -> str:
    from graphspec.compare.table import show_value
    from graphspec.runs.repeats import ablation, latex, markdown

    rows = ablation(groups, {name: [*map(show_value, each)] for name, each in different.items()})
    return markdown(rows) if suffix == ".md" else latex(rows)


def _show(rows: list[RunRow]) -> None:
    """Prints a table for each group of runs with the same values, which can be compared."""
    from rich.table import Table

    from graphspec.compare.table import show_value
    from graphspec.runs.settings import differing

    alike: dict[tuple[str, ...], list[RunRow]] = {}
    for row in rows:
        names = tuple(row.values)
        alike.setdefault(tuple(name for name in names if name.startswith("val_")) or names, []).append(row)
    for names, group in alike.items():
        different = differing([row.path for row in group])
        shown = dict(list(different.items())[:SETTINGS]) if len(different) <= 2 * SETTINGS else {}
        table = Table(*columns("run", *shown, "epochs", "best", *names, "written"))
        for index, row in enumerate(group):
            epochs = str(row.epochs) if row.state == "finished" else f"{row.epochs}, {row.state}"
            epochs += ", synthetic data" if row.synthetic else ""
            best = "-" if row.best_epoch is None else str(row.best_epoch)
            figures = (_number(row.values.get(name)) for name in names)
            settings = (show_value(values[index]) for values in shown.values())
            table.add_row(*cells(str(row.path), *settings, epochs, best, *figures, _ago(row.age)))
        print_table(table)
        if len(different) > len(shown):
            say(f"{len(different) - len(shown)} more settings differ: graphspec runs compare RUN RUN")


def _number(value: object) -> str:
    return plain(value) if isinstance(value, int | float) else "-"


def _ago(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"
