"""Tests: a folder for each room of the package; `gallery` for specs/, `project` for what concerns all."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
"""The root of the checkout."""


def one_in(count: int, cases: Iterable[Any]) -> list[Any]:
    """Cases that differ little from their neighbours: `make test` runs the first of each `count`, and
    `make parity` the others.
    """
    return [
        pytest.param(
            *(case if isinstance(case, tuple) else (case,)),
            marks=() if number % count == 0 else pytest.mark.parity,
        )
        for number, case in enumerate(cases)
    ]
