"""Training: one loop, from top to bottom.

result = train(program, root=Path("specs"))
result.metrics["val_accuracy"], result.run_dir
"""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn

from graphspec.custom import nodes, objectives
from graphspec.data.batches import RANDOM, Batch, Examples, Shuffle, generator
from graphspec.data.in_memory_source import Given
from graphspec.data.loading import SYNTHETIC, Data, load
from graphspec.data.remote import is_remote, shown
from graphspec.diagnostics import Diagnostic, fail
from graphspec.diagnostics.arguments import need
from graphspec.files.addresses import need_permission
from graphspec.files.run_files import CHECKPOINTS, ENCODERS, LAST
from graphspec.objectives.history import directions
from graphspec.tensor import sizes_of
from graphspec.train import batch_size as batch_sizes
from graphspec.train import device as devices
from graphspec.train.batch_inspection import Examination, examine, examples, untouched
from graphspec.train.batch_result import BatchResult
from graphspec.train.batch_size import Auto
from graphspec.train.callbacks import settings
from graphspec.train.callbacks.base import METHODS
from graphspec.train.callbacks.building import build
from graphspec.train.callbacks.weights import BestWeights
from graphspec.train.checkpoint import State
from graphspec.train.compiled import Compiled, Way, choose
from graphspec.train.config import effective_batch
from graphspec.train.custom import bound
from graphspec.train.meter import Values
from graphspec.train.objective import Objective
from graphspec.train.optimizers.setup import need_trainable, optimizer_for, set_trainable
from graphspec.train.parallel.files import fill
from graphspec.train.parallel.spread import is_sharded, spread_over
from graphspec.train.parallel.world import World, joined
from graphspec.train.penalties import Penalties
from graphspec.train.precision import products
from graphspec.train.progress import Progress, Reporter, Result, Start
from graphspec.train.resume import alike, continued, created, same_data, told_alike
from graphspec.train.run import environment
from graphspec.train.saver import Saver
from graphspec.train.signals import StopSignal, watched
from graphspec.train.state import Training, random_state, restore_random
from graphspec.train.stored import restoring
from graphspec.weights import no_file


class Interrupted(Exception):
    """Raised after a signal, once everything is saved. `result` covers the completed epochs."""

    def __init__(self, result: Result, number: int = signal.SIGINT):
        where = f"the weights are in {result.run_dir / LAST}, and `--resume` continues"
        super().__init__(f"interrupted after {result.steps} steps; {where}")
        self.result = result
        self.exit_code = 128 + number


def train(
    program: Any,
    *,
    data: Path | Given | None = None,
    root: Path | None = None,
    weights: Path | None = None,
    device: str = "auto",
    run_dir: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    limit: int | None = None,
    epochs: int | None = None,
    callbacks: Iterable[Any] = (),
    compile: Way = "off",
    batch_size: Auto | None = None,
    started: Callable[[Start], None] | None = None,
    progress: Callable[[Progress], None] | None = None,
    tell: Callable[[str], None] = print,
) -> Result:
    """Trains a program with the settings of its `train:`, and writes a run directory.

    `data` replaces the training data of the spec, whose paths are relative to `root`; `limit` is how many
    examples of each file are read; `epochs` replaces the spec's. A new run starts from the `weights` of a
    `.safetensors` file, which holds all of the module. `run_dir` is a new directory, or one whose
    run `overwrite` replaces; without it `runs/<name>-<n>`. `resume` goes on exactly where the run of
    `run_dir`, or the newest one of the spec's name, was last saved, and begins one where there is none.

    `compile` says whether torch.compile is used: `auto` where the steps ahead repay it. `batch_size="auto"`
    takes the largest that fits in memory, or that of the run that goes on. `callbacks` are
    objects with methods of `Callback`. `started` is called before the first step, `progress`
    at most every tenth of a second and at the end of each epoch, `tell` with what is to be said aloud.

    Raises `SpecError` for whatever is wrong with the spec, the data or the run, and `Interrupted` after
    SIGINT or SIGTERM.
    """
    began, place = time.monotonic(), devices.choose(device)
    callbacks = _checked(epochs=epochs, limit=limit, callbacks=callbacks)
    _check_weights(weights, resume)
    need_permission(program)
    computing = devices.computing(devices.threads(program))
    with computing, products(program.training.precision), joined(place) as world, ExitStack() as stack:
        tell = tell if world.first else _nobody
        told: dict[str, Any] = dict(limit=limit, epochs=epochs, batch_size=batch_size, compile=compile)
        told |= {"data": data is not None, "weights": weights is not None, "device": place.type}
        told_alike(world, program, told | {"resume": resume, "overwrite": overwrite})
        read = partial(load, data=data, root=root, device=place, limit=limit, processes=world.machine())
        if batch_size == "auto":
            known = batch_sizes.begun(program, run_dir) if resume else None
            program, found = _fitting(program, known, read, place, world, tell)
        else:
            found = read(program)
        alike(world, found.fingerprint)
        for note in found.notes:
            tell(note)
        run, state = continued(program, world, run_dir, resume)
        if run is not None:
            stack.enter_context(closing(run))
            weights = world.of_first(run.started_from(program, needed=state is None) if world.first else None)
        epochs = program.training.epochs if epochs is None else epochs
        training, best, examination = _prepare(
            program, found, world, place, epochs, callbacks, state, state is None, weights
        )
        training.tell = tell
        if weights is not None and state is None:
            tell(f"starts from the weights in {weights}")
        training.compiled = _compiled(training, found, compile, not callbacks)
        resumed = run is not None
        if run is None:
            run = stack.enter_context(closing(created(program, world, run_dir, overwrite)))
        if state is not None:
            same_data(state, found.fingerprint, run.path)
        training.run = run
        _record(training, found, _origin(data, root, weights, SYNTHETIC in found.notes))
        _set_state(training, state, resumed)
        if started is not None and world.first:
            started(_start(training, found, data, examination, state is not None))
        training.callbacks.begin(training, state.part("callbacks") if state is not None else None)
        return _run(training, found, Saver(training, began, best), progress if world.first else None, began)


def _set_state(training: Training, state: State | None, resumed: bool) -> None:
    """Restores the state of a run that goes on; its history ends there."""
    torch.manual_seed(_seed(training.program, training.world))  # dropout and other random layers
    if state is not None:
        training.restore(state)
    if resumed:
        training.run.rewrite(training.history.epochs())


def _record(training: Training, found: Data, origin: dict[str, Any]) -> None:
    """Writes the record of a run, before its first step."""
    sizes = {"processes": training.world.size, "batch_size": training.program.training.batch_size}
    training.run.begin(training.program, environment(training.device) | origin | sizes)
    if found.encoders is not None:
        training.run.text(ENCODERS, json.dumps(found.encoders.to_json(), ensure_ascii=False) + "\n")


def _origin(
    data: Path | Given | None, root: Path | None, weights: Path | None, synthetic: bool
) -> dict[str, Any]:
    """The origin of a run's data and of its first weights, for its record."""
    named = None
    if isinstance(data, Path):
        named = shown(data) if is_remote(data) else str(data.resolve())
    first = str(weights.resolve()) if weights is not None else None
    return {"root": str((root or Path()).resolve()), "data": named, "weights": first, "synthetic": synthetic}


def _fitting(
    program: Any,
    known: int | None,
    read: Callable[[Any], Data],
    place: torch.device,
    world: World,
    tell: Callable[[str], None],
) -> tuple[Any, Data]:
    """The program with the largest batch size that fits, or with that of the run that goes on; its data."""
    if not world.alone:
        help = "try it with one process, then write `train.batch_size`: the sum over all processes"
        message = "`--batch-size auto` tries what fits one process"
        raise fail("not-supported", message, help)
    if known is not None:
        program = program.with_batch_size(known)
        return program, read(program)
    found = read(program)

    def trial(sized: Any, batch: Batch) -> None:
        training, _, _ = _prepare(sized, found, world, place, 1, (), None, False)
        for _ in range(2):  # the second has what the optimizer remembers of the first
            totals = training.objective.totals(training.spread.called, [batch])
            training.objective(training.spread.called.train(), batch, totals).loss.backward()
            training.optimizer.step()

    sized = batch_sizes.fitting(program, found.training, place, trial, tell)
    if SYNTHETIC in found.notes:  # of which there are so many batches
        found = read(sized)
    return sized, found


def _checked(epochs: int | None, limit: int | None, callbacks: Iterable[Any]) -> tuple[Any, ...]:
    """The callbacks. Raises `SpecError` for arguments that no training can have."""
    need(epochs=epochs, limit=limit, callbacks=callbacks)
    found = tuple(callbacks)
    for item in found:
        if isinstance(item, type):
            message = f"the callback `{item.__name__}` is a class"
            raise fail("callback-misfit", message, f"give an instance: `{item.__name__}()`")
        if not any(hasattr(item, method) for method in METHODS):
            message = f"`{type(item).__name__}` has none of the methods of a callback"
            raise fail("callback-misfit", message, f"it has some of: {', '.join(METHODS)}")
    return found


def _check_weights(weights: Path | None, resume: bool) -> None:
    """Raises `SpecError` for first weights that no run can start from, before data are read."""
    if weights is None:
        return
    if resume:
        message = f"a run that goes on has weights of its own, and `{weights}` would replace them"
        raise fail("resume-failed", message, "leave `resume` out: a new run starts from these weights")
    if not weights.is_file():
        raise no_file(weights)


def _prepare(
    program: Any,
    found: Data,
    world: World,
    place: torch.device,
    epochs: int,
    callbacks: Iterable[Any],
    state: State | None,
    new: bool,
    weights: Path | None = None,
) -> tuple[Training, BestWeights, Examination]:
    """Everything but the run directory. A `new` run reports what a batch looks like, and starts from
    `weights` where there are some; another goes on from `state`.
    """
    config, sharded = program.training, is_sharded(program, world)
    steps = epochs * -(-len(found.training) // effective_batch(config))
    module, penalties, objective = _objective(program, found, world, place, state, weights)
    looks = (new or not world.alone) and not sharded  # which a device may have no room for
    examination = _examine(program, module, objective, found, steps) if looks else Examination()
    loose = objective.log_variances.values()
    spread = spread_over(world, program, module, place, loose, examination.unreached)
    penalties.bind(module)
    optimizer = optimizer_for(program, module, objective.log_variances, steps)
    ways = directions(program.outputs, found.validation is not None)
    called, best = build(config.callbacks, callbacks, ways, world.first)
    data = found.fingerprint
    training = Training(program, spread, objective, penalties, optimizer, place, epochs, called, data)
    return training, best, examination


def _objective(
    program: Any, found: Data, world: World, place: torch.device, state: State | None, weights: Path | None
) -> tuple[nn.Module, Penalties, Objective]:
    """The module of a training, and what judges it."""
    config, sharded = program.training, is_sharded(program, world)
    first = weights if state is None else None
    module = program.module(device="cpu" if sharded else str(place), seed=config.seed, weights=first)
    _adapt(program, module, found, world, state)
    outputs = bound(program, place)
    if nodes(program):
        with untouched(module):
            program.prove(module)
    set_trainable(program, module)
    need_trainable(program, module)
    penalties = Penalties(program.graph, module)
    units = found.encoders.units() if found.encoders is not None else {}
    objective = Objective(program.inputs, outputs, place, penalties, units, config.precision, world)
    return module, penalties, objective


def look(program: Any, root: Path | None) -> tuple[Diagnostic, ...]:
    """What a training would warn of before its first step, after the data of its spec are read. Nothing is
    written. Raises `SpecError` for whatever is wrong with the data.
    """
    if program.data is None or program.data.train is None:
        return ()
    place = torch.device("cpu")
    found = load(program, None, root, place)
    if nodes(program) or objectives(program):  # which nothing but permission runs
        return found.warnings
    module, _, objective = _objective(program, found, World(), place, None, None)
    steps = program.training.epochs * -(-len(found.training) // effective_batch(program.training))
    return _examine(program, module, objective, found, steps).warnings


def _adapt(program: Any, module: nn.Module, found: Data, world: World, state: State | None) -> None:
    """Fills the buffers that learn from training inputs, in file order; those of a run that goes on are in
    its state. The first process tells the others.
    """
    known = dict(module.named_buffers())
    if state is not None:
        stored = state.part("module").tensors
        with restoring(state.path or Path()):
            fill({name: buffer for name, buffer in known.items() if name in stored}, stored)
        return
    size = program.training.batch_size
    filled = program.adapt(module, lambda: (batch.arrays for batch in found.training.batches(size)))
    learned = {name for name in known if name.rpartition(".")[0] in filled}
    for name, value in world.of_first({name: known[name].cpu() for name in sorted(learned)}).items():
        known[name].copy_(value)


def _compiled(training: Training, found: Data, way: Way, closed: bool) -> Compiled:
    """What is compiled of the module; the choice is reported, unless nothing is compiled."""
    program, spread = training.program, training.spread
    steps = training.epochs * -(-len(found.training) // effective_batch(program.training))
    sizes = _sizes(program, found.training) if way != "off" else None
    choice = choose(program, way, steps, training.device.type, spread.world, sizes)
    if way != "off":
        training.tell(str(choice))
    size = -(-program.training.batch_size // training.world.size)
    return Compiled(training.module, training.optimizer, choice, size, training.tell, closed)


def _sizes(program: Any, examples: Examples) -> dict[str, int] | None:
    """The values that the named sizes of the inputs have in every batch; None if lengths differ."""
    if not examples.even:
        return None
    batch = next(examples.batches(1))
    return sizes_of(program.inputs, {name: x.shape for name, x in batch.arrays.items()})


def _examine(program: Any, module: nn.Module, objective: Objective, found: Data, steps: int) -> Examination:
    """Inspects a batch; the training does not depend on it."""
    count = examples(program, program.training.batch_size)
    batches = found.training.batches(count, Shuffle(program.training.seed, 0))
    return examine(program, module, objective, next(batches), steps, found.warnings)


def _seed(program: Any, world: World) -> int:
    """The seed of the spec in the first process; other processes draw other numbers."""
    seed: int = program.training.seed
    return seed if world.first else generator(seed, RANDOM, world.rank).initial_seed()


def _nobody(line: str) -> None:
    """Discards the reports of processes other than the first."""


def _start(
    training: Training, found: Data, data: Path | Given | None, examination: Examination, resumed: bool
) -> Start:
    program = training.program
    spec = program.data.train.path if program.data is not None and program.data.train is not None else None
    parts = {"training": found.training, "validation": found.validation, "test": found.test}
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
        examination.seen,
        examination.warnings,
    )


def _run(
    training: Training,
    found: Data,
    saver: Saver,
    progress: Callable[[Progress], None] | None,
    began: float,
) -> Result:
    """Runs the epochs, then the end of training."""
    batch_size, callbacks = training.program.training.batch_size, training.callbacks
    reporter = Reporter(progress, training.epochs, -(-len(found.training) // training.batch_size))
    test: Values = {}
    with watched(training.world) as stop, closing(callbacks), training.compiled.watched():
        while not training.over and not stop:
            _epoch(training, found, saver, reporter, stop)
        saver.save()
        if not stop:
            if not training.averaged:
                training.optimizer.overwrite()
            callbacks.call("on_train_end", training.history.last)
            saver.finish()
            if found.test is not None:
                held = training.shared(found.test)
                with saver.at_best(), training.compiled.evaluating():
                    test = evaluate(training.objective, training.module, held, batch_size, "test_", stop)
    result = Result(
        training.run_dir,
        training.epoch,
        training.optimizer.iterations,
        str(training.device),
        training.history.last | test,
        training.history.values,
        training.seconds + time.monotonic() - began,
        training.clock.rate,
        saver.best_epoch,
        SYNTHETIC in found.notes,
    )
    if stop:
        raise Interrupted(result, stop.number)
    return result


def _epoch(training: Training, found: Data, saver: Saver, reporter: Reporter, stop: StopSignal) -> None:
    """Runs an epoch, or the rest of an interrupted one; returns early if `stop` is set."""
    config, callbacks, epoch = training.program.training, training.callbacks, training.epoch
    spread, objective, optimizer, meter = (
        training.spread,
        training.objective,
        training.optimizer,
        training.meter,
    )
    if not training.seen:
        callbacks.call("on_epoch_begin", epoch, {})
        training.follow()
    spread.called.train()
    started, before = time.perf_counter(), meter.count
    reporter.begin(training.seen // training.batch_size, before)
    order = Shuffle(config.seed, epoch)
    batches = training.shared(found.training).batches(config.batch_size, order, training.seen)
    for parts in _together(batches, training.accumulated):
        step = training.seen // training.batch_size
        if callbacks.watches_batches:
            callbacks.call("on_train_batch_begin", step, {})
        totals = objective.totals(spread.called, parts)
        for batch in parts:
            with spread.part(batch, last=batch is parts[-1]):
                result = training.compiled.step(objective, spread.called, batch, totals)
            loss, due = stop.agree(result.value, saver.due)  # read now, while the device goes back
            if not math.isfinite(loss):
                return _not_finite(result, training, saver)
            meter.add(result, batch)
            training.seen += batch.total
        spread.finish()
        if training.compiled.updated:
            optimizer.advance()
        else:
            optimizer.step()
        training.penalties.constrain()
        if callbacks.watches_batches:
            callbacks.call("on_train_batch_end", step, {"loss": meter.loss()})
        saver.step(due)
        reporter.step(epoch, meter)
        if stop:
            return
    training.clock.add((meter.count - before) * training.world.size, time.perf_counter() - started)
    values = meter.together(training.world).result()
    if found.validation is not None:
        random = random_state(training.device)
        callbacks.call("on_test_begin", {})
        held = training.shared(found.validation)
        with training.compiled.evaluating():
            values |= evaluate(objective, training.module, held, config.batch_size, "val_", stop)
        callbacks.call("on_test_end", values)
        if stop:  # the validation is done again
            restore_random(random, training.device)
            return
    if any(callback.sets_rate for callback in config.callbacks):
        values["learning_rate"] = optimizer.learning_rate
    training.finish_epoch(values)
    callbacks.call("on_epoch_end", epoch, values)
    training.follow()
    saver.epoch(stop.agree(due=saver.due)[1])
    reporter.epoch(epoch, values, training.clock)


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

    `progress` is told the number of examples so far after each batch, and `seen` is given each with what the
    model made of it.
    """
    module.eval()
    meter, count = objective.meter(), 0
    for batch in examples.batches(batch_size):
        result = objective(module, batch)
        meter.add(result, batch)
        if seen is not None:
            seen(result, batch)
        count += batch.total
        if progress is not None:
            progress(count)
        if stop is not None:
            stop.agree()
            if stop:
                break
    return meter.together(objective.world).result(prefix)


def _together(batches: Iterator[Batch], count: int) -> Iterator[list[Batch]]:
    """The batches whose gradients one step accumulates: `count` of them, at the end perhaps fewer."""
    while parts := list(islice(batches, count)):
        yield parts


def _not_finite(result: BatchResult, training: Training, saver: Saver) -> None:
    """A loss is NaN or infinite; nothing was updated with it. That is the end, and without
    `terminate_on_nan` an error.
    """
    parts = result.parts
    wrong = [name for name, part in parts.items() if not math.isfinite(part)]
    names = " and ".join(f"`{name}`" for name in wrong)
    what = f"the loss of output {names}" if wrong else "the weighted sum of the losses"
    became = "NaN" if any(math.isnan(part) for part in parts.values()) else "infinite"
    step = training.optimizer.iterations + 1
    message = f"{what} became {became} at step {step}, in epoch {training.epoch + 1}"
    # the forward pass came before: where NaN reached moving statistics, the module is lost
    finite = all(bool(b.isfinite().all()) for b in training.module.buffers() if b.is_floating_point())
    callbacks = training.program.training.callbacks
    if finite and any(isinstance(c, settings.TerminateOnNaN) and not c.raise_error for c in callbacks):
        for weight in training.optimizer.weights.values():
            weight.grad = None
        training.stop_training = True
        training.tell(f"{message}: the training ends before it")
        return
    if finite:
        saver.weights()
        note = f"the weights before that step are in {training.run_dir / LAST}"
    else:
        note = f"the last complete checkpoint is in {training.run_dir / CHECKPOINTS}"
    help = "lower the learning rate, or clip gradients: {optimizer: {name: adam, global_clipnorm: 1.0}}"
    raise fail("non-finite-loss", message, help, note)
