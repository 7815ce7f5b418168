"""Whether a spec that trains has a weight to train: what `check` can tell before the module is made."""

from __future__ import annotations

from typing import Any

from graphspec.diagnostics import Diagnostic, Diagnostics
from graphspec.train.config.groups import particulars
from graphspec.weights import paths


def check_trainable(program: Any, diagnostics: Diagnostics) -> None:
    """Reports a program (nothing-to-train) in which everything is frozen: by its nodes, or by the groups of
    `train`.
    """
    if any(op.layer is not None and op.layer.opaque for op in program.graph.walk()):
        return  # weights of custom modules are not known here
    left = set(paths(program.graph, frozen=False))
    known = list(paths(program.graph))
    said = particulars(program.training.parameter_groups, known)
    if known and not any(
        path in left if said[path].trainable is None else said[path].trainable for path in known
    ):
        message = "every weight is frozen, so there is nothing to train"
        help = "remove a `trainable: false`; `graphspec evaluate SPEC` judges a model without training it"
        span = program.span(("train",), True)
        diagnostics.add(Diagnostic("nothing-to-train", message, span, help=help))
