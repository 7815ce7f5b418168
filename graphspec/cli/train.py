"""`train`: trains a spec and writes a run directory."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphspec.cli import completing
from graphspec.cli.common import (
    WAYS,
    Allow,
    AllowUrl,
    Device,
    Json,
    ProgressOption,
    Set,
    compiling,
    misuse,
    need_one_of,
    one_of,
    running,
)
from graphspec.cli.printing import print_json, reporting, show
from graphspec.diagnostics.terminal import say
from graphspec.train.parallel.launched import follow_launcher, launched

if TYPE_CHECKING:
    from graphspec.cli.training_report import TrainingReport
    from graphspec.program import Program
    from graphspec.train.loop import Interrupted
    from graphspec.train.progress import Result, Start


def _batch_size(value: str | None) -> str | None:
    """`auto`, or a number."""
    if value not in (None, "auto") and not (value.isdecimal() and int(value)):
        raise misuse("--batch-size", f"`{value}` is neither `auto` nor a number of rows, such as 32")
    return value


SpecOrRun = Annotated[Path, typer.Argument(metavar="SPEC", help="A spec file, or a run directory to resume.")]
DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data", metavar="PATH", help="Training data: a file or folder; or s3://BUCKET/PATTERN.parquet."
    ),
]
Devices = Annotated[
    int | None,
    typer.Option("--devices", min=1, metavar="N", help="Train on N GPUs, or in N processes on CPUs."),
]
Restarts = Annotated[
    int,
    typer.Option(
        "--max-restarts", min=0, metavar="N", help="With --devices: restart up to N times after a failure."
    ),
]
Compile = Annotated[
    str,
    one_of("--compile", words="auto|on|off", help="Use torch.compile; auto: if the run is long enough."),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        "--weights", metavar="FILE", help="Start from a .safetensors file with all weights of the model."
    ),
]
From = Annotated[
    Path | None,
    typer.Option("--from", metavar="RUN", help="Start from a run of an earlier spec; see `migrate`."),
]
RunDir = Annotated[
    Path | None, typer.Option("--run-dir", metavar="DIR", help="A new directory. [default: runs/NAME-N]")
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Continue the run in --run-dir, or the spec's newest run; else start one."),
]
Force = Annotated[bool, typer.Option("--force", help="Replace the run that is in --run-dir.")]
Limit = Annotated[
    int | None,
    typer.Option("--limit", min=1, metavar="N", help="Read only N examples of each file."),
]
Seeds = Annotated[
    int | None,
    typer.Option("--seeds", min=2, metavar="N", help="Train N times, with N seeds; see `runs compare`."),
]
Folds = Annotated[
    int | None,
    typer.Option("--folds", min=2, metavar="N", help="Train N times, each with another Nth for validation."),
]
Presets = Annotated[
    list[str] | None,
    typer.Option(
        "--preset",
        metavar="NAME",
        help="Take a preset of the spec; with --seeds or --folds it may be repeated: each has its runs.",
        autocompletion=completing.presets,
    ),
]
Plot = Annotated[bool, typer.Option("--plot", help="Write curves.svg into the run directory.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", help="Show the model's inputs and outputs for one batch.")
]
BatchSize = Annotated[
    str | None,
    typer.Option(
        "--batch-size",
        metavar="auto|N",
        callback=_batch_size,
        help="Rows of each step; auto: the largest batch that fits. [default: the spec's]",
    ),
]


GROUPS = {
    "Data": ("data", "limit"),
    "The run": ("run_dir", "force", "resume", "weights", "earlier", "seeds", "folds"),
    "Computation": ("device", "devices", "restarts", "compile", "batch_size"),
    "Reports": ("progress", "plot", "verbose", "as_json"),
    "The spec": ("settings", "presets", "allow", "allow_url"),
}
"""The headings under which `--help` lists the options."""


def train(
    spec: SpecOrRun,
    data: DataOption = None,
    weights: Weights = None,
    earlier: From = None,
    device: Device = "auto",
    devices: Devices = None,
    restarts: Restarts = 0,
    compile: Compile = "off",
    batch_size: BatchSize = None,
    run_dir: RunDir = None,
    resume: Resume = False,
    force: Force = False,
    seeds: Seeds = None,
    folds: Folds = None,
    limit: Limit = None,
    progress: ProgressOption = "auto",
    plot: Plot = False,
    verbose: Verbose = False,
    allow: Allow = None,
    allow_url: AllowUrl = False,
    settings: Set = None,
    presets: Presets = None,
    as_json: Json = False,
) -> None:
    """Train a spec, and write a run directory.

    It holds the spec, the source, the history, weights and checkpoints.

    Example: graphspec train specs/digits.yaml --set train.epochs=3
    """
    from graphspec.cli.training_report import TrainingReport
    from graphspec.runs.directory import places

    _check_options(resume, force, weights, progress, compile)
    if batch_size not in (None, "auto"):
        settings, batch_size = [*(settings or ()), f"train.batch_size={batch_size}"], None
    if restarts and (devices or 1) == 1:
        raise misuse("--max-restarts", "it needs several processes: --devices 2 or more")
    _check_earlier(earlier, resume, weights, devices)
    if seeds is not None or folds is not None:
        _check_repeats(spec, seeds, folds, devices, earlier)
    elif len(presets or ()) > 1:
        raise misuse("--preset", "several are compared by repeated runs", "add --seeds 5, or name one")
    preset = presets[0] if presets else None
    with reporting(as_json):
        spec, run_dir = _spec_and_run(spec, run_dir, resume)
    gc.enable()
    mine = launched()
    follow_launcher()
    if devices is not None and mine.size == 1:
        if devices > 1:
            raise typer.Exit(_launch(spec, settings, preset, as_json, devices, restarts, allow))
    elif devices is not None and devices != mine.local_size:
        message = f"it is {devices}, but the launcher started {mine.local_size} processes on this machine"
        raise misuse("--devices", message)
    if not mine.is_first:
        progress, as_json, plot = "none", False, False
    options: dict[str, Any] = {"device": device, "run_dir": run_dir}
    options |= {"resume": resume, "overwrite": force, "limit": limit, "compile": compile}
    options |= {"batch_size": batch_size, "weights": weights, "baselines": True}

    repeated = seeds is not None or folds is not None

    def one(
        more: Iterable[str] = (), preset: str | None = preset, **changed: Any
    ) -> tuple[Result, Interrupted | None]:
        given, all_settings = options | changed, [*(settings or ()), *more]
        with (
            compiling(spec, all_settings, preset, as_json, allow, allow_url, not repeated) as program,
            TrainingReport(progress, as_json, verbose) as report,
        ):
            given["root"], given["data"] = places(spec.parent, program, data)
            if earlier is not None:
                given["weights"] = _migrated(earlier, program, given, allow, report)
            return _train(program, report, given, progress != "json", plot)

    if repeated:
        from graphspec.cli.repeating import repeat

        with ExitStack() as compiled:
            programs = {
                name: compiled.enter_context(compiling(spec, settings, name, as_json, allow, allow_url))
                for name in (presets or (None,))
            }
            quiet = progress in ("none", "json")
            return repeat(programs, one, seeds, folds, run_dir, resume, quiet, as_json)
    result, interrupted = one()
    if as_json:
        summary: dict[str, Any] = {"ok": interrupted is None, **result.to_json()}
        print_json(summary if interrupted is None else {**summary, "diagnostics": []})
    if interrupted is not None:
        raise typer.Exit(interrupted.exit_code)


def _check_repeats(
    spec: Path, seeds: int | None, folds: int | None, devices: int | None, earlier: Path | None
) -> None:
    """Refuses what `--seeds` and `--folds` do not go with."""
    option = "--seeds" if seeds is not None else "--folds"
    if seeds is not None and folds is not None:
        raise misuse("--folds", "the seeds or the folds are repeated, not both", "leave --seeds out")
    if (devices or 1) > 1 or launched().size > 1:
        raise misuse(option, "its trainings follow one another in one process", "leave --devices out")
    if earlier is not None:
        raise misuse(
            option, "all of them start from a file", "write it by `graphspec migrate`, then --weights"
        )
    if spec.is_dir():
        raise misuse(option, f"{spec} is a directory", "name the spec, and with --resume also --run-dir")


def _check_earlier(earlier: Path | None, resume: bool, weights: Path | None, devices: int | None) -> None:
    """Refuses what `--from` does not go with."""
    if earlier is None:
        return
    if resume or weights is not None:
        raise misuse("--from", "leave --resume and --weights out: a new run starts from one place")
    if (devices or 1) > 1 or launched().size > 1:
        raise misuse(
            "--from",
            "several processes start from a file",
            "write it by `graphspec migrate`, then --weights",
        )


def _migrated(
    earlier: Path, program: Program, options: dict[str, Any], allow: list[str] | None, report: TrainingReport
) -> Path:
    """The file, beside the new run, with the weights of an earlier one for this spec."""
    from graphspec.cli.migrate import migrated, table
    from graphspec.files.folder import Folder
    from graphspec.migrate import write

    run_dir = options["run_dir"] or Path("runs") / program.name
    migration = migrated(earlier, program, None, options["limit"], allow, options["data"])
    path = _free(Path(run_dir.with_name(f"{run_dir.name}-start.safetensors")))
    Folder(path.parent).write(path.name, lambda temporary: write(temporary, migration.weights))
    report.say(table(migration))
    return path


def _free(path: Path) -> Path:
    """The path, with a number where something has its name: runs with adapters go on reading such files."""
    numbers = (path.with_stem(f"{path.stem}-{number}") for number in count(2))
    return next(each for each in chain([path], numbers) if not os.path.lexists(each))


def _check_options(resume: bool, force: bool, weights: Path | None, progress: str, compile: str) -> None:
    """Refuses options that do not go together."""
    if resume and force:
        raise misuse("--resume", "it continues a run, and --force deletes one", "leave one of them out")
    if resume and weights is not None:
        raise misuse("--weights", "a new run starts from a file, and --resume continues one")
    need_one_of(compile, ("auto", "on", "off"), "--compile")
    need_one_of(progress, WAYS, "--progress")


def _spec_and_run(spec: Path, run_dir: Path | None, resume: bool) -> tuple[Path, Path | None]:
    """The spec, and the run directory; of a run, its own."""
    from graphspec.files.run_files import SPEC

    if not spec.is_dir():
        return spec, run_dir
    run_dir = _run_of(spec, run_dir, resume)
    return spec / SPEC, run_dir


def _train(
    program: Program, report: TrainingReport, options: dict[str, Any], told: bool, plot: bool
) -> tuple[Result, Interrupted | None]:
    """Trains, and shows the result, also of an interrupted training; `told` are the warnings of a batch."""
    from graphspec.objectives.history import directions
    from graphspec.train.loop import Interrupted
    from graphspec.train.loop import train as run
    from graphspec.train.parallel.world import Deserted

    def started(start: Start) -> None:
        report.start(start)
        if told:
            show(start.warnings, program.sources, sys.stderr)

    interrupted: Interrupted | None = None
    help = "if memory ran out, lower `train.batch_size` or the sizes of the model"
    try:
        with running(program, "run-failed", "training fails", help):
            calls: dict[str, Any] = {
                "waiting": report.waiting,
                "stopping": report.stopping,
                "tell": report.say,
            }
            result = run(program, **options, started=started, progress=report, **calls)
    except Interrupted as error:
        interrupted, result = error, error.result
    except Deserted:  # which the process that has gone has accounted for
        raise typer.Exit(1) from None
    if plot:
        _draw(result, program.name)
    if interrupted is None:
        report.end(result, directions(program.outputs, True))
    elif launched().is_first:
        say(str(interrupted), sys.stderr)
    return result, interrupted


def _launch(
    spec: Path,
    settings: list[str] | None,
    preset: str | None,
    as_json: bool,
    devices: int,
    restarts: int,
    allow: list[str] | None,
) -> int:
    """Runs the same command in several processes; a spec with an error starts none."""
    with compiling(spec, settings, preset, as_json, allow, warnings=False):
        from graphspec.train.parallel.launch import launch

        return launch(sys.argv[1:], devices, restarts)


def _draw(result: Result, name: str) -> None:
    from graphspec.files.folder import Folder
    from graphspec.files.run_files import CURVES
    from graphspec.view.curves import curves

    Folder(result.run_dir).text(CURVES, curves(result.history, name, result.best_epoch))


def _run_of(run: Path, run_dir: Path | None, resume: bool) -> Path:
    """The directory of the run to resume."""
    from graphspec.files.run_files import SPEC

    if not (run / SPEC).is_file():
        specs = sorted(run.glob("*.yaml"))
        raise misuse(
            "SPEC", f"{run} is a directory without a run", f"name a spec{f': {specs[0]}' if specs else ''}"
        )
    if not resume:
        raise misuse(
            "SPEC", f"{run} is a run", f"continue it with --resume, or train again from {run / SPEC}"
        )
    if run_dir is not None and run_dir.resolve() != run.resolve():
        raise misuse("--run-dir", f"{run_dir} is not {run}", "leave --run-dir out to resume a run")
    return run
