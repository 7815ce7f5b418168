"""Pooling with Keras' padding, or with a mask."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from graphspec.emit.library.padding import same_padding


def avg_pool3d_same(x: Tensor, kernel_size: Any, stride: Any) -> Tensor:
    """Average pooling of [N, C, D, H, W], Keras' `same`: padding does not count."""
    pads = same_padding(x, kernel_size, stride, (1, 1, 1))
    uneven = any(
        s == 1 and k % 2 == 0 for k, s in zip(kernel_size, stride, strict=True)
    )
    # F.avg_pool3d refuses windows that are larger than the unpadded input
    small = any(n < k for n, k in zip(x.shape[2:], kernel_size, strict=True))
    if uneven or small or torch.compiler.is_exporting():
        share = F.avg_pool3d(
            F.pad(torch.ones_like(x[:1, :1]), pads), kernel_size, stride
        )
        return F.avg_pool3d(F.pad(x, pads), kernel_size, stride) / share
    padding = pads[-2::-2]
    return F.avg_pool3d(
        x, kernel_size, stride, padding, ceil_mode=True, count_include_pad=False
    )


def avg_pool_same(x: Tensor, kernel_size: Any, stride: Any) -> Tensor:
    """Average pooling of [N, C, H, W], Keras' `same`: padding does not count."""
    pads = same_padding(x, kernel_size, stride, (1, 1))
    uneven = any(
        s == 1 and k % 2 == 0 for k, s in zip(kernel_size, stride, strict=True)
    )
    if uneven or torch.compiler.is_exporting():
        share = F.avg_pool2d(
            F.pad(torch.ones_like(x[:1, :1]), pads), kernel_size, stride
        )
        return F.avg_pool2d(F.pad(x, pads), kernel_size, stride) / share
    padding = (pads[2], pads[0])
    return F.avg_pool2d(
        x, kernel_size, stride, padding, ceil_mode=True, count_include_pad=False
    )


def masked_mean(x: Tensor, mask: Tensor, axis: int, keepdim: bool = False) -> Tensor:
    """The mean over the unmasked steps, at `axis` 1 or 2; the mask is [N, steps]."""
    mask = mask.unsqueeze(3 - axis)
    return x.masked_fill(~mask, 0).sum(axis, keepdim=keepdim) / mask.sum(
        axis, keepdim=keepdim
    )


def max_pool1d(x: Tensor, kernel_size: int, stride: int | None = None) -> Tensor:
    """F.max_pool1d in a form that torch.export accepts at a dynamic length."""
    stride = kernel_size if stride is None else stride
    return F.max_pool2d(x.unsqueeze(2), (1, kernel_size), (1, stride)).squeeze(2)


def max_pool3d_same(x: Tensor, kernel_size: Any, stride: Any) -> Tensor:
    """Max pooling of [N, C, D, H, W] with Keras' `same` padding."""
    pads = same_padding(x, kernel_size, stride, (1, 1, 1))
    uneven = any(
        s == 1 and k % 2 == 0 for k, s in zip(kernel_size, stride, strict=True)
    )
    if uneven or torch.compiler.is_exporting():
        x = F.pad(x, pads, value=float("-inf"))
        return F.max_pool3d(x, kernel_size, stride)
    # ceil_mode adds the windows that end past the input: no padded copy is needed
    return F.max_pool3d(x, kernel_size, stride, pads[-2::-2], ceil_mode=True)


def max_pool_same(x: Tensor, kernel_size: Any, stride: Any) -> Tensor:
    """Max pooling of [N, C, H, W] with Keras' `same` padding."""
    pads = same_padding(x, kernel_size, stride, (1, 1))
    uneven = any(
        s == 1 and k % 2 == 0 for k, s in zip(kernel_size, stride, strict=True)
    )
    if uneven or torch.compiler.is_exporting():
        x = F.pad(x, pads, value=float("-inf"))
        return F.max_pool2d(x, kernel_size, stride)
    # ceil_mode adds the windows that end past the input: no padded copy is needed
    return F.max_pool2d(x, kernel_size, stride, (pads[2], pads[0]), ceil_mode=True)
