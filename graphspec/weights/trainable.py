"""Whether a spec that trains has weights to train: what `check` can tell before the module is made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from graphspec.diagnostics import Diagnostic, Diagnostics
from graphspec.elaborated import BaseProgram
from graphspec.graph import Graph
from graphspec.passes.prune import prune
from graphspec.train.config import TrainConfig
from graphspec.train.config.groups import particulars
from graphspec.weights import paths


def trains(graph: Graph, config: TrainConfig) -> set[str]:
    """The keys of the parameters of a graph that training changes, sooner or later: by its nodes, by
    `freeze` and by the groups of `train`, in one of its phases.
    """
    return set().union(*(_trains(graph, part) for part in config.parts))


def _trains(graph: Graph, config: TrainConfig) -> set[str]:
    """The same of one phase."""
    left = set(paths(graph, frozen=False))
    known = list(paths(graph))
    said = particulars(config.parameter_groups, known)
    trained = set()
    for path in known:
        trainable = said[path].trainable
        frozen = config.unfreeze_at is None and config.freezes(path)
        if trainable if trainable is not None else path in left and not frozen:
            trained.add(path)
    return trained


def check_trainable(program: BaseProgram, diagnostics: Diagnostics) -> None:
    """Reports a program (nothing-to-train) in which everything is frozen, by its nodes or by the groups of
    `train`; and a phase or a step that changes no weight.
    """
    if any(op.layer is not None and op.layer.opaque for op in program.graph.walk()):
        return  # weights of custom modules are not known here
    if program.training.adapters or not any(True for _ in paths(program.graph)):
        return
    for path, message, help in _idle(program):
        span = program.span(("train", *path), key=True)
        diagnostics.add(Diagnostic("nothing-to-train", message, span, help=help))


def _idle(program: BaseProgram) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    """Parts of a training that change no weight: their place below `train`, and the message."""
    for number, part in enumerate(program.training.parts):
        phased = bool(program.training.phases)
        where: tuple[str | int, ...] = ("phases", number) if phased else ()
        moved = _trains(program.graph, part)
        if not moved:
            rest = f"in phase {number + 1}" if phased else "so there is nothing to train"
            help = (
                "remove a `trainable: false`, or a pattern of `freeze`; `graphspec evaluate SPEC` measures it"
            )
            yield where, f"every weight is frozen{',' if not phased else ''} {rest}", help
            continue
        inner = (
            ("steps",) if not phased or program.training.phases[number].steps is None else (*where, "steps")
        )
        for index, step in enumerate(part.steps):
            reached = moved & _reached(program, step.outputs)
            if not any(map(step.updates, reached)):
                help = (
                    f"they depend on `{min(reached)}`, for example" if reached else "they depend on no weight"
                )
                yield (*inner, index), f"step {index + 1} changes no weight that its losses depend on", help


def _reached(program: BaseProgram, outputs: tuple[str, ...]) -> set[str]:
    """The weights that the losses of some outputs depend on; of all that have one where none is named."""
    outputs = outputs or tuple(name for name, output in program.outputs.items() if output.loss is not None)
    values = program.graph.outputs
    kept = {key: value for key, value in values.items() if key.partition(".")[0] in outputs}
    return set(paths(prune(replace(program.graph, outputs=kept))))
