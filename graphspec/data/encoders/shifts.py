"""Encodes the next tokens: those of another feature, each in the place of the one before it."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphspec.data.columns import Mask, TablePart
from graphspec.data.encoders.base import Column, Encoder
from graphspec.data.encoders.lists import Ids, ListEncoder
from graphspec.data.features.texts import Shifted
from graphspec.data.ragged import Ragged
from graphspec.data.rows.fields import InRow


class ShiftEncoder(ListEncoder):
    """`of` a feature of tokens: learns nothing, and reads the rows of that one. The last `shift` places of a
    row have no next token and do not count, nor do those before a token of a prompt.
    """

    feature: Shifted  # type: ignore[assignment]
    source: ListEncoder

    def follow(self, other: Encoder) -> None:
        assert isinstance(other, ListEncoder)
        self.source = other

    @property
    def size(self) -> int:
        return self.source.size

    def finish(self) -> None:
        self.check_room()

    def ids(self, part: TablePart) -> Ids:
        found, shift = self.source.ids(part), self.feature.shift
        values, offsets = found.ragged.values, found.ragged.offsets
        at = np.arange(len(values)) + shift
        counted: Mask = at < np.repeat(offsets[1:], found.ragged.lengths)
        at = np.minimum(at, len(values) - 1)
        if found.counted is not None:
            counted &= found.counted[at]
        return Ids(Ragged(np.where(counted, values[at], 0), offsets), found.missing, counted)

    def encode(self, part: TablePart) -> Column:
        found, cut = self.ids(part), self.source.row_cut
        assert found.counted is not None
        ragged, counted = found.ragged, Ragged(found.counted, found.ragged.offsets)
        if cut.most is not None:
            ragged, counted = (each.cut(cut.most, cut.end) for each in (ragged, counted))
        if not cut.padded:
            return Column(ragged, counted=counted)
        assert cut.most is not None
        return Column(ragged.padded(cut.most), counted=counted.padded(cut.most))

    def names(self, count: int) -> list[Any]:
        return self.source.names(count)

    def in_row(self) -> InRow | None:
        return None
