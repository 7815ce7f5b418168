"""`server`: the language server, which editors start."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from graphspec.cli.printing import reporting


def server(
    stdio: Annotated[
        bool,
        typer.Option(
            "--stdio", help="Accepted and ignored: stdin and stdout are always used.", show_default=False
        ),
    ] = True,
) -> None:
    """Run the language server, which editors start.

    It shows mistakes, types and completions while you type.

    Example: graphspec server
    """
    from graphspec.diagnostics.packages import needing

    with reporting(), needing("the language server", "server"):
        import pygls  # noqa: F401

    from graphspec.server.protocol import serve

    serve()


def mcp() -> None:
    """Offer tools over MCP, for programs that write specs.

    The tools are language, check, fix, summary, layers, explain, train and runs. They see only files in
    the working directory.

    Example: graphspec mcp
    """
    from graphspec.diagnostics.packages import needing

    with reporting(), needing("the tool server", "mcp"):
        import mcp.server  # noqa: F401

    from graphspec.cli.worked_example import page
    from graphspec.server.tools import serve

    serve(Path.cwd(), page)
