"""The state of a running training, and the same as a value that can be saved."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from graphspec import custom
from graphspec.data.batches import Examples
from graphspec.data.streamed import share_of
from graphspec.elaborated import BaseProgram
from graphspec.files.reading import content
from graphspec.train.adapters import written_weights
from graphspec.train.averages import Averages
from graphspec.train.batch_inspection import Examination
from graphspec.train.callbacks.base import Callbacks
from graphspec.train.callbacks.weights import BestWeights
from graphspec.train.checkpoint import Checkpoints, State, joined
from graphspec.train.compiled import Compiled
from graphspec.train.config import effective_batch
from graphspec.train.freezing import Freezing
from graphspec.train.meter import Meter
from graphspec.train.objective import Objective
from graphspec.train.optimizers import Optimizer
from graphspec.train.parallel.files import fill
from graphspec.train.parallel.spread import Spread
from graphspec.train.parallel.world import World
from graphspec.train.penalties import Penalties
from graphspec.train.phases import Phase, Phases
from graphspec.train.progress import Clock, History
from graphspec.train.random_state import random_state, restore_random
from graphspec.train.run import RunDirectory
from graphspec.train.stored import need_like, progress_of, restoring
from graphspec.train.varying import Varied


@dataclass(slots=True)
class TrainingParts:
    """The parts of a training, before it has a run directory."""

    program: BaseProgram
    spread: Spread
    objective: Objective
    penalties: Penalties
    freezing: Freezing
    device: torch.device
    epochs: int
    callbacks: Callbacks
    data: str
    """A digest of the data that it reads."""
    steps: int
    """Those of an epoch."""
    best: BestWeights
    examination: Examination


@dataclass(slots=True)
class Training(TrainingParts):
    """A running training. Callbacks have it as `model`.

    `epoch` counts the epochs that are done, `seen` the examples of the one that it is in, as if all batches
    had been full. A callback may set `stop_training`, which ends the training after the epoch, and change
    `optimizer.learning_rate`.
    """

    phases: Phases
    run: RunDirectory
    tell: Callable[[str], None]
    """Says a line aloud."""
    epoch: int = 0
    seen: int = 0
    iterations: int = 0
    """The steps that were done, in all epochs."""
    stop_training: bool = False
    history: History = field(default_factory=History)
    clock: Clock = field(default_factory=Clock)
    averages: Averages = field(init=False)
    varied: Varied = field(init=False)
    meter: Meter = field(init=False)
    phase: Phase = field(init=False)
    evaluates_averages: bool = False
    """Whether the optimizer's averages of the weights are what is evaluated and kept."""
    averaged: bool = False
    """Whether the module holds those averages now."""
    seconds: float = 0.0
    """Spent by the processes that this one goes on from."""

    def __post_init__(self) -> None:
        self.meter, self.phase = self.objective.meter(), self.phases.begin(0)
        self.averages = Averages(self.program.graph, self.module)
        steps = self.epochs * self.steps
        self.varied = Varied(self.program, self.module, self.objective, self.averages, steps, self.steps)

    @classmethod
    def of(
        cls, parts: TrainingParts, phases: Phases, run: RunDirectory, tell: Callable[[str], None]
    ) -> Training:
        """The training of these parts, before its first step."""
        same = {each.name: getattr(parts, each.name) for each in fields(parts)}
        return cls(**same, phases=phases, run=run, tell=tell)

    @property
    def optimizer(self) -> Optimizer:
        """That of the phase, the first where it has several."""
        return self.phase.updates[0].optimizer

    @property
    def compiled(self) -> Compiled:
        return self.phases.compiled

    def enter(self) -> None:
        """Enters the phase of the epoch, if that is another one. What the last one kept as averages are the
        weights then, as at the end of a training.
        """
        number = self.phases.number(self.epoch)
        if number != self.phase.number:
            self.settle()
            self.averaged, self.phase = False, self.phases.begin(number)

    def settle(self) -> None:
        """The averages of the weights become the weights, where there are some."""
        if not self.averaged:
            self.phase.overwrite()

    @property
    def module(self) -> nn.Module:
        """The emitted module, with its weights; of sharded ones each process has a part."""
        return self.spread.module

    @property
    def world(self) -> World:
        """The processes that train together."""
        return self.spread.world

    def weights(self) -> Mapping[str, Tensor]:
        """The state dict, whole, or of a training with adapters what is not the base's; every process calls
        it, and the first one needs what it returns.
        """
        trained = self.freezing.trained(self.program.training)
        return written_weights(self.program, self.spread.weights(), self.module, trained)

    def shared(self, examples: Examples) -> Examples:
        """The examples, or what of each batch is this process' share."""
        return examples if self.world.alone else share_of(examples, self.world.rank, self.world.size)

    def follow(self) -> None:
        """Follows the callbacks of the first process: the others have no custom callbacks."""
        if self.world.alone:
            return
        told = self.world.of_first((self.stop_training, self.optimizer.learning_rate))
        self.stop_training = told[0]
        if self.optimizer.schedule is None:
            self.optimizer.learning_rate = told[1]

    @property
    def run_dir(self) -> Path:
        return self.run.path

    @property
    def batch_size(self) -> int:
        """The number of examples of a step."""
        return effective_batch(self.program.training)

    @property
    def over(self) -> bool:
        """Whether there is nothing left to train."""
        return self.stop_training or self.epoch >= self.epochs

    def use_averages(self, wanted: bool) -> None:
        """Puts the averages of the weights into the module, or the weights themselves."""
        if wanted != self.averaged:
            self.phase.swap()
            self.averaged = wanted

    @contextmanager
    def as_evaluated(self) -> Iterator[None]:
        """The module with the weights that validation sees."""
        before = self.averaged
        self.use_averages(before or self.evaluates_averages)
        try:
            yield
        finally:
            self.use_averages(before)

    @property
    def step(self) -> int:
        """The steps of this epoch that are done."""
        return -(-self.seen // self.batch_size)

    def stepped(self) -> None:
        """Counts a step that is done."""
        self.seen += self.batch_size
        self.iterations += 1

    def finish_epoch(self, values: Mapping[str, Any]) -> None:
        """Ends the epoch, records its `values` in the history, and starts the next one."""
        self.history.add(dict(values))
        self.epoch, self.seen, self.meter = self.epoch + 1, 0, self.objective.meter()
        self.run.record({"epoch": self.epoch, **values})

    def save(self, checkpoints: Checkpoints, seconds: float) -> None:
        """Saves everything. Every process calls it: each has a part. Raises `SpecError` (run-directory)."""
        state = self.state(seconds)
        if self.world.is_first or self.spread.sharded:
            checkpoints.save(state, self.world)

    def state(self, seconds: float) -> State:
        """Everything, at the border between two steps; what is in memory is not copied."""
        progress = {
            "epoch": self.epoch,
            "seen": self.seen,
            "iterations": self.iterations,
            "phase": self.phase.number,
            "stopped": self.stop_training,
            "history": self.history.values,
            "seconds": seconds,
            "data": self.data,
            "spec": spec_digest(self.program),
            "processes": self.world.size,
        }
        parts = {
            "progress": State({}, progress),
            "module": State(self.spread.state(), None),
            "objective": State(
                {name: weight.detach() for name, weight in self.objective.log_variances.items()}, None
            ),
        }
        for number, update in enumerate(self.phase.updates):
            parts[_of("optimizer", number)] = State(*update.optimizer.state_dict())
        if self.world.is_first:
            parts["callbacks"] = self.callbacks.state()
        for rank, mine in enumerate(self.world.gather(self._of_process())):
            if self.world.is_first:
                parts |= {_of(name, rank): part for name, part in mine.items()}
        return joined(parts)

    def _of_process(self) -> dict[str, State]:
        """The state of this process alone."""
        if not self.world.alone:
            self.meter.settle()
        tensors, numbers = self.meter.state_dict()
        if not self.world.alone:
            tensors = {name: tensor.cpu() for name, tensor in tensors.items()}
        return {"meter": State(tensors, numbers), "random": State(random_state(self.device), None)}

    @torch.no_grad()
    def restore(self, state: State) -> None:
        """Restores the result of `state`, for the current number of processes. Raises `SpecError`
        (resume-failed).
        """
        with restoring(self.run.path):
            progress = progress_of(state.part("progress").numbers)
            self.epoch, self.seen, self.stop_training = progress.epoch, progress.seen, progress.stopped
            self.history.values, self.seconds = progress.history, progress.seconds
            fill(self.spread.state(), state.part("module").tensors)
            fill(self.objective.log_variances, state.part("objective").tensors)
            self.phase = self.phases.begin(progress.phase)
            for number, update in enumerate(self.phase.updates):
                name, optimizer = _of("optimizer", number), update.optimizer
                stored = state.part(name)
                need_like(stored.numbers, optimizer.state_dict()[1], name)
                optimizer.load_state_dict(stored.tensors, stored.numbers)
            known = progress.iterations
            self.iterations = self.optimizer.iterations if known is None else known
            self._restore_of_process(state, progress.processes)

    def _restore_of_process(self, state: State, processes: int) -> None:
        """Restores the state of each process; with another number of them the first one takes all that was
        gathered, and random states go to processes of the same rank.
        """
        rank = self.world.rank
        same = processes == self.world.size
        for other in range(processes):
            if other == rank if same else self.world.is_first:
                part, meter = state.part(_of("meter", other)), self.objective.meter()
                need_like(part.numbers, meter.state_dict()[1], "meter")
                tensors = {name: tensor.to(self.device) for name, tensor in part.tensors.items()}
                meter.load_state_dict(tensors, part.numbers)
                if same:
                    self.meter = meter
                else:
                    self.meter.join(meter)
        if rank < processes:
            restore_random(state.part(_of("random", rank)).tensors, self.device)


def _of(name: str, number: int) -> str:
    """The name of a state that each process, or each update, has; the first one's has no number."""
    return f"{name}.{number}" if number else name


def spec_digest(program: BaseProgram) -> str:
    """A digest of the model that a spec emits, and of its own code that lies beside the spec."""
    digest = hashlib.sha256(program.source.encode())
    for file in sorted({path.name: path for path, _ in custom.files(program)}.values()):
        digest.update(content(file))
    return digest.hexdigest()
