"""Losses on vectors: several of each example, or those of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from graphspec.objectives.formulas import EPSILON
from graphspec.objectives.loss import NO_CONTEXT, Loss, LossContext, Misfit
from graphspec.objectives.losses import VectorLoss
from graphspec.tensor import Dim, Tensor

if TYPE_CHECKING:
    from torch import Tensor as Values


Measure = Literal["euclidean", "squared_euclidean", "cosine"]
Margin = Annotated[float, Field(gt=0)]


def distance(measure: Measure, a: Values, b: Values) -> Values:
    """The distances of vectors."""
    if measure == "cosine":
        from torch.nn.functional import cosine_similarity

        return 1 - cosine_similarity(a, b, dim=-1, eps=EPSILON)
    return (a - b).square().sum(-1) if measure == "squared_euclidean" else (a - b).norm(dim=-1)


class Contrastive(VectorLoss):
    """Pulls pairs with target 1 together, pushes pairs with target 0 `margin` apart (Hadsell et al., 2006).

    `target * d ** 2 + (1 - target) * max(margin - d, 0) ** 2`, of the distance d.
    """

    name: Literal["contrastive"] = "contrastive"
    takes: ClassVar[tuple[str, ...]] = ("left", "right")
    margin: Margin = 1.0
    distance: Measure = "euclidean"

    def target(self, output: Tensor) -> Tensor:
        return Tensor(output.shape[:1], output.dtype)

    def target_range(self, classes: Dim) -> tuple[int | None, int | None]:
        return 0, 1

    def legal_target(self, output: Values, relative: Values) -> Values | None:
        return (relative[:, 0] > 0).to(output.dtype)

    def compare(self, vectors: Sequence[Values], target: Values | None) -> Values:
        assert target is not None
        apart = distance(self.distance, *vectors)
        missing = (self.margin - apart).clamp(min=0)
        return target * apart.square() + (1 - target) * missing.square()


class Triplet(VectorLoss):
    """The anchor is nearer to the positive than to the negative, by `margin` (Schroff et al., 2015).

    `max(d(anchor, positive) - d(anchor, negative) + margin, 0)`; it reads no target.
    """

    name: Literal["triplet"] = "triplet"
    takes: ClassVar[tuple[str, ...]] = ("anchor", "positive", "negative")
    takes_target: ClassVar[bool] = False
    margin: Margin = 1.0
    distance: Measure = "euclidean"

    def compare(self, vectors: Sequence[Values], target: Values | None) -> Values:
        anchor, positive, negative = vectors
        near, far = distance(self.distance, anchor, positive), distance(self.distance, anchor, negative)
        return (near - far + self.margin).clamp(min=0)


class InBatchSoftmax(VectorLoss):
    """Each query classifies its key among all keys of the batch: similarities, divided by `temperature`, are
    logits (van den Oord et al., 2018); it reads no target.

    `symmetric` averages it with that of each key among the queries. It depends on the batch size, and its
    value on an epoch's last, smaller batch is lower. Metrics of rankings look at the keys of all training
    rows.
    """

    ranks_candidates: ClassVar[bool] = True

    name: Literal["in_batch_softmax"] = "in_batch_softmax"
    takes: ClassVar[tuple[str, ...]] = ("query", "key")
    takes_target: ClassVar[bool] = False
    temperature: Annotated[float, Field(gt=0)] = 0.05
    """Divisor of the scores."""
    similarity: Literal["cosine", "dot"] = "cosine"
    """Similarity of two vectors."""
    symmetric: bool = False
    """Whether both directions count."""
    correct_popularity: bool = False
    """Whether each score loses the logarithm of its key's share of the training rows, as frequent keys are
    frequent in batches, too; equal keys of a batch are one then (logQ; Yi et al., 2019).
    """

    @property
    def compares_examples(self) -> bool:
        return True

    @property
    def reads_shares(self) -> bool:
        return self.correct_popularity

    @model_validator(mode="after")
    def _in_one_direction(self) -> Self:
        if self.symmetric and self.correct_popularity:
            raise ValueError("`correct_popularity` is of keys, and `symmetric` classifies queries, too")
        return self

    def scores(self, query: Values, key: Values) -> Values:
        """The similarity of each query with each key, [queries, keys]."""
        from torch.nn.functional import normalize

        if self.similarity == "cosine":
            query, key = normalize(query, dim=-1, eps=EPSILON), normalize(key, dim=-1, eps=EPSILON)
        return query @ key.mT

    def compare(self, vectors: Sequence[Values], target: Values | None) -> Values:
        import torch
        from torch.nn.functional import cross_entropy

        query, key, *known = vectors
        logits = self.scores(query, key) / self.temperature
        if known:
            keys, shares = known
            again = (keys.unsqueeze(1) == keys) & ~torch.eye(len(keys), dtype=torch.bool, device=keys.device)
            logits = (logits - shares.log()).masked_fill(again, -torch.inf)
        diagonal = torch.arange(len(query), device=query.device)
        values = cross_entropy(logits, diagonal, reduction="none")
        return (
            (values + cross_entropy(logits.mT, diagonal, reduction="none")) / 2 if self.symmetric else values
        )


class Circle(Loss):
    """Pulls vectors of one class together, pushes other classes apart, in the batch (Sun et al., 2020).

    The output is [batch, size], vectors of length 1 (`layer: UnitNormalization`), the targets are class
    numbers. An example counts where the batch has others of its class, and of other classes. It depends on
    the batch size.
    """

    name: Literal["circle"] = "circle"
    by_example = True
    gamma: Annotated[float, Field(gt=0)] = 80.0
    """Scale of the similarities."""
    margin: Annotated[float, Field(gt=0, lt=1)] = 0.4
    remove_diagonal: bool = True
    """Whether pairs of an example with itself are excluded."""

    @property
    def compares_examples(self) -> bool:
        return True

    def target(self, output: Tensor) -> Tensor:
        return Tensor(output.shape[:1], "int64")

    def misfit(self, output: Tensor, activation: str | None) -> Misfit:
        if output.rank != 2:
            return (
                f"`{self.name}` compares vectors, [batch, size], and gets {output}",
                "flatten or pool it",
            )
        return super().misfit(output, activation)

    def valid_mask(self, target: Values | None, mask: Values | None) -> Values | None:
        """Examples that it compares with nothing have no value."""
        if target is None:
            return mask
        same, other = self._pairs(target, mask)
        return same.any(1) & other.any(1)

    def _pairs(self, target: Values, mask: Values | None) -> tuple[Values, Values]:
        """Which examples are of one class, and which of different ones, bool [n, n]."""
        import torch

        same = target.unsqueeze(1) == target
        other = ~same
        if self.remove_diagonal:
            same = same & ~torch.eye(len(target), dtype=torch.bool, device=target.device)
        if mask is not None:
            both = mask.unsqueeze(1) & mask
            same, other = same & both, other & both
        return same, other

    def values(self, output: Any, target: Values | None, given: LossContext = NO_CONTEXT) -> Values:
        """A value for each example, 0 for those without others of their class or of another."""
        import torch

        assert target is not None
        distance = (1 - output @ output.mT).clamp(min=0)
        same, other = self._pairs(target, given.mask)
        near = -self.gamma * (self.margin + distance) * (self.margin - distance)
        far = self.gamma * (1 + self.margin - distance).clamp(min=0) * (1 - self.margin - distance)
        nothing = torch.finfo(output.dtype).min / 4  # -inf has no gradient
        return torch.nn.functional.softplus(
            torch.where(same, near, nothing).logsumexp(1) + torch.where(other, far, nothing).logsumexp(1)
        )
