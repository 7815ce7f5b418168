"""What a training is made of while it runs, and all of it as a value that can be saved."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from graphspec import own
from graphspec.train.callbacks.base import Callbacks
from graphspec.train.checkpoint import State, joined
from graphspec.train.config import effective_batch
from graphspec.train.judge import Judge
from graphspec.train.meter import Meter
from graphspec.train.optimizers import Optimizer
from graphspec.train.penalties import Penalties
from graphspec.train.progress import Clock, History
from graphspec.train.run import RunDirectory


@dataclass(slots=True)
class Training:
    """A training under way. Callbacks have it as `model`.

    `epoch` counts the whole epochs behind it, `seen` the examples of the one that it is in. A callback may
    set `stop_training`, which ends the training after the epoch, and change `optimizer.learning_rate`.
    """

    program: Any
    module: nn.Module
    judge: Judge
    penalties: Penalties
    optimizer: Optimizer
    device: torch.device
    epochs: int
    callbacks: Callbacks = field(default_factory=Callbacks)
    data: str = ""
    """A digest of the data that it reads."""
    tell: Callable[[str], None] = print
    """Says a line aloud."""
    epoch: int = 0
    seen: int = 0
    stop_training: bool = False
    history: History = field(default_factory=History)
    clock: Clock = field(default_factory=Clock)
    meter: Meter = field(init=False)
    run: RunDirectory = field(init=False)
    judges_averages: bool = False
    """Whether the optimizer's averages of the weights are what is judged and kept."""
    averaged: bool = False
    """Whether the module holds those averages now."""
    seconds: float = 0.0
    """Spent by the processes that this one goes on from."""

    def __post_init__(self) -> None:
        self.meter = self.judge.meter()

    @property
    def run_dir(self) -> Path:
        return self.run.path

    @property
    def accumulated(self) -> int:
        """How many batches one step takes."""
        return self.program.training.optimizer.gradient_accumulation_steps or 1

    @property
    def batch_size(self) -> int:
        """How many examples one step takes."""
        return effective_batch(self.program.training)

    @property
    def over(self) -> bool:
        """Whether there is nothing left to train."""
        return self.stop_training or self.epoch >= self.epochs

    def use_averages(self, wanted: bool) -> None:
        """Have the averages of the weights in the module, or the weights themselves."""
        if wanted != self.averaged:
            self.optimizer.swap()
            self.averaged = wanted

    @contextmanager
    def as_judged(self) -> Iterator[None]:
        """The module with the weights that validation sees."""
        before = self.averaged
        self.use_averages(before or self.judges_averages)
        try:
            yield
        finally:
            self.use_averages(before)

    def finish_epoch(self, values: Mapping[str, Any]) -> None:
        """The epoch is over, with its `values`: they are history, and the next one begins."""
        self.history.add(dict(values))
        self.epoch, self.seen, self.meter = self.epoch + 1, 0, self.judge.meter()
        self.run.record({"epoch": self.epoch, **values})

    def state(self, seconds: float) -> State:
        """Everything, at the border between two steps; what is in memory is not copied."""
        progress = {
            "epoch": self.epoch,
            "seen": self.seen,
            "stopped": self.stop_training,
            "history": self.history.values,
            "seconds": seconds,
            "data": self.data,
            "spec": spec_digest(self.program),
        }
        return joined(
            {
                "progress": State({}, progress),
                "module": State(self.module.state_dict(), None),
                "judge": State(
                    {name: weight.detach() for name, weight in self.judge.log_variances.items()}, None
                ),
                "optimizer": State(*self.optimizer.state_dict()),
                "meter": State(*self.meter.state_dict()),
                "callbacks": self.callbacks.state(),
                "random": State(random_state(self.device), None),
            }
        )

    @torch.no_grad()
    def restore(self, state: State) -> None:
        """Go on from what `state` gave."""
        progress = state.part("progress").numbers
        self.epoch, self.seen, self.stop_training = progress["epoch"], progress["seen"], progress["stopped"]
        self.history.values, self.seconds = progress["history"], progress["seconds"]
        self.module.load_state_dict(state.part("module").tensors)
        for name, value in state.part("judge").tensors.items():
            self.judge.log_variances[name].copy_(value)
        for part, restored in ((self.optimizer, "optimizer"), (self.meter, "meter")):
            stored = state.part(restored)
            part.load_state_dict(
                {name: tensor.to(self.device) for name, tensor in stored.tensors.items()}, stored.numbers
            )
        restore_random(state.part("random").tensors, self.device)


def spec_digest(program: Any) -> str:
    """A digest of the model that a spec emits, and of its own code that lies beside the spec."""
    digest = hashlib.sha256(program.source.encode())
    for file in sorted({path.name: path for path, _ in own.files(program)}.values()):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def random_state(device: torch.device) -> dict[str, Tensor]:
    """The state of every generator that a training reads."""
    found = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(device)
    return found


def restore_random(state: Mapping[str, Tensor], device: torch.device) -> None:
    """Put the generators back to where they were; one that was saved on another device is left alone."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
