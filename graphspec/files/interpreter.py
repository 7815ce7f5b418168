"""How a process of ours starts another: Python that imports nothing from the working directory."""

from __future__ import annotations

import sys

PYTHON = (sys.executable, "-P")
"""Without `-P`, `-m` and `-c` put the working directory before everything that is installed."""
