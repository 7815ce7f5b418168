"""`graphspec plan`: what a training takes on some GPUs, before any is rented."""

from __future__ import annotations

import math
from functools import partial
from typing import Annotated

import typer

from graphspec.cli.common import Json, Preset, Set, Spec, compiling, misuse, sizes_of
from graphspec.cli.printing import answer

Gpus = Annotated[str, typer.Option("--gpus", metavar="NxCARD", help="How many GPUs, and which: 64xH100.")]
Rows = Annotated[str, typer.Option("--rows", metavar="N", help="Training rows of an epoch, such as 1e9.")]
Sizes = Annotated[
    list[str] | None,
    typer.Option(
        "--size", metavar="NAME=N", help="The value of a named size, such as length=128; repeatable."
    ),
]


def plan(
    spec: Spec,
    gpus: Gpus,
    rows: Rows,
    sizes: Sizes = None,
    settings: Set = None,
    preset: Preset = None,
    as_json: Json = False,
) -> None:
    """Print the memory, bytes and hours that a training takes on GPUs.

    All is computed from shapes and from data sheets of the cards; nothing is run.

    Example: graphspec plan specs/gpt.yaml --gpus 8xH100 --rows 1e6
    """
    count = _count(rows)
    with compiling(spec, settings, preset, as_json) as program:
        from graphspec.train.device import usual_sizes
        from graphspec.view.plan import plan as planned

        found = planned(program, gpus, count, partial(usual_sizes, program, known=sizes_of(sizes, program)))
        answer(as_json, str(found), **found.to_json())


def _count(text: str) -> int:
    """A number of rows: 1000000, 1_000_000 or 1e6."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (1 <= number <= 1e15 and number.is_integer()):
        raise misuse("--rows", f"`{text}` is not a number of rows, such as 1e9")
    return int(number)
