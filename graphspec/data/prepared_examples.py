"""From a folder of prepared data to the examples that a training reads: rows, texts or windows."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch

from graphspec.data import packing, reading, remote
from graphspec.data.batches import Examples
from graphspec.data.encoders import Encoders
from graphspec.data.features.shifts import packed
from graphspec.data.features.windows import Windows
from graphspec.data.fields import Field, fields
from graphspec.data.loader import Loader, padding_of
from graphspec.data.padding import Padding
from graphspec.data.prepared import (
    INDEX,
    KEPT,
    LABELS,
    LINE,
    TICKS,
    Check,
    Index,
    Label,
    arrays_of,
    checked,
    is_mask,
    other_arrays,
)
from graphspec.data.ragged import Ragged
from graphspec.data.store import Array
from graphspec.data.streamed import Streamed
from graphspec.data.windows.examples import row_fields, windowed
from graphspec.data.windows.kept import restored
from graphspec.diagnostics import fail
from graphspec.elaborated import BaseProgram

Groups = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class PreparedExamples:
    """The examples of a folder for a program, whose encoders are those of the folder: in memory where it has
    at most `most` bytes. Of each part the first `limit` ones are read.
    """

    program: BaseProgram
    folder: Path
    index: Index
    encoders: Encoders
    limit: int | None
    most: int

    def parts(self) -> list[Examples | None]:
        """Those for training, validation and test. Raises `SpecError` where the folder holds others."""
        if self.loader.config.sources:
            self._need_sources()
        if packed(self.loader.config.features) is not None:
            return [self._texts(label) for label in LABELS]
        if self.loader.config.windows is not None:
            return self._windows(self.loader.config.windows)
        check = checked(self.program, self.index, self.wanted, self.folder)
        return [self._rows(label, check) for label in LABELS]

    def _need_sources(self) -> None:
        """Raises `SpecError` where the rows are not those of the sources of the spec, one after another."""
        order = [shard.source for shard in self.index.shards if LABELS[0] in shard.parts]
        named = [name for name, _ in groupby(order)]
        if named != list(self.loader.config.sources):
            message = f"`{remote.shown(self.folder / INDEX)}` is not what was written: other sources"
            raise fail("data-format", message, "prepare it again: `graphspec prepare SPEC -o FOLDER`")
        if self.limit is not None:
            message = f"`--limit` is for each source, and `{remote.shown(self.folder)}` holds several"
            raise fail("not-supported", message, "prepare so many rows: `graphspec prepare --limit N`")

    @property
    def counts(self) -> dict[str, int]:
        """The training rows of each source, where there are several."""
        if not self.loader.config.sources:
            return {}
        rows = self.index.by_source(LABELS[0])
        if packed(self.loader.config.features) is not None:
            stream = self.loader.stream(self.encoders)
            return {name: stream.rows(count) for name, count in rows.items()}
        return rows

    @cached_property
    def loader(self) -> Loader:
        return Loader(self.program, self.limit or sys.maxsize, self.encoders)

    @cached_property
    def wanted(self) -> list[Field]:
        return fields(self.program, self.index.absent)

    @property
    def dtypes(self) -> dict[str, torch.dtype]:
        return {field.name: getattr(torch, field.tensor.dtype) for field in self.wanted}

    @cached_property
    def padding(self) -> Padding:
        return padding_of(self.program, self.wanted)

    @cached_property
    def fits(self) -> bool:
        """Whether they are held in memory."""
        return self.index.size(self.folder) <= self.most

    def _arrays(self, label: Label, check: Check, most: int | None = None) -> Groups | None:
        """The arrays of a part by group and name, in memory where they fit, with its first `most` rows."""
        room = self.most if self.fits else KEPT
        groups = arrays_of(self.folder, self.index, label, most, check, room)
        if groups is None or not self.fits:
            return groups
        return {
            group: {name: rows.read([(0, rows.length)]) for name, rows in arrays.items()}
            for group, arrays in groups.items()
        }

    def _rows(self, label: Label, check: Check) -> Examples | None:
        groups = self._arrays(label, check, self.limit)
        if groups is None:
            return None
        if self.fits:
            return reading.held([groups[name] for name in reading.GROUPS], self.dtypes, self.padding)
        arrays, weights, masks = (groups[name] for name in reading.GROUPS)
        dtypes = self.dtypes | {name: torch.float32 for name in arrays.keys() - self.dtypes.keys()}
        return Streamed(arrays, dtypes, weights, masks, padding=self.padding)

    def _texts(self, label: Label) -> Examples | None:
        """The rows of a text that goes on."""
        stream = self.loader.stream(self.encoders)
        encoder: Any = self.encoders.encoders[stream.name]
        size = encoder.size

        def check(group: str, name: str, values: Array | Ragged) -> bool:
            flat = values.values if isinstance(values, Ragged) else values
            return bool(is_mask(flat) if flat.dtype == bool else ((flat >= 0) & (flat < size)).all())

        kinds = {
            (each.group, each.name): "other" if each.ragged or each.shape else np.dtype(each.dtype).kind
            for each in self.index.columns
        }
        for name, kind in (packing.STREAM, "i"), (packing.COUNTED, "b"):
            if kinds.pop(name, kind if name == packing.COUNTED else "") != kind:
                raise other_arrays(self.folder, name[1])
        if kinds:
            raise other_arrays(self.folder, min(kinds)[1])
        lengths = [*self.index.by_source(label).values()]
        groups = self._arrays(label, check)
        if groups is None or not any(map(stream.rows, lengths)):
            return None
        tokens, learned = (groups[group].get(name) for group, name in (packing.STREAM, packing.COUNTED))
        examples: Examples = stream.examples(tokens, learned, self.dtypes, lengths)
        return examples

    def _windows(self, windows: Windows) -> list[Examples | None]:
        """The windows of rows in the order of time."""
        parts: list[Examples | None] = [None] * len(LABELS)
        plan = self.encoders.plan
        check = checked(self.program, self.index, row_fields(self.wanted, plan), self.folder)
        for label, kept_line in self.index.lines.items():
            groups = self._arrays(label, check)
            if groups is None:
                raise other_arrays(self.folder, label)
            ticks = groups.pop(LINE)[TICKS]
            times = ticks if isinstance(ticks, np.ndarray) else ticks.read([(0, ticks.length)])
            line, positions = restored(self.folder, self.index, label, times, windows)
            groups["masks"] = {
                name: groups["masks"][name] for name in kept_line.masks if name in groups["masks"]
            }
            of = {each: np.sort(positions[each])[: self.limit] for each in LABELS if each in positions}
            origins = np.unique(np.concatenate([*of.values()]))
            whole = windowed(groups, self.wanted, self.encoders, line, origins, windows.stride, self.padding)
            for number, each in enumerate(LABELS):
                if each in of and len(of[each]):
                    parts[number] = whole.select(torch.from_numpy(np.searchsorted(origins, of[each])))
        return parts
