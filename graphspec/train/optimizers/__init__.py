"""Keras' optimizers on torch tensors: the same formulas, so the same trajectories.

They are not `torch.optim`: its formulas place epsilon elsewhere, and its first optimizer imports
torch._dynamo, which takes longer than many a small training. The kernels are torch's own: the fused Adam
where it serves, else `_foreach_`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from graphspec.contract.layer import Weight
from graphspec.diagnostics import fail
from graphspec.train import config
from graphspec.train.optimizers.groups import Group, Number, Tensors
from graphspec.train.parallel.files import fill
from graphspec.train.parallel.shards import is_sharded, like, local, sharing

Schedule = Callable[[int], float]
"""The learning rate of a step, from the number of steps before it."""


class Optimizer:
    """Named weights and their optimizer state.

    `iterations` counts steps. The learning rate is that of `schedule`, else the optimizer's, which may be
    changed between steps. `groups` are weights that are updated otherwise: settings of their own, and what
    multiplies the learning rate. `layouts` say how Keras stores the weights, where an update asks for it.
    Of weights that are sharded each process moves its part.
    """

    def __init__(
        self,
        config: config.OptimizerSettings,
        weights: Mapping[str, Tensor],
        *,
        schedule: Schedule | None = None,
        groups: Sequence[tuple[Sequence[str], config.OptimizerSettings, float]] = (),
        layouts: Mapping[str, Weight] | None = None,
    ):
        self.config = config
        self.schedule = schedule
        self.weights = dict(weights)
        self.iterations = 0
        self.averages: dict[str, Tensor] = {}
        """The moving averages of the weights, where the optimizer keeps them (`use_ema`)."""
        self._rate = config.learning_rate
        apart = {name for names, _, _ in groups for name in names}
        rest = [name for name in self.weights if name not in apart]
        self._parts = [*groups, (rest, config, 1.0)]
        self._layouts = dict(layouts or {})
        self._groups: list[Group] = []
        self.traceable = False
        """Whether `trace` has the updates of this optimizer; not before its first step."""
        self._moved: list[str] = []
        self._starts: list[int] = []
        """For each of `_groups`, the steps that were done before its first one."""
        self._stages: list[tuple[int, list[str]]] = []
        self._growing = False

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return self._rate if self.schedule is None else self.schedule(self.iterations)

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        if self.schedule is not None:
            message = "a callback sets the learning rate, and `schedule` gives it"
            help = "keep one of them: delete `schedule`, or what the callback sets"
            raise fail("callback-misfit", message, help)
        self._rate = float(value)  # and not one of numpy's, which no checkpoint holds

    def rates(self, step: int) -> list[float]:
        """The learning rates of the groups in a step, from the number of steps before it."""
        rate = self._rate if self.schedule is None else self.schedule(step)
        pairs = zip(self._groups, self._starts, strict=True)
        return [own for group, before in pairs for own in group.rates(rate, step + 1 - before)]

    @torch.no_grad()
    def step(self) -> None:
        """Updates the weights by their gradients; a weight without gradient is not changed.

        Clears the gradients.
        """
        if not self._groups or self._growing:
            known, self._growing = set(self._moved), False
            reached = [name for name, weight in self.weights.items() if weight.grad is not None]
            self._begin([name for name in reached if name not in known], self.iterations)
        gradients, number = [self._gradient(name) for name in self._moved], self.iterations + 1
        self._update(gradients, self.rates(self.iterations), [number - before for before in self._starts])
        self.advance()
        for name in self._moved:
            self.weights[name].grad = None

    def grows(self) -> None:
        """More weights may have gradients from the next step on, whose state begins then."""
        self._growing = True

    def advance(self) -> None:
        """A step is done: it counts, and averages follow the weights."""
        self.iterations += 1
        if self.config.use_ema:
            self._average()

    @property
    def moved(self) -> Tensors:
        """The weights that the loss reaches, in the order of the gradients that `trace` takes."""
        return [self.weights[name] for name in self._moved]

    @property
    def touched(self) -> Tensors:
        """The tensors that `trace` changes: the weights that the loss reaches, and their slots."""
        return self.moved + [each for group in self._groups for own in group.state.values() for each in own]

    def trace(self, gradients: Tensors, rates: Sequence[Tensor]) -> None:
        """The update of a step as torch.compile takes it into its graph; `advance` follows outside of it.

        The `rates` are float64 tensors of no axes.
        """
        self._update(gradients, rates, [0] * len(self._groups))

    def _update(self, gradients: Tensors, rates: Sequence[Number], steps: Sequence[int]) -> None:
        if self._clips:
            gradients = self._clip(gradients)
        left, rest = iter(gradients), iter(rates)
        for group, step in zip(self._groups, steps, strict=True):
            group.step([next(left) for _ in group.weights], (next(rest), next(rest)), step)

    def _begin(self, moved: list[str], begun: int) -> None:
        """Groups of the weights that the loss reaches, beside those that there are; the graph is static, so
        they stay the same until it `grows`.
        """
        there = set(moved)
        for names, settings, factor in self._parts:
            chosen = {name: local(self.weights[name]) for name in names if name in there}
            self._groups += self._groups_of(settings, factor, chosen)
        self._starts += [begun] * (len(self._groups) - len(self._starts))
        self._stages.append((begun, list(moved)))
        self._moved = [name for group in self._groups for name in group.names]
        self.traceable = bool(self._groups) and all(group.config.traceable for group in self._groups)
        config = self.config
        self._clips = not config.clipnorm is config.clipvalue is config.global_clipnorm is None

    def _groups_of(
        self, settings: config.OptimizerSettings, factor: float, weights: Mapping[str, Tensor]
    ) -> Iterable[Group]:
        """The groups of weights that have one configuration; none without weights."""
        for rule, ratio, decay, chosen in settings.parts(weights, self._layouts):
            if not chosen:
                continue
            layouts = [self._layouts.get(name) for name in chosen]
            group = Group(rule, factor * ratio, decay, list(chosen), list(chosen.values()), layouts)
            rule.begin(group)
            for slot, value in rule.slots.items():
                if slot not in group.state:
                    group.state[slot] = [torch.full_like(weight, value) for weight in group.weights]
            yield group

    def _gradient(self, name: str) -> Tensor:
        gradient = self.weights[name].grad
        if gradient is None:
            raise RuntimeError("the weights that the loss depends on changed between two steps")
        return local(gradient)

    def _norms(self, gradients: Tensors) -> Tensors:
        """The norm of each weight's whole gradient."""
        norms = list(torch._foreach_norm(gradients))
        sharded = [is_sharded(self.weights[name]) for name in self._moved]
        if not any(sharded):
            return norms
        squares = torch.stack(norms).square()
        group = sharing(self.weights[self._moved[sharded.index(True)]])
        torch.distributed.all_reduce(squares, group=group)
        return [found.sqrt() if cut else own for found, own, cut in zip(squares, norms, sharded, strict=True)]

    def _clip(self, gradients: Tensors) -> Tensors:
        config = self.config
        if config.clipnorm is not None:
            weight_norms = self._norms(gradients)
            norms: Tensors = []
            for group in self._groups:
                norms += group.together(weight_norms[len(norms) : len(norms) + len(group.weights)])
            scale = [config.clipnorm / norm.clamp(min=config.clipnorm) for norm in norms]
            return list(torch._foreach_mul(gradients, scale))
        if config.global_clipnorm is not None:
            norm = torch.stack(self._norms(gradients)).norm()
            return list(
                torch._foreach_mul(gradients, config.global_clipnorm / norm.clamp(min=config.global_clipnorm))
            )
        assert config.clipvalue is not None
        lower = torch._foreach_clamp_min(gradients, -config.clipvalue)
        return list(torch._foreach_clamp_max(lower, config.clipvalue))

    # --- averages

    @torch.no_grad()
    def _average(self) -> None:
        """Updates the averages; they start at the first step, as in Keras."""
        if not self.averages:
            self.averages = {name: weight.clone() for name, weight in self._own_weights().items()}
        else:
            averages, weights = list(self.averages.values()), list(self._own_weights().values())
            torch._foreach_lerp_(averages, weights, 1 - self.config.ema_momentum)
        every = self.config.ema_overwrite_frequency
        if every and self.iterations % every == 0:
            self.overwrite()

    @torch.no_grad()
    def overwrite(self) -> None:
        """Replaces the weights by their averages, as Keras does at the end of training."""
        for name, weight in self._own_weights().items():
            if name in self.averages:
                weight.copy_(self.averages[name])

    @torch.no_grad()
    def swap(self) -> None:
        """Swaps weights and averages: before an evaluation, and again after it."""
        for name, weight in self._own_weights().items():
            if name in self.averages:
                kept = weight.clone()
                weight.copy_(self.averages[name])
                self.averages[name].copy_(kept)

    def _own_weights(self) -> dict[str, Tensor]:
        """The weights, or what this process holds of them."""
        return {name: local(weight.detach()) for name, weight in self.weights.items()}

    # --- state

    def state_dict(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The state between steps: tensors by name, and numbers as JSON."""
        tensors = {f"average/{name}": like(self.weights[name], a) for name, a in self.averages.items()}
        for group in self._groups:
            for slot, values in group.state.items():
                for name, value in zip(group.names, values, strict=True):
                    tensors[f"{slot}/{name}"] = like(self.weights[name], value)
        numbers = {
            "iterations": self.iterations,
            "learning_rate": self._rate,
            "moved": self._moved,
            "products": [group.product for group in self._groups],
            **({"stages": self._stages} if len(self._stages) > 1 else {}),
        }
        return tensors, numbers

    @torch.no_grad()
    def load_state_dict(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Restores a `state_dict`, bit for bit. The weights themselves are not part of it."""
        self.iterations, self._rate = numbers["iterations"], numbers["learning_rate"]
        self._groups, self._starts, self._stages = [], [], []
        for begun, names in numbers.get("stages") or [(0, numbers["moved"])]:
            if names:
                self._begin(names, begun)
        for group, product in zip(self._groups, numbers["products"], strict=True):
            group.product = product
        averaged = {name for name in self.weights if f"average/{name}" in tensors}
        self.averages = {n: torch.empty_like(w) for n, w in self._own_weights().items() if n in averaged}
        fill(self.state_dict()[0], tensors)
