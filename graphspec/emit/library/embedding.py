"""Embeddings, and linear layers that an einsum equation gives."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graphspec.emit.library.initializers import variance_scaling_


class EinsumDense(nn.Module):
    """A linear layer over any axes, given by an einsum equation."""

    def __init__(
        self,
        equation: str,
        kernel_shape: tuple[int, ...],
        bias_shape: tuple[int, ...] | None = None,
    ):
        super().__init__()
        self.equation = equation
        self.weight = nn.Parameter(torch.empty(kernel_shape))
        self.bias = nn.Parameter(torch.empty(bias_shape)) if bias_shape else None

    def forward(self, x: Tensor) -> Tensor:
        y = torch.einsum(self.equation, x, self.weight)
        return y if self.bias is None else y + self.bias

    def extra_repr(self) -> str:
        return f"{self.equation}, {tuple(self.weight.shape)}"


class PositionEmbedding(nn.Module):
    """A learned vector for each position, expanded to the shape of a sequence."""

    def __init__(self, sequence_length: int, features: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(sequence_length, features))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight[: x.shape[-2]].expand(x.shape)


class ReversibleEmbedding(nn.Module):
    """An embedding with a separate weight for the reverse projection."""

    def __init__(self, num_embeddings: int, embedding_dim: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_embeddings, embedding_dim))
        self.reverse_weight = nn.Parameter(torch.empty(num_embeddings, embedding_dim))

    def forward(self, x: Tensor) -> Tensor:
        return F.embedding(x, self.weight)


def einsum_scaling_(
    w: Tensor, summed: tuple[int, ...], scale: float, mode: str, distribution: str
) -> None:
    """Fills a kernel by Keras' VarianceScaling; the axes `summed` are its inputs."""
    fan_in = torch.Size(w.shape[axis] for axis in summed).numel()
    values = w.new_empty(w.numel() // fan_in, fan_in)
    variance_scaling_(values, scale, mode, distribution)
    with torch.no_grad():
        w.copy_(values.view(w.shape))
