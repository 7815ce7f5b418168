"""`serve`: trained runs behind HTTP."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from graphspec.cli.common import Allow, Device, misuse
from graphspec.cli.printing import reporting, show
from graphspec.cli.runs import EngineOption, Weights, synthetic
from graphspec.serve.options import RANGES, ServeOptions


def within(name: str, **option: Any) -> Any:
    """An option that is a number, in its range."""
    least, most = RANGES[name.removeprefix("--").replace("-", "_")]
    return typer.Option(name, min=least, max=most, **option)


def serve(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories.")],
    port: Annotated[int, within("--port", metavar="N", help="Port; 0: any free port.")] = 8000,
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="Address to listen on; there is no password.")
    ] = "127.0.0.1",
    weights: Weights = "best",
    device: Device = "auto",
    engine: EngineOption = "torch",
    batch: Annotated[int, within("--batch", metavar="N", help="Predict at most N rows together.")] = 256,
    batch_wait: Annotated[
        float, within("--batch-wait", metavar="MS", help="Wait this long for more rows.")
    ] = 0.0,
    max_bytes: Annotated[
        int, within("--max-bytes", metavar="N", help="Refuse requests of more than N bytes.")
    ] = 16 * 2**20,
    max_rows: Annotated[
        int, within("--max-rows", metavar="N", help="Refuse requests of more than N rows.")
    ] = 10_000,
    timeout: Annotated[float, within("--timeout", metavar="SECONDS", help="Time limit of a request.")] = 60.0,
    max_head: Annotated[
        int, within("--max-head", metavar="N", help="Refuse heads of requests of more than N bytes.")
    ] = 32 * 2**10,
    max_target: Annotated[
        int, within("--max-target", metavar="N", help="Refuse paths of requests of more than N bytes.")
    ] = 4096,
    head_timeout: Annotated[
        float, within("--head-timeout", metavar="SECONDS", help="Time limit of the head of a request.")
    ] = 10.0,
    idle_timeout: Annotated[
        float,
        within(
            "--idle-timeout", metavar="SECONDS", help="Close a connection that asks nothing for this long."
        ),
    ] = 5.0,
    max_connections: Annotated[
        int, within("--max-connections", metavar="N", help="Keep at most N connections open.")
    ] = 1000,
    max_client_connections: Annotated[
        int, within("--max-client-connections", metavar="N", help="Keep at most N of one address open.")
    ] = 500,
    allow: Allow = None,
) -> None:
    """Serve trained runs over HTTP: POST rows to /predict.

    A page to try it is at /, its description for programs at /openapi.json. SIGHUP reads the runs again.

    Example: graphspec serve runs/cars-1 --port 8000
    """
    from graphspec.diagnostics.packages import needing

    limits = batch, batch_wait, max_bytes, max_rows, timeout, max_head, max_target
    waits = head_timeout, idle_timeout, max_connections, max_client_connections
    asked = ServeOptions(runs, port, host, weights, device, engine, *limits, *waits, allow or ())
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
