"""`serve`: trained runs behind HTTP."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import fields
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any

import typer

from graphspec.cli.common import Allow, Device, misuse, option, with_options
from graphspec.cli.printing import reporting, show
from graphspec.cli.runs import EngineOption, Tiles, Weights, synthetic
from graphspec.serve.options import ServeOptions


def _numbers() -> Iterator[Parameter]:
    """An option for each number of `ServeOptions`."""
    for each in fields(ServeOptions):
        if each.metadata:
            yield option(each.name, type(each.default), each.default, **each.metadata)


@with_options(_numbers)
def serve(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories.")],
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="Address to listen on; there is no password.")
    ] = "127.0.0.1",
    weights: Weights = "best",
    device: Device = "auto",
    engine: EngineOption = "torch",
    tiles: Tiles = None,
    allow: Allow = None,
    **numbers: Any,
) -> None:
    """Serve trained runs over HTTP: POST rows to /predict.

    A page to try it is at /, its description for programs at /openapi.json. SIGHUP reads the runs again.

    Example: graphspec serve runs/cars-1 --port 8000
    """
    from graphspec.diagnostics.packages import needing

    asked = ServeOptions(runs, host, weights, device, engine, allow or (), tiles, **numbers)
    with reporting():
        with needing("`graphspec serve`", "serve"):
            import httptools  # noqa: F401
            import uvicorn  # noqa: F401
        _serve(asked)


def _serve(asked: ServeOptions) -> None:
    from graphspec.serve.running import listen, name_of, serve
    from graphspec.serve.served import Served

    served: dict[str, Served] = {}
    for path in asked.runs:
        name = name_of(path)
        if name in served:
            raise misuse("RUN...", f"two runs are called {name}: a run is asked for by its name")
        served[name] = Served(name, path, asked)
        if served[name].synthetic:
            show([synthetic(path)], {}, sys.stderr)
    try:
        listening = listen(asked.host, asked.port)
    except OSError as error:
        place = f"{asked.host}:{asked.port}"
        raise misuse("--port", f"{place} cannot be bound: {error.strerror or error}") from None
    serve(served, asked, listening)
