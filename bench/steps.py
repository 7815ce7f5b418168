"""A training step of `graphspec train`, and of the best hand-written loop."""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import graphspec
from bench.cases import CASES, SPECS
from bench.measure import Samples
from bench.report import Column, Table, Value, duration
from graphspec.data.fields import fields
from graphspec.data.loading import load
from graphspec.data.synthetic import synthetic
from graphspec.train.callbacks.base import Callback
from graphspec.train.compiled import Way
from graphspec.train.loop import train
from graphspec.train.progress import Progress

ADAM: dict[str, Any] = {"train.optimizer": {"name": "adam", "learning_rate": 0.001}}


@dataclass(frozen=True, slots=True)
class Subject:
    """A spec and what is set in it: nothing is held out. Without data it has so many synthetic examples. The
    first of the epochs warms up and does not count.

    Of the twin, `head` alone trains, by its name; what comes before runs as in inference, under no_grad.
    """

    spec: str
    settings: Mapping[str, Any]
    examples: int = 6400
    epochs: int = 4
    head: str | None = None
    compiled: bool = False
    """Whether `--compile on` is timed, too: of small steps, whose time is mostly Python's."""

    def watch(self) -> "Stopwatch":
        """What times a run: of small steps whole epochs, of those of a large network each."""
        return Stopwatch() if self.head is None else EachStep()


FROZEN: dict[str, Any] = {**ADAM, "train.freeze": ["stem.*", "stages.*"], "train.batch_size": 8}
FROZEN["outputs.probs"] = {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]}
SUBJECTS = {
    "dense": Subject("dense", ADAM, compiled=True),
    "digits": Subject("digits", {**ADAM, "data.validation": None}),
    "resnet50, frozen backbone": Subject("resnet50", FROZEN, 48, 2, "probs"),
}


def table(directory: Path, budget_seconds: float) -> Table:
    """Rounds of whole runs, in turns, timed from the second epoch to the last.

    It reports elapsed time, and processor time, which other processes on the machine do not affect.
    """
    rows: list[Mapping[str, Value]] = []
    for name, subject in SUBJECTS.items():
        program = graphspec.compile(SPECS / f"{subject.spec}.yaml", settings=subject.settings)
        data = _data(program, directory, subject.examples)
        subjects = {
            "ours": _ours(subject, program, data, directory),
            "hand": _by_hand(subject, program, data),
        }
        if subject.compiled:
            subjects["compiled"] = _ours(subject, program, data, directory, "on")
        taken: dict[str, list[tuple[float, float]]] = {way: [] for way in subjects}
        end, order = time.perf_counter() + budget_seconds / len(SUBJECTS), list(subjects)
        while time.perf_counter() < end or len(taken["ours"]) < 5:
            for way in order:
                taken[way].append(subjects[way]())
            order.reverse()
        samples = {way: Samples(*zip(*pairs, strict=True)) for way, pairs in taken.items()}
        row: dict[str, Value] = {"spec": name, "rounds": len(taken["ours"])}
        for way, own in samples.items():
            row |= {way: min(own.processor), f"{way}_ratio": own.processor_ratio(samples["hand"])}
            row |= {f"{way}_clock": own.ratio(samples["hand"])}
        rows.append(row)
    note = (
        "The hand-written loop has the data in memory, one gather per epoch, fused Adam, loss and accuracy "
        "as sums, and no checks; a frozen backbone runs in inference mode under no_grad. "
        "Both run in turns in one process. The time of a step is the shortest one, "
        "in processor time; ratios are medians over rounds."
    )
    columns = (
        Column("spec", "spec"),
        Column("ours", "graphspec, a step", duration),
        Column("hand", "by hand, a step", duration),
        Column("ours_ratio", "of by hand", "{:.2f}".format),
        Column("ours_clock", "on the clock", "{:.2f}".format),
        Column("compiled", "compiled, a step", duration),
        Column("compiled_ratio", "of by hand", "{:.2f}".format),
        Column("compiled_clock", "on the clock", "{:.2f}".format),
        Column("rounds", "rounds"),
    )
    return Table("Steps of training beside a loop by hand", note, columns, tuple(rows))


class Stopwatch(Callback):
    """The time from the start of the second epoch to the end of the last."""

    def __init__(self) -> None:
        self.started = self.ended = (0.0, 0.0)

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        if epoch == 1:
            self.started = (time.perf_counter(), time.process_time())

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        self.ended = (time.perf_counter(), time.process_time())

    def progress(self, progress: Progress) -> None:
        """The same of a training without callbacks, whose epochs count from 1."""
        if progress.done:
            self.on_epoch_end(progress.epoch - 1)
            self.on_epoch_begin(progress.epoch)

    def each(self, steps: float) -> tuple[float, float]:
        """Elapsed seconds and processor seconds per step, for this number of steps."""
        wall, processor = (end - start for start, end in zip(self.started, self.ended, strict=True))
        return wall / steps, processor / steps


class EachStep(Stopwatch):
    """The shortest time from the end of a step to the end of the next: for long steps, of which few fit into
    a round.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ended_at: tuple[float, float] | None = None
        self.taken: list[tuple[float, float]] = []

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        self.ended_at = None

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        before, self.ended_at = self.ended_at, (time.perf_counter(), time.process_time())
        if before is not None:
            self.taken.append((self.ended_at[0] - before[0], self.ended_at[1] - before[1]))

    def each(self, steps: float) -> tuple[float, float]:
        wall, processor = map(min, zip(*self.taken, strict=True))
        return wall, processor


def _data(program: graphspec.Program, directory: Path, count: int) -> Path | None:
    """A file of so many synthetic examples for a spec without data."""
    if program.data is not None:
        return None
    path = directory / f"{program.name}.npz"
    if not path.exists():
        examples = synthetic(program, fields(program), count, 0)
        arrays: dict[str, np.ndarray] = {name: array.numpy() for name, array in examples.arrays.items()}
        np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def _ours(
    subject: Subject,
    program: graphspec.Program,
    data: Path | None,
    directory: Path,
    compile: Way = "off",
) -> Callable[[], tuple[float, float]]:
    """A function that runs `train` and returns the time per step."""
    count = len(load(program, data, SPECS, torch.device("cpu")).training)
    steps = (subject.epochs - 1) * -(-count // program.training.batch_size)

    def run() -> tuple[float, float]:
        watch = subject.watch()
        with tempfile.TemporaryDirectory(dir=directory) as place:
            watched = {"progress": watch.progress} if subject.head is None else {"callbacks": [watch]}
            train(
                program,
                data=data,
                root=SPECS,
                device="cpu",
                run_dir=Path(place) / "run",
                epochs=subject.epochs,
                compile=compile,
                tell=lambda line: None,
                **watched,
            )
        return watch.each(steps)

    return run


def _by_hand(
    subject: Subject, program: graphspec.Program, data: Path | None
) -> Callable[[], tuple[float, float]]:
    """A function that trains the twin of the spec in a hand-written loop and returns the time per step."""
    examples = load(program, data, SPECS, torch.device("cpu")).training
    (whole,) = examples.batches(len(examples))
    inputs, targets = (whole.arrays[next(iter(names))] for names in (program.inputs, program.outputs))
    batch_size = program.training.batch_size

    def run() -> tuple[float, float]:
        module, watch = CASES[subject.spec].twin().train(), subject.watch()
        if subject.head is not None:
            module = Headed(module, subject.head)
        optimizer = torch.optim.Adam([w for w in module.parameters() if w.requires_grad], fused=True)
        for epoch in range(subject.epochs):
            watch.on_epoch_begin(epoch)
            _epoch(module, optimizer, inputs, targets, batch_size, watch)
            watch.on_epoch_end(epoch)
        return watch.each((subject.epochs - 1) * -(-len(inputs) // batch_size))

    return run


class Headed(nn.Module):
    """A network before its `head` frozen and in inference mode, without gradients; the head trains."""

    def __init__(self, network: nn.Module, head: str):
        super().__init__()
        self.head = network.get_submodule(head)
        setattr(network, head, nn.Identity())
        self.network = network.requires_grad_(False).eval()

    def forward(self, *inputs: Tensor, logits: bool) -> Tensor:
        with torch.no_grad():
            features = self.network(*inputs, logits=True)
        found: Tensor = self.head(features)
        return found


def _epoch(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    inputs: Tensor,
    targets: Tensor,
    batch_size: int,
    watch: Stopwatch,
) -> tuple[float, float]:
    """The mean loss and the accuracy of an epoch."""
    order = torch.randperm(len(inputs))
    inputs, targets = inputs[order], targets[order]
    total, outputs = torch.zeros(()), []
    for x, y in zip(inputs.split(batch_size), targets.split(batch_size), strict=True):
        output = module(x, logits=True)
        loss = F.cross_entropy(output, y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        total += loss.detach() * len(x)
        outputs.append(output.detach())
        watch.on_train_batch_end(0)
    right = torch.cat(outputs).argmax(1) == targets
    return total.item() / len(inputs), right.float().mean().item()
