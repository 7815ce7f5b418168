"""`serve`: trained runs behind HTTP."""

from __future__ import annotations

import gc
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from graphspec.cli.common import Allow, Device, misuse, reporting, show
from graphspec.cli.runs import EngineOption, Weights, synthetic
from graphspec.diagnostics.terminal import at_once, say

if TYPE_CHECKING:
    from graphspec.serve.app import Server
    from graphspec.serve.served import Served

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def serve(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories.")],
    port: Annotated[
        int,
        typer.Option("--port", min=0, max=65535, metavar="N", help="Port; 0: any free port."),
    ] = 8000,
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="Address to listen on; there is no password.")
    ] = "127.0.0.1",
    weights: Weights = "best",
    device: Device = "auto",
    engine: EngineOption = "torch",
    batch: Annotated[
        int, typer.Option("--batch", min=1, metavar="N", help="Predict at most N rows together.")
    ] = 256,
    batch_wait: Annotated[
        float,
        typer.Option("--batch-wait", min=0, metavar="MS", help="Wait this long for more rows."),
    ] = 0.0,
    max_bytes: Annotated[
        int, typer.Option("--max-bytes", min=1, metavar="N", help="Refuse requests of more than N bytes.")
    ] = 16 * 2**20,
    max_rows: Annotated[
        int, typer.Option("--max-rows", min=1, metavar="N", help="Refuse requests of more than N rows.")
    ] = 10_000,
    timeout: Annotated[
        float,
        typer.Option("--timeout", min=0.001, metavar="SECONDS", help="Time limit of a request."),
    ] = 60.0,
    allow: Allow = None,
) -> None:
    """Serve trained runs over HTTP: POST rows to /predict.

    A page to try it is at /, its description for programs at /openapi.json. SIGHUP reads the runs again.

    Example: graphspec serve runs/cars-1 --port 8000
    """
    with reporting(False, {}):
        _need_packages()
        from graphspec.serve.app import Limits, Server

        limits = Limits(max_bytes, max_rows, timeout, batch, batch_wait / 1000)
        found = _served(runs, weights, device, engine, allow or ())
        gc.freeze()  # what was imported and read stays
        gc.enable()
        _run(Server(found, limits), host, port)


def _need_packages() -> None:
    from graphspec.diagnostics.packages import needing

    with needing("`graphspec serve`", "serve"):
        import uvicorn  # noqa: F401


def _served(
    runs: Sequence[Path], weights: str, device: str, engine: str, allow: Sequence[str]
) -> dict[str, Served]:
    from graphspec.serve.served import Served

    found: dict[str, Served] = {}
    for path in runs:
        name = path.resolve().name if path.is_dir() else path.stem
        if name in found:
            raise misuse("RUN...", f"two runs are called {name}: a run is asked for by its name")
        found[name] = Served(name, path, weights, allow, device, engine)
        if found[name].synthetic:
            show([synthetic(path)], {}, sys.stderr)
        for note in found[name].notes:
            say(f"{name}: {note}", sys.stderr)
    return found


def _run(server: Server, host: str, port: int) -> None:
    """Answers until SIGINT or SIGTERM; what was asked before is answered still."""
    import uvicorn

    from graphspec.serve.app import Application

    class Stopping(uvicorn.Server):
        """One that says so."""

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            at_once("stopping once everything is answered; Ctrl-C again ends at once")
            super().handle_exit(sig, frame)

    listening = _listening(host, port)
    hosts = LOOPBACK if host in LOOPBACK else None
    # uvicorn's own configuration of logging closes the handlers of others; absl's closes its stream with it
    config = uvicorn.Config(
        Application(server, hosts), log_level="warning", log_config=None, access_log=False, ws="none"
    )
    address = listening.getsockname()
    if host not in LOOPBACK:
        say(f"anyone who can reach {host} can send requests: there is no password", sys.stderr)
    say(f"serving {', '.join(server.runs)} at http://{host}:{address[1]}")
    sys.stdout.flush()
    Stopping(config).run(sockets=[listening])


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends small packets at once on sockets alone that say that they are of TCP: others wait 40 ms
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
        found.listen(2048)
    except OSError as error:
        raise misuse("--port", f"{host}:{port} cannot be bound: {error.strerror or error}") from None
    return found
