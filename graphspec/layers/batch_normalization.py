"""Normalizations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphspec.contract.helpers import helper
from graphspec.contract.initializers import Initializer, Ones, Zeros, need_fillable
from graphspec.contract.input_checks import known_channels, need_float, need_mask
from graphspec.contract.layer import (
    Argument,
    Code,
    Construct,
    Example,
    Layer,
    LayerError,
    Memory,
    Site,
    Weight,
)
from graphspec.contract.penalties import Constraint, Regularizer
from graphspec.tensor import Dim, Tensor, product

helper(
    "BatchNorm",
    '''
class BatchNorm(nn.Module):
    """Keras' batch normalization of axis 1: running variance without Bessel's correction."""

    frozen = False  # always in inference mode, as Keras' is where it is not trainable

    def __init__(
        self, num_features: int, eps: float, momentum: float, center=True, scale=True
    ):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(num_features)) if scale else None
        self.bias = nn.Parameter(torch.zeros(num_features)) if center else None
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def forward(self, x: Tensor) -> Tensor:
        mean, var, n = self.running_mean, self.running_var, x.numel() // x.shape[1]
        training = self.training and not self.frozen
        if training:
            mean, var = torch.zeros_like(mean), torch.zeros_like(var)
        # unlike F.batch_norm, this trains on one value a channel
        cudnn = torch.backends.cudnn.enabled
        y = torch.batch_norm(
            x, self.weight, self.bias, mean, var, training, 1.0, self.eps, cudnn
        )
        if training:
            with torch.no_grad():
                var = var * ((n - 1) / n) if n > 1 else torch.zeros_like(var)
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(var, self.momentum)
        return y

    def extra_repr(self) -> str:
        return f"{len(self.running_mean)}, eps={self.eps}, momentum={self.momentum}"
''',
)
helper(
    "MaskedBatchNorm",
    '''
class MaskedBatchNorm(BatchNorm):
    """BatchNorm of [N, C, L] whose statistics leave out what a mask, [N, 1, L] say, leaves out."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is None or not self.training or self.frozen:
            return super().forward(x)
        n = mask.expand_as(x).sum((0, 2)) + 1e-7  # Keras divides by no less
        mean = x.masked_fill(~mask, 0).sum((0, 2)) / n
        centered = x - mean[:, None]
        var = centered.square().masked_fill(~mask, 0).sum((0, 2)) / n
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var, self.momentum)
        y = centered * (var + self.eps).rsqrt()[:, None]
        y = y if self.weight is None else y * self.weight[:, None]
        return y if self.bias is None else y + self.bias[:, None]
''',
    "BatchNorm",
)


class BatchNormalization(Layer, also="BatchNorm1d BatchNorm2d BatchNorm3d BatchNorm"):
    """Brings each channel to mean 0 and variance 1: the batch's in training, running ones in inference.

    `trainable: false` keeps it in inference mode. In training the running statistics move by `1 - momentum`.
    """

    arguments = (Argument("x"), Argument("mask", required=False))
    supports_masking = True

    axis: int = -1
    momentum: float = 0.99
    epsilon: float = 0.001
    center: bool = True
    scale: bool = True
    beta_initializer: Initializer = Zeros()
    gamma_initializer: Initializer = Ones()
    moving_mean_initializer: Initializer = Zeros()
    moving_variance_initializer: Initializer = Ones()
    beta_regularizer: Regularizer | None = None
    gamma_regularizer: Regularizer | None = None
    beta_constraint: Constraint | None = None
    gamma_constraint: Constraint | None = None

    examples = (
        Example({}, ((5,),)),
        Example({}, ((4, 5),)),
        Example({}, ((4, 3, 5),)),
        Example({}, ((6, 3),), masks={"mask": (6,)}),
        Example({"axis": 1, "scale": False, "center": False}, ((6, 3),), masks={"mask": (6,)}),
        Example({"axis": 1}, ((5, 3, 4),)),
        Example({"axis": 2}, ((3, 5, 4),)),
        Example({"axis": -2, "epsilon": 1e-5}, ((5, 4),)),
        Example({"momentum": 0.9, "center": False}, ((4, 4, 3),)),
        Example({"scale": False}, ((4, 4, 3),)),
        Example({"scale": False, "center": False}, ((4, 3),)),
        Example(
            {
                "beta_initializer": "ones",
                "gamma_initializer": "he_uniform",
                "moving_mean_initializer": {"name": "constant", "value": 0.5},
                "moving_variance_initializer": {"name": "constant", "value": 2.0},
            },
            ((4, 4, 3),),
        ),
    )

    def infer(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        need_float(x, layer="BatchNormalization")
        need_mask(mask, x, layer="BatchNormalization")
        if not -x.rank < self.axis < x.rank or self.axis == 0:
            raise LayerError(
                "out-of-range",
                f"`axis` {self.axis} of BatchNormalization is no axis beside the batch of {x}",
                help="-1 is the last axis",
                argument="axis",
                inputs=(0,),
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
                initializer="" if fill == own else fill.vector_statement(),
                trainable=trainable,
            )
            for name, keras, fill, own, present, trainable in rows
            if present
        )

    def memory(self, x: Tensor, mask: Tensor | None = None) -> Memory:
        return "first" if x.rank > 2 and self.axis % x.rank == x.rank - 1 else "spec"

    def code(self, site: Site) -> Code:
        features = known_channels(site.x, self.axis, layer="BatchNormalization")
        across = "[:, None]" if self.axis % site.x.rank == site.x.rank - 1 else "[..., None]"
        mask = f", {{mask}}{across}" if any(site.inputs[1:]) else ""
        name = "MaskedBatchNorm" if mask else "BatchNorm"
        construct = Construct(
            name,
            {"num_features": features},
            {
                "eps": (float(self.epsilon), None),
                "momentum": (round(1 - self.momentum, 12), None),  # 0.01, and not 0.010000000000000009
                "center": (self.center, True),
                "scale": (self.scale, True),
            },
        )
        fills = [
            *([self.gamma_initializer] if self.scale else []),
            *([self.beta_initializer] if self.center else []),
            self.moving_mean_initializer,
            self.moving_variance_initializer,
        ]
        helpers = (name, *(word for fill in fills for word in fill.vector_helpers()))
        axis = site.axis(self.axis) % site.x.rank
        if axis == 1:
            return Code(f"{{self}}({{x}}{mask})", construct, helpers=helpers)
        text = f"{{self}}({{x}}.movedim({{axis}}, 1){mask}).movedim(1, {{axis}})"
        return Code(text, construct, {"axis": axis}, helpers=helpers)

    def affine_axis(self, rank: int) -> int | None:
        return self.axis % rank

    def affine(self, weights: Mapping[str, Any]) -> tuple[Any, Any]:
        factor = (weights["running_var"] + float(self.epsilon)) ** -0.5
        factor = factor * weights["weight"] if self.scale else factor
        offset = -weights["running_mean"] * factor
        return factor, offset + weights["bias"] if self.center else offset

    def flops(self, site: Site) -> Dim:
        return 2 * product(site.x.shape[1:])
