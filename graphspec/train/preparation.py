"""Prepares a training before its first step: the module, its objective, its devices, its callbacks."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from graphspec.custom import nodes, objectives
from graphspec.data.batches import Examples, Shuffle
from graphspec.data.loading import Data, load
from graphspec.diagnostics import Diagnostic
from graphspec.elaborated import BaseProgram
from graphspec.objectives.history import directions
from graphspec.tensor import sizes_of
from graphspec.train.adapters import attach
from graphspec.train.batch_inspection import Examination, examine, examples
from graphspec.train.callbacks.building import build
from graphspec.train.checkpoint import State
from graphspec.train.compiled import Compiled, choose
from graphspec.train.custom import bound
from graphspec.train.feeding import steps_of
from graphspec.train.freezing import Freezing
from graphspec.train.objective import Objective
from graphspec.train.optimizers.setup import need_trainable
from graphspec.train.options import TrainOptions
from graphspec.train.parallel.files import fill
from graphspec.train.parallel.spread import is_sharded, spread_over
from graphspec.train.parallel.world import World
from graphspec.train.penalties import Penalties
from graphspec.train.phases import Phases
from graphspec.train.state import TrainingParts
from graphspec.train.stored import restoring


def compiled(parts: TrainingParts, dataset: Data, given: TrainOptions) -> Compiled:
    """The compiled parts of the module; the choice is reported, unless nothing is compiled."""
    program, spread, way = parts.program, parts.spread, given.compile
    sizes = _sizes(program, dataset.training) if way != "off" else None
    choice = choose(program, way, parts.epochs * parts.steps, parts.device.type, spread.world, sizes)
    if way != "off":
        given.tell(str(choice))
    custom = bool(nodes(program) or objectives(program))
    return Compiled(spread.module, choice, given.tell, custom)


def phases(parts: TrainingParts, compiled: Compiled) -> Phases:
    """The phases of a training."""
    rest = parts.freezing, compiled, parts.epochs, parts.steps
    return Phases(parts.program, parts.spread.module, parts.objective, parts.penalties, *rest)


def prepare(
    program: BaseProgram,
    dataset: Data,
    world: World,
    place: torch.device,
    given: TrainOptions,
    state: State | None,
    weights: Path | None,
    looks: bool = True,
) -> TrainingParts:
    """The parts of a training. A new one starts from `weights` where there are some, and describes a batch
    unless `looks` is false; another goes on from `state`.
    """
    config, sharded = program.training, is_sharded(program, world)
    epochs = config.epochs if given.epochs is None else given.epochs
    steps = steps_of(program.training, dataset)
    module, penalties, objective, freezing = _objective(program, dataset, world, place, state, weights)
    looks = ((looks and state is None) or not world.alone) and not sharded  # which may not fit a device
    examination = _examine(program, module, objective, dataset, epochs * steps) if looks else Examination()
    loose = objective.log_variances.values()
    spread = spread_over(world, program, module, place, loose, examination.unreached)
    ways = directions(program.outputs, dataset.validation is not None)
    called, best = build(config.callbacks, given.callbacks, ways, world.is_first)
    return TrainingParts(
        program,
        spread,
        objective,
        penalties,
        freezing,
        place,
        epochs,
        called,
        dataset.fingerprint,
        steps,
        best,
        examination,
    )


def _objective(
    program: BaseProgram,
    dataset: Data,
    world: World,
    place: torch.device,
    state: State | None,
    weights: Path | None,
) -> tuple[nn.Module, Penalties, Objective, Freezing]:
    """The module of a training, its penalties, its objective, and what freezes its weights."""
    config, sharded = program.training, is_sharded(program, world)
    first = weights if state is None else None
    module = program.module(device="cpu" if sharded else str(place), seed=config.seed, weights=first)
    _adapt(program, module, dataset, world, state)
    outputs = bound(program, place)
    freezing = Freezing(program.graph, module)
    attach(program, module)
    for part in reversed(config.parts):  # it begins with the first
        freezing.apply(part)
        need_trainable(program, module, part)
    penalties = Penalties(program.graph, module)
    units = dataset.encoders.units() if dataset.encoders is not None else {}
    objective = Objective(
        program.inputs, outputs, place, penalties, units, config.precision, world, dataset.candidates
    )
    return module, penalties, objective, freezing


def look(program: BaseProgram, root: Path | None) -> tuple[Diagnostic, ...]:
    """The warnings of a training before its first step, after the data of its spec are read. Nothing is
    written. Raises `SpecError` for any mistake in the data.
    """
    if program.data is None or program.data.train is None:
        return ()
    place = torch.device("cpu")
    data = load(program, None, root, place)
    if nodes(program) or objectives(program):  # which nothing but permission runs
        return data.warnings
    module, _, objective, _ = _objective(program, data, World(), place, None, None)
    steps = program.training.epochs * steps_of(program.training, data)
    return _examine(program, module, objective, data, steps).warnings


def _adapt(program: BaseProgram, module: nn.Module, dataset: Data, world: World, state: State | None) -> None:
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
    filled = program.adapt(module, lambda: (batch.arrays for batch in dataset.training.batches(size)))
    learned = {name for name in known if name.rpartition(".")[0] in filled}
    for name, value in world.of_first({name: known[name].cpu() for name in sorted(learned)}).items():
        known[name].copy_(value)


def _sizes(program: BaseProgram, examples: Examples) -> dict[str, int] | None:
    """The values that the named sizes of the inputs have in every batch; None if lengths differ."""
    if not examples.even:
        return None
    batch = next(examples.batches(1))
    return sizes_of(program.inputs, {name: x.shape for name, x in batch.arrays.items()})


def _examine(
    program: BaseProgram, module: nn.Module, objective: Objective, dataset: Data, steps: int
) -> Examination:
    """Inspects a batch; the training does not depend on it."""
    count = examples(program, program.training.batch_size)
    batches = dataset.training.batches(count, Shuffle(program.training.seed, 0))
    real = not dataset.is_synthetic
    return examine(program, module, objective, next(batches), steps, dataset.warnings, real)
