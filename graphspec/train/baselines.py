"""Baselines without the model: constants, the last season, a linear model, boosted trees; measured on the
same rows by the same losses and metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from graphspec.data.batches import Examples, Rebatched, Shuffle
from graphspec.data.encoders import Encoders
from graphspec.data.windows import naive
from graphspec.data.windows.examples import InTime
from graphspec.elaborated import BaseProgram, OutputSpec
from graphspec.objectives.losses import (
    Binary,
    Categorical,
    MeanAbsoluteError,
    QuantileLoss,
    Regression,
    SparseLoss,
)
from graphspec.train.objective import Objective

ROWS, WIDTH = 20_000, 2048
"""Training rows that are learned from, and the columns of a linear model, at most."""
BYTES = 2**27
"""Bytes of training rows that are read, about."""
WORK, STEPS = 10**8, 100
"""Products of a pass over the rows of a linear model, at most, and passes over the rows of classes."""
TREES = 256
"""Columns of boosted trees, at most."""
LEAST = 20
"""Rows that a linear model learns from, at least."""
Rule = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


class Baseline(nn.Module):
    """Something that answers as the module of a program does, from the arrays of these names."""

    def __init__(self, names: list[str], rule: Rule):
        super().__init__()
        self.names, self.rule = names, rule

    def forward(self, *arrays: Tensor, logits: bool = True) -> dict[str, Tensor]:
        """The outputs by name, as losses read them."""
        return self.rule(dict(zip(self.names, arrays, strict=True)))


def baselines(
    program: BaseProgram,
    encoders: Encoders | None,
    training: Examples,
    held: Examples,
    boosting: bool = False,
) -> tuple[Objective | None, dict[str, Baseline]]:
    """By name what answers without the model, learned from training rows, and what judges it on `held`: None
    with nothing where an output is neither of classes nor of numbers. `boosting` adds boosted trees, if
    scikit-learn is there.
    """
    if not all(map(_is_known, program.outputs.values())):
        return None, {}
    table = LearnedTable.of(program, training)
    if table is None:
        return None, {}
    units = encoders.units() if encoders is not None else {}
    device = next(iter(next(held.batches(1)).arrays.values())).device
    names = list(program.inputs)
    objective = Objective(names, program.outputs, device, None, units)
    rules = {_same(program): table.constant(device), **dict(_seasons(program, encoders, held))}
    for name, rule in (("a linear model", table.linear), ("boosted trees", table.boosted)):
        made = rule() if name == "a linear model" or boosting else None
        if made is not None:
            rules[name] = made
    return objective, {name: Baseline(names, rule) for name, rule in rules.items()}


def _is_known(output: OutputSpec) -> bool:
    kinds = Categorical | Binary | Regression | QuantileLoss
    sizes = output.tensors[0].shape[1:]
    whole = len(output.tensors) == 1 and output.mask is None and all(isinstance(size, int) for size in sizes)
    return whole and isinstance(output.loss, kinds)


def _same(program: BaseProgram) -> str:
    """The name of constants in messages."""
    kinds = {isinstance(output.loss, Categorical | Binary) for output in program.outputs.values()}
    if len(kinds) > 1:
        return "the mean or the majority"
    return "the majority" if True in kinds else "the mean"


def _seasons(program: BaseProgram, encoders: Encoders | None, held: Examples) -> Iterator[tuple[str, Rule]]:
    """The last season once more, where all outputs are forecasts of numbers."""
    while isinstance(held, Rebatched):
        held = held.examples
    windows = program.data.windows if program.data is not None else None
    if windows is None or encoders is None or not isinstance(held, InTime):
        return
    if set(naive.forecasts(encoders)) != set(program.outputs):
        return
    views = {name: naive.view_of(held, o.target, windows) for name, o in program.outputs.items()}
    first = 0

    def rule(arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:  # in the order of the examples
        nonlocal first
        like = next(value for value in arrays.values() if value is not None)
        rows, first = slice(first, first + len(like)), first + len(like)
        values = {name: view[rows].to(like.device) for name, view in views.items()}
        return {name: _shaped(values[name], program.outputs[name]) for name in values}

    steps = f"{windows.season} steps" if windows.season > 1 else "step"
    yield f"repeating the last {steps}", rule


def _shaped(value: Tensor, output: OutputSpec) -> Tensor:
    """Numbers in the form of an output; of quantiles each the same."""
    shape = _shape(output)
    if isinstance(output.loss, QuantileLoss):
        return value.reshape(len(value), *shape[:-1], 1).expand(len(value), *shape).contiguous()
    return value.reshape(len(value), *shape).float()


def _shape(output: OutputSpec) -> tuple[int, ...]:
    """The sizes of an output without the batch."""
    return tuple(size for size in output.tensors[0].shape[1:] if isinstance(size, int))


def _logits(chances: Tensor, output: OutputSpec) -> Tensor:
    """Probabilities in the form of an output, as the loss reads them."""
    assert output.loss is not None
    chances = chances.clamp(1e-6, 1)
    if output.activation is None and not output.loss.takes_logits:
        return chances
    return chances.clamp(max=1 - 1e-6).logit() if isinstance(output.loss, Binary) else chances.log()


@dataclass(frozen=True, slots=True)
class LearnedTable:
    """Training rows as arrays on the CPU, by name; the targets of outputs, and the rows that have them."""

    program: BaseProgram
    arrays: dict[str, Tensor]
    targets: dict[str, Tensor]
    there: dict[str, Tensor]
    widths: dict[str, int]
    """The columns of each input in the table of a linear model: numbers as they are, ids as one each."""

    @classmethod
    def of(cls, program: BaseProgram, training: Examples) -> LearnedTable | None:
        """The first rows, or if they are too many some of all; None where they lack a target."""
        first = next(training.batches(1)).arrays
        wide = {name for name in program.inputs if name in first and first[name].numel() > WIDTH}
        most = max(1, min(ROWS, BYTES // max(1, sum(array.nbytes for array in first.values()))))
        order = None if len(training) <= most else Shuffle(program.training.seed, 0)
        parts: dict[str, list[Tensor]] = {}
        masks: dict[str, list[Tensor]] = {}
        count = 0
        for batch in training.batches(min(1024, most), order):
            for found, group in ((batch.arrays, parts), (batch.masks, masks)):
                for name in found.keys() - wide:
                    group.setdefault(name, []).append(found[name].cpu())
            count += len(batch)
            if count >= most:
                break
        even = {n: v for n, v in parts.items() if len({part.shape[1:] for part in v}) == 1}
        arrays = {name: torch.cat(values) for name, values in even.items()}
        targets, there = {}, {}
        for name, output in program.outputs.items():
            if output.target not in arrays or output.target in program.inputs:
                return None
            mask = torch.cat(masks[name]).reshape(count, -1).all(1) if name in masks else None
            there[name] = torch.ones(count, dtype=torch.bool) if mask is None else mask
            if not there[name].any():
                return None
            targets[name] = arrays[output.target]
        known = {name: arrays[name] for name in program.inputs if name in arrays and name not in wide}
        widths = {name: _width(array) for name, array in known.items()}
        return cls(program, known, targets, there, widths)

    def constant(self, device: torch.device) -> Rule:
        """The same answer for all rows: the shares of classes, the mean, or what else the loss asks for."""
        values = {name: self._constant(output).to(device) for name, output in self.program.outputs.items()}

        def rule(arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
            count = len(next(value for value in arrays.values() if value is not None))
            return {name: value.expand(count, *value.shape).contiguous() for name, value in values.items()}

        return rule

    def _constant(self, output: OutputSpec) -> Tensor:
        target = self.targets[output.name][self.there[output.name]]
        shape = _shape(output)
        if isinstance(output.loss, SparseLoss):
            known = target.long().flatten().clamp(0, shape[-1] - 1)
            return _logits((known.bincount(minlength=shape[-1]) / len(known)).expand(shape), output)
        if isinstance(output.loss, QuantileLoss):
            parts = np.quantile(
                target.numpy(), output.loss.levels, 0
            )  # torch's takes 16 million numbers at most
            return torch.from_numpy(parts).float().movedim(0, -1).reshape(shape)
        median = isinstance(output.loss, MeanAbsoluteError)
        middle = target.float().median(0).values if median else target.float().mean(0)
        middle = middle.reshape(shape)
        return middle if isinstance(output.loss, Regression) else _logits(middle, output)

    # --- what learns

    def design(self, arrays: Mapping[str, Tensor]) -> Tensor:
        """[n, columns], float32: numbers flat, and for each id a column that says whether the row has it."""
        parts = []
        for name, width in self.widths.items():
            array = arrays[name]
            if array.is_floating_point() or array.dtype == torch.uint8:
                parts.append(array.float().reshape(len(array), -1))
                continue
            ids = array.long().reshape(len(array), -1).clamp(0, width)
            parts.append(torch.zeros(len(ids), width + 1, device=ids.device).scatter_(1, ids, 1)[:, :width])
        return torch.cat(parts, 1)

    def _fitting(self) -> bool:
        """Whether the inputs are a table that is small enough to learn from."""
        outputs = self.program.outputs.values()
        has_all = set(self.widths) == set(self.program.inputs) - set(self.program.defaults)
        learnable = not any(
            isinstance(output.loss, QuantileLoss)
            or (isinstance(output.loss, Categorical) and len(output.tensors[0].shape) != 2)
            for output in outputs
        )
        return has_all and learnable and 0 < sum(self.widths.values()) <= WIDTH

    def linear(self) -> Rule | None:
        """Ridge regression of numbers, logistic regression of classes; None where there is no table."""
        if not self._fitting():
            return None
        x = self.design(self.arrays)
        mean, scale = x.mean(0), x.std(0, correction=0)
        scale = torch.where(scale > 1e-6, scale, torch.ones(()))
        x = torch.cat([(x - mean) / scale, torch.ones(len(x), 1)], 1)
        weights = {}
        for name, output in self.program.outputs.items():
            there = self.there[name]
            count = min(int(there.sum()), WORK // (x.shape[1] * _shape(output)[-1]))
            if count < LEAST:
                return None
            rows = there.nonzero().flatten()[:count]
            weights[name] = _fitted(x[rows], self.targets[name][rows], output)

        def rule(arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
            given = self.design(arrays)
            known = torch.cat(
                [(given - mean.to(given)) / scale.to(given), torch.ones(len(given), 1, device=given.device)],
                1,
            )
            return {name: self._answer(known @ weights[name].to(given), name) for name in weights}

        return rule

    def _answer(self, value: Tensor, name: str) -> Tensor:
        output = self.program.outputs[name]
        value = _shaped(value, output)
        if isinstance(output.loss, Regression):
            return value
        binary = isinstance(output.loss, Binary)
        return _logits(value.sigmoid() if binary else value.softmax(-1), output)

    def boosted(self) -> Rule | None:
        """Boosted trees of scikit-learn, where it is there and each row has one answer."""
        small = self._fitting() and sum(self.widths.values()) <= TREES
        if not small or find_spec("sklearn") is None:
            return None
        from sklearn.ensemble import (
            HistGradientBoostingClassifier,
            HistGradientBoostingRegressor,
        )

        x, models = self.design(self.arrays).numpy(), dict[str, Any]()
        for name, output in self.program.outputs.items():
            there, target = self.there[name], self.targets[name]
            sizes, numbers = _shape(output), isinstance(output.loss, Regression)
            if len(sizes) != 1 or (sizes[0] != 1 and not isinstance(output.loss, SparseLoss)):
                return None
            made = HistGradientBoostingRegressor if numbers else HistGradientBoostingClassifier
            answers = target[there].reshape(-1).numpy()
            if not numbers and len(set(answers.tolist())) < 2:
                return None
            models[name] = made(random_state=0).fit(x[there.numpy()], answers)

        def rule(arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
            device = next(iter(arrays.values())).device
            given = self.design(arrays).cpu().numpy()
            return {name: self._grown(model, given, name).to(device) for name, model in models.items()}

        return rule

    def _grown(self, model: Any, given: Any, name: str) -> Tensor:
        output = self.program.outputs[name]
        if isinstance(output.loss, Regression):
            return torch.from_numpy(model.predict(given)).float()[:, None]
        chances = torch.from_numpy(model.predict_proba(given)).float()
        if isinstance(output.loss, Binary):
            return _logits(chances[:, 1:], output)
        every = torch.zeros(len(chances), _shape(output)[-1])
        every[:, torch.from_numpy(model.classes_).long()] = chances
        return _logits(every, output)


def _width(array: Tensor) -> int:
    """The columns of an input: of each number its own, of ids one each, the most frequent."""
    if array.is_floating_point() or array.dtype == torch.uint8:
        return array[0].numel()
    return min(int(array.max()) + 1, WIDTH // 2)


def _fitted(x: Tensor, target: Tensor, output: OutputSpec) -> Tensor:
    """The weights [columns, outputs] of a linear model with the regularization that scikit-learn has."""
    if isinstance(output.loss, Regression):
        x, y = x.double(), target.double().reshape(len(x), -1)
        penalty = torch.eye(x.shape[1], dtype=x.dtype)
        penalty[-1, -1] = 1e-9
        solved: Tensor = torch.linalg.solve(x.T @ x + penalty, x.T @ y)
        return solved.float()
    binary, x = isinstance(output.loss, Binary), x.double()
    if isinstance(output.loss, SparseLoss):
        target = nn.functional.one_hot(target.long().flatten(), _shape(output)[-1])
    y = target.double().reshape(len(x), -1)
    penalty = torch.ones(x.shape[1], 1, dtype=x.dtype)
    penalty[-1] = 1e-9
    # the curvature of the loss is nowhere more than this; Nesterov's steps
    steepest = (0.25 if binary else 0.5) * x.T @ x + torch.diag(penalty[:, 0])
    factor = torch.linalg.cholesky(steepest)
    weights: Tensor = torch.zeros(x.shape[1], y.shape[1], dtype=x.dtype)
    ahead = weights
    for step in range(STEPS):
        value = x @ ahead
        chances = value.sigmoid() if binary else value.softmax(-1)
        before, gradient = weights, x.T @ (chances - y) + penalty * ahead
        weights = ahead - torch.cholesky_solve(gradient, factor)
        ahead = weights + step / (step + 3) * (weights - before)
    return weights.float()
