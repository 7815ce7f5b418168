"""The means and metrics of an epoch, gathered batch by batch where the model is, and read when asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from graphspec.data.batches import Batch
from graphspec.data.fields import UNIT
from graphspec.elaborated import OutputSpec
from graphspec.objectives import Metric
from graphspec.objectives.formulas import activate, aligned
from graphspec.objectives.history import metric_names
from graphspec.train.batch_result import BatchResult, Term
from graphspec.train.parallel.world import World

HELD = 2**20
"""How many values are held before the metrics look at them: a few large calls, not one a step."""
TERMS = 2**10
"""How many terms of a mean are held before they are added."""

Values = dict[str, float | list[float]]
Units = Mapping[str, Callable[..., Tensor]]


@dataclass(slots=True)
class Meter:
    """The means and metrics of an epoch, with Keras' names.

    Means are over all positions that count, not over the batches' means. Nothing is read from the device
    before `loss` or `result`, or before there is much to read. Whenever that is, numbers are added in the
    order of the batches, so that sums are the same to the bit.
    """

    outputs: Mapping[str, Any]
    units: Units = field(default_factory=dict)
    count: int = 0
    _sums: dict[str, float] = field(default_factory=dict)
    _counts: dict[str, float] = field(default_factory=dict)
    _terms: dict[str, list[Term]] = field(default_factory=dict)
    _held: dict[str, list[dict[str, Tensor]]] = field(default_factory=dict)
    _values: int = 0
    _statistics: dict[tuple[str, int], Tensor] = field(default_factory=dict)

    def add(self, result: BatchResult, batch: Batch, again: bool = False) -> None:
        """Adds a batch and its result, in which only the loss has a gradient. `again` says that it is a
        further result for the same batch: several updates each report some outputs.
        """
        if batch.idle:
            return
        self.count += 0 if again else len(batch)
        for name, term in result.terms.items():
            terms = self._terms.setdefault(name, [])
            terms.append(term)
            if len(terms) >= TERMS:
                self._add_up()
        for name, output in self.outputs.items():
            if output.metrics and name in result.outputs:
                value = result.outputs[name]
                held = {"value": value.detach() if value.requires_grad else value}
                held["target"] = result.targets[name]
                if name in result.masks:
                    held["masks"] = result.masks[name]
                if name in batch.weights:
                    held["weights"] = batch.weights[name]
                if (unit := batch.arrays.get(output.target + UNIT)) is not None:
                    held["unit"] = unit
                self._hold(name, held)
        if self._values > HELD:
            self.settle()

    def loss(self) -> float:
        """The mean loss so far."""
        return self._mean_loss(self._means())

    def result(self, prefix: str = "") -> Values:
        """`loss`, each output's loss where there are several, then the metrics."""
        self.settle()
        means = self._means()
        values: Values = {f"{prefix}loss": self._mean_loss(means)}
        if len(self.outputs) > 1:
            own = {name: mean for name, mean in means.items() if name in self.outputs}
            values |= {f"{prefix}{name}_loss": mean for name, mean in own.items()}
        for name, output in self.outputs.items():
            start = f"{prefix}{name}_" if len(self.outputs) > 1 else prefix
            for index, key in enumerate(metric_names(output.metrics)):
                metric = _resolved(output.metrics[index], output)
                values[start + key] = metric.result(self._statistics[name, index])
        return values

    def state_dict(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The accumulated state, as tensors by name and as JSON; loading it continues exactly."""
        self._add_up()
        tensors = {f"sum.{k}": torch.tensor(v, dtype=torch.float64) for k, v in self._sums.items()}
        tensors |= {f"metric.{name}.{index}": sums for (name, index), sums in self._statistics.items()}
        for name, held in self._held.items():
            tensors |= {f"held.{name}.{key}": torch.cat([h[key] for h in held]) for key in held[0]}
        return tensors, {"count": self.count, "counts": dict(self._counts), "values": self._values}

    def load_state_dict(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Restores a `state_dict`, with its tensors on the model's device."""
        self.count, self._values = numbers["count"], numbers["values"]
        self._counts = dict(numbers["counts"])
        held: dict[str, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            kind, _, name = key.partition(".")
            if kind == "sum":
                self._sums[name] = tensor.item()
            elif kind == "count":  # of an older checkpoint
                self._counts[name] = tensor.item()
            elif kind == "metric":
                output, _, index = name.rpartition(".")
                self._statistics[output, int(index)] = tensor.clone()
            else:
                output, _, part = name.rpartition(".")
                held.setdefault(output, {})[part] = tensor.clone()
        self._held = {name: [parts] for name, parts in held.items()}
        self._sums = {name: self._sums[name] for name in self._counts}  # added up in the order of the terms

    def together(self, world: World) -> Meter:
        """The merged meters of all processes, each with its own examples; the same in every process."""
        if world.alone:
            return self
        self.settle()
        tensors, numbers = self.state_dict()
        states = world.gather(({name: tensor.cpu() for name, tensor in tensors.items()}, numbers))
        merged = Meter(self.outputs, self.units)
        for part in states:
            other = Meter(self.outputs, self.units)
            other.load_state_dict(*part)
            merged.join(other)
        return merged

    def join(self, other: Meter) -> None:
        """Adds the state of another meter."""
        self._add_up()
        other.settle()
        for name, value in other._sums.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + other._counts[name]
        for key, sums in other._statistics.items():
            name, index = key
            known = self._statistics.get(key)
            metric = _resolved(self.outputs[name].metrics[index], self.outputs[name])
            self._statistics[key] = sums if known is None else metric.joined(known, sums)

    def _means(self) -> dict[str, float]:
        """The mean of each term."""
        self._add_up()
        return {name: value / (self._counts[name] or 1) for name, value in self._sums.items()}

    def _add_up(self) -> None:
        """Adds the terms that are held, and releases these; of each a wait for the device."""
        for name, terms in self._terms.items():
            values, divisors = _numbers([term.value for term in terms]), _numbers([t.divisor for t in terms])
            total, count = self._sums.get(name, 0.0), self._counts.get(name, 0)
            for value, divisor, own in zip(values, divisors, _numbers([t.count for t in terms]), strict=True):
                total += value * divisor
                count += own
            self._sums[name], self._counts[name] = total, count
        self._terms.clear()

    def _mean_loss(self, means: Mapping[str, float]) -> float:
        total = 0.0
        for name, mean in means.items():
            weight = self.outputs[name].loss_weight if name in self.outputs else 1.0
            total += weight * mean if isinstance(weight, int | float) else 0.0  # others are in the rest
        return total

    def _hold(self, name: str, held: dict[str, Tensor]) -> None:
        before = self._held.setdefault(name, [])
        if before and any(held[key].shape[1:] != tensor.shape[1:] for key, tensor in before[0].items()):
            self.settle()  # of another length
            before = self._held.setdefault(name, [])
        before.append(held)
        self._values += held["value"].numel()

    @torch.no_grad()
    def settle(self) -> None:
        """Updates means and metrics with the batches that are held, and releases these."""
        self._add_up()
        for name, held in self._held.items():
            output = self.outputs[name]
            joined = {key: torch.cat([each[key] for each in held]) for key in held[0]}
            logits, target = joined["value"], joined["target"]
            metrics = [_resolved(metric, output) for metric in output.metrics]
            of_logits = [metric.reads_order and output.activation == "softmax" for metric in metrics]
            value = logits if all(of_logits) else activate(logits, output.activation)
            value = output.answered(value)
            if name in self.units:
                value, target = (self.units[name](each, joined.get("unit")) for each in (value, target))
            for index, metric in enumerate(metrics):
                weight = _weight(output.metrics[index], joined.get("masks"), joined.get("weights"))
                sums = metric.statistics(logits if of_logits[index] else value, target, weight)
                known = self._statistics.get((name, index))
                self._statistics[name, index] = sums if known is None else metric.joined(known, sums)
        self._held.clear()
        self._values = 0


def _numbers(values: Sequence[float | Tensor]) -> Sequence[float]:
    """Reads all values that are on the device at once."""
    tensors = [value for value in values if isinstance(value, Tensor)]
    read = iter(torch.stack(tensors).tolist() if tensors else ())
    return [next(read) if isinstance(value, Tensor) else value for value in values]


def _weight(metric: Metric, mask: Tensor | None, weights: Tensor | None) -> Tensor | None:
    """The weight of a metric's values: 0 where there is no target, and the example's weight if asked."""
    if not metric.weighted or weights is None:
        return mask
    return weights if mask is None else aligned(weights, mask) * aligned(mask, weights)


def _resolved(metric: Metric, output: OutputSpec) -> Metric:
    return metric.resolve(output.tensors[0], output.loss)
