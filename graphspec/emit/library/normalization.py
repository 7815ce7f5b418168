"""Normalizations with Keras' statistics and weights."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def without(norm: nn.Module, name: str) -> nn.Module:
    """A normalization without its `weight` or its `bias`."""
    norm.register_parameter(name, None)
    return norm


class UncountedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalization whose count of batches is in no file, and may be in any."""

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        state_dict.pop(prefix + "num_batches_tracked", None)
        nn.Module._load_from_state_dict(self, state_dict, prefix, *args)


class KerasBatchNorm(UncountedBatchNorm):
    """Batch normalization with Keras' running variance: no Bessel's correction."""

    running_mean: Tensor
    running_var: Tensor
    momentum: float

    def __init__(
        self,
        num_features: int,
        eps: float,
        momentum: float,
        center: bool = True,
        scale: bool = True,
    ):
        super().__init__(num_features, eps, momentum, affine=center or scale)
        # only nn.SyncBatchNorm counts batches, and the count is not saved
        self.register_buffer("num_batches_tracked", torch.tensor(0), persistent=False)
        if not center:
            self.register_parameter("bias", None)
        if not scale:
            self.register_parameter("weight", None)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        n, cudnn = x.numel() // x.shape[1], torch.backends.cudnn.enabled
        mean, var = self.running_mean.clone(), self.running_var.clone()
        weights = self.weight, self.bias
        # F.batch_norm refuses to train on one value per channel
        y = torch.batch_norm(x, *weights, mean, var, True, 1.0, self.eps, cudnn)
        self.running_mean.lerp_(mean, self.momentum)
        var = var * ((n - 1) / n) if n > 1 else torch.zeros_like(var)
        self.running_var.lerp_(var, self.momentum)
        return y


def by_rows(norm: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Batch normalization of [N, C] or [N, C, L].

    Steps with their channels last are rows: torch.compile knows no gradient of them.
    """
    if x.dim() != 3 or x.is_contiguous() or not torch.is_grad_enabled():
        return norm(x)
    rows = norm(x.transpose(1, 2).flatten(0, 1))
    return rows.unflatten(0, (-1, x.shape[2])).transpose(1, 2)


class KerasBatchNorm1d(KerasBatchNorm, nn.BatchNorm1d):
    """nn.BatchNorm1d with Keras' statistics."""

    def forward(self, x: Tensor) -> Tensor:
        return by_rows(super().forward, x)


class KerasBatchNorm2d(KerasBatchNorm, nn.BatchNorm2d):
    """nn.BatchNorm2d with Keras' statistics."""


class KerasBatchNorm3d(KerasBatchNorm, nn.BatchNorm3d):
    """nn.BatchNorm3d with Keras' statistics."""


class MaskedBatchNorm(KerasBatchNorm1d):
    """Batch normalization of [N, C, L] whose statistics leave out masked steps."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is None or not self.training:
            return super().forward(x)
        dtype, x = x.dtype, x.to(self.running_mean.dtype)
        n = mask.expand_as(x).sum((0, 2)) + 1e-7  # Keras divides by no less
        mean = x.masked_fill(~mask, 0).sum((0, 2)) / n
        centered = x - mean[:, None]
        var = centered.square().masked_fill(~mask, 0).sum((0, 2)) / n
        self.running_mean.lerp_(mean.detach(), self.momentum)
        self.running_var.lerp_(var.detach(), self.momentum)
        y = centered * (var + self.eps).rsqrt()[:, None]
        y = y if self.weight is None else y * self.weight[:, None]
        return (y if self.bias is None else y + self.bias[:, None]).to(dtype)


def sum_over_processes(x: Tensor) -> Tensor:
    """The sum of a tensor over all processes, and of its gradients."""
    if not torch.distributed.is_initialized():
        return x

    def summed(tensor: Tensor) -> Tensor:
        total = tensor.detach().clone()
        torch.distributed.all_reduce(total)
        return total

    y = x + (summed(x) - x.detach())
    if y.requires_grad:
        y.register_hook(summed)
    return y


class SynchronizedBatchNorm(KerasBatchNorm):
    """Batch normalization with the statistics of all processes that train together."""

    counts: Tensor

    def __init__(
        self,
        num_features: int,
        eps: float,
        momentum: float,
        center: bool = True,
        scale: bool = True,
    ):
        super().__init__(num_features, eps, momentum, center=center, scale=scale)
        # 0 in a process without examples of its own, which repeats those of others
        self.register_buffer("counts", torch.ones(()), persistent=False)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if not self.training:
            return super().forward(x)
        dtype, x = x.dtype, x.to(self.running_mean.dtype)
        kept = torch.ones_like(x[:, :1]) if mask is None else mask.to(x.dtype)
        axes = [0, *range(2, x.dim())]
        sums = torch.cat(((x * kept).sum(axes), kept.expand_as(x).sum(axes)))
        total, n = sum_over_processes(sums * self.counts).chunk(2)
        mean = total / (n + 1e-7)  # Keras divides by no less
        shape = [1, -1] + [1] * (x.dim() - 2)
        centered = x - mean.view(shape)
        squares = (centered.square() * kept).sum(axes) * self.counts
        var = sum_over_processes(squares) / (n + 1e-7)
        self.running_mean.lerp_(mean.detach(), self.momentum)
        self.running_var.lerp_(var.detach(), self.momentum)
        y = centered * (var + self.eps).rsqrt().view(shape)
        y = y if self.weight is None else y * self.weight.view(shape)
        return (y if self.bias is None else y + self.bias.view(shape)).to(dtype)


class SynchronizedBatchNorm1d(SynchronizedBatchNorm, nn.BatchNorm1d):
    """nn.BatchNorm1d with Keras' statistics, of all processes."""


class SynchronizedBatchNorm2d(SynchronizedBatchNorm, nn.BatchNorm2d):
    """nn.BatchNorm2d with Keras' statistics, of all processes."""


class SynchronizedBatchNorm3d(SynchronizedBatchNorm, nn.BatchNorm3d):
    """nn.BatchNorm3d with Keras' statistics, of all processes."""


class FrozenBatchNorm(UncountedBatchNorm):
    """Batch normalization that never trains, as Keras' with `trainable=False`."""

    def forward(self, x: Tensor, *_: Tensor) -> Tensor:
        statistics = self.running_mean, self.running_var
        weights = self.weight, self.bias

        def norm(x: Tensor) -> Tensor:
            return F.batch_norm(x, *statistics, *weights, eps=self.eps)

        return by_rows(norm, x)


def freeze(module: nn.Module) -> None:
    """Freezes a module: no gradients, and no updates of statistics."""
    module.requires_grad_(False)
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.__class__ = FrozenBatchNorm
            layer.register_buffer(
                "num_batches_tracked", layer.num_batches_tracked, persistent=False
            )


class CenteredLayerNorm(nn.Module):
    """Layer normalization with a bias and no weight, unlike nn.LayerNorm."""

    def __init__(self, normalized_shape: int | tuple[int, ...], eps: float):
        super().__init__()
        self.eps = eps
        self.bias = nn.Parameter(torch.zeros(normalized_shape))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.bias.shape, None, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{tuple(self.bias.shape)}, eps={self.eps}"


def for_group_norm(x: Tensor) -> Tensor:
    """Copies what needs no gradient to memory with its channels first.

    On a CPU, where they come last, the backward pass of F.group_norm writes a
    gradient of its input even if there is none, and ends the process.
    """
    needed = x.requires_grad or not torch.is_grad_enabled()
    return x if needed else x.contiguous()


class GroupNorm(nn.Module):
    """nn.GroupNorm that can lack a weight or a bias, and have groups of one value."""

    weight: Tensor

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float,
        center: bool = True,
        scale: bool = True,
    ):
        super().__init__()
        self.num_groups, self.eps = num_groups, eps
        if scale:
            self.weight = nn.Parameter(torch.ones(num_channels))
        else:  # torch cannot differentiate a bias without a weight
            self.register_buffer("weight", torch.ones(num_channels), persistent=False)
        self.bias = nn.Parameter(torch.zeros(num_channels)) if center else None

    def forward(self, x: Tensor) -> Tensor:
        # F.group_norm refuses to train on one value per group
        return torch.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_groups}, eps={self.eps}"


class Normalization(nn.Module):
    """Normalizes features by given means and variances, or inverts that."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Any, variance: Any, invert: bool = False):
        super().__init__()
        std = torch.tensor(variance).sqrt().clamp(min=1e-7)
        self.invert = invert
        self.register_buffer("mean", torch.tensor(mean), persistent=False)
        self.register_buffer("std", std, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.std + self.mean if self.invert else (x - self.mean) / self.std


class Standardization(nn.Module):
    """Normalizes by the means and variances of training data, or inverts that.

    They are NaN until the model is trained or its weights are loaded.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, shape: tuple[int, ...], invert: bool = False):
        super().__init__()
        self.invert = invert
        self.register_buffer("mean", torch.full(shape, torch.nan))
        self.register_buffer("variance", torch.full(shape, torch.nan))

    def forward(self, x: Tensor) -> Tensor:
        known = self.mean.isfinite().all()
        torch._assert_async(known, "no means yet: train the model or load weights")
        std = self.variance.sqrt().clamp(min=1e-7)
        return x * std + self.mean if self.invert else (x - self.mean) / std
