"""The costs of running and training a model, from shapes only.

Counted: the operations that layers report (a multiply-add is two); the bytes of each node's output.
Not counted: kernels' workspace, the framework's own memory, temporaries within a layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from graphspec.graph import Op, types
from graphspec.tensor import Dim, Size, Tensor, names_of, nbytes, sum_of, value_of
from graphspec.train.config.optimizers import OptimizerSettings

BACKWARD = 2
"""Backward FLOPs for one forward FLOP: one product for the inputs' gradients, one for the weights'."""


def total_bytes(tensors: Iterable[Tensor], sizes: Mapping[str, int]) -> int | str:
    """Bytes of one example of all these: a number, or an expression of sizes that are not known."""
    total = sum_of(map(nbytes, tensors))
    return value_of(total, sizes) if names_of(total) <= sizes.keys() else str(total)


def flops(op: Op, inside: Iterable[Dim]) -> Dim:
    """Operations of one call on one example; `inside` are those of the nodes of its graph, if it has one."""
    return _times(op, inside) if op.graph is not None else op.flops()


def activation_bytes(op: Op, inside: Iterable[Dim]) -> Dim:
    """Bytes of a node's outputs for one example; of all nodes inside a block or model, unless training
    computes them again. 0 for parameters and constants.
    """
    if op.graph is not None and not op.checkpoint:
        return _times(op, inside)
    held = op.parameter is not None or op.kind == "constant"
    return 0 if held else sum_of(nbytes(value.tensor) for value in op.outputs.values())


def _times(op: Op, inside: Iterable[Dim]) -> Dim:
    """The sum of costs in a graph, as often as a wrapper runs it for one example."""
    total = sum_of(inside)
    return total * op.wrapper.times(*map(types, op.arguments)) if op.wrapper is not None else total


def slots(optimizer: OptimizerSettings) -> int:
    """The number of state values of the optimizer for each trainable weight."""
    return len(optimizer.slots) + optimizer.use_ema


@dataclass(frozen=True, slots=True)
class StepCosts:
    """A training step on `batch_size` examples. FLOPs and activations depend on sizes that may be unknown."""

    batch_size: int
    forward_flops: Dim
    activation_bytes: Dim
    weight_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    peak_bytes: int | None = None
    """The measured memory of the step, where it was run on shapes."""

    @property
    def flops(self) -> Dim:
        """Forward and backward."""
        return self.forward_flops * (1 + BACKWARD)

    @property
    def total_bytes(self) -> Dim:
        """The bytes of the whole step: measured on shapes, else the sum of the parts, which is a rough
        estimate.
        """
        return self.sum_bytes if self.peak_bytes is None else self.peak_bytes

    @property
    def sum_bytes(self) -> Dim:
        """The sum of the parts."""
        return self.activation_bytes + self.weight_bytes + self.gradient_bytes + self.optimizer_bytes

    def to_json(self) -> dict[str, int | str | None]:
        """Its numbers; what depends on an unknown size is null."""
        numbers: dict[str, Dim | None] = {
            "batch_size": self.batch_size,
            "forward_flops": self.forward_flops,
            "flops": self.flops,
            "weight_bytes": self.weight_bytes,
            "gradient_bytes": self.gradient_bytes,
            "optimizer_bytes": self.optimizer_bytes,
            "activation_bytes": self.activation_bytes,
            "total_bytes": self.total_bytes,
            "peak_bytes": self.peak_bytes,
        }
        return {key: None if isinstance(value, Size) else value for key, value in numbers.items()}
