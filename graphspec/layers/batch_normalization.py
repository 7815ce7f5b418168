"""Batch normalization."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphspec.contract.initializers import Initializer, Ones, Zeros, need_fillable
from graphspec.contract.input_checks import known_channels, need_float, need_mask
from graphspec.contract.layer import (
    Argument,
    Code,
    Example,
    Layer,
    LayerError,
    Leaf,
    Memory,
    ModuleCall,
    Site,
    Weight,
)
from graphspec.contract.penalties import Constraint, Regularizer
from graphspec.contract.streaming import Streaming, apart_from
from graphspec.tensor import Tensor
from graphspec.traced import float_of

RANKS = {2: 1, 3: 1, 4: 2, 5: 3}
"""The axes of space for which PyTorch's class for tensors of a rank is named."""


class BatchNormalization(Layer, also="BatchNorm1d BatchNorm2d BatchNorm3d BatchNorm"):
    """Normalizes each channel: by the batch's mean and variance in training, by running ones in inference.

    `trainable: false` keeps it in inference mode. In training the running statistics move by `1 - momentum`;
    `unbiased: true` keeps the variance as PyTorch does, times `n / (n - 1)`, in a bare `nn.BatchNorm2d`.
    `synchronized: true` computes the statistics over all processes that train together.
    """

    flops_per_input = 2
    arguments = (Argument("x"), Argument("mask", required=False))
    supports_masking = True
    learns_of_calls = True

    axis: int = -1
    momentum: float = 0.99
    """Momentum of the running statistics: the share that they keep at each step."""
    epsilon: float = 0.001
    center: bool = True
    scale: bool = True
    unbiased: bool = False
    """Whether the running variance has Bessel's correction, as in PyTorch."""
    synchronized: bool = False
    """Whether several processes share the statistics of a batch."""
    beta_initializer: Initializer = Zeros()
    gamma_initializer: Initializer = Ones()
    moving_mean_initializer: Initializer = Zeros()
    moving_variance_initializer: Initializer = Ones()
    beta_regularizer: Regularizer | None = None
    gamma_regularizer: Regularizer | None = None
    beta_constraint: Constraint | None = None
    gamma_constraint: Constraint | None = None

    examples = (Example({}, ((5,),)),)

    def infer(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        need_float(x, layer="BatchNormalization")
        need_mask(mask, x, layer="BatchNormalization", any_rank=True)
        if not -x.rank < self.axis < x.rank or self.axis == 0:
            raise LayerError(
                "out-of-range",
                f"`axis` {self.axis} of BatchNormalization is not an axis besides the batch of {x}",
                help="-1 is the last axis",
                argument="axis",
                inputs=(0,),
            )
        if self.unbiased and self.synchronized:
            raise LayerError(
                "out-of-range",
                "BatchNormalization is `unbiased` or `synchronized`, and not both",
                help="leave `unbiased` out: the statistics of many examples hardly differ",
                argument="unbiased",
            )
        if self.unbiased and mask is not None and mask.rank > 1:
            raise LayerError(
                "out-of-range",
                "`unbiased` statistics of BatchNormalization leave out no masked steps",
                help="leave `unbiased` out: the statistics of many examples hardly differ",
                argument="unbiased",
            )
        known_channels(x, self.axis, layer="BatchNormalization")
        need_fillable(
            self,
            beta_initializer=1,
            gamma_initializer=1,
            moving_mean_initializer=1,
            moving_variance_initializer=1,
        )
        return x

    def weights(self, x: Tensor, mask: Tensor | None = None) -> tuple[Weight, ...]:
        shape = (known_channels(x, self.axis, layer="BatchNormalization"),)
        rows = (
            ("weight", "gamma", self.gamma_initializer, Ones(), self.scale, True),
            ("bias", "beta", self.beta_initializer, Zeros(), self.center, True),
            ("running_mean", "moving_mean", self.moving_mean_initializer, Zeros(), True, False),
            ("running_var", "moving_variance", self.moving_variance_initializer, Ones(), True, False),
        )
        return tuple(
            Weight(
                name,
                shape,
                keras,
                initializer="" if fill == default else fill.vector_statement(),
                trainable=trainable,
            )
            for name, keras, fill, default, present, trainable in rows
            if present
        )

    def memory(self, x: Tensor, mask: Tensor | None = None) -> Memory:
        masked = mask is not None and mask.rank > 2  # whose axes stay those of the spec
        return "first" if x.rank > 2 and self.axis % x.rank == x.rank - 1 and not masked else "spec"

    def stream(self, site: Site, roles: tuple[Any, ...]) -> Streaming | None:
        return apart_from(roles[0], (self.axis,))

    def code(self, site: Site) -> Code:
        rank, features = site.x.rank, known_channels(site.x, self.axis, layer="BatchNormalization")
        masked = any(site.inputs[1:])
        flat = rank not in RANKS or (rank > 3 and (masked or not site.settled))  # one module for all ranks
        base_name = f"BatchNorm{1 if flat else RANKS[rank]}d"
        sizes: dict[str, Leaf] = {"num_features": features}
        # 0.01, not 0.010000000000000009
        eps, momentum = float_of(self.epsilon), round(1 - self.momentum, 12)
        if self.unbiased:
            affine: tuple[Leaf, Leaf] = (self.scale or self.center, True)
            gone = [name for name, there in (("weight", self.scale), ("bias", self.center)) if not there]
            around = f'without({{module}}, "{gone[0]}")' if len(gone) == 1 else "{module}"
            keyword: dict[str, tuple[Leaf, Leaf]] = {
                "eps": (eps, 1e-5),
                "momentum": (momentum, 0.1),
                "affine": affine,
            }
            construct = ModuleCall(f"nn.{base_name}", sizes, keyword, around=around)
        else:
            keyword = {"eps": (eps, None), "momentum": (momentum, None)}
            keyword |= {"center": (self.center, True), "scale": (self.scale, True)}
            name = "MaskedBatchNorm" if masked else f"Keras{base_name}"
            if self.synchronized:
                name = f"Synchronized{base_name}"
            construct = ModuleCall(name, sizes, keyword)
        axis = site.axis(self.axis) % rank
        constants: dict[str, Leaf] = {} if axis == 1 else {"axis": axis}
        move = "" if axis == 1 else ".movedim({axis}, 1)"
        if flat:
            mask = f", {{mask}}[..., None].expand_as({{x}}){move}.flatten(2)" if masked else ""
            text = f"{{self}}({{x}}{move}.flatten(2){mask}).view_as({{x}}{move})"
        else:
            across = "[:, None]" if self.axis % rank == rank - 1 else "[..., None]"
            mask = f", {{mask}}{across}" if masked else ""
            call = "by_rows({self}, " if self.unbiased and rank == 3 else "{self}("
            text = f"{call}{{x}}{move}{mask})"
        return Code(text if axis == 1 else f"{text}.movedim(1, {{axis}})", construct, constants)

    def affine_axis(self, rank: int) -> int | None:
        return self.axis % rank

    def affine(self, weights: Mapping[str, Any]) -> tuple[Any, Any]:
        factor = (weights["running_var"] + float_of(self.epsilon)) ** -0.5
        factor = factor * weights["weight"] if self.scale else factor
        offset = -weights["running_mean"] * factor
        return factor, offset + weights["bias"] if self.center else offset
