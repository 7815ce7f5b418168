"""Values of another feature that are drawn at random."""

from __future__ import annotations

import numpy as np

from graphspec.data.columns import TablePart
from graphspec.data.encoders.base import Column, Encoder, scattered
from graphspec.data.encoders.categories import CategoryEncoder
from graphspec.data.features.texts import DrawnValues
from graphspec.data.rows.fields import InRow


class DrawnEncoder(Encoder):
    """`draw`: learns nothing. What a row gets here is always the same; a training draws others."""

    feature: DrawnValues
    source: CategoryEncoder

    def follow(self, other: Encoder) -> None:
        assert isinstance(other, CategoryEncoder)
        self.source = other

    @property
    def range(self) -> tuple[int, int]:
        """The least id that is drawn, and the first one beyond."""
        start = self.source.start
        return start, start + len(self.source.vocabularies[0].values)

    def encode(self, part: TablePart) -> Column:
        low, high = self.range
        places = part.rows[:, None] * self.feature.draw + np.arange(self.feature.draw)
        drawn = scattered(places.reshape(-1)) % np.uint64(max(1, high - low))
        return Column((drawn.astype(np.int64) + low).reshape(places.shape))

    def in_row(self) -> InRow | None:
        return None
