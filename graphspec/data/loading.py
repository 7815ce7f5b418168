"""From a program's `data:` to the examples that training reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from graphspec.data import fields as checks
from graphspec.data.arrays import fail, open_source
from graphspec.data.batches import Examples, InMemory, split
from graphspec.data.config import DataConfig, Split
from graphspec.data.fields import Field, fields
from graphspec.data.synthetic import BATCHES, synthetic

SYNTHETIC = "synthetic data: the spec names none; `--data PATH` gives others"


@dataclass(frozen=True, slots=True)
class Data:
    """What a run reads; validation and test where `data:` has them.

    `notes` are the lines to be said aloud before training: that data are synthetic, what was filled or cut.
    """

    training: Examples
    validation: Examples | None
    test: Examples | None
    notes: tuple[str, ...] = ()


def load(program: Any, data: Path | None, root: Path | None, device: torch.device) -> Data:
    """Examples for training, validation and test.

    `data` replaces the path of the training data. Paths of the spec are relative to `root`, its directory,
    and must stay inside. A program without data gets synthetic ones. Raises `SpecError`, a data-... code for
    each mistake.
    """
    config, wanted, seed = program.data or DataConfig(), fields(program), program.training.seed
    if config.features:
        raise fail(
            "not-supported",
            "`data.features` are checked, and not yet read",
            "name the columns after the inputs",
        )

    def read(path: Path | None) -> InMemory | None:
        return _examples(program, wanted, path).to(device) if path is not None else None

    notes: tuple[str, ...] = ()
    training = read(data if data is not None else _inside(config.train, root))
    if training is None:
        notes = (SYNTHETIC,)
        training = synthetic(program, wanted, BATCHES * program.training.batch_size, seed).to(device)
    test = read(_inside(config.test, root))
    if not isinstance(config.validation, Split):
        return Data(training, read(_inside(config.validation, root)), test, notes)
    kept, held = split(len(training), config.validation.split, seed)
    if not len(kept) or not len(held):
        what = f"a validation split of {config.validation.split:g} of {len(training)} examples"
        raise fail("data-empty", f"{what} leaves one part empty", "give more examples")
    return Data(training.select(kept.to(device)), training.select(held.to(device)), test, notes)


def _examples(program: Any, wanted: list[Field], path: Path) -> InMemory:
    arrays, _ = checks.read(open_source(path), wanted, program.minimum_sizes, program.maximum_sizes)
    dtypes = {field.name: getattr(torch, field.tensor.dtype) for field in wanted}
    return InMemory({name: torch.from_numpy(array) for name, array in arrays.items()}, dtypes)


def _inside(path: str | None, root: Path | None) -> Path | None:
    """A path of the spec, below its directory."""
    if path is None:
        return None
    root = root or Path()
    full = root / path
    if not full.resolve().is_relative_to(root.resolve()):
        help = "move it beside the spec, or name it with `--data`"
        raise fail("data-outside", f"`{path}` lies outside the directory of the spec", help)
    return full
