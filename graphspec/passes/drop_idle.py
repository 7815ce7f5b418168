"""Merges that have one input left, because an optional input of their block is not given."""

from __future__ import annotations

from collections import defaultdict

from graphspec.diagnostics import Span
from graphspec.graph import Graph, Op
from graphspec.passes.copying import Copy


def leave_out_idle(root: Graph) -> Graph:
    """The graph without the merges that only pass on their input, where other uses of the block merge more:
    so the uses stay one class, to which the optional input is an argument.
    """
    merges = [op for op in root.walk() if op.present and op.kind == "merge" and op.wrapper is None]
    if all(len(op.inputs) > 1 for op in merges):
        return root
    mates: dict[tuple[Span | None, str], list[Op]] = defaultdict(list)
    for op in merges:
        mates[op.span, op.node].append(op)
    idle = [
        op
        for ops in mates.values()
        if any(len(op.inputs) > 1 for op in ops)
        for op in ops
        if len(op.inputs) == 1 and _passes_on(op)
    ]
    if not idle:
        return root
    copy = Copy(root)
    for op in (copy.ops[each] for each in idle):
        op.layer, op.unit, op.present = None, None, False
    return copy.graph


def _passes_on(op: Op) -> bool:
    assert op.layer is not None
    return op.layer.code(op.site()).call == "{0}" and op.inputs[0].tensor == op.output.tensor
