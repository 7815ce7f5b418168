"""Turns an `activity_regularizer` into a node after its layer, which training reads."""

from __future__ import annotations

from graphspec.contract.penalties import Regularizer
from graphspec.diagnostics import Diagnostic, Diagnostics
from graphspec.graph import Graph, Op, Unit, Value
from graphspec.passes.copying import Copy


def watch_activities(root: Graph, diagnostics: Diagnostics) -> Graph | None:
    """The graph with these nodes; None if one is not possible, which is reported."""
    if not any(_regularizer(op) is not None for op in root.walk()):
        return root
    graph = Copy(root).graph
    return graph if _watch(graph, diagnostics) else None


def _regularizer(op: Op) -> Regularizer | None:
    """The regularizer of a layer's output, if the layer is present."""
    regularizer = getattr(op.layer, "activity_regularizer", None)
    return regularizer if isinstance(regularizer, Regularizer) and op.present else None


def _penalizes_itself(op: Op) -> bool:
    """Whether the layer's own modules are penalized, and no node is needed."""
    return op.layer is not None and bool(op.layer.activities())


def _watch(graph: Graph, diagnostics: Diagnostics) -> bool:
    """Inserts the nodes into a graph and the graphs inside it; false if one is not possible."""
    well, ops = True, []
    taken = {op.node for op in graph.ops} | graph.inputs.keys()
    for op in graph.ops:
        ops.append(op)
        if op.graph is not None and op.wrapper is None:
            well &= _watch(op.graph, diagnostics)
        for inner in op.graph.walk() if op.graph is not None and op.wrapper is not None else [op]:
            regularizer = _regularizer(inner)
            if regularizer is not None and (op.wrapper is not None or not _penalizes_itself(inner)):
                watched = _watched(graph, diagnostics, op, regularizer, taken)
                well &= watched is not None
                ops += [watched] if watched is not None else []
    graph.ops = ops
    return well


def _watched(
    graph: Graph, diagnostics: Diagnostics, op: Op, regularizer: Regularizer, taken: set[str]
) -> Op | None:
    """The node after an op, which gives what the op gave; the op's own output is another value."""
    from graphspec.contract.activity import WatchedActivity

    if op.wrapper is not None or op.repeated is not None or len(op.outputs) != 1:
        what = "that is wrapped" if op.wrapper is not None else "that is repeated" if op.repeated else ""
        message = f"`activity_regularizer` of `{op.node}`, a layer {what or 'of several outputs'}"
        diagnostics.add(Diagnostic("not-supported", message, op.span, help=WatchedActivity.by_hand))
        return None
    why = regularizer.misfit(op.output.tensor.rank)
    if why is not None:
        message = f"`activity_regularizer` of `{op.node}`: {why}"
        diagnostics.add(Diagnostic("out-of-range", message, op.span))
        return None
    value, name = op.output, f"{op.node}_activity"
    while name in taken:
        name += "_"
    taken.add(name)
    inner = Value(value.tensor, value.name, op)
    op.outputs = {key: inner for key in op.outputs}
    layer = WatchedActivity(regularizer_=regularizer)
    watched = Op(name, None, op.span, "layer", (inner,), {"": value}, layer=layer, title=layer.title)
    watched.unit = Unit(name, None, op.span, calls=[watched])
    graph.units.append(watched.unit)
    value.op = watched
    return watched
