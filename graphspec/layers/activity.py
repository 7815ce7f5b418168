"""Penalties on what a layer gives: `ActivityRegularization`, and the `activity_regularizer` of other layers,
which becomes one.
"""

from __future__ import annotations

from graphspec.contract.input_checks import need_float
from graphspec.contract.layer import Code, Construct, Example, Layer, Memory, Site
from graphspec.contract.penalties import L1L2, Factor, Regularizer
from graphspec.tensor import Dim, Tensor, product


class Watched(Layer, abstract=True):
    """Hands on its input, which training looks at: a module of its own, so that it can be found."""

    supports_masking = True

    def infer(self, x: Tensor) -> Tensor:
        need_float(x, layer=self.spec_name)
        return x

    def memory(self, x: Tensor) -> Memory:
        return "any"

    def code(self, site: Site) -> Code:
        return Code("{self}({x})", Construct("nn.Identity"))

    def flops(self, site: Site) -> Dim:
        return 3 * product(site.x.shape[1:])

    def penalty(self) -> Regularizer:
        """What is added to the loss for a batch, divided by its size."""
        raise TypeError(f"{type(self).__name__} says no penalty")


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


class WatchedActivity(Watched, abstract=True):
    """What the output of a layer with an `activity_regularizer` goes through."""

    regularizer_: Regularizer

    def penalty(self) -> Regularizer:
        return self.regularizer_
