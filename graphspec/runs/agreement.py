"""Whether an engine computes what the module computes: short and long rows, alone and padded for others."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphspec.diagnostics import SpecError, fail

if TYPE_CHECKING:
    from graphspec.elaborated import BaseProgram
    from graphspec.runs.engines import Engine, TorchEngine, Values

SEVERAL = 3
"""Rows of which all but the first are padded."""
HELP = "leave `--engine` out: the module itself computes then"


@dataclass(frozen=True, slots=True)
class Trial:
    """A batch that is compared: so many rows, of such named sizes."""

    rows: int
    sizes: Mapping[str, int]

    def __str__(self) -> str:
        what = "a row" if self.rows == 1 else f"{self.rows} rows"
        known = sorted((name, size) for name, size in self.sizes.items() if not name.startswith("?"))
        lengths = ", ".join(f"{name} {size}" for name, size in known)
        return f"{what}{f' ({lengths})' if lengths else ''}"


def trials(program: BaseProgram, rows: int, usual: Mapping[str, int]) -> list[Trial]:
    """The smallest row, some rows that are longer than usual ones, and so many usual ones."""
    most = program.maximum_sizes
    longer = {name: min(size + 2, most.get(name, size + 2)) for name, size in usual.items()}
    smallest = Trial(1, program.minimum_sizes)
    wanted = smallest, Trial(SEVERAL, longer), Trial(rows, usual)
    return [trial for number, trial in enumerate(wanted) if trial not in wanted[:number]]


def compare(program: BaseProgram, base: TorchEngine, engine: Engine, wanted: list[Trial]) -> float:
    """The largest difference of two numbers, of outputs and of what losses read: logits and masks. The inputs
    are drawn afresh: whoever made the model or the engine does not know them.

    Raises `SpecError` (export-differs).
    """
    from graphspec.emit.padding import padded_inputs

    worst = 0.0
    for trial in wanted:
        tensors = padded_inputs(program, trial.rows, trial.sizes, seed=secrets.randbits(63))
        inputs = {name: tensor.numpy() for name, tensor in tensors.items()}
        more = any(output.returns_more for output in program.outputs.values()) or program.masks
        for what in ("outputs", "logits") if more else ("outputs",):
            own = base.logits if what == "logits" else base
            theirs = engine.logits if what == "logits" else engine
            try:
                boxes = _boxes(program) if what == "outputs" else frozenset[str]()
                difference = _difference(theirs(inputs), own(inputs), boxes)
            except SpecError as error:
                message = f"of {trial}: {error.diagnostics[0].message}"
                raise fail("export-differs", message, HELP) from None
            if difference is None:
                message = f"the {what} of `{engine.name}` are not those of the module for {trial}"
                raise fail("export-differs", message, HELP)
            worst = max(worst, difference)
    return worst


def _boxes(program: BaseProgram) -> frozenset[str]:
    """The outputs that are the boxes of a detector."""
    outputs = program.outputs.items()
    return frozenset(name for name, output in outputs if output.loss is not None and output.loss.answers)


def _difference(values: Values, expected: Values, boxes: frozenset[str]) -> float | None:
    """The largest difference of two numbers; None where one is larger than an export's may be."""
    import torch

    from graphspec.export.proof import difference, difference_of_boxes

    worst = 0.0
    for name, value in expected.items():
        one, other = torch.as_tensor(values[name]), torch.as_tensor(value)
        if one.shape != other.shape:
            return None
        apart, fits = (difference_of_boxes if name in boxes else difference)(one, other)
        if not fits:
            return None
        worst = max(worst, apart)
    return worst
