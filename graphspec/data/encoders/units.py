"""Numbers of a model in the unit of their column, on torch tensors: what metrics compare and people read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from graphspec.data.encoders.base import Encoder
from graphspec.data.encoders.numbers import Floats
from graphspec.data.rows.numbers import NumberCurve
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
            return _undone(self.curves[0], values, unit, 0)
        if values.dim() < 2 or values.shape[-1] < len(self.curves):
            return values
        parts = [_undone(curve, values[..., i], unit, i) for i, curve in enumerate(self.curves)]
        rest = [values[..., i] for i in range(len(parts), values.shape[-1])]  # indicators
        return torch.stack([*parts, *rest], -1)


def _undone(curve: NumberCurve, values: Tensor, unit: Tensor | None, column: int) -> Tensor:
    if unit is None:
        values = values * curve.scale + curve.shift
    else:
        wide = (-1, *[1] * (values.dim() - 1))
        values = values * unit[:, unit.shape[1] // 2 + column].view(wide) + unit[:, column].view(wide)
    if curve.transform == "log1p":
        return values.expm1()
    if curve.transform == "sqrt":
        return values.clamp(min=0).square()
    if curve.transform == "quantile":
        points = values.new_tensor(curve.quantiles)
        at = (values.clamp(0, 1) * (len(points) - 1)).contiguous()
        low = at.floor().long().clamp(max=max(len(points) - 2, 0))
        high = (low + 1).clamp(max=len(points) - 1)
        return points[low] + (points[high] - points[low]) * (at - low)
    return values


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
