"""Where the tensors of an imported module went: kept in the file of its weights, so that others of the same
module, of a second checkpoint, go the same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field, ValidationError
from torch import Tensor

from graphspec.transfer.checkpoints import open_checkpoint
from graphspec.transfer.moving import Count, Record, TensorView

WORD = "origins"
"""The key of it in the metadata of a file."""


class WeightOrigin(Record):
    """The views that a weight is joined of along `axis`, or the sum of; its rows are shortened to a norm of
    `longest`.
    """

    views: Annotated[tuple[TensorView, ...], Field(strict=False, min_length=1)]
    axis: Count = 0
    sum: bool = False
    longest: Annotated[float, Field(gt=0)] | None = None


class WeightOrigins(Record):
    """The shapes of the module's tensors, the origins of weights that are made of them, and those that the
    module has fixed, which are no tensors of it.
    """

    tensors: dict[str, Annotated[tuple[Count, ...], Field(strict=False)]]
    weights: dict[str, WeightOrigin]
    fixed: Annotated[tuple[str, ...], Field(strict=False)] = ()

    def words(self) -> dict[str, str]:
        """The metadata of a file that keeps them."""
        return {WORD: self.model_dump_json(exclude_defaults=True)}


def origin_of(elements: Tensor, starts: Sequence[tuple[int, str]], summed: bool) -> WeightOrigin | None:
    """The origin of a weight of these elements, numbers from that of the first of each tensor on, in order.
    None where it is neither joined nor a view.
    """
    if summed:
        views = [view for term in elements for view in _views(term, starts, 0) or ()]
        return WeightOrigin(views=tuple(views), sum=True) if len(views) == len(elements) else None
    for axis in range(max(elements.dim(), 1)):
        if (found := _views(elements, starts, axis)) is not None:
            return WeightOrigin(views=found, axis=axis)
    return None


def _views(elements: Tensor, starts: Sequence[tuple[int, str]], axis: int) -> tuple[TensorView, ...] | None:
    first = torch.tensor([start for start, _ in starts])
    owners = torch.searchsorted(first, elements.long().contiguous(), right=True) - 1
    if not elements.numel() or not elements.dim():
        return None
    rows = owners.movedim(axis, 0).flatten(1) if elements.dim() > 1 else owners[:, None]
    if not bool((rows == rows[:, :1]).all()):
        return None
    views = []
    for owner, begin, count in _runs(rows[:, 0].tolist()):
        start, name = starts[owner]
        piece = elements.narrow(axis, begin, count)
        steps = _steps(piece.flatten().long() - start)
        if steps is None:
            return None
        at, sizes, strides = steps
        views.append(
            TensorView(source=name, start=at, sizes=sizes, strides=strides, shape=tuple(piece.shape))
        )
    return tuple(views)


def _runs(values: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Each value that is there in a row, with its first place and how often it is there."""
    begin = 0
    for place in range(1, len(values) + 1):
        if place == len(values) or values[place] != values[begin]:
            yield values[begin], begin, place - begin
            begin = place


def _steps(places: Tensor) -> tuple[int, tuple[int, ...], tuple[int, ...]] | None:
    """Numbers as steps along axes: the first, and the sizes and steps of the axes, outermost first."""
    sizes: list[int] = []
    strides: list[int] = []
    while places.numel() > 1:
        stride = int(places[1] - places[0])
        other = (places.diff() != stride).nonzero()
        run = int(other[0]) + 1 if len(other) else places.numel()
        rows = places.unflatten(0, (-1, run)) if places.numel() % run == 0 else None
        if rows is None or not torch.equal(rows, rows[:, :1] + torch.arange(run) * stride):
            return None
        sizes.insert(0, run)
        strides.insert(0, stride)
        places = rows[:, 0]
    return int(places[0]), tuple(sizes), tuple(strides)


@dataclass(frozen=True, slots=True)
class ImportedWeights:
    """The weights that an import wrote, and the origins that they keep."""

    path: Path
    origins: WeightOrigins


def imported_beside(spec: Path) -> ImportedWeights | None:
    """The weights that an import wrote next to a spec; None without them. Raises `SpecError`
    (weights-missing) where the file cannot be read.
    """
    path = spec.with_suffix(".safetensors")
    if not path.is_file():
        return None
    with open_checkpoint(path) as checkpoint:
        try:
            origins = WeightOrigins.model_validate_json(checkpoint.words.get(WORD, ""))
        except ValidationError:  # it is not there, or not of this form
            return None
        known = [key for key in origins.fixed if key in checkpoint.tensors]
        return ImportedWeights(path, origins.model_copy(update={"fixed": tuple(known)}))
