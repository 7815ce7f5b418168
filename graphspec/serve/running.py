"""A server as a process: its socket, its signals, and what it prints."""

from __future__ import annotations

import errno
import gc
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType

import uvicorn

from graphspec.diagnostics.terminal import at_once, say
from graphspec.diagnostics.text import visible
from graphspec.runs.engines import settle
from graphspec.serve.app import LOCAL, Application, Server
from graphspec.serve.options import ServeOptions
from graphspec.serve.protocol import ClientConnection
from graphspec.serve.served import Served

FILES = 64
"""Open files of a server beside its connections."""


def name_of(path: Path) -> str:
    """The name under which a run is served."""
    return path.resolve().name if path.is_dir() else path.stem


def serve(runs: Mapping[str, Served], options: ServeOptions, listening: socket.socket) -> None:
    """Answers until SIGINT or SIGTERM; what was asked before is answered still."""
    for name, run in runs.items():
        for note in run.notes:
            say(f"{visible(name)}: {note}", sys.stderr)
    settle(run.answering.engine for run in runs.values())
    host = options.host
    server = Server(runs, replace(options, max_connections=_possible(options.max_connections)))
    # uvicorn's own configuration of logging closes the handlers of others; absl's closes its stream with it
    config = uvicorn.Config(
        Application(server, LOCAL if host in LOCAL else None),
        log_level="error",
        log_config=None,
        access_log=False,
        http=partial(ClientConnection, server.connections),  # type: ignore[arg-type]
        ws="none",
        interface="asgi3",
        server_header=False,
        proxy_headers=False,  # only `reload` asks where a request comes from
    )
    process = Stopping(config)
    server.batcher.open = process.server_state.tasks
    gc.freeze()  # what was imported and read stays
    gc.enable()
    if host not in LOCAL:
        say(f"anyone who can reach {host} can send requests: there is no password", sys.stderr)
    say(f"serving {visible(', '.join(runs))} at http://{host}:{listening.getsockname()[1]}")
    process.run(sockets=[listening])


def _possible(connections: int) -> int:
    """How many of so many connections the system allows, asked for more if need be: each is an open file."""
    if sys.platform == "win32":
        return connections
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(OSError, ValueError):  # macOS has a limit of its own
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return connections if soft == resource.RLIM_INFINITY else max(1, min(connections, soft - FILES))


class Stopping(uvicorn.Server):
    """One that says so."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        at_once("stopping once everything is answered; Ctrl-C again ends at once")
        super().handle_exit(sig, frame)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at an address. Raises `OSError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends small packets at once on sockets alone that say that they are of TCP: others wait 40 ms
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except TypeError:  # a name that cannot be encoded as that of a host
        listener.close()
        raise OSError(errno.EINVAL, "this is not the name of a machine") from None
    except OSError:
        listener.close()
        raise
    return listener
