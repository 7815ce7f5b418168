"""Masks of pictures in their own size: the model answers tiles of the size of its input, which overlap, and
the answers are blended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from graphspec.data import reading
from graphspec.data.batches import Batch, Shuffle
from graphspec.data.columns import TablePart
from graphspec.data.encoders import Encoded, Encoders
from graphspec.data.encoders.images import ImageEncoder
from graphspec.data.encoders.masks import MaskEncoder
from graphspec.data.fields import UNIT, Checker, Field
from graphspec.data.tables import Table
from graphspec.diagnostics import fail
from graphspec.elaborated import BaseProgram
from graphspec.runs.engines import Engine, Values

TOGETHER = 16
"""Tiles that are computed together."""
EDGE = 4
"""The share of an overlap that does not count at the edge of a tile: there a model sees its own padding."""


@dataclass(frozen=True, slots=True)
class Tiles:
    """How pictures are cut for a program: in tiles of `height` and `width` of the input `picture`, neighbours
    of which share `overlap` pixels.
    """

    picture: str
    height: int
    width: int
    overlap: int

    @classmethod
    def of(cls, program: BaseProgram, encoders: Encoders | None, overlap: int) -> Tiles:
        """Raises `SpecError` (not-supported, out-of-range)."""
        inputs = [encoders.encoders.get(name) for name in program.inputs] if encoders is not None else []
        targets = [encoders.encoders.get(o.target) if encoders else None for o in program.outputs.values()]
        wrong = None
        if len(inputs) != 1 or not isinstance(inputs[0], ImageEncoder):
            wrong = "the run does not read one picture alone"
        elif not all(isinstance(each, MaskEncoder) and each.size == inputs[0].size for each in targets):
            wrong = "an output of the run gives something other than a mask of the size of its picture"
        if wrong is not None:
            help = "leave `--tiles` out: pictures are brought to the size of the input"
            raise fail("not-supported", f"{wrong}, and tiles are for masks of one picture", help)
        (picture,) = inputs
        assert isinstance(picture, ImageEncoder)
        width, height = picture.size
        if not 0 <= overlap <= min(width, height) // 2:
            message = f"tiles of {height} x {width} pixels cannot share {overlap}"
            raise fail(
                "out-of-range", message, f"write 0 to {min(width, height) // 2}, half of the shorter side"
            )
        return cls(next(iter(program.inputs)), height, width, overlap)

    def sized(self, encoders: Encoders, part: TablePart) -> tuple[Encoders, tuple[int, int]]:
        """The encoders for the picture of one row in its own size, and its height and width then: at least
        those of a tile. Raises `SpecError`.
        """
        picture = encoders.encoders[self.picture]
        assert isinstance(picture, ImageEncoder)
        width, height = (int(side) for side in picture.sizes(part)[0])
        height, width = max(height, self.height), max(width, self.width)
        return encoders.sized((width, height)), (height, width)

    def rows(
        self, table: Table, encoders: Encoders, wanted: Sequence[Field], columns: Sequence[str], most: int
    ) -> Iterator[tuple[TablePart, Encoders, Encoded]]:
        """The rows of a table one by one, with the encoders of their picture's size. Raises `SpecError`."""
        for first, some in reading.sliced(table.chunks(columns), most, reading.row_bytes(wanted)):
            for index in range(some.num_rows):
                part = reading.part_of(table, np.array([first + index]), some.slice(index, 1))
                part = replace(part, predicted=not encoders.targets)
                own, size = self.sized(encoders, part)
                fields = [self._field(each, own, size) for each in wanted]
                checker = Checker(table.file, table.place, fields, span=table.span)
                yield part, own, reading.checked(own, checker, part)

    def _field(self, field: Field, encoders: Encoders, size: tuple[int, int]) -> Field:
        """The field in a picture of another size."""
        if not isinstance(encoders.encoders.get(field.name), ImageEncoder):
            return field
        count, _, _, *rest = field.tensor.shape
        return replace(field, tensor=field.tensor.with_shape(count, *size, *rest))


class TiledEngine:
    """An engine for pictures of any size that is at least that of its input."""

    def __init__(self, engine: Engine, tiles: Tiles):
        self.engine, self.tiles, self.name = engine, tiles, engine.name

    def __call__(self, inputs: Mapping[str, Any]) -> Values:
        return self._blended(self.engine, inputs)

    def logits(self, inputs: Mapping[str, Any]) -> Values:
        return self._blended(self.engine.logits, inputs)

    def _blended(self, compute: Callable[[Mapping[str, Any]], Values], inputs: Mapping[str, Any]) -> Values:
        pictures = np.asarray(inputs[self.tiles.picture])
        found = [self._picture(compute, each) for each in pictures]
        return {name: np.stack([each[name] for each in found]) for name in found[0]}

    def _picture(self, compute: Callable[[Mapping[str, Any]], Values], picture: NDArray[Any]) -> Values:
        """The outputs of a picture, [height, width, channels]."""
        tiles, (height, width) = self.tiles, picture.shape[:2]
        down, across = (
            [(at, weights(at, whole, side, tiles.overlap)) for at in starts(whole, side, tiles.overlap)]
            for whole, side in ((height, tiles.height), (width, tiles.width))
        )
        places = [(y, x, np.outer(rows, columns)) for y, rows in down for x, columns in across]
        sums, total = dict[str, NDArray[Any]](), np.zeros((height, width, 1), np.float32)
        for first in range(0, len(places), TOGETHER):
            some = places[first : first + TOGETHER]
            parts = np.stack([picture[y : y + tiles.height, x : x + tiles.width] for y, x, _ in some])
            answers = compute({tiles.picture: parts})
            for number, (y, x, weight) in enumerate(some):
                part = np.s_[y : y + tiles.height, x : x + tiles.width]
                total[part] += weight[..., None]
                for name, values in answers.items():
                    if name not in sums:
                        sums[name] = np.zeros((height, width, values.shape[-1]), np.float32)
                    sums[name][part] += values[number] * weight[..., None]
        return {name: values / total for name, values in sums.items()}


def starts(whole: int, side: int, overlap: int) -> list[int]:
    """Where tiles begin along a side of a picture: the last one ends with it."""
    return [*range(0, whole - side, side - overlap), whole - side]


def weights(start: int, whole: int, side: int, overlap: int) -> NDArray[np.float32]:
    """How much the pixels along a side of a tile count: towards a neighbour less and less, and those at its
    edge nothing. So a model gives what it gives for the whole picture, where it sees no farther than the
    fourth part of the overlap.
    """
    hidden = overlap // EDGE
    ramp = overlap - 2 * hidden
    rise = np.concatenate(
        ([0.0] * hidden, (np.arange(ramp) + 0.5) / max(1, ramp), [1.0] * (side - hidden - ramp))
    )
    found = np.ones(side)
    found = found * rise if start > 0 else found
    found = found * rise[::-1] if start + side < whole else found
    return found.astype(np.float32)


@dataclass(frozen=True, slots=True)
class TiledExamples:
    """The rows of a table with their targets, each picture in its own size, one in a batch."""

    tiles: Tiles
    table: Table
    encoders: Encoders
    wanted: Sequence[Field]
    most: int
    even = False

    def __len__(self) -> int:
        return min(len(self.table), self.most)

    @property
    def epoch(self) -> int:
        return len(self)

    def batches(self, batch_size: int, shuffle: Shuffle | None = None, start: int = 0) -> Iterator[Batch]:
        dtypes = {field.name: getattr(torch, field.tensor.dtype) for field in self.wanted}
        for _, _, encoded in self.tiles.rows(
            self.table, self.encoders, self.wanted, self.encoders.columns, self.most
        ):
            arrays = {
                name: torch.from_numpy(np.asarray(array)).to(dtypes.get(name, torch.float32))
                for name, array in encoded.arrays.items()
                if not name.endswith(UNIT)
            }
            groups = (
                {n: torch.from_numpy(np.asarray(a)) for n, a in g.items()}
                for g in (encoded.weights, encoded.masks)
            )
            yield Batch(arrays, *groups)
