"""`train`: a spec to a run."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Annotated

import typer

from graphspec.cli.common import Json, Preset, Set, compiling, print_json, running


def train(
    spec: Annotated[Path, typer.Argument(metavar="SPEC", help="A spec file; or a run to go on with.")],
    data: Annotated[
        Path | None, typer.Option("--data", metavar="PATH", help="Training data: .npz or .csv.")
    ] = None,
    device: Annotated[
        str, typer.Option("--device", metavar="auto|cpu|cuda", help="Where to compute.")
    ] = "auto",
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
    settings: Set = None,
    preset: Preset = None,
    as_json: Json = False,
) -> None:
    """Train, and leave a run directory behind: spec, source, history, weights and checkpoints."""
    from graphspec.reporting import Report

    if resume and overwrite:
        raise typer.BadParameter("goes on with a run, and --overwrite removes it", param_hint="--resume")
    root = spec.parent
    if spec.is_dir():
        run_dir = _run_of(spec, run_dir, resume)
        root, data = _data_of(spec, data)
        spec = spec / "spec.yaml"
    gc.enable()
    with compiling(spec, settings, preset, as_json) as program:
        from graphspec.train.loop import Interrupted
        from graphspec.train.loop import train as run

        try:
            help = "if memory ran out, lower `train.batch_size` or the sizes of the model"
            with (
                Report(quiet=as_json) as report,
                running(program, "run-failed", "training fails", help),
            ):
                result = run(
                    program,
                    data=data,
                    root=root,
                    device=device,
                    run_dir=run_dir,
                    resume=resume,
                    overwrite=overwrite,
                    limit=limit,
                    progress=report,
                    tell=report.say,
                )
        except Interrupted as interrupted:
            typer.echo(str(interrupted), err=True)
            if as_json:
                print_json(interrupted.result.to_json())
            raise typer.Exit(interrupted.exit_code) from None
        if as_json:
            print_json(result.to_json())
        else:
            rate = f"{result.examples_per_second:,.0f} examples/s on {result.device}"
            typer.echo(f"{rate}, {result.seconds:.1f} s in all")
            typer.echo(f"run directory: {result.run_dir}")


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
