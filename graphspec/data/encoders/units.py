"""Numbers of a model in the unit of their column, on torch tensors: what metrics compare and people read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from graphspec.data.encoders.base import Encoder
from graphspec.data.encoders.numbers import Floats
from graphspec.data.rows.functions import Functions
from graphspec.data.rows.numbers import NumberCurve, spread
from graphspec.elaborated import OutputSpec


@dataclass(frozen=True, slots=True)
class OutputUnit:
    """Undoes scale and transform of each number along the last axis, in its own dtype."""

    curves: tuple[NumberCurve, ...]

    def __call__(self, values: Tensor, unit: Tensor | None = None) -> Tensor:
        """[..., columns] in the units of the columns; [n] where there is one column. Outputs of fewer values,
        which a loss of one's own compares with several columns, are in no unit of them. `unit` are the scales
        that rows have of their own, [n, 2 * columns].
        """
        if len(self.curves) == 1:
            made: Tensor = self.curves[0].undo(values, *spread(unit, 0, values.dim()), xp=TENSORS)
            return made
        if values.dim() < 2 or values.shape[-1] < len(self.curves):
            return values
        columns = [
            curve.undo(values[..., i], *spread(unit, i, values.dim() - 1), xp=TENSORS)
            for i, curve in enumerate(self.curves)
        ]
        rest = [values[..., i] for i in range(len(columns), values.shape[-1])]  # indicators
        return torch.stack([*columns, *rest], -1)


def _interp(x: Tensor, points: NDArray[Any], values: NDArray[Any]) -> Tensor:
    """As numpy's, of points from 0 to 1 in even steps."""
    known, last = x.new_tensor(values), len(points) - 1
    at = (x.clamp(0, 1) * last).contiguous()
    low = at.floor().long().clamp(max=max(last - 1, 0))
    high = (low + 1).clamp(max=last)
    return known[low] + (known[high] - known[low]) * (at - low)


TENSORS = Functions(
    *(torch.where, torch.isnan, torch.clip, torch.sqrt, torch.log1p, torch.expm1, torch.sin, torch.cos),
    _interp,
    lambda x: x.double(),
    lambda x, mask, reason: x,
)
"""On tensors, in their own dtype."""


def units(
    outputs: Mapping[str, OutputSpec], encoders: Mapping[str, Encoder]
) -> Mapping[str, Callable[..., Tensor]]:
    """By output, the conversion of its values and targets to the units of the column; none for outputs
    without a scale.
    """
    conversions: dict[str, Callable[..., Tensor]] = {}
    for name, output in outputs.items():
        encoder = encoders.get(output.target)
        if isinstance(encoder, Floats) and (encoder.beside or any(curve.changes for curve in encoder.curves)):
            conversions[name] = OutputUnit(tuple(encoder.curves))
    return conversions
