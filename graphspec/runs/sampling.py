"""Samples that the model of a run makes of noise, for rows of values or for none."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from graphspec.data.encoding import encoders_of
from graphspec.data.rows.reader import as_rows
from graphspec.diagnostics import fail
from graphspec.files.png import TYPES, png, sheet
from graphspec.files.whole import replacing
from graphspec.generate.looping import LoopSampler
from graphspec.program import Program
from graphspec.runs.rows import ArrayReader, RowReader

if TYPE_CHECKING:
    from torch import nn


SUFFIXES = (".png", ".npz")
"""The kinds of files that samples are written to."""


class Samples:
    """What makes samples with the trained module that `load` returns. `state` is what encoders learned.

    Raises `SpecError` (not-supported, two-forms) before anything is computed.
    """

    def __init__(
        self,
        program: Program,
        load: Callable[[], nn.Module],
        state: Mapping[str, Any] | None,
        steps: int | None = None,
        seed: int | None = None,
    ):
        self.sampler = LoopSampler(program, load, steps, seed)
        self.loop = self.sampler.loop
        self.conditions = [*self.sampler.conditions]
        self._reader: RowReader | ArrayReader | None = None
        if self.conditions:
            asked = replace(self.sampler.step, inputs=self.sampler.conditions, outputs={}, defaults={})
            known = None if state is None else encoders_of(asked, state)
            self._reader = ArrayReader(asked) if known is None else RowReader(asked, known)

    @property
    def name(self) -> str:
        """What the samples are called."""
        return self.loop.settings.source or self.loop.name

    @property
    def columns(self) -> Sequence[str]:
        """The columns of the rows that samples are made for."""
        return self._reader.columns if isinstance(self._reader, RowReader) else self.conditions

    def read(self, given: object, samples: int) -> list[dict[str, torch.Tensor]]:
        """The values that each sample is made for: `samples` of each row. Raises `SpecError`."""
        least = {"samples": (samples, 1), "steps": (self.sampler.steps, 1), "seed": (self.sampler.seed, 0)}
        for name, (value, low) in least.items():
            if value is not None and value < low:
                raise fail("out-of-range", f"`{name}` is {value}, but must be at least {low}", f"write {low}")
        if self._reader is None:
            if given:
                message = "samples are made of noise alone, and rows or prompts are given"
                raise fail("not-supported", message, "leave them out")
            return [{} for _ in range(samples)]
        rows = as_rows(given)
        if not rows:
            named = ", ".join(f"`{name}`" for name in self.columns)
            help = f"give it: {{{self.columns[0]}: ...}} in Python and JSON, or a table with --data"
            raise fail("data-column", f"a sample is made for a value of {named}, and none is given", help)
        arrays = [self._reader.read(row, number).arrays for number, row in enumerate(rows)]
        read = [{name: torch.from_numpy(np.array(a)) for name, a in each.items()} for each in arrays]
        return [each for each in read for _ in range(samples)]

    def asked(self, steps: int | None, seed: int | None) -> Samples:
        """The same model with other steps and another seed. Raises `SpecError` (two-forms)."""
        other = copy(self)
        other.sampler = self.sampler.asked(steps, seed)
        return other

    def make(
        self,
        asked: Sequence[Mapping[str, torch.Tensor]],
        batch_size: int,
        ended: Callable[[], bool] = lambda: False,
    ) -> Iterator[NDArray[Any]]:
        """The samples for these values, each [...]; no more where between two steps it has `ended`."""
        for first, last in _together(asked, batch_size):
            part = asked[first:last]
            given = {name: torch.cat([each[name] for each in part]) for name in part[0]}
            made = self.sampler.make(range(first, first + len(part)), given, ended)
            if made is None:
                return
            yield from made.cpu().numpy()

    def need_file(self, path: Path) -> None:
        """Raises `SpecError` (output-file, not-supported) for a file that samples are not written to."""
        if path.suffix not in SUFFIXES:
            message = f"`{path}` has a format that samples are not written in: {', '.join(SUFFIXES)}"
            raise fail("output-file", message, "name a file such as `samples.png`")
        if path.suffix == ".png":
            self.need_picture()

    def need_picture(self) -> None:
        """Raises `SpecError` (not-supported) where a sample is no picture."""
        shape = self.sampler.step.outputs[self.name].tensors[0].shape[1:]
        if len(shape) != 2 and (len(shape) != 3 or shape[-1] not in TYPES):
            message = f"a sample is not a picture, [height, width, channels]: its shape is {[*shape]}"
            raise fail("not-supported", message, "write arrays, as a .npz file, or ask for JSON")

    def write(self, samples: Sequence[NDArray[Any]], path: Path) -> None:
        """Writes samples to a file that `need_file` has seen. Raises `SpecError` (output-file)."""
        if path.suffix == ".png":
            content = self.png(samples)
        else:
            stream = io.BytesIO()
            arrays = {f"{self.name}_{number}": each for number, each in enumerate(samples)}
            alike = len({each.shape for each in samples}) == 1
            named = {self.name: np.stack(samples)} if alike else arrays
            np.savez_compressed(stream, allow_pickle=False, **named)
            content = stream.getvalue()
        try:
            with replacing(path) as temporary:
                temporary.write_bytes(content)
        except OSError as error:
            message = f"`{path}` cannot be written: {error.strerror or error}"
            raise fail("output-file", message) from None

    def png(self, samples: Sequence[NDArray[Any]]) -> bytes:
        """Samples that are pictures as one, in a sheet. Raises `SpecError` (not-supported)."""
        if len({each.shape for each in samples}) > 1:
            message = "the samples are pictures of several sizes, which fit no sheet"
            raise fail("not-supported", message, "write arrays, as a .npz file, or ask for JSON")
        stacked = np.stack(samples)
        pictures = stacked if stacked.ndim == 4 else stacked[..., None]
        return png(sheet(pictures, *self.loop.settings.range))


def _together(asked: Sequence[Mapping[str, torch.Tensor]], most: int) -> Iterator[tuple[int, int]]:
    """The bounds of runs of values that have the same shapes, of `most` at a time."""
    shapes = [{name: value.shape for name, value in each.items()} for each in asked]
    first = 0
    for last in range(1, len(asked) + 1):
        if last == len(asked) or last - first == most or shapes[last] != shapes[first]:
            yield first, last
            first = last
