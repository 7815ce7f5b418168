"""Losses on sequences whose steps are not aligned with those of the target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from graphspec.objectives.loss import NO_CONTEXT, Loss, LossContext, Misfit, ends_in
from graphspec.objectives.losses import width_misfit
from graphspec.tensor import Dim, Tensor, symbol

if TYPE_CHECKING:
    from torch import Tensor as Values


class CTC(Loss):
    """The negative logarithm of the probability of a target sequence, shorter than the output and aligned
    with it in any way (connectionist temporal classification; Graves et al., 2006).

    The output is [batch, steps, classes]; a target is a row of class numbers from 1 on, with zeros behind:
    class 0 is the blank between. Steps that a mask leaves out do not count. A target that does not fit into
    its steps has an infinite loss.
    """

    name: Literal["ctc", "CTC"] = "ctc"
    activation = "softmax"
    by_example = True
    sees_padding = True

    def target(self, output: Tensor) -> Tensor:
        return Tensor((output.shape[0], symbol("target_length")), "int64")

    def target_range(self, classes: Dim) -> tuple[int | None, int | None]:
        return (0, classes - 1) if isinstance(classes, int) else (None, None)

    def legal_target(self, output: Values, relative: Values) -> Values | None:
        """The best class of each step, [n, steps]: repetitions are one, class 0 none; zeros after them."""
        import torch

        best = relative.argmax(-1)
        kept = best != 0
        kept[:, 1:] &= best[:, 1:] != best[:, :-1]
        order = (~kept).to(torch.uint8).argsort(dim=1, stable=True)
        return (best * kept).gather(1, order)

    def misfit(self, output: Tensor, activation: str | None) -> Misfit:
        problem = super().misfit(output, activation)
        if problem is not None:
            return problem
        if output.rank != 3:
            return (
                f"`{self.name}` needs an output of shape [batch, steps, classes], and this one is {output}",
                "end the output in a Dense layer over a sequence",
            )
        if activation not in (None, "linear", "softmax", "unknown"):
            message = f"`{self.name}` takes scores of classes, but the output ends in {activation}"
            return (message, ends_in("softmax", "in no activation"))
        return width_misfit(self.name, output)

    def valid_mask(self, target: Values | None, mask: Values | None) -> Values | None:
        return mask.flatten(1).any(1) if mask is not None and mask.dim() > 1 else mask

    def values(self, output: Any, target: Values | None, given: LossContext = NO_CONTEXT) -> Values:
        """A value for each example, from logits [n, steps, classes] and class numbers [n, length]."""
        import torch

        assert target is not None
        mask = given.mask
        steps = output.new_full((len(output),), output.shape[1], dtype=torch.int64)
        if mask is not None and mask.dim() > 1:  # those that count go to the front
            order = (~mask).to(torch.uint8).argsort(dim=1, stable=True)
            output = output.gather(1, order.unsqueeze(-1).expand_as(output))
            steps = mask.sum(1)
        elif mask is not None:
            steps = torch.where(mask, steps, 0)
        lengths = torch.where(steps > 0, (target != 0).sum(1), 0)
        log = output.log_softmax(-1).transpose(0, 1)
        return torch.nn.functional.ctc_loss(log, target, steps, lengths, reduction="none")
