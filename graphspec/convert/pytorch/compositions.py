"""Functions of `torch.nn.functional` as compositions of others, which specs have words for, while a module is
traced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from graphspec.convert.refusals import Unsupported
from graphspec.convert.tracing.live import replaced


@contextmanager
def composed() -> Iterator[None]:
    """Replaces the functions meanwhile."""
    with ExitStack() as changes:
        for name, function in COMPOSED.items():
            changes.enter_context(replaced(F, name, function))
        yield


_embedding_of_torch: Callable[..., Any] = F.embedding


def _embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """With a bound of another norm than the second, of which a spec has a constraint: rows are scaled where
    they are read, and learn as they do where PyTorch scales them before.
    """
    other = max_norm is not None and norm_type != 2
    bound = None if other else max_norm
    rows: Tensor = _embedding_of_torch(
        input, weight, padding_idx, bound, norm_type, scale_grad_by_freq, sparse
    )
    if not other:
        return rows
    norm = torch.linalg.vector_norm(rows, norm_type, -1, keepdim=True)
    scaled: Tensor = rows * (max_norm / (norm + 1e-7)).clamp(max=1)
    return rows + (scaled - rows).detach()


def _embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """An embedding of bags of one length, [batch, length], reduced along the length."""
    if offsets is not None or input.dim() != 2:
        raise Unsupported(
            "`embedding_bag` with `offsets` joins the bags of a batch",
            "pass bags as rows, [batch, length], and fill them up with `padding_idx`",
        )
    rows = _embedding(input, weight, None, max_norm, norm_type, scale_grad_by_freq)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.unsqueeze(-1)
    if padding_idx is None:
        return rows.amax(1) if mode == "max" else rows.sum(1) if mode == "sum" else rows.mean(1)
    seen = (input != padding_idx % weight.shape[0]).unsqueeze(-1)
    if mode == "max":
        largest = rows.masked_fill(~seen, float("-inf")).amax(1)
        return torch.where(seen.any(1), largest, 0.0)
    total = (rows * seen).sum(1)
    return total if mode == "sum" else total / seen.sum(1).clamp(min=1)


COMPOSED: dict[str, Callable[..., Any]] = {"embedding": _embedding, "embedding_bag": _embedding_bag}
