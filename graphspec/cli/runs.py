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
    need_apart,
    need_apart_from,
)
from graphspec.cli.printing import answer, figure, print_json, reporting, show
from graphspec.diagnostics.terminal import say

if TYPE_CHECKING:
    import pyarrow as pa

    from graphspec.diagnostics import Diagnostic
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


Rows = Annotated[
    Path, typer.Option("--data", metavar="PATH", help="Rows to predict; targets in them are ignored.")
]
Output = Annotated[
    Path,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE",
        help="Output: .csv, .tsv, .jsonl, .json (of boxes COCO's results), .parquet or .npz; "
        "or a folder, in which masks and boxes are drawn.",
    ),
]
Probabilities = Annotated[
    bool,
    typer.Option(
        "--probabilities/--no-probabilities",
        help="Also write the probability of each class, and of each value of a set.",
    ),
]
EveryWindow = Annotated[
    bool,
    typer.Option("--every-window", help="Forecast after every window, not only the last of a series."),
]
Top = Annotated[
    int | None,
    typer.Option(
        "--top",
        metavar="N",
        min=1,
        help="Name the N keys that suit each query best, without those that training rows have with it.",
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
            shown = "  ".join(f"{name} {figure(value)}" for name, value in values.items())
            say(f"{shown}  on {examples:,} examples")
            for line in beside(values, baselines, directions(loaded.program.outputs)):
                say(line)


def predict(
    run: RunArgument,
    data: Rows,
    output: Output,
    weights: Weights = "best",
    device: Device = "auto",
    engine: EngineOption = "torch",
    batch_size: BatchSize = None,
    limit: Limit = None,
    delimiter: Delimiter = None,
    probabilities: Probabilities = True,
    every_window: EveryWindow = False,
    top: Top = None,
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

    tell, notes = events(progress), list[str]()
    output, folder = _place(output, weights, force)
    asked: dict[str, Any] = {"device": device, "engine": engine, "batch_size": batch_size, "limit": limit}
    asked |= {"probabilities": probabilities, "every_window": every_window, "top": top, "tiles": tiles}
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
        rows, given = 0, _delimited(data, delimiter)
        for part in loaded.predictions(given, noted=notes.extend, pictures=folder, **asked):
            made_part = made(part)
            if not (rows or force) and columns_of(output) not in (None, made_part.column_names):
                raise misuse("-o", f"{output} exists and has other columns", OVERWRITES)
            append(made_part)
            rows += part.num_rows
            tell("rows", rows=rows)
    text = "\n".join([*notes, f"wrote {output}: {rows:,} rows"])
    answer(as_json, text, file=str(output), rows=rows, notes=notes)


def _place(output: Path, weights: str, force: bool) -> tuple[Path, Path | None]:
    """The table of predictions, and the folder that has it beside pictures, if that is named."""
    if str(output) == "-":
        raise misuse("-o", "predictions are written to a file", "name it: `-o predictions.csv`")
    folder = output if not output.suffix or output.is_dir() else None
    if folder is not None:
        output = folder / PREDICTIONS
        if folder.is_dir() and any(folder.iterdir()) and not force:
            raise misuse("-o", f"{folder} holds files", f"name an empty folder, or {OVERWRITES}")
    check_output(output, lambda path: True, force, () if weights in ("best", "last") else [Path(weights)])
    return output, folder


def _as_written(output: Path, run: Run) -> Callable[[pa.Table], pa.Table]:
    """Converts predictions for a file: boxes in .json become COCO's results."""
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
