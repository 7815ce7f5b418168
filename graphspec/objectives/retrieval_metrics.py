"""Metrics of a ranking: where relevant items are among candidates in the order of their scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PrivateAttr

from graphspec.objectives.accuracy import CategoricalMetric
from graphspec.objectives.formulas import mean_sums
from graphspec.objectives.loss import Loss, Misfit
from graphspec.objectives.losses import SparseLoss, width_misfit
from graphspec.objectives.metrics import Metric
from graphspec.tensor import Tensor

if TYPE_CHECKING:
    from torch import Tensor as Values

First = Annotated[int, Field(ge=1)]


class Ranking(CategoricalMetric):
    """A metric of the scores of candidates, the last axis of the output.

    Targets say how relevant each candidate is, 0 for not at all; those of a sparse loss are the number of the
    one that is. An example without a relevant candidate does not count. With a loss that compares queries
    with keys, candidates are the keys of all training rows, those of a query's rows are relevant, and each
    query counts once.
    """

    reads_order = True
    ranks = True
    k: First = 10
    """How many of the best candidates are looked at."""
    _by_number: bool = PrivateAttr(False)

    def resolve(self, output: Tensor, loss: Loss | None) -> Metric:
        """The same for the targets of a sparse loss, which are numbers of candidates."""
        if not isinstance(loss, SparseLoss):
            return self
        metric = self.model_copy()
        metric._by_number = True
        return metric

    def target(self, output: Tensor) -> Tensor:
        return Tensor(output.shape[:-1], "int64") if self._by_number else super().target(output)

    def misfit(self, output: Tensor, activation: str | None, loss: Loss | None = None) -> Misfit:
        if loss is not None and loss.ranks_candidates:
            if not self.weighted:
                return None
            return f"`{self.name}` counts each query once, whatever its rows weigh", "leave `weighted` out"
        target = loss.target(output) if loss is not None else None
        if target is None or target.rank in (output.rank, output.rank - 1):
            return width_misfit(self.name, output)
        return super().misfit(output, activation, loss)

    def sums(self, output: Values, target: Values, weight: Values | None) -> Values:
        from torch.nn.functional import one_hot

        if target.dim() < output.dim():
            target = one_hot(target, output.shape[-1])
        target = target.double()
        counted = (target > 0).any(-1).double()
        scores, best = output.topk(min(self.k, output.shape[-1]), -1)
        found = target.gather(-1, best) * scores.isfinite()
        return mean_sums(self.ranked(found, target), counted if weight is None else weight * counted)

    def ranked(self, found: Values, target: Values) -> Values:
        """A value for each example, of the relevance of the best candidates, in their order."""
        raise NotImplementedError(f"{type(self).__name__} has no formula")


class RecallAtK(Ranking):
    """The share of relevant candidates that are among the `k` best."""

    name: Literal["recall_at_k"] = "recall_at_k"

    def ranked(self, found: Values, target: Values) -> Values:
        return (found > 0).sum(-1) / (target > 0).sum(-1).clamp(min=1)


class HitRate(Ranking):
    """The fraction of examples with a relevant candidate among the `k` best."""

    name: Literal["hit_rate"] = "hit_rate"

    def ranked(self, found: Values, target: Values) -> Values:
        return (found > 0).any(-1).double()


class NDCG(Ranking):
    """The relevance of the `k` best, each divided by the logarithm of its rank plus 1, as a share of the most
    that it could be (normalized discounted cumulative gain).
    """

    name: Literal["ndcg"] = "ndcg"

    def ranked(self, found: Values, target: Values) -> Values:
        import torch

        ranks = torch.arange(found.shape[-1], dtype=torch.float64, device=found.device)
        ideal = target.topk(found.shape[-1], -1).values
        gain, most = ((each / (ranks + 2).log2()).sum(-1) for each in (found, ideal))
        return gain / torch.where(most > 0, most, 1.0)


class MeanReciprocalRank(Ranking):
    """One divided by the rank of the first relevant candidate; 0 where none is among the `k` best."""

    name: Literal["mean_reciprocal_rank", "mrr"] = "mean_reciprocal_rank"

    def ranked(self, found: Values, target: Values) -> Values:
        first = (found > 0).double()
        return first.amax(-1) / (first.argmax(-1) + 1)
