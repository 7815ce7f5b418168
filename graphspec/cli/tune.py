"""`graphspec tune`: search the values that `tune:` lets vary."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from graphspec.cli.common import (
    WAYS,
    Allow,
    AllowUrl,
    Device,
    Json,
    Preset,
    ProgressOption,
    Set,
    Spec,
    compiling,
    misuse,
    need_one_of,
    settings_of,
)
from graphspec.cli.printing import count_of, print_json, print_table
from graphspec.diagnostics.terminal import at_once, say

if TYPE_CHECKING:
    from graphspec.program import Program
    from graphspec.tune.run import Outcome

SHOWN = 10
"""How many of the best trials the table at the end has."""


TRAINING = ("graphspec.cli.train", "graphspec.cli.training_report")
"""Modules that `graphspec train` imports of the commands: trials find them in memory."""
RunDir = Annotated[
    Path | None,
    typer.Option("--run-dir", metavar="DIR", help="Directory of the study. [default: runs/NAME-tune]"),
]
Storage = Annotated[
    str | None,
    typer.Option("--storage", metavar="URL", help="A database that several machines share, as a URL."),
]
Jobs = Annotated[int, typer.Option("--jobs", min=1, metavar="N", help="Run N trials at a time.")]
Keep = Annotated[
    int, typer.Option("--keep", min=1, metavar="N", help="Keep the weights of the best N trials.")
]
DataOption = Annotated[
    Path | None, typer.Option("--data", metavar="PATH", help="Training data in place of the spec's.")
]


def tune(
    spec: Spec,
    run_dir: RunDir = None,
    storage: Storage = None,
    jobs: Jobs = 1,
    keep: Keep = 1,
    data: DataOption = None,
    device: Device = "auto",
    progress: ProgressOption = "auto",
    allow: Allow = None,
    allow_url: AllowUrl = False,
    settings: Set = None,
    preset: Preset = None,
    as_json: Json = False,
) -> None:
    """Search hyperparameters, and write the best spec.

    Run the command again to continue the search.

    Example: graphspec tune specs/digits_tuned.yaml --jobs 2
    """
    need_one_of(progress, WAYS, "--progress")
    if storage is not None and "://" not in storage:
        raise misuse("--storage", f"`{storage}` is not a URL, such as postgresql://USER@HOST/DATABASE")
    with compiling(spec, settings, preset, as_json, allow, allow_url) as program, _stopping() as stopping:
        _searchable(program, settings, preset)
        from graphspec.tune.report import SearchReport
        from graphspec.tune.run import tune as search

        objective = program.tuning.objective if program.tuning else ""
        with SearchReport(objective, as_json or progress == "none", progress == "json") as report:
            outcome = search(
                program,
                run_dir=run_dir,
                storage=storage,
                jobs=jobs,
                keep=keep,
                options=_options(settings, preset, data, device, allow, allow_url),
                modules=TRAINING,
                progress=report,
                stopping=stopping,
            )
        if as_json:
            print_json({"ok": True, **outcome.to_json()})
        else:
            _show(outcome)
        if stopping():
            raise typer.Exit(130)


def _searchable(program: Program, settings: list[str] | None, preset: str | None) -> None:
    """Ends the command if Optuna is missing, or the spec does not accept the values to try."""
    from graphspec.diagnostics import Diagnostics
    from graphspec.diagnostics.packages import needing
    from graphspec.tune.checks import check_search

    diagnostics = Diagnostics()
    check_search(program, diagnostics, preset, settings_of(settings, {}))
    diagnostics.raise_if_errors()
    with needing("a search", "tune"):
        import optuna  # noqa: F401


def _options(
    settings: list[str] | None,
    preset: str | None,
    data: Path | None,
    device: str,
    allow: list[str] | None,
    allow_url: bool,
) -> Iterator[str]:
    """The options of every trial besides its values."""
    for pair in settings or ():
        yield from ("--set", pair)
    for package in allow or ():
        yield from ("--allow", package)
    if allow_url:
        yield "--allow-url"
    if preset is not None:
        yield from ("--preset", preset)
    if data is not None:
        yield from ("--data", str(data))
    yield from ("--device", device)


@contextmanager
def _stopping() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C or SIGTERM came; a second Ctrl-C stops at once."""
    seen: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if seen and number == signal.SIGINT:
            at_once("interrupted")
            raise KeyboardInterrupt
        if not seen:
            at_once("stopping the running trials; Ctrl-C again ends at once")
        seen.append(number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(seen)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _show(outcome: Outcome) -> None:
    """The best trials as a table, and what to do next."""
    from graphspec.files.run_files import TRIALS
    from graphspec.tune.report import table

    states = [trial.state for trial in outcome.trials]
    counts = [f"{states.count(kind)} {kind}" for kind in ("complete", "pruned", "failed") if kind in states]
    if outcome.best:
        print_table(table(outcome.best[:SHOWN], outcome.objective))
    say(f"{count_of(len(states), 'trial')}: {', '.join(counts) or 'none has finished'}")
    if outcome.others:
        say(f"not signed by you on this machine, and run again: {count_of(outcome.others, 'trial')}")
    failed = next((trial for trial in outcome.trials if trial.state == "failed"), None)
    if failed is not None:
        say(f"first failure, trial {failed.number}: {failed.reason}")
    say(f"run directory: {outcome.run_dir}")
    if outcome.best:
        say(f"train the best spec: graphspec train {outcome.run_dir / 'best.yaml'}")
        run = outcome.run_dir / TRIALS / f"{outcome.best[0].number:04}"
        if run.is_dir():  # a trial of another machine has none
            say(f"predict with the best trial: graphspec predict {run} --data FILE -o predictions.csv")
