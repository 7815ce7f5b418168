"""The metrics of Keras 3: names, arguments, defaults, and what they compute on torch tensors.

Here is what they share. `accuracy.py` has those that most specs name, `confusion.py` those that count
decisions, `curves.py` those on curves, `loss_metrics.py` means of losses, `class_metrics.py` and
`regression_metrics.py` others on classes and on values. torch is imported inside of formulas: a spec is
checked without it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from graphspec.objectives.formulas import divide, mean_sums
from graphspec.objectives.loss import Loss, Misfit, ends_in
from graphspec.objectives.losses import QuantileLoss
from graphspec.settings.families import Named
from graphspec.tensor import Tensor

if TYPE_CHECKING:
    from torch import Tensor as Values


def _is_name(word: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", word, re.ASCII):
        raise ValueError(f"`as` is a name of letters, digits and underscores, not `{word}`")
    return word


class Metric(Named):
    """The settings of a metric. Its name in the history is the name that was written, as in Keras,
    or `as`. It weights all examples equally, unless `weighted` (Keras' `weighted_metrics`).

    Unless a class says otherwise the target has the output's shape. It is a vector of sums over the examples
    seen, and what follows from them: sums of batches add up to the sums of an epoch, and those of several
    processes to the sums of all.
    """

    weighted: bool = False
    """Whether sample weights count."""
    label: Annotated[str, AfterValidator(_is_name)] | None = Field(None, alias="as")
    """Name of the metric in tables."""

    direction: ClassVar[Literal["up", "down"]] = "up"
    """Which way is better."""
    needs_probabilities: ClassVar[bool] = False
    reads_order: ClassVar[bool] = False
    """Whether it only reads which value is the largest. A softmax does not change that; a sigmoid does, where
    several values become 1.
    """
    ranks: ClassVar[bool] = False
    """Whether it is of the order of candidates."""
    other_kind: ClassVar[str | None] = None
    """The remedy for targets of the other kind, if another metric is one."""

    def target(self, output: Tensor) -> Tensor:
        """The type of target that it compares with; the batch axis comes first."""
        return output if output.is_float else output.with_dtype("float32")

    def resolve(self, output: Tensor, loss: Loss | None) -> Metric:
        """The metric for an output; itself unless it is `accuracy`."""
        return self

    def misfit(self, output: Tensor, activation: str | None, loss: Loss | None = None) -> Misfit:
        """Why it does not fit `output` with `loss`; None if it does.

        `activation` is as in `Loss.misfit`.
        """
        wanted = self.target(output)
        target = loss.target(output) if loss is not None else None
        if loss is not None and loss.answers:
            message = f"`{self.name}` compares numbers, but the targets of `{loss.name}` are boxes"
            return (message, "write `mean_average_precision`")
        if loss is not None and target is not None and target.rank != wanted.rank:
            if isinstance(loss, QuantileLoss):
                message = (
                    f"`{self.name}` compares all values of the output, but they are quantiles of one value"
                )
                return (message, "write `mae`, `rmse` or `coverage`")
            kinds = ("class numbers", "one value for each class")
            of_loss, taken = kinds if target.rank < wanted.rank else kinds[::-1]
            message = f"`{self.name}` compares with {taken}, but the targets of `{loss.name}` are {of_loss}"
            one_hot = loss.name.removeprefix("sparse_")
            if target.rank < wanted.rank and loss.name != one_hot:
                other = (
                    f"write `loss: {one_hot}`, for which a feature `encode: category` makes one-hot targets"
                )
                return (message, f"{self.other_kind}; or {other}" if self.other_kind else other)
            return (message, self.other_kind or "`accuracy` fits either kind of target")
        logits = loss is not None and loss.takes_logits
        if self.needs_probabilities and (activation == "linear" or (activation is None and logits)):
            message = (
                f"`{self.name}` compares probabilities with a threshold, but the output ends in no sigmoid"
            )
            return (message, ends_in("sigmoid"))
        return None

    # --- what it computes

    def each(self, output: Values, target: Values) -> Values:
        """A value for each position: the metric is their mean."""
        raise NotImplementedError(f"{type(self).__name__} has no formula")

    def sums(self, output: Values, target: Values, weight: Values | None) -> Values:
        """The sums over a batch that it follows from."""
        return mean_sums(self.each(output, target), weight)

    def value(self, sums: Values) -> Values:
        """The metric of these sums: a number, or one for each class or threshold."""
        return divide(sums[0], sums[1])

    def statistics(self, output: Values, target: Values, weight: Values | None = None) -> Values:
        """The sums over a batch, float64; of an exact curve, all points of it.

        `output` is what the model returns, `target` has the shape of `target`; the batch axis comes first.
        `weight` is what each example, or step of one, counts: [n] or [n, steps], 0 or False for nothing.
        """
        return self.sums(output, target, weight if weight is None else weight.double()).double()

    def joined(self, sums: Values, more: Values) -> Values:
        """The sums of two batches together."""
        return sums + more

    def result(self, sums: Values) -> float | list[float]:
        """Its value, or its values where it has several."""
        value: float | list[float] = self.value(sums).tolist()
        return value[0] if isinstance(value, list) and len(value) == 1 else value
