"""Training: one loop, from top to bottom.

result = train(program, root=Path("specs"))
result.metrics["val_accuracy"], result.run_dir
"""

from __future__ import annotations

import itertools
import json
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from graphspec import custom
from graphspec.data.batches import RANDOM, Batch, Examples, Shuffle, generator
from graphspec.data.in_memory_source import Given
from graphspec.data.loading import Data, load
from graphspec.diagnostics import fail
from graphspec.elaborated import BaseProgram
from graphspec.files.run_files import CANDIDATES, CHECKPOINTS, ENCODERS, LAST
from graphspec.train import batch_size as batch_sizes
from graphspec.train import device as devices
from graphspec.train.batch_result import BatchResult
from graphspec.train.callbacks import settings
from graphspec.train.callbacks.permission import need_permission
from graphspec.train.checkpoint import State
from graphspec.train.feeding import feed
from graphspec.train.meter import Values
from graphspec.train.objective import Objective
from graphspec.train.options import TrainOptions
from graphspec.train.parallel.shards import local
from graphspec.train.parallel.world import World, joined
from graphspec.train.phases import Update
from graphspec.train.precision import products
from graphspec.train.preparation import compiled, phases, prepare
from graphspec.train.progress import Reporter, Result, Start
from graphspec.train.random_state import random_state, restore_random
from graphspec.train.ranking import Ranker, popularity
from graphspec.train.resume import alike, continued, created, need_same_options, same_data
from graphspec.train.run import environment, usual_lengths
from graphspec.train.saver import Saver
from graphspec.train.signals import StopSignal, watched
from graphspec.train.state import Training

if TYPE_CHECKING:
    from graphspec.data.encoders import Encoders

UNSEEN, MOST = 0.05, 256
"""Seconds and steps that compiled steps go on before saves and reports have their turn."""


class Interrupted(Exception):
    """Raised after a signal, once everything is saved. `result` covers the completed epochs."""

    def __init__(self, result: Result, number: int = signal.SIGINT):
        where = f"the weights are in {result.run_dir / LAST}, and `--resume` continues"
        super().__init__(f"interrupted after {result.steps} steps; {where}")
        self.result = result
        self.exit_code = 128 + number


def train(program: BaseProgram, **options: Any) -> Result:
    """Trains a program with the settings of its `train:`, and writes a run directory.

    `options` are the fields of `TrainOptions`, by name. Raises `SpecError` for whatever is wrong with the
    spec, the data or the run, and `Interrupted` after SIGINT or SIGTERM.
    """
    given = TrainOptions(**options).checked()
    need_permission(program)
    began, place = time.monotonic(), devices.choose(given.device)
    computing = devices.computing(devices.threads(program))
    with computing, products(program.training.precision), joined(place) as world, ExitStack() as stack:
        given = given if world.is_first else given.silent()
        need_same_options(world, program, given.compared(place.type))
        given.waiting("reading the data")
        program, data = read_data(program, given, place, world)
        given.waiting("preparing the model")
        run, state = continued(program, world, given.run_dir, given.resume)
        resumed, first = run is not None, given.weights
        if run is not None:
            stack.enter_context(closing(run))
            first = world.of_first(
                run.started_from(program, needed=state is None) if world.is_first else None
            )
        parts = prepare(program, data, world, place, given, state, first)
        if first is not None and state is None:
            given.tell(f"starts from the weights in {first}")
        compiled_steps = compiled(parts, data, given)
        if run is None:
            run = stack.enter_context(closing(created(program, world, given.run_dir, given.overwrite, first)))
        if state is not None:
            same_data(state, data.fingerprint, run.path)
        training = Training.of(parts, phases(parts, compiled_steps), run, given.tell)
        _record(training, data, given.origin(first, data.is_synthetic))
        _set_state(training, state, resumed)
        if given.started is not None:
            given.started(_start(training, data, given.data, state is not None))
        training.callbacks.begin(training, state.part("callbacks") if state is not None else None)
        return _run(training, data, Saver(training, began), given, began)


def _set_state(training: Training, state: State | None, resumed: bool) -> None:
    """Restores the state of a run that goes on; its history ends there."""
    torch.manual_seed(_seed(training.program, training.world))  # dropout and other random layers
    if state is not None:
        training.restore(state)
    if resumed:
        training.run.rewrite(training.history.epochs())


def _record(training: Training, dataset: Data, origin: dict[str, Any]) -> None:
    """Writes the record of a run, before its first step."""
    sizes = {"processes": training.world.size, "batch_size": training.program.training.batch_size}
    first = training.run.start(Path(origin["weights"]) if origin["weights"] is not None else None)
    lengths = {"lengths": usual_lengths(training.program, dataset.training)}
    training.run.begin(training.program, environment(training.device) | origin | first | sizes | lengths)
    if dataset.candidates:
        states = (each.state(name) for name, each in dataset.candidates.items())
        training.run.weights(CANDIDATES, {key: value for state in states for key, value in state.items()})
    if dataset.encoders is not None:
        training.run.text(ENCODERS, json.dumps(dataset.encoders.to_json(), ensure_ascii=False) + "\n")


def read_data(
    program: BaseProgram, given: TrainOptions, place: torch.device, world: World
) -> tuple[BaseProgram, Data]:
    """The program, with another batch size where that is to fit, and its data, the same in all processes."""
    data, root, limit, processes = given.data, given.root, given.limit, world.machine()
    read = partial(load, data=data, root=root, device=place, limit=limit, processes=processes)
    if given.batch_size == "auto":
        known = batch_sizes.begun(program, given.run_dir) if given.resume else None
        program, loaded = _fitting(program, known, read, place, world, given.tell)
    else:
        loaded = read(program)
    alike(world, loaded.fingerprint)
    if any(output.reads_candidates for output in program.outputs.values()):
        loaded = loaded.with_candidates(program)
    for note in loaded.notes:
        given.tell(note)
    return program, loaded


def _fitting(
    program: BaseProgram,
    known: int | None,
    read: Callable[[BaseProgram], Data],
    place: torch.device,
    world: World,
    tell: Callable[[str], None],
) -> tuple[BaseProgram, Data]:
    """The program with the largest batch size that fits, or with that of the run that goes on; its data."""
    if not world.alone:
        help = "try it with one process, then write `train.batch_size`: the sum over all processes"
        message = "`--batch-size auto` tries what fits one process"
        raise fail("not-supported", message, help)
    if known is not None:
        program = program.with_batch_size(known)
        return program, read(program)
    data = read(program)

    def trial(sized: BaseProgram, batch: Batch) -> None:
        parts = prepare(sized, data, world, place, TrainOptions(epochs=1), None, None, looks=False)
        called = parts.spread.called
        every = phases(parts, compiled(parts, data, TrainOptions()))
        for number in range(len(sized.training.parts)):
            for update in 2 * every.begin(number).updates:  # then it has what an optimizer remembers
                with update.alone():
                    totals = update.objective.totals(called, [batch])
                    update.compiled(update.objective, called.train(), batch, totals)
                    update.move()

    sized = batch_sizes.fitting(program, data.training, place, trial, tell)
    if data.is_synthetic:  # of which there are so many batches
        data = read(sized)
    return sized, data


def _seed(program: BaseProgram, world: World) -> int:
    """The seed of the spec in the first process; other processes draw other numbers."""
    seed: int = program.training.seed
    return seed if world.is_first else generator(seed, RANDOM, world.rank).initial_seed()


def _start(training: Training, dataset: Data, data: Path | Given | None, resumed: bool) -> Start:
    program = training.program
    files = [
        file
        for place, file in (program.data.files if program.data is not None else {}).items()
        if place[0] == "train"
    ]
    spec = ", ".join(file.path for file in files)
    parts = {"training": dataset.training, "validation": dataset.validation, "test": dataset.test}
    return Start(
        program.name,
        training.run_dir,
        str(training.device),
        sum(weight.numel() for weight in training.module.parameters()),
        devices.memory(program),
        str(data or spec or "synthetic data") if not isinstance(data, Given) else "what was given",
        {name: len(part) for name, part in parts.items() if part is not None},
        training.epoch,
        training.epochs,
        resumed,
        training.examination.seen,
        training.examination.warnings,
    )


def _run(
    training: Training,
    dataset: Data,
    saver: Saver,
    given: TrainOptions,
    began: float,
) -> Result:
    """Runs the epochs, then the end of training."""
    batch_size, callbacks = training.program.training.batch_size, training.callbacks
    ends = any(callback.ends for callback in training.program.training.callbacks)
    reporter = Reporter(given.progress, given.waiting, training.epochs, training.steps, ends)
    given.waiting("compiling the first step" if training.compiled.active else "the first step")
    test: Values = {}
    with watched(training.world, given.stopping) as stop, closing(callbacks), training.compiled.watched():
        while not training.over and not stop:
            _epoch(training, dataset, saver, reporter, stop)
        given.waiting("saving")
        saver.save()
        if not stop:
            training.settle()
            callbacks.call("on_train_end", training.history.last)
            saver.finish()
            if dataset.test is not None:
                given.waiting("the test data")
                held = training.shared(dataset.test)
                with saver.at_best(), training.compiled.evaluating():
                    test = evaluate(training.objective, training.module, held, batch_size, "test_", stop)
    beside: dict[str, Values] = {}
    if given.baselines and not stop and training.world.is_first and not dataset.is_synthetic:
        beside = compared(training.program, dataset.encoders, dataset.training, dataset.validation, "val_")
        training.run.note(baselines=beside)
    result = Result(
        training.run_dir,
        training.epoch,
        training.iterations,
        str(training.device),
        training.history.last | test,
        training.history.values,
        training.seconds + time.monotonic() - began,
        training.clock.rate,
        saver.best_epoch,
        dataset.is_synthetic,
        beside,
    )
    if stop:
        raise Interrupted(result, stop.number)
    return result


def _epoch(training: Training, dataset: Data, saver: Saver, reporter: Reporter, stop: StopSignal) -> None:
    """Runs an epoch, or the rest of an interrupted one; returns early if `stop` is set."""
    training.enter()
    config, callbacks, epoch = training.program.training, training.callbacks, training.epoch
    phase, meter = training.phase, training.meter
    if not training.seen:
        callbacks.call("on_epoch_begin", epoch, {})
        training.follow()
    training.spread.called.train()
    phase.begin(epoch)
    started, before = time.perf_counter(), meter.count
    reporter.begin(training.step, before)
    source = feed(phase.config, dataset).shared(training.shared)
    batches = source.batches(Shuffle(config.seed, epoch), training.step, training.steps)
    for parts in batches:
        done, step = training.iterations, training.step
        training.varied.begin(done)
        if callbacks.watches_batches:
            callbacks.call("on_train_batch_begin", step, {})
        for turn, (update, number) in enumerate(zip(phase.turns, source.read, strict=True)):
            again = number in source.read[:turn]
            wrong, due = _update(training, update, parts[number], stop, saver, again)
            if wrong is not None:
                return _not_finite(wrong, training, saver, turn)
        training.averages.follow()
        training.stepped()
        if callbacks.watches_batches:
            callbacks.call("on_train_batch_end", step, {"loss": meter.loss()})
        follow = source.full(training.step, training.steps)
        wrong = _further(training, (batch for (batch,), *_ in batches), follow, saver, stop)
        if wrong is not None:
            return _not_finite(wrong, training, saver, turn=0)
        saver.step(due)
        reporter.step(epoch, meter, training.iterations - done)
        if stop:
            return
    training.varied.rest()
    training.clock.add((meter.count - before) * training.world.size, time.perf_counter() - started)
    values = meter.together(training.world).result()
    if dataset.validation is not None:
        random = random_state(training.device)
        callbacks.call("on_test_begin", {})
        reporter.waiting("validation")
        held = training.shared(dataset.validation)
        with training.compiled.evaluating():
            values |= evaluate(training.objective, training.module, held, config.batch_size, "val_", stop)
        training.spread.reshard()
        callbacks.call("on_test_end", values)
        if stop:  # the validation is done again
            restore_random(random, training.device)
            return
    if any(callback.sets_rate for callback in config.callbacks):
        values["learning_rate"] = training.optimizer.learning_rate
    training.finish_epoch(values)
    callbacks.call("on_epoch_end", epoch, values)
    training.follow()
    saver.epoch(stop.agree(due=saver.due)[1])
    reporter.epoch(epoch, values, training.clock, training.over)


def _update(
    training: Training, update: Update, parts: list[Batch], stop: StopSignal, saver: Saver, again: bool
) -> tuple[BatchResult | None, bool]:
    """Makes an update on the batches of a step, unless a loss is not finite: that result, and whether it is
    time to save. `again` says that it is not the first on these batches.
    """
    spread, objective = training.spread, update.objective
    totals = objective.totals(spread.called, parts)
    total = 0.0
    wrong: BatchResult | None = None
    with update.alone():
        for batch in parts:
            with spread.part(batch, last=batch is parts[-1]):
                result = update.compiled(objective, spread.called, batch, totals)
            loss = result.value  # read now, while the device goes back
            total += loss
            if math.isfinite(loss):
                training.meter.add(result, batch, again)
            elif wrong is None:
                wrong = result
        total, due = stop.agree(
            total, saver.due
        )  # once a step: a loss of any process stops all before they move
        if not math.isfinite(total):
            return result if wrong is None else wrong, due
        spread.finish()
        update.move()
    return None, due


def _further(
    training: Training, batches: Iterator[Batch], full: int, saver: Saver, stop: StopSignal
) -> BatchResult | None:
    """After a step that was one compiled graph, makes more such steps until something else has to read the
    training's state, at most `full`: the batches that follow and are full. Returns the result of one whose
    loss is not finite; nothing was updated with it.
    """
    update, *others = training.phase.turns
    if others or training.callbacks.watches_batches or stop:
        return None
    count, until = min(full, saver.free_steps, MOST), time.monotonic() + UNSEEN
    steps = itertools.count(training.iterations)
    training.varied.begin(next(steps))

    def moved() -> bool:
        update.move()
        training.averages.follow()
        training.varied.begin(next(steps))
        return not stop and time.monotonic() < until

    for batch, result in update.compiled.further(batches, count, moved):
        if not math.isfinite(result.value):
            return result
        training.meter.add(result, batch)
        training.stepped()
    return None


@torch.no_grad()
def evaluate(
    objective: Objective,
    module: nn.Module,
    examples: Examples,
    batch_size: int,
    prefix: str,
    stop: StopSignal | None = None,
    progress: Callable[[int], None] | None = None,
    seen: Callable[[BatchResult, Batch], None] | None = None,
) -> Values:
    """The loss and the metrics of a module on examples, in inference mode; of some of them where `stop` is
    set on the way. Where each process has a share of the examples, they are those of all.

    After each batch `progress` gets the number of examples so far, and `seen` the batch with its result.
    """
    module.eval()
    meter, count = objective.meter(), 0
    ranking = Ranker(objective)
    for batch in examples.batches(batch_size):
        result = objective(module, batch)
        meter.add(result, batch)
        ranking.add(result, batch)
        if seen is not None:
            seen(result, batch)
        count += batch.total
        if progress is not None:
            progress(count)
        if stop is not None:
            stop.agree()
            if stop:
                return meter.together(objective.world).result(prefix)
    values = meter.together(objective.world).result(prefix)
    return values | ranking.values(module, batch_size, prefix)


def compared(
    program: BaseProgram,
    encoders: Encoders | None,
    training: Examples,
    held: Examples | None,
    prefix: str,
    boosting: bool = False,
) -> dict[str, Values]:
    """The same of what answers without the model, by name: see `baselines`."""
    if held is None or custom.nodes(program) or custom.objectives(program):
        return {}
    if all(output.ranks_candidates for output in program.outputs.values()):
        return {"what is popular": popularity(program, training, held, prefix)}
    from graphspec.train.baselines import baselines  # they read tables' encoders

    objective, modules = baselines(program, encoders, training, held, boosting)
    size = program.training.batch_size
    if objective is None:
        return {}
    return {name: evaluate(objective, module, held, size, prefix) for name, module in modules.items()}


def _not_finite(result: BatchResult, training: Training, saver: Saver, turn: int) -> None:
    """A loss is NaN or infinite in an update of a step, by its number from 0; nothing was updated with it.
    That is the end, and without `terminate_on_nan` an error.
    """
    parts = result.parts
    wrong = [name for name, part in parts.items() if not math.isfinite(part)]
    names = " and ".join(f"`{name}`" for name in wrong)
    what = f"the loss of output {names}" if wrong else "the weighted sum of the losses"
    became = "NaN" if any(math.isnan(part) for part in parts.values()) else "infinite"
    several, step = len(training.phase.turns) > 1, training.iterations + 1
    at = f"in update {turn + 1} of step {step}" if several else f"at step {step}"
    message = f"{what} became {became} {at}, in epoch {training.epoch + 1}"
    # the forward pass came before: where NaN reached moving statistics, the module is lost
    finite = all(bool(b.isfinite().all()) for b in training.module.buffers() if b.is_floating_point())
    callbacks = training.program.training.callbacks
    if finite and any(isinstance(c, settings.TerminateOnNaN) and not c.raise_error for c in callbacks):
        for update in training.phase.updates:
            for weight in update.optimizer.weights.values():
                weight.grad = None
        training.stop_training = True
        training.tell(f"{message}: the training ends before it")
        return
    if finite:
        saver.weights()
        note = f"the weights before that {'update' if several else 'step'} are in {training.run_dir / LAST}"
    else:
        note = f"the last complete checkpoint is in {training.run_dir / CHECKPOINTS}"
    help = "lower the learning rate, or clip gradients: {optimizer: {name: adam, global_clipnorm: 1.0}}"
    unmoved = training.iterations == turn == 0
    given = training.module.named_parameters() if unmoved else ()
    broken = next((name for name, weight in given if not local(weight).isfinite().all()), None)
    if broken is not None:
        help = f"`{broken}` is not finite in the weights that the training begins with: give other ones"
    raise fail("non-finite-loss", message, help, note)
