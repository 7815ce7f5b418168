"""The result for a batch: its loss, the parts of the loss, and the values that it compares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

REST = "."
"""The prefix of a term that belongs to no output: penalties, and outputs whose weight is learned. Where a
step makes several updates, each has one.
"""


@dataclass(slots=True)
class Term:
    """A part of a batch's loss: `value` is a sum over `count` positions, divided by `divisor`."""

    value: Tensor
    divisor: int | Tensor
    count: int | Tensor


class Reading:
    """A number on its way from the device, so that the device need not stop for it.

    On CUDA it is copied as soon as it is computed: `value` waits for this copy, not for work that was queued
    later. One that was read before is given as it is.
    """

    def __init__(self, number: Tensor | float):
        self._number, self._event = number, None
        if isinstance(number, Tensor) and number.is_cuda:
            self._number = torch.empty((), dtype=number.dtype, pin_memory=True)
            self._number.copy_(number, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record(torch.cuda.current_stream(number.device))  # not that of another GPU

    @property
    def value(self) -> float:
        if self._event is not None:
            self._event.synchronize()
            self._event = None
        return self._number if isinstance(self._number, float) else self._number.item()


@dataclass(slots=True)
class BatchResult:
    """The result for a batch. `loss` is the scalar to differentiate; for a part of a larger batch, its share
    of that batch's loss. `terms` are what it is made of, by output and unweighted; `outputs` and `targets`
    are what was compared, and `masks` which examples or steps of them count, where not all do.
    """

    loss: Tensor
    terms: Mapping[str, Term]
    outputs: Mapping[str, Tensor]
    targets: Mapping[str, Tensor]
    masks: Mapping[str, Tensor]
    _reading: Reading

    @property
    def value(self) -> float:
        """`loss` as a number. Waits only for the forward pass on the device."""
        return self._reading.value

    @property
    def parts(self) -> dict[str, float]:
        """Each output's own loss, unweighted; waits for the device."""
        return {name: term.value.item() for name, term in self.terms.items() if not name.startswith(REST)}
