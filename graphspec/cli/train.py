"""`train`: a spec to a run."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphspec.cli.common import Allow, Json, Preset, Set, compiling, print_json, running, show
from graphspec.train.parallel.launched import launched

if TYPE_CHECKING:
    from graphspec.train.progress import Result, Start


def _setting(context: typer.Context, parameter: typer.CallbackParam, value: str | None) -> None:
    """What many expect to be an option is a key of the spec."""
    if value is not None:
        key = SETTINGS[parameter.name or ""]
        message = f"is a key of the spec: write --set {key}={value}"
        raise typer.BadParameter(message, param_hint="--" + (parameter.name or "").replace("_", "-"))


SETTINGS = {
    "epochs": "train.epochs",
    "batch_size": "train.batch_size",
    "learning_rate": "train.optimizer.learning_rate",
}


def train(
    spec: Annotated[Path, typer.Argument(metavar="SPEC", help="A spec file; or a run to go on with.")],
    data: Annotated[
        Path | None, typer.Option("--data", metavar="PATH", help="Training data: a file or folder.")
    ] = None,
    device: Annotated[
        str, typer.Option("--device", metavar="auto|cpu|cuda", help="Where to compute.")
    ] = "auto",
    devices: Annotated[
        int | None,
        typer.Option("--devices", min=1, metavar="N", help="Train on N GPUs, or in N processes on CPUs."),
    ] = None,
    restarts: Annotated[
        int,
        typer.Option(
            "--max-restarts", min=0, metavar="N", help="With --devices: start again, where a process fails."
        ),
    ] = 0,
    run_dir: Annotated[
        Path | None, typer.Option("--run-dir", metavar="DIR", help="A new directory. [default: runs/NAME-N]")
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with the run of --run-dir, or with the spec's newest; else begin."
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the run that is in --run-dir.")
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, metavar="N", help="Read N examples of each file."),
    ] = None,
    progress: Annotated[
        str,
        typer.Option(
            "--progress",
            metavar="auto|lines|json|none",
            help="How it shows itself: json is an object a line on standard error.",
        ),
    ] = "auto",
    plot: Annotated[bool, typer.Option("--plot", help="Draw the curves into the run: curves.svg.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show what a batch looks like to the model.")
    ] = False,
    allow: Allow = None,
    settings: Set = None,
    preset: Preset = None,
    as_json: Json = False,
    epochs: Annotated[str | None, typer.Option("--epochs", hidden=True, callback=_setting)] = None,
    batch_size: Annotated[str | None, typer.Option("--batch-size", hidden=True, callback=_setting)] = None,
    learning_rate: Annotated[
        str | None, typer.Option("--learning-rate", "--lr", hidden=True, callback=_setting)
    ] = None,
) -> None:
    """Train, and leave a run directory behind.

    In it are the spec, the source, the history, weights and checkpoints.

    Example: graphspec train specs/digits.yaml --set train.epochs=3
    """
    from graphspec.reporting import WAYS, Report

    if resume and overwrite:
        raise typer.BadParameter("goes on with a run, and --overwrite removes it", param_hint="--resume")
    if progress not in WAYS:
        raise typer.BadParameter(f"`{progress}` is none of {', '.join(WAYS)}", param_hint="--progress")
    root = spec.parent
    if spec.is_dir():
        run_dir = _run_of(spec, run_dir, resume)
        root, data = _data_of(spec, data)
        spec = spec / "spec.yaml"
    elif (spec.parent / "environment.json").is_file():  # a run's spec, or the best of a search
        root, data = _data_of(spec.parent, data)
    gc.enable()
    mine = launched()
    if devices is not None and mine.size == 1:
        if devices > 1:
            raise typer.Exit(_launch(spec, settings, preset, as_json, devices, restarts, allow))
    elif devices is not None and devices != mine.local_size:
        message = f"{devices}, and the launcher started {mine.local_size} processes on this machine"
        raise typer.BadParameter(message, param_hint="--devices")
    if not mine.first:
        progress, as_json, plot = "none", False, False
    with (
        compiling(spec, settings, preset, as_json, allow) as program,
        Report(progress, as_json, verbose) as report,
    ):

        def started(start: Start) -> None:
            report.start(start)
            if progress != "json":
                show(start.warnings, program.sources, sys.stderr)

        from graphspec.objectives.history import directions
        from graphspec.train.loop import Interrupted
        from graphspec.train.loop import train as run
        from graphspec.train.parallel.world import Deserted

        interrupted: Interrupted | None = None
        help = "if memory ran out, lower `train.batch_size` or the sizes of the model"
        try:
            with running(program, "run-failed", "training fails", help):
                result = run(
                    program,
                    data=data,
                    root=root,
                    device=device,
                    run_dir=run_dir,
                    resume=resume,
                    overwrite=overwrite,
                    limit=limit,
                    started=started,
                    progress=report,
                    tell=report.say,
                )
        except Interrupted as error:
            interrupted, result = error, error.result
        except Deserted:  # which the process that has gone has accounted for
            raise typer.Exit(1) from None
        if plot:
            _draw(result, program.name)
        if interrupted is None:
            report.end(result, directions(program.outputs, True))
        elif mine.first:
            typer.echo(str(interrupted), err=True)
        if as_json:
            found: dict[str, Any] = {"ok": interrupted is None, **result.to_json()}
            print_json(found if interrupted is None else {**found, "diagnostics": []})
        if interrupted is not None:
            raise typer.Exit(interrupted.exit_code)


def _launch(
    spec: Path,
    settings: list[str] | None,
    preset: str | None,
    as_json: bool,
    devices: int,
    restarts: int,
    allow: list[str] | None,
) -> int:
    """The same command in several processes; a spec with a mistake starts none."""
    with compiling(spec, settings, preset, as_json, allow, warnings=False):
        from graphspec.train.parallel.launch import launch

        return launch(sys.argv[1:], devices, restarts)


def _draw(result: Result, name: str) -> None:
    from graphspec.curves import curves
    from graphspec.train.files import write_text

    write_text(result.run_dir / "curves.svg", curves(result.history, name))


def _run_of(run: Path, run_dir: Path | None, resume: bool) -> Path:
    """The directory of a run that goes on."""
    if not (run / "spec.yaml").is_file():
        raise typer.BadParameter(f"{run} is a directory, and holds no run", param_hint="SPEC")
    if not resume:
        message = f"{run} is a run: go on with it with --resume, or train anew from {run / 'spec.yaml'}"
        raise typer.BadParameter(message, param_hint="SPEC")
    if run_dir is not None and run_dir.resolve() != run.resolve():
        raise typer.BadParameter(f"{run_dir} is another directory than {run}", param_hint="--run-dir")
    return run


def _data_of(run: Path, data: Path | None) -> tuple[Path, Path | None]:
    """Where the data of a run lay when it began: the directory of its paths, and the file of `--data`."""
    import json

    try:
        about = json.loads((run / "environment.json").read_text(encoding="utf-8"))
        root, given = Path(about["root"]), about["data"]
    except (OSError, ValueError, KeyError, TypeError):
        return run, data
    return root if root.is_dir() else run, data or (Path(given) if given else None)
