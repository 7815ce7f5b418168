"""The command line: `app` has its commands, `common` what they share, `printing` what they print."""

from __future__ import annotations

import sys

from graphspec.cli.plugins import without_plugins
from graphspec.diagnostics.terminal import without_failing


def main() -> None:
    """The entry point. Most of the time of `check` is its start: no plugin of pydantic's is searched for, and
    typer is imported where there is more to read than names of files.
    """
    without_plugins()
    without_failing()
    if sys.argv[1:2] == ["check"]:
        from graphspec.cli.checking import check_plainly

        code = check_plainly(sys.argv[2:])
        if code is not None:
            sys.exit(code)
    from graphspec.cli.app import app

    app()
