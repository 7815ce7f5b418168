"""The state that a checkpoint holds, compared with what a run saves: its files may come from anyone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from graphspec.diagnostics import fail
from graphspec.diagnostics.text import first_line
from graphspec.files.records import StoredProgress, record_of
from graphspec.settings import show

KINDS: tuple[tuple[Any, str], ...] = (
    (bool, "true or false"),
    (int, "a whole number"),
    ((int, float), "a number"),
    (str, "text"),
    (list, "a list"),
    (dict, "a mapping"),
)
"""The types of JSON, each by its type in Python; a bool is not a number."""


@contextmanager
def restoring(path: Path) -> Iterator[None]:
    """Turns what is wrong with a stored state into `SpecError` (resume-failed)."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        said = first_line(error)
        reason = f"it lacks {said}" if isinstance(error, KeyError) else said
        message = f"a checkpoint of `{path}` does not hold what a run saves: {reason}"
        help = "train again, with `--force`, or start from its weights: `--weights`"
        raise fail("resume-failed", message, help) from error


def need_like(stored: Any, own: Any, where: str = "") -> None:
    """Raises `ValueError` unless stored values are of the kinds of a run's own: a mapping has at least its
    keys. What a run has not yet may be anything.
    """
    if own is None:
        return
    kind, word = next(each for each in KINDS if isinstance(own, each[0]))
    if not isinstance(stored, kind) or isinstance(stored, bool) != isinstance(own, bool):
        raise ValueError(f"`{where or 'state'}` is {show(stored)}, which is not {word}")
    if isinstance(own, dict):
        for key, value in own.items():
            name = f"{where}.{key}" if where else str(key)
            if key not in stored:
                raise ValueError(f"`{name}` is missing")
            need_like(stored[key], value, name)


def number_or_none(value: Any) -> float | None:
    """A stored number; None where there was none yet. Raises `ValueError` for anything else."""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise ValueError(f"{show(value)} is not a number")


def progress_of(stored: Any) -> StoredProgress:
    """How far the run of a checkpoint is. Raises `ValueError` for what no run has written."""
    progress = record_of(StoredProgress, stored)
    for name, values in progress.history.items():
        if len(values) != progress.epoch:
            raise ValueError(f"the values of `{name}` are not a number for each epoch")
    return progress
