"""Training: one loop, from top to bottom.

result = train(program, root=Path("specs"))
result.metrics["val_accuracy"], result.run_dir
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from graphspec.data.batches import Batch, Examples, Shuffle
from graphspec.data.loading import Data, load
from graphspec.diagnostics import Diagnostic, SpecError
from graphspec.train import device as devices
from graphspec.train.callbacks.base import Callbacks
from graphspec.train.callbacks.settings import BackupAndRestore, Callback
from graphspec.train.callbacks.weights import BestWeights
from graphspec.train.config import TrainConfig, effective_batch
from graphspec.train.judge import Judge
from graphspec.train.judgement import Judgement
from graphspec.train.meter import Values
from graphspec.train.optimizers.setup import optimizer_for, set_trainable
from graphspec.train.penalties import Penalties
from graphspec.train.progress import Progress, Reporter, Result
from graphspec.train.resume import resumed, same_data
from graphspec.train.run import LAST, RunDirectory, environment
from graphspec.train.saver import Saver
from graphspec.train.signals import Stop, watched
from graphspec.train.state import Training, random_state, restore_random


class Interrupted(Exception):
    """A signal: everything was saved first. `result` is that of the epochs that were completed."""

    def __init__(self, result: Result, number: int = signal.SIGINT):
        where = f"the weights are in {result.run_dir / LAST}, and `--resume` goes on"
        super().__init__(f"interrupted after {result.steps} steps; {where}")
        self.result = result
        self.exit_code = 128 + number


def train(
    program: Any,
    *,
    data: Path | None = None,
    root: Path | None = None,
    device: str = "auto",
    run_dir: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    limit: int | None = None,
    epochs: int | None = None,
    callbacks: Iterable[Any] = (),
    progress: Callable[[Progress], None] | None = None,
) -> Result:
    """Train a program as its `train:` says, and leave a run directory behind.

    `data` replaces the training data of the spec, whose paths are relative to `root`; `limit` is how many
    examples of each file are read; `epochs` replaces the spec's. `run_dir` is a new directory, or one whose
    run `overwrite` replaces; without it `runs/<name>-<n>`. `resume` goes on exactly where the run of
    `run_dir`, or the newest one of the spec's name, was last saved, and begins one where there is none.
    `callbacks` are objects with methods of `Callback`. `progress` is called at most every tenth of a second,
    and at the end of each epoch.

    Raises `SpecError` for whatever is wrong with the spec, the data or the run, and `Interrupted` after
    SIGINT or SIGTERM.
    """
    place = devices.choose(device)
    with devices.computing(devices.threads(program)):
        began = time.monotonic()
        found = load(program, data, root, place, limit=limit)
        module = program.module(device=str(place), seed=program.training.seed)
        set_trainable(program, module)
        penalties = Penalties(program.graph, module)
        judge = Judge(program.inputs, program.outputs, place, penalties)
        epochs = epochs or program.training.epochs
        steps = epochs * -(-len(found.training) // effective_batch(program.training))
        optimizer = optimizer_for(program, module, judge.log_variances, steps)
        about = {
            **environment(place),
            "root": str((root or Path()).resolve()),
            "data": str(data.resolve()) if data else None,
        }
        run, state = resumed(program, run_dir) if resume else (None, None)
        run = run or RunDirectory.create(program.name, run_dir, overwrite)
        try:
            run.begin(program, about)
            training = Training(program, module, judge, penalties, optimizer, run, place, epochs)
            training.data = found.fingerprint
            backup = _setting(program.training, BackupAndRestore)
            best = BestWeights("val_loss" if found.validation is not None else "loss")
            training.callbacks = Callbacks([("best", best), *_named(callbacks)])
            training.callbacks.attach(training)
            torch.manual_seed(program.training.seed)  # dropout and other random layers
            if state is not None:
                same_data(state, found.fingerprint, run.path)
                training.restore(state)
                run.rewrite(training.history.epochs())
            return _run(training, found, Saver(training, began, best, backup), progress, began)
        finally:
            run.close()


def _run(
    training: Training,
    found: Data,
    saver: Saver,
    progress: Callable[[Progress], None] | None,
    began: float,
) -> Result:
    """All that follows once everything is in its place: the epochs, and what comes after the last."""
    batch_size, callbacks = training.program.training.batch_size, training.callbacks
    reporter = Reporter(progress, training.epochs, -(-len(found.training) // training.batch_size))
    test: Values = {}
    with watched() as stop, closing(callbacks):
        callbacks.call("on_train_begin", {})
        while not training.over and not stop:
            _epoch(training, found, saver, reporter, stop)
        saver.save()
        if not stop:
            training.optimizer.overwrite()
            callbacks.call("on_train_end", training.history.last)
            saver.finish()
            if found.test is not None:
                test = evaluate(training.judge, training.module, found.test, batch_size, "test_", stop)
    result = Result(
        training.run_dir,
        training.epoch,
        training.optimizer.iterations,
        str(training.device),
        training.history.last | test,
        training.history.values,
        training.seconds + time.monotonic() - began,
        training.clock.rate,
    )
    if stop:
        raise Interrupted(result, stop.number)
    return result


def _epoch(training: Training, found: Data, saver: Saver, reporter: Reporter, stop: Stop) -> None:
    """One epoch, or what is left of one that was interrupted; returns early where `stop` is set."""
    config, callbacks, epoch = training.program.training, training.callbacks, training.epoch
    module, judge, optimizer, meter = training.module, training.judge, training.optimizer, training.meter
    if not training.seen:
        callbacks.call("on_epoch_begin", epoch, {})
    module.train()
    started, before = time.perf_counter(), meter.count
    reporter.begin(training.seen // training.batch_size, before)
    order = Shuffle(config.seed, epoch)
    batches = found.training.batches(config.batch_size, order, training.seen)
    for parts in _together(batches, training.accumulated):
        step = training.seen // training.batch_size
        if callbacks.watches_batches:
            callbacks.call("on_train_batch_begin", step, {})
        whole = judge.whole(module, parts)
        for batch in parts:
            judgement = judge(module, batch, whole)
            judgement.loss.backward()
            if not math.isfinite(judgement.value):  # read now, while the device goes back
                raise _not_finite(judgement, training, saver)
            meter.add(judgement, batch)
            training.seen += len(batch)
        optimizer.step()
        training.penalties.constrain()
        if callbacks.watches_batches:
            callbacks.call("on_train_batch_end", step, {"loss": meter.loss()})
        saver.step()
        reporter.step(epoch, meter)
        if stop:
            return
    training.clock.add(meter.count - before, time.perf_counter() - started)
    values = meter.result()
    if found.validation is not None:
        random = random_state(training.device)
        callbacks.call("on_test_begin", {})
        values |= evaluate(judge, module, found.validation, config.batch_size, "val_", stop)
        callbacks.call("on_test_end", values)
        if stop:  # the validation is done again
            restore_random(random, training.device)
            return
    training.finish_epoch(values)
    callbacks.call("on_epoch_end", epoch, values)
    saver.epoch()
    reporter.epoch(epoch, values, training.clock)


@torch.no_grad()
def evaluate(
    judge: Judge,
    module: nn.Module,
    examples: Examples,
    batch_size: int,
    prefix: str,
    stop: Stop | None = None,
) -> Values:
    """The loss and the metrics of a module on examples, in inference mode; of some of them where `stop` is
    set on the way.
    """
    module.eval()
    meter = judge.meter()
    for batch in examples.batches(batch_size):
        meter.add(judge(module, batch), batch)
        if stop:
            break
    return meter.result(prefix)


SettingT = TypeVar("SettingT", bound=Callback)


def _setting(config: TrainConfig, kind: type[SettingT]) -> SettingT | None:
    return next((callback for callback in config.callbacks if isinstance(callback, kind)), None)


def _together(batches: Iterator[Batch], count: int) -> Iterator[list[Batch]]:
    """The batches whose gradients one step adds up: `count` of them, at the end perhaps fewer."""
    while parts := list(islice(batches, count)):
        yield parts


def _named(callbacks: Iterable[Any]) -> list[tuple[str, Any]]:
    return [(f"{type(item).__name__}.{index}", item) for index, item in enumerate(callbacks)]


def _not_finite(judgement: Judgement, training: Training, saver: Saver) -> SpecError:
    """The error of a loss that is NaN or infinite; nothing was updated with it."""
    parts = judgement.parts
    wrong = [name for name, part in parts.items() if not math.isfinite(part)]
    names = " and ".join(f"`{name}`" for name in wrong)
    what = f"the loss of output {names}" if wrong else "the weighted sum of the losses"
    became = "NaN" if any(math.isnan(part) for part in parts.values()) else "infinite"
    step = training.optimizer.iterations + 1
    message = f"{what} became {became} at step {step}, in epoch {training.epoch + 1}"
    help = "lower the learning rate, or clip gradients: {optimizer: {name: adam, global_clipnorm: 1.0}}"
    saver.weights()
    note = f"the weights before that step are in {training.run_dir / LAST}"
    return SpecError([Diagnostic("non-finite-loss", message, None, help=help, notes=(note,))])
