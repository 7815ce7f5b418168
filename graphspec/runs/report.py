"""What a run has learned, as numbers: where it errs, what it reads, how sure it may be believed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch

from graphspec.compare import compare
from graphspec.compare.table import show_value
from graphspec.data.batches import Rebatched
from graphspec.data.candidates import joined
from graphspec.data.encoders.base import Array
from graphspec.data.windows.examples import InTime
from graphspec.diagnostics import SpecError
from graphspec.elaborated import BaseProgram, OutputSpec
from graphspec.runs.directory import list_runs
from graphspec.runs.looking import SHOWN, Looker, OutputReport
from graphspec.runs.run import Run

EXAMPLES = 2000
"""Examples that are looked at, the first ones."""
READ = 2**28
"""Bytes of training examples that these are compared with, about: of the first ones."""
VALUES = 2**25
"""Values of an output that are held together, of all examples."""


@dataclass(slots=True)
class Report:
    """All that `graphspec report` says of a run."""

    run: str
    name: str
    examples: int
    metrics: dict[str, Any]
    history: Mapping[str, Sequence[Any]]
    best_epoch: int | None
    before: str | None = None
    changes: list[dict[str, str]] = field(default_factory=list)
    baselines: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What is reached without the model, on the same rows."""
    copies: int | None = None
    """Examples whose inputs are those of a training example; None where training data were not read."""
    outputs: list[OutputReport] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def report(run: Run, data: Any = None, limit: int = EXAMPLES, device: str = "auto") -> Report:
    """The report of a run, on its test or validation data or on `data`. Raises `SpecError`."""
    from graphspec.train import device as devices

    place = devices.choose(device)
    with devices.computing(devices.threads(run.program)):
        examples, encoders, _, training = run.parts(data, place)
        limit = min(limit, _most(run.program))
        metrics = run.evaluate(data, device=device, baselines=True, boosting=True)
        count, baselines = metrics.pop("examples"), metrics.pop("baselines", {})
        arrays, masks = collected(examples, limit)
        looker = Looker(run.program, run.module(str(place)), encoders, arrays, masks, windowed(examples))
        outputs = [looker.look(name) for name in looker.names]
    row = next((row for row in list_runs(run.path.parent) if row.path == run.path), None)
    run_report = Report(str(run.path), run.program.name or "", count, metrics, dict(run.history), None)
    run_report.best_epoch = row.best_epoch if row is not None else None
    run_report.baselines = baselines
    if training is not None:
        run_report.copies = copies(looker.inputs, training)
    run_report.before, run_report.changes = before(run)
    run_report.outputs = outputs
    return run_report


def _most(program: BaseProgram) -> int:
    """The most examples whose outputs are held together: fewer of masks."""
    sizes = (size for output in program.outputs.values() for size in _sizes(output))
    return max(SHOWN, VALUES // max(1, *sizes, 1))


def _sizes(output: OutputSpec) -> Iterator[int]:
    for tensor in output.tensors:
        yield prod(size for size in tensor.shape[1:] if isinstance(size, int))


def copies(inputs: Mapping[str, Array], training: Any) -> int:
    """How many examples have inputs that a training example has, of which the first are looked at."""
    names, there, left = sorted(inputs), set[bytes](), READ
    for batch in training.batches(256):
        there.update(_rows_of({name: array.cpu().numpy() for name, array in batch.arrays.items()}, names))
        left -= sum(batch.arrays[name].nbytes for name in names)
        if left <= 0:
            break
    return sum(row in there for row in _rows_of(inputs, names))


def _rows_of(arrays: Mapping[str, Array], names: Sequence[str]) -> Iterator[bytes]:
    for index in range(len(arrays[names[0]])):
        row = b"".join(np.ascontiguousarray(arrays[name][index]).tobytes() for name in names)
        yield blake2b(row, digest_size=16).digest()


def windowed(examples: Any) -> InTime | None:
    """The windows that examples are, if they are some."""
    while isinstance(examples, Rebatched):
        examples = examples.examples
    return examples if isinstance(examples, InTime) else None


def before(run: Run) -> tuple[str | None, list[dict[str, str]]]:
    """The run of the same name that was written before, and what differs in its spec."""
    if not run.path.is_dir():
        return None, []
    older = [
        row.path
        for row in list_runs(run.path.parent)
        if row.path != run.path and row.state != "damaged" and _written(row.path) < _written(run.path)
    ]
    for path in sorted(older, key=_written, reverse=True):
        try:
            other = Run(path).program
        except SpecError:  # its spec is damaged, or of another release: it tells nothing of this run
            continue
        if other.name == run.program.name:
            comparison = compare(other, run.program)
            changes = [
                {"what": each.path, "before": show_value(each.before), "after": show_value(each.after)}
                for each in (*comparison.inputs, *comparison.settings)
            ]
            changes += [{"what": node.path, "change": node.what} for node in comparison.nodes]
            return str(path), changes
    return None, []


def _written(path: Path) -> float:
    return (path / "spec.yaml").stat().st_mtime if (path / "spec.yaml").is_file() else 0.0


def collected(examples: Any, limit: int) -> tuple[dict[str, Array], dict[str, Array]]:
    """The arrays of the first examples, whole, and which targets there are, by output; sequences of several
    lengths are padded to the longest.
    """
    groups: tuple[dict[str, list[torch.Tensor]], ...] = ({}, {})
    count = 0
    for batch in examples.batches(min(limit, 256)):
        for parts, group in zip(groups, (batch.arrays, batch.masks), strict=True):
            for name, array in group.items():
                parts.setdefault(name, []).append(array.cpu())
        count += len(batch)
        if count >= limit:
            break
    arrays, masks = ({n: joined(found)[:limit].numpy() for n, found in parts.items()} for parts in groups)
    return arrays, masks
