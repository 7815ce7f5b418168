"""Tensors that training keeps from batch to batch, and their updates."""

from __future__ import annotations

from typing import Any

from graphspec.contract.layer import Code, Layer, ModuleCall, Ref, Site, Weight
from graphspec.contract.wrapper import Wrapper
from graphspec.tensor import Dim, Tensor


class StateTensor(Layer, abstract=True):
    """A tensor with a batch axis of 1, as the batches before left it; `fill` is the statement that begins
    it, "" for zeros.
    """

    arguments = ()
    rerunnable = False  # a second run changes it again

    shape: tuple[int, ...]
    dtype: str
    fill: str

    def infer(self) -> Tensor:
        return Tensor((1, *self.shape), self.dtype)

    def weights(self) -> tuple[Weight, ...]:
        shape = (1, *self.shape)
        return (
            Weight(
                "value", shape, "value", initializer=self.fill, trainable=False, particular=bool(self.fill)
            ),
        )

    def code(self, site: Site) -> Code:
        dtype = None if self.dtype == "float32" else Ref(f"torch.{self.dtype}")
        return Code("{self}()", ModuleCall("State", {"shape": self.shape}, {"dtype": (dtype, None)}))


class Updating(Wrapper, abstract=True):
    """Around the formula that changes a state, its first input. For the `batch` inputs after it, the whole
    batch is one example, [1, batch, ...]; others are as they are. Nothing reads what it gives.
    """

    passes_on = False

    batch: int

    @property
    def title(self) -> str:
        return "Update"

    def times(self, *inputs: Any) -> Dim:
        return 0  # in inference
