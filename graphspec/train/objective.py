"""Evaluates the outputs of a program: the loss of a step, and the means and metrics of an epoch."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from graphspec.data.batches import Batch
from graphspec.data.candidates import KEYS, SHARES, Candidates
from graphspec.objectives.formulas import aligned
from graphspec.objectives.loss import Total
from graphspec.train import precision as precisions
from graphspec.train.batch_result import REST, BatchResult, Reading, Term
from graphspec.train.config import Precision
from graphspec.train.config.varying import Varying
from graphspec.train.custom import BoundLoss
from graphspec.train.meter import Meter, Units
from graphspec.train.parallel.world import World
from graphspec.train.penalties import Penalties


@dataclass(frozen=True, slots=True)
class StepTotals:
    """The common totals of the parts of one large batch: how many examples, and how many positions count in
    each output's loss. None where they count as many as in this part and in its shares in other processes.
    """

    count: int
    positions: Mapping[str, Total] | None


class Objective:
    """The losses of a program's outputs, weighted, and the penalties on its weights.

    A `learned` weight is uncertainty weighting (Kendall et al., 2018): the loss of an output is divided by a
    variance that is learned, and the variance's logarithm is added. Its parameter belongs here, not to the
    model. `units` maps an output to what turns its values and targets into those that its metrics compare: a
    scaled target's own unit. The model runs in `precision`, its losses in float32. Where processes share
    batches, losses are divided by what counts in all of `world`. `candidates` are what metrics of an output
    rank that compares queries with keys: of an evaluation as a whole.
    """

    def __init__(
        self,
        inputs: Iterable[str],
        outputs: Mapping[str, Any],
        device: torch.device,
        penalties: Penalties | None = None,
        units: Units | None = None,
        precision: Precision = "float32",
        world: World = World(),  # noqa: B008 - a frozen value
        candidates: Mapping[str, Candidates] | None = None,
    ):
        self.device, self.precision, self.world = device, precision, world
        self.penalties = penalties
        self.inputs = list(inputs)
        self.candidates = dict(candidates or {})
        """By output, what its metrics rank for each query."""
        self.rankings = {name: output for name, output in outputs.items() if output.ranks_candidates}
        self.outputs = {
            name: replace(output, metrics=()) if name in self.rankings else output
            for name, output in outputs.items()
        }
        self.units = dict(units or {})
        takes_logits = any(output.activation or output.mask for output in outputs.values())
        self.asked = {"logits": True} if takes_logits else {}
        self.with_loss = [name for name, output in outputs.items() if output.loss is not None]
        learned = [name for name in self.with_loss if outputs[name].loss_weight == "learned"]
        self.log_variances = {name: nn.Parameter(torch.zeros((), device=device)) for name in learned}
        weights = {name: outputs[name].loss_weight for name in self.with_loss}
        self.varying = {
            name: torch.tensor(float(weight.to), device=device)
            for name, weight in weights.items()
            if isinstance(weight, Varying)
        }
        """The weights of losses that vary, as they are now."""
        self.moving = frozenset(self.with_loss)
        """The outputs whose losses count; those of others are measured."""
        self._unreported: frozenset[str] = frozenset()
        self._rest = REST
        self._of_batch: dict[str, bool] = {}

    def part(
        self, moving: Collection[str], reported: Collection[str], penalties: Penalties, number: int
    ) -> Objective:
        """The objective of one of several updates, by its `number`: the losses of `moving` outputs count, and
        its results have only the `reported` ones.
        """
        partial = copy(self)
        partial.moving, partial.penalties, partial._rest = frozenset(moving), penalties, f"{REST}{number}"
        partial.with_loss = [name for name in self.with_loss if name in reported]
        partial.log_variances = {
            name: variance for name, variance in self.log_variances.items() if name in moving
        }
        unreported = (output.keys for name, output in self.outputs.items() if name not in reported)
        partial._unreported = frozenset(key for keys in unreported for key in keys)
        return partial

    def meter(self) -> Meter:
        """The meter that accumulates the results of the batches of an epoch."""
        return Meter(self.outputs, self.units)

    def __call__(self, module: nn.Module, batch: Batch, totals: StepTotals | None = None) -> BatchResult:
        """Runs the model on a batch, inputs and targets by name, and evaluates it; alone, or as a part of
        a larger one with these `totals`, so that the gradients of the parts add up to that of the whole.
        """
        loss, terms, outputs, targets, masks = self.loss_terms(module, batch, totals)
        return BatchResult(loss, terms, outputs, targets, masks, Reading(loss.detach()))

    def loss_terms(
        self, module: nn.Module, batch: Batch, totals: StepTotals | None = None
    ) -> tuple[Tensor, dict[str, Term], dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
        """A result before its loss is on its way to be read: tensors alone, and numbers that are known."""
        outputs, masks = self._run(module, batch)
        targets = self._targets(batch)
        if totals is not None and totals.positions is None:
            totals = StepTotals(totals.count, self._totals([(batch, masks)]))
        terms: dict[str, Term] = {}
        weighted, rest = [], []
        examples = len(batch)
        everything = examples if totals is None else totals.count
        share = examples / everything if examples else 0.0  # an idle process has no examples
        for name in self.with_loss:
            with nullcontext() if name in self.moving else torch.no_grad():
                part, term = self._part(name, outputs, targets.get(name), batch, masks.get(name), totals)
            terms[name] = term
            if name not in self.moving:
                continue
            if name in self.log_variances:
                variance = self.log_variances[name]
                rest.append((-variance).exp() * part + variance * share)
            elif name in self.varying:
                rest.append(self.varying[name] * part)
            else:
                weight = self.outputs[name].loss_weight
                weighted.append(part if weight == 1 else part * weight)
        if self.penalties:
            penalty = self.penalties.loss()
            rest.append(penalty if share == 1 else penalty * share)
        if rest:
            terms[self._rest] = Term(_sum(rest).detach(), everything, examples)
        loss = _sum(weighted + rest)
        outputs = {key: value for key, value in outputs.items() if key not in self._unreported}
        return loss, terms, outputs, targets, masks

    def totals(self, module: nn.Module, parts: Sequence[Batch]) -> StepTotals | None:
        """The common totals of the parts of one large batch; None of a single one that no process shares.

        Only where the model makes masks must it run to count; of several parts once more.
        """
        if len(parts) == 1 and self.world.alone:
            return None
        count = sum(batch.total for batch in parts)
        if len(parts) == 1:
            return StepTotals(count, None)
        masked = any(self.outputs[name].mask is not None for name in self.with_loss)
        masks = [self._masks(module, batch) if masked else batch.masks for batch in parts]
        return StepTotals(count, self._totals(list(zip(parts, masks, strict=True))))

    @torch.no_grad()
    def _totals(self, parts: Sequence[tuple[Batch, Mapping[str, Tensor]]]) -> dict[str, Total]:
        """How many positions count in each output's loss, in all parts of all processes."""
        totals: dict[str, Total] = dict.fromkeys(self.with_loss, 0)
        for batch, masks in parts:
            targets = self._targets(batch)
            for name in self.with_loss:
                total = self._total(name, targets.get(name), batch, masks.get(name))
                totals[name] = total if len(parts) == 1 else totals[name] + total
        if not self.world.alone and totals:
            summed = self.world.sums(list(totals.values()), self.device)
            totals = dict(zip(totals, summed, strict=True))
        sums = {name for name in self.with_loss if self.outputs[name].loss.reduction == "sum"}
        return totals | dict.fromkeys(sums, 1)

    def _run(self, module: nn.Module, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The outputs of the model, and which positions count, by their masks and the batch."""
        if self.penalties is not None:
            self.penalties.forget()  # what the backward pass of a checkpointed block watched once more
        with precisions.autocast(self.precision, self.device):
            given = [batch.arrays.get(name) for name in self.inputs]  # of those with a default perhaps none
            values = module(*given, **self.asked)
        outputs = values if isinstance(values, dict) else {next(iter(self.outputs)): values}
        if self.precision == "bf16":
            outputs = {name: precisions.in_full(value) for name, value in outputs.items()}
        masks = dict(batch.masks)
        for name, output in self.outputs.items():
            if output.mask is not None:
                mask = outputs[output.mask]
                masks[name] = mask & aligned(masks[name], mask) if name in masks else mask
        return outputs, masks

    @torch.no_grad()
    def _masks(self, module: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        """The positions that count in a batch, without a change of the model."""
        training = [each for each in module.modules() if each.training]  # frozen normalizations are not
        _, masks = self._run(module.eval(), batch)
        for each in training:
            each.training = True
        if self.penalties is not None:
            self.penalties.forget()
        return masks

    def _targets(self, batch: Batch) -> dict[str, Tensor]:
        return {name: batch.arrays[o.target] for name, o in self.outputs.items() if o.target in batch.arrays}

    def _total(self, name: str, target: Tensor | None, batch: Batch, mask: Tensor | None) -> Total:
        loss, weight = self.outputs[name].loss, batch.weights.get(name)
        target = target if loss.takes_target else None
        if batch.counts is not None and loss.compares_examples:
            target, weight, mask = (
                None if one is None else self._gathered(one, batch) for one in (target, weight, mask)
            )
            total = self._divisor(name, target, batch.total, weight, mask)
            return total if self.world.is_first else 0
        return 0 if batch.idle else self._divisor(name, target, len(batch), weight, mask)

    def _part(
        self,
        name: str,
        outputs: Mapping[str, Tensor],
        target: Tensor | None,
        batch: Batch,
        mask: Tensor | None,
        totals: StepTotals | None,
    ) -> tuple[Tensor, Term]:
        """The loss of one output, and that as a term of the epoch's."""
        output, weight = self.outputs[name], batch.weights.get(name)
        target = target if output.loss.takes_target else None
        beside = [batch.arrays[name + word] for word in (KEYS, SHARES) if name + word in batch.arrays]
        value = (
            [*(outputs[key] for key in output.keys), *beside] if len(output.tensors) > 1 else outputs[name]
        )
        if batch.counts is not None and self._compares(name, value, target):
            return self._compared(name, value, target, batch, mask, totals)
        total = totals.positions[name] if totals is not None and totals.positions is not None else None
        part = output.loss.evaluate(value, target, output.activation, weight, mask, total)
        if batch.idle:  # its gradients are waited for, and are 0
            part = part * 0
        if output.loss.reduction == "sum":  # an epoch's is the mean over its batches, as in Keras
            return part, Term(part.detach(), len(batch) if totals is None else totals.count, len(batch))
        here = self._total(name, target, batch, mask)
        return part, Term(part.detach(), here if total is None else total, here)

    def _compares(self, name: str, value: Tensor | Sequence[Tensor], target: Tensor | None) -> bool:
        """Whether the loss of a batch does not follow from those of its shares: it compares examples, or is a
        custom loss that gives one number. All processes call this for the same outputs, in one order.
        """
        output = self.outputs[name]
        if output.loss.compares_examples or not isinstance(output.loss, BoundLoss):
            return bool(output.loss.compares_examples)
        if name not in self._of_batch:
            one = output.loss.is_one_number(value, target, output.activation)
            self._of_batch[name] = self.world.agree(0.0, one)[1][0]
        return self._of_batch[name]

    def _compared(
        self,
        name: str,
        value: Tensor | Sequence[Tensor],
        target: Tensor | None,
        batch: Batch,
        mask: Tensor | None,
        totals: StepTotals | None,
    ) -> tuple[Tensor, Term]:
        """`_part` of a loss that needs the whole batch: each process evaluates it, with gradients for its own
        outputs. It counts in the first process.
        """
        output = self.outputs[name]
        values = [value] if isinstance(value, Tensor) else list(value)
        outputs = [self._gathered(each, batch) for each in values]
        everything = outputs[0] if isinstance(value, Tensor) else outputs
        target, weight, mask = (
            None if one is None else self._gathered(one, batch)
            for one in (target, batch.weights.get(name), mask)
        )
        here = self._divisor(name, target, batch.total, weight, mask)
        total = totals.positions[name] if totals is not None and totals.positions is not None else here
        part = output.loss.evaluate(everything, target, output.activation, weight, mask, total)
        if batch.idle:  # its gradients are waited for, and are 0
            part = part + _sum([each.sum() for each in values]) * 0
        if totals is not None and not self.world.is_first:  # the parts of a step add up
            part = part - part.detach()
        if output.loss.reduction == "sum":
            here = batch.total
            total = here if totals is None else totals.count
        return part, Term(part.detach(), total, here) if self.world.is_first else Term(part.detach(), 0, 0)

    def _gathered(self, rows: Tensor, batch: Batch) -> Tensor:
        """The rows of all processes, of which a batch is a share."""
        assert batch.counts is not None
        return self.world.rows(rows, batch.counts)

    def _divisor(
        self, name: str, target: Tensor | None, count: int, weight: Tensor | None, mask: Tensor | None
    ) -> Total:
        loss = self.outputs[name].loss
        valid = loss.valid_mask(target, mask)
        return loss.divisor(loss.positions(target, count, valid), weight, valid)


def _sum(terms: list[Tensor]) -> Tensor:
    return terms[0] if len(terms) == 1 else torch.stack(terms).sum()
