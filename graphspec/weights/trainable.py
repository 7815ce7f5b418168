"""Whether a spec that trains has a weight to train: what `check` can tell before the module is made."""

from __future__ import annotations

from graphspec.diagnostics import Diagnostic, Diagnostics
from graphspec.graph import Graph
from graphspec.program import BaseProgram
from graphspec.train.config import TrainConfig
from graphspec.train.config.groups import particulars
from graphspec.weights import paths


def trains(graph: Graph, config: TrainConfig) -> set[str]:
    """The keys of the parameters of a graph that training changes, sooner or later: by its nodes, by
    `freeze` and by the groups of `train`.
    """
    left = set(paths(graph, frozen=False))
    known = list(paths(graph))
    said = particulars(config.parameter_groups, known)
    found = set()
    for path in known:
        trainable = said[path].trainable
        frozen = config.unfreeze_at is None and config.freezes(path)
        if trainable if trainable is not None else path in left and not frozen:
            found.add(path)
    return found


def check_trainable(program: BaseProgram, diagnostics: Diagnostics) -> None:
    """Reports a program (nothing-to-train) in which everything is frozen: by its nodes, or by the groups of
    `train`.
    """
    if any(op.layer is not None and op.layer.opaque for op in program.graph.walk()):
        return  # weights of custom modules are not known here
    if program.training.adapters:
        return
    if any(True for _ in paths(program.graph)) and not trains(program.graph, program.training):
        message = "every weight is frozen, so there is nothing to train"
        help = "remove a `trainable: false`, or a pattern of `freeze`; `graphspec evaluate SPEC` measures it"
        span = program.span(("train",), True)
        diagnostics.add(Diagnostic("nothing-to-train", message, span, help=help))
