"""`ActivityRegularization`: a penalty on its input."""

from __future__ import annotations

from graphspec.contract.activity import Watched
from graphspec.contract.layer import Example
from graphspec.contract.penalties import L1L2, Factor, Regularizer


class ActivityRegularization(Watched):
    """Adds `l1` times the sum of absolute values, and `l2` times that of squares, to the loss."""

    l1: Factor = 0.0
    l2: Factor = 0.0

    examples = (
        Example({"l1": 0.5}, ((4,),)),
        Example({"l2": 0.5}, ((5, 3),)),
    )

    def penalty(self) -> Regularizer:
        return L1L2(l1=self.l1, l2=self.l2)
