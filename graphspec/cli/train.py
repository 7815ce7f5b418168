"""`train`: trains a spec and writes a run directory."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
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
    taking,
)
from graphspec.cli.printing import answer, print_json, reporting, show
from graphspec.diagnostics.terminal import say
from graphspec.files.run_files import SPEC
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
ExplainSpeed = Annotated[
    bool, typer.Option("--explain-speed", help="Make some steps, and say what limits them; write nothing.")
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
    "Reports": ("progress", "plot", "verbose", "explain_speed", "as_json"),
    "The spec": ("settings", "presets", "allow", "allow_url"),
}
"""The headings under which `--help` lists the options."""


@dataclass(slots=True)
class TrainAsked:
    """The options of `train`."""

    spec: SpecOrRun
    data: DataOption = None
    weights: Weights = None
    earlier: From = None
    device: Device = "auto"
    devices: Devices = None
    restarts: Restarts = 0
    compile: Compile = "off"
    batch_size: BatchSize = None
    run_dir: RunDir = None
    resume: Resume = False
    force: Force = False
    seeds: Seeds = None
    folds: Folds = None
    limit: Limit = None
    progress: ProgressOption = "auto"
    plot: Plot = False
    verbose: Verbose = False
    explain_speed: ExplainSpeed = False
    allow: Allow = None
    allow_url: AllowUrl = False
    settings: Set = None
    presets: Presets = None
    as_json: Json = False

    @property
    def several(self) -> bool:
        """Whether several processes train."""
        return (self.devices or 1) > 1 or launched().size > 1

    @property
    def repeated(self) -> bool:
        return self.seeds is not None or self.folds is not None

    @property
    def preset(self) -> str | None:
        return self.presets[0] if self.presets else None

    def compiling(
        self, preset: str | None, more: Iterable[str] = (), warnings: bool = True
    ) -> AbstractContextManager[Program]:
        """The program of the spec, with more of `--set`."""
        settings = [*(self.settings or ()), *more]
        return compiling(self.spec, settings, preset, self.as_json, self.allow, self.allow_url, warnings)


@taking(TrainAsked)
def train(asked: TrainAsked) -> None:
    """Train a spec, and write a run directory.

    It holds the spec, the source, the history, weights and checkpoints.

    Example: graphspec train specs/digits.yaml --set train.epochs=3
    """
    _check_options(asked)
    if asked.batch_size not in (None, "auto"):
        asked.settings = [*(asked.settings or ()), f"train.batch_size={asked.batch_size}"]
        asked.batch_size = None
    with reporting(asked.as_json):
        if asked.spec.is_dir():
            asked.run_dir = _run_of(asked.spec, asked.run_dir, asked.resume)
            asked.spec = asked.spec / SPEC
    gc.enable()
    mine = launched()
    follow_launcher()
    if asked.devices is not None and mine.size == 1:
        if asked.devices > 1:
            raise typer.Exit(_launch(asked, asked.devices))
    elif asked.devices is not None and asked.devices != mine.local_size:
        message = (
            f"it is {asked.devices}, but the launcher started {mine.local_size} processes on this machine"
        )
        raise misuse("--devices", message)
    if not mine.is_first:
        asked.progress, asked.as_json, asked.plot = "none", False, False
    if asked.explain_speed:
        return _explain(asked)
    if asked.repeated:
        return _repeat(asked)
    result, interrupted = _one(asked, asked.preset)
    if asked.as_json:
        summary: dict[str, Any] = {"ok": interrupted is None, **result.to_json()}
        print_json(summary if interrupted is None else {**summary, "diagnostics": []})
    if interrupted is not None:
        raise typer.Exit(interrupted.exit_code)


def _one(
    asked: TrainAsked, preset: str | None, more: Iterable[str] = (), run_dir: Path | None = None
) -> tuple[Result, Interrupted | None]:
    """One training; of repeated ones with more of `--set`, in a directory of its own."""
    from graphspec.cli.training_report import TrainingReport
    from graphspec.runs.directory import places

    given: dict[str, Any] = {"device": asked.device, "run_dir": run_dir or asked.run_dir}
    given |= {"resume": asked.resume, "overwrite": asked.force, "limit": asked.limit}
    given |= {"compile": asked.compile, "batch_size": asked.batch_size, "weights": asked.weights}
    with (
        asked.compiling(preset, more, not asked.repeated) as program,
        TrainingReport(asked.progress, asked.as_json, asked.verbose) as report,
    ):
        given["root"], given["data"] = places(asked.spec.parent, program, asked.data)
        if asked.earlier is not None:
            given["weights"] = _migrated(asked.earlier, program, given, asked.allow, report)
        return _train(program, report, {**given, "baselines": True}, asked.progress != "json", asked.plot)


def _explain(asked: TrainAsked) -> None:
    """Prints what limits the speed of a training."""
    from graphspec.runs.directory import places
    from graphspec.train.speed import explain

    given: dict[str, Any] = {"device": asked.device, "limit": asked.limit, "compile": asked.compile}
    given |= {"batch_size": asked.batch_size, "weights": asked.weights, "tell": lambda note: None}
    with asked.compiling(asked.preset) as program:
        given["root"], given["data"] = places(asked.spec.parent, program, asked.data)
        help = "if memory ran out, lower `train.batch_size` or the sizes of the model"
        with running(program, "run-failed", "training fails", help):
            found = explain(program, **given)
        answer(asked.as_json, str(found), **found.to_json())


def _repeat(asked: TrainAsked) -> None:
    from graphspec.cli.repeating import repeat

    with ExitStack() as compiled:
        presets = asked.presets or (None,)
        programs = {name: compiled.enter_context(asked.compiling(name)) for name in presets}
        quiet, one = asked.progress in ("none", "json"), partial(_one, asked)
        counts = asked.seeds, asked.folds
        return repeat(programs, one, *counts, asked.run_dir, asked.resume, quiet, asked.as_json)


def _check_repeats(asked: TrainAsked) -> None:
    """Refuses what `--seeds` and `--folds` do not go with."""
    option = "--seeds" if asked.seeds is not None else "--folds"
    if asked.seeds is not None and asked.folds is not None:
        raise misuse("--folds", "the seeds or the folds are repeated, not both", "leave --seeds out")
    if asked.several:
        raise misuse(option, "its trainings follow one another in one process", "leave --devices out")
    if asked.earlier is not None:
        raise misuse(
            option, "all of them start from a file", "write it by `graphspec migrate`, then --weights"
        )
    if asked.spec.is_dir():
        raise misuse(
            option, f"{asked.spec} is a directory", "name the spec, and with --resume also --run-dir"
        )


def _check_earlier(asked: TrainAsked) -> None:
    """Refuses what `--from` does not go with."""
    if asked.earlier is None:
        return
    if asked.resume or asked.weights is not None:
        raise misuse("--from", "leave --resume and --weights out: a new run starts from one place")
    if asked.several:
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


def _check_options(asked: TrainAsked) -> None:
    """Refuses options that do not go together."""
    if asked.resume and asked.force:
        raise misuse("--resume", "it continues a run, and --force deletes one", "leave one of them out")
    if asked.resume and asked.weights is not None:
        raise misuse("--weights", "a new run starts from a file, and --resume continues one")
    need_one_of(asked.compile, ("auto", "on", "off"), "--compile")
    need_one_of(asked.progress, WAYS, "--progress")
    wanted = ("repeated", "several", "resume", "force", "plot", "run_dir", "earlier")
    if asked.explain_speed and (other := next((name for name in wanted if getattr(asked, name)), None)):
        named = {"repeated": "--seeds or --folds", "several": "--devices", "earlier": "--from"}
        what = named.get(other, f"--{other.replace('_', '-')}")
        raise misuse("--explain-speed", f"it makes some steps and no run: leave {what} out")
    if asked.restarts and (asked.devices or 1) == 1:
        raise misuse("--max-restarts", "it needs several processes: --devices 2 or more")
    _check_earlier(asked)
    if asked.repeated:
        _check_repeats(asked)
    elif len(asked.presets or ()) > 1:
        raise misuse("--preset", "several are compared by repeated runs", "add --seeds 5, or name one")


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


def _launch(asked: TrainAsked, devices: int) -> int:
    """Runs the same command in several processes; a spec with an error starts none."""
    with asked.compiling(asked.preset, warnings=False):
        from graphspec.train.parallel.launch import launch

        return launch(sys.argv[1:], devices, asked.restarts)


def _draw(result: Result, name: str) -> None:
    from graphspec.files.folder import Folder
    from graphspec.files.run_files import CURVES
    from graphspec.view.curves import curves

    Folder(result.run_dir).text(CURVES, curves(result.history, name, result.best_epoch))


def _run_of(run: Path, run_dir: Path | None, resume: bool) -> Path:
    """The directory of the run to resume."""
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
