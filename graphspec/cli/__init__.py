"""The command line: `app` has its commands, `common` what they share, `printing` what they print."""

from __future__ import annotations

import os

from graphspec.diagnostics.terminal import without_failing


def main() -> None:
    """The entry point."""
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # no command needs one
    without_failing()
    from graphspec.cli.app import app

    app()
