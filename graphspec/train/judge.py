"""How a program's outputs are judged: the loss of a step, and the means and metrics of an epoch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from graphspec.data.batches import Batch
from graphspec.objectives import Metric
from graphspec.train import losses, metrics
from graphspec.train.penalties import Penalties

HELD = 2**20
"""How many values are held before the metrics look at them: a few large calls, not one a step."""

Values = dict[str, float | list[float]]


@dataclass(frozen=True, slots=True)
class Judgement:
    """A batch, judged. `value` is `loss` as a number, `parts` each output's own loss, unweighted.

    `outputs` and `targets` are those that were judged: of a masked output, the steps that the mask leaves.
    """

    loss: Tensor
    value: float
    parts: Mapping[str, float]
    outputs: Mapping[str, Tensor]
    targets: Mapping[str, Tensor]


class Judge:
    """The losses of a program's outputs, weighted, and the penalties on its weights.

    A `learned` weight is uncertainty weighting (Kendall et al., 2018): the loss of an output is divided by a
    variance that is learned, and the variance's logarithm is added. Its parameter belongs here, not to the
    model.
    """

    def __init__(
        self,
        inputs: Iterable[str],
        outputs: Mapping[str, Any],
        device: torch.device,
        penalties: Penalties | None = None,
    ):
        self.penalties = penalties
        self.inputs = list(inputs)
        self.outputs = dict(outputs)
        self.judged = [name for name, output in outputs.items() if output.loss is not None]
        learned = [name for name in self.judged if outputs[name].loss_weight == "learned"]
        self.log_variances = {name: nn.Parameter(torch.zeros((), device=device)) for name in learned}

    def __call__(self, module: nn.Module, batch: Batch) -> Judgement:
        """Run the model on a batch, inputs and targets by name, and judge it."""
        inputs = [batch.arrays[name] for name in self.inputs]
        values = module(*inputs, logits=True)
        found = values if isinstance(values, dict) else {next(iter(self.outputs)): values}
        targets = {
            name: batch.arrays[o.target] for name, o in self.outputs.items() if o.target in batch.arrays
        }
        for name, output in self.outputs.items():
            if output.mask is not None:  # only the steps that it leaves are judged
                mask = found[output.mask]
                found[name] = found[name][mask]
                targets = {**targets, name: targets[name][mask]} if name in targets else targets
        parts = {name: self._part(name, found[name], targets) for name in self.judged}
        weighted = [self._weighted(name, part) for name, part in parts.items()]
        if self.penalties:
            weighted.append(self.penalties.loss())
        loss = weighted[0] if len(weighted) == 1 else torch.stack(weighted).sum()
        numbers = torch.stack([loss, *parts.values()]).tolist()  # one wait for the device, not one each
        return Judgement(loss, numbers[0], dict(zip(parts, numbers[1:], strict=True)), found, targets)

    def _part(self, name: str, value: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        output = self.outputs[name]
        if not value.numel():
            return value.sum()  # every step is masked: 0, and not the mean of nothing
        target = targets[name] if output.loss.takes_target else None
        return losses.evaluate(output.loss, value, target, output.activation)

    def _weighted(self, name: str, part: Tensor) -> Tensor:
        if name in self.log_variances:
            variance = self.log_variances[name]
            return (-variance).exp() * part + variance
        weight = self.outputs[name].loss_weight
        return part if weight == 1 else part * weight


@dataclass(slots=True)
class Meter:
    """The means and metrics of an epoch, gathered batch by batch and named as Keras names them."""

    outputs: Mapping[str, Any]
    count: int = 0
    _loss: float = 0.0
    _parts: dict[str, float] = field(default_factory=dict)
    _held: dict[str, list[tuple[Tensor, Tensor]]] = field(default_factory=dict)
    _values: int = 0
    _sums: dict[tuple[str, int], Tensor] = field(default_factory=dict)

    def add(self, judgement: Judgement, batch: Batch) -> None:
        """Take in a batch and its judgement."""
        count = len(batch)
        self.count += count
        self._loss += judgement.value * count
        if len(self.outputs) > 1:
            for name, part in judgement.parts.items():
                self._parts[name] = self._parts.get(name, 0.0) + part * count
        for name, output in self.outputs.items():
            if output.metrics:
                value = judgement.outputs[name].detach()
                self._held.setdefault(name, []).append((value, judgement.targets[name]))
                self._values += value.numel()
        if self._values > HELD:
            self._count_up()

    def loss(self) -> float:
        """The mean loss so far, over examples."""
        return self._loss / self.count

    def result(self, prefix: str = "") -> Values:
        """`loss`, each output's loss where there are several, then the metrics."""
        self._count_up()
        found: Values = {f"{prefix}loss": self.loss()}
        for name, total in self._parts.items():
            found[f"{prefix}{name}_loss"] = total / self.count
        for name, output in self.outputs.items():
            start = f"{prefix}{name}_" if len(self.outputs) > 1 else prefix
            for index, metric in enumerate(output.metrics):
                before = sum(other.name == metric.name for other in output.metrics[:index])
                key = f"{start}{metric.name}_{before}" if before else start + metric.name
                found[key] = metrics.result(_resolved(metric, output), self._sums[name, index])
        return found

    def _count_up(self) -> None:
        """Let the metrics look at what is held, and let go of it."""
        for name, held in self._held.items():
            output = self.outputs[name]
            value = losses.activate(torch.cat([value for value, _ in held]), output.activation)
            target = torch.cat([target for _, target in held])
            for index, metric in enumerate(output.metrics):
                sums = metrics.statistics(_resolved(metric, output), value, target)
                known = self._sums.get((name, index))
                self._sums[name, index] = sums if known is None else known + sums
        self._held.clear()
        self._values = 0


def _resolved(metric: Metric, output: Any) -> Metric:
    return metric.resolve(output.tensors[0], output.loss)
