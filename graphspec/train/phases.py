"""The phases of a training: what trains in each, by which updates on each batch. Most have one of both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate

from torch import Tensor, nn

from graphspec.elaborated import BaseProgram
from graphspec.train.compiled import Compiled, CompiledStep
from graphspec.train.config import TrainConfig
from graphspec.train.freezing import Freezing
from graphspec.train.objective import Objective
from graphspec.train.optimizers import Optimizer
from graphspec.train.optimizers.setup import optimizer_for
from graphspec.train.penalties import Penalties


@dataclass(frozen=True, slots=True)
class Update:
    """A loss, the weights that it moves, and how: `repeat` times on each batch.

    `others` are weights that other updates of the phase move, and `rest` all that this one does not move:
    where processes have a part of each weight, gradients reach them none the less.
    """

    objective: Objective
    penalties: Penalties
    optimizer: Optimizer
    compiled: CompiledStep
    repeat: int
    others: tuple[Tensor, ...]
    rest: tuple[Tensor, ...]

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Inside, the gradient reaches no weight that others move; none keeps one that this does not move."""
        for weight in self.others:
            weight.requires_grad_(False)
        yield
        for weight in self.others:
            weight.requires_grad_(True)
        for weight in self.rest:
            weight.grad = None

    def move(self) -> None:
        """Moves the weights by their gradients, unless the compiled step has."""
        if self.compiled.updated:
            self.optimizer.advance()
        else:
            self.optimizer.step()
        self.penalties.constrain()


@dataclass(frozen=True, slots=True)
class Phase:
    """A phase under way, by its `number` from 0."""

    number: int
    config: TrainConfig
    updates: tuple[Update, ...]
    freezing: Freezing
    still: tuple[nn.Module, ...]

    @property
    def turns(self) -> tuple[Update, ...]:
        """The updates on each batch, one after another."""
        return tuple(update for update in self.updates for _ in range(update.repeat))

    def begin(self, epoch: int) -> None:
        """Sets what trains in an epoch, counted from 0; the module is in training mode."""
        frozen = True
        if self.config.unfreeze_at is not None:
            frozen = epoch < self.config.unfreeze_at
            self.freezing.apply(self.config, frozen)
            if not frozen:
                for update in self.updates:
                    update.optimizer.grows()
        if frozen:
            for module in self.still:
                module.eval()

    def overwrite(self) -> None:
        """Replaces the weights by their averages, where optimizers keep some."""
        for update in self.updates:
            update.optimizer.overwrite()

    def swap(self) -> None:
        """Swaps weights and averages."""
        for update in self.updates:
            update.optimizer.swap()


@dataclass(frozen=True, slots=True)
class Phases:
    """Makes the phases of a training, each when it begins. An epoch has `steps` of them.

    What is evaluated counts the penalties on all weights that train in any phase, so that epochs compare; an
    update counts those on the weights that it moves.
    """

    program: BaseProgram
    module: nn.Module
    objective: Objective
    penalties: Penalties
    freezing: Freezing
    compiled: Compiled
    epochs: int
    steps: int

    def number(self, epoch: int) -> int:
        """The phase of an epoch; the last one goes on where a run has more epochs."""
        ends = accumulate(part.epochs for part in self.program.training.parts[:-1])
        return next((n for n, end in enumerate(ends) if epoch < end), len(self.program.training.parts) - 1)

    def begin(self, number: int) -> Phase:
        """A phase before its first step, with new optimizers."""
        parts = self.program.training.parts
        config = parts[number]
        length = config.epochs
        if number == len(parts) - 1:
            length = max(1, self.epochs - sum(part.epochs for part in parts[:-1]))
        self.freezing.apply(config)
        self.penalties.bind(self.freezing.trained(self.program.training))
        updates = tuple(self._updates(config, length * self.steps))
        return Phase(number, config, updates, self.freezing, tuple(self.freezing.still(config)))

    def _updates(self, config: TrainConfig, steps: int) -> Iterator[Update]:
        """The updates of a phase of so many steps."""
        trained = {name: each for name, each in self.module.named_parameters() if each.requires_grad}
        for index, settings in enumerate(config.updates):
            of_update = {name: weight for name, weight in trained.items() if settings.updates(name)}
            objective, penalties = self.objective, self.penalties
            if self.program.training.phases or config.steps:  # else they are those of the evaluation
                penalties = penalties.only(of_update)
                objective = _part(objective, penalties, config, index)
            variances = objective.log_variances
            count = steps * settings.repeat
            optimizer = optimizer_for(self.program, self.module, variances, count, config, settings)
            others = tuple(weight for name, weight in trained.items() if name not in of_update)
            rest = tuple(weight for name, weight in self.module.named_parameters() if name not in of_update)
            size = settings.batch_size or config.batch_size
            compiled = self.compiled.step_of(optimizer, -(-size // self.objective.world.size))
            yield Update(objective, penalties, optimizer, compiled, settings.repeat, others, rest)


def _part(objective: Objective, penalties: Penalties, config: TrainConfig, index: int) -> Objective:
    """The objective of an update. It reports the outputs that it names, and the last one also those that no
    update names.
    """
    moving = config.updates[index].outputs or objective.with_loss
    reported = set(moving)
    if index == len(config.updates) - 1:
        named = {name for step in config.updates for name in step.outputs or objective.with_loss}
        reported |= objective.outputs.keys() - named
    return objective.part(moving, reported, penalties, index)
