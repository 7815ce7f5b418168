"""Activations that PyTorch lacks, or has with other defaults."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PReLU(nn.Module):
    """nn.PReLU with slopes of any shape that broadcasts to an example."""

    def __init__(self, shape: tuple[int, ...]):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, self.weight * x)

    def extra_repr(self) -> str:
        return f"{tuple(self.weight.shape)}"


def glu(x: Tensor) -> Tensor:
    """Gated linear unit over the last axis."""
    return F.glu(x, -1)


def leaky_relu(x: Tensor) -> Tensor:
    """Keras' leaky ReLU, whose slope is 0.2."""
    return F.leaky_relu(x, 0.2)


def log_softmax(x: Tensor) -> Tensor:
    """Logarithm of the softmax over the last axis."""
    return x.log_softmax(-1)


def masked_softmax(x: Tensor, mask: Tensor, dims: int | tuple[int, ...]) -> Tensor:
    """Softmax over the unmasked elements. Masked ones become zero, even if all are."""
    x = x.masked_fill(~mask, torch.finfo(x.dtype).min)
    return (x - x.logsumexp(dims, keepdim=True)).exp().masked_fill(~mask, 0)


def rectified(
    x: Tensor,
    negative_slope: float = 0.0,
    max_value: float | None = None,
    threshold: float = 0.0,
) -> Tensor:
    """Keras' ReLU: x above the threshold, up to max_value, and a slope below it."""
    below = negative_slope * (x - threshold) if negative_slope else 0.0
    y = torch.where(x > threshold, x, below)
    return y if max_value is None else y.clamp(max=max_value)


def softmax(x: Tensor) -> Tensor:
    """Softmax over the last axis."""
    return x.softmax(-1)


def softmax_over(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Softmax over several axes at once."""
    return (x - x.logsumexp(dims, keepdim=True)).exp()


def sparse_plus(x: Tensor) -> Tensor:
    """0 below -1, x above 1, and (x + 1)^2 / 4 between."""
    return torch.where(x <= -1, 0.0, torch.where(x >= 1, x, (x + 1).square() / 4))


def sparse_sigmoid(x: Tensor) -> Tensor:
    """0 below -1, 1 above 1, and (x + 1) / 2 between."""
    return ((x + 1) / 2).clamp(0, 1)


def sparsemax(x: Tensor, dim: int = -1) -> Tensor:
    """Projection onto the probability simplex (Martins and Astudillo, 2016)."""
    ordered = x.sort(dim, descending=True).values
    sums = ordered.cumsum(dim) - 1
    shape = [-1 if axis == dim % x.dim() else 1 for axis in range(x.dim())]
    rank = torch.arange(1, x.shape[dim] + 1, device=x.device, dtype=x.dtype).view(shape)
    support = (ordered * rank > sums).sum(dim, keepdim=True).clamp(min=1)  # 0 of NaNs
    return (x - sums.gather(dim, support - 1) / support).clamp(min=0)


def squareplus(x: Tensor, b: float = 4.0) -> Tensor:
    """A smooth ReLU without exponentials: (x + sqrt(x^2 + b)) / 2."""
    return (x + (x * x + b).sqrt()) / 2


def thresholded_leaky_relu(x: Tensor, slope: float, threshold: float) -> Tensor:
    """Keras' ReLU with a slope below a threshold, and x above it."""
    return torch.where(x > threshold, x, slope * (x - threshold))
