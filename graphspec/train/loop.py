"""Training: one loop, from top to bottom.

result = train(program, root=Path("specs"))
result.metrics["val_accuracy"], result.run_dir
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn

from graphspec.data.batches import Batch, Examples, Shuffle
from graphspec.data.loading import load
from graphspec.diagnostics import Diagnostic, SpecError
from graphspec.train import device as devices
from graphspec.train.judge import Judge, Judgement
from graphspec.train.meter import Values
from graphspec.train.optimizers import Optimizer
from graphspec.train.penalties import Penalties
from graphspec.train.progress import Clock, History, Progress, Reporter, Result
from graphspec.train.run import LAST, Keeper, RunDirectory


class Interrupted(Exception):
    """Ctrl-C: the weights were saved first. `result` is that of the epochs that were completed."""

    def __init__(self, result: Result):
        saved = result.run_dir / LAST
        super().__init__(f"interrupted after {result.steps} steps; the weights are in {saved}")
        self.result = result


def train(
    program: Any,
    *,
    data: Path | None = None,
    root: Path | None = None,
    device: str = "auto",
    run_dir: Path | None = None,
    epochs: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Result:
    """Train a program as its `train:` says, and leave a run directory behind.

    `data` replaces the training data of the spec, whose paths are relative to `root`; `epochs` replaces the
    spec's. `progress` is called at most every tenth of a second, and at the end of each epoch. Raises
    `SpecError` for whatever is wrong with the spec, the data or the run, and `Interrupted` after Ctrl-C.
    """
    place = devices.choose(device)
    with devices.computing(devices.threads(program)):
        return _train(program, data, root, place, run_dir, epochs or program.training.epochs, progress)


def _train(
    program: Any,
    data: Path | None,
    root: Path | None,
    place: torch.device,
    run_dir: Path | None,
    epochs: int,
    progress: Callable[[Progress], None] | None,
) -> Result:
    began, config = time.perf_counter(), program.training
    found = load(program, data, root, place)
    training, validation, test = found.training, found.validation, found.test
    module = program.module(device=str(place), seed=config.seed)
    penalties = Penalties(program.graph, module)
    judge = Judge(program.inputs, program.outputs, place, penalties)
    optimizer = Optimizer(config.optimizer, _trainable(judge, module))
    run = RunDirectory.create(program.name, run_dir)
    run.begin(program.resolved, program.source, place)
    torch.manual_seed(config.seed)  # dropout and other random layers

    history, clock, keeper = History(), Clock(), Keeper(run, module)
    accumulated = config.optimizer.gradient_accumulation_steps or 1
    reporter = Reporter(progress, epochs, -(-len(training) // (config.batch_size * accumulated)))
    with _interruptible() as interrupted:
        for epoch in range(epochs):
            meter, started = judge.meter(), time.perf_counter()
            module.train()
            batches = training.batches(config.batch_size, Shuffle(config.seed, epoch))
            for parts in _together(batches, accumulated):
                whole = judge.whole(module, parts)
                for batch in parts:
                    judgement = judge(module, batch, whole)
                    judgement.loss.backward()
                    if not math.isfinite(judgement.value):  # read now, while the device goes back
                        keeper.write()
                        raise _not_finite(judgement, epoch, optimizer.iterations, run)
                    meter.add(judgement, batch)
                optimizer.step()
                penalties.constrain()
                reporter.step(epoch, meter)
                if interrupted.is_set():
                    break
            clock.add(meter.count, time.perf_counter() - started)
            if interrupted.is_set():
                break
            values = meter.result()
            if validation is not None:
                values |= evaluate(judge, module, validation, config.batch_size, "val_")
            history.add(values)
            run.record({"epoch": epoch + 1, **values})
            keeper.keep(values)
            reporter.epoch(epoch, values, clock)
        optimizer.overwrite()
        keeper.write()
    metrics = history.last
    if test is not None and not interrupted.is_set():
        metrics |= evaluate(judge, module, test, config.batch_size, "test_")
    seconds, steps = time.perf_counter() - began, optimizer.iterations
    result = Result(run.path, len(history), steps, str(place), metrics, history.values, seconds, clock.rate)
    if interrupted.is_set():
        raise Interrupted(result)
    return result


@torch.no_grad()
def evaluate(judge: Judge, module: nn.Module, examples: Examples, batch_size: int, prefix: str) -> Values:
    """The loss and the metrics of a module on examples, in inference mode."""
    module.eval()
    meter = judge.meter()
    for batch in examples.batches(batch_size):
        meter.add(judge(module, batch), batch)
    return meter.result(prefix)


def _together(batches: Iterator[Batch], count: int) -> Iterator[list[Batch]]:
    """The batches whose gradients one step adds up: `count` of them, at the end perhaps fewer."""
    while parts := list(islice(batches, count)):
        yield parts


def _trainable(judge: Judge, module: nn.Module) -> dict[str, nn.Parameter]:
    weights = {name: weight for name, weight in module.named_parameters() if weight.requires_grad}
    if not judge.judged:
        raise _refused("nothing-to-train", "no output has a loss", "give an output a `loss`")
    if not weights:
        help = "every layer says `trainable: false`, or has no weights"
        raise _refused("nothing-to-train", "no weight is trainable", help)
    return {**weights, **{f"loss_weight/{name}": v for name, v in judge.log_variances.items()}}


def _not_finite(judgement: Judgement, epoch: int, steps: int, run: RunDirectory) -> SpecError:
    """The error of a loss that is NaN or infinite; nothing was updated with it."""
    parts = judgement.parts
    wrong = [name for name, part in parts.items() if not math.isfinite(part)]
    names = " and ".join(f"`{name}`" for name in wrong)
    what = f"the loss of output {names}" if wrong else "the weighted sum of the losses"
    became = "NaN" if any(math.isnan(part) for part in parts.values()) else "infinite"
    message = f"{what} became {became} at step {steps + 1}, in epoch {epoch + 1}"
    help = "lower the learning rate, or clip gradients: {optimizer: {name: adam, global_clipnorm: 1.0}}"
    note = f"the weights before that step are in {run.path / LAST}"
    return SpecError([Diagnostic("non-finite-loss", message, None, help=help, notes=(note,))])


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets, so that no step is cut in two; a second Ctrl-C interrupts at once."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # only the main thread may have handlers
        yield event
        return

    def handle(number: int, frame: object) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)


def _refused(code: str, message: str, help: str) -> SpecError:
    return SpecError([Diagnostic(code, message, None, help=help)])
