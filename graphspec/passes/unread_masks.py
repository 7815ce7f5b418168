"""Masks of padding that no layer reads, or not each that could, and where they end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from graphspec.graph import Graph, Op, Unit, Value
from graphspec.passes.mask_flow import MaskFlow
from graphspec.passes.masks import reads_mask


def unread_masks(written: Graph, graph: Graph) -> Iterator[tuple[Op, Op | None, Op | None]]:
    """The first call of each embedding whose `mask_zero` nothing reads, and the first op that drops the mask.
    Where something reads it, also the first layer after that op that would have read it.

    `written` has the masks that the spec passes by name; in `graph` the others are carried as well. An
    embedding is left out where a reader of what it gives has a mask by name: that one may be of its padding.
    """
    ops = [op for op in graph.walk() if op.present and op.layer is not None]
    made: dict[Op | Unit, list[Op]] = {}
    for op in ops:
        if getattr(op.layer, "mask_zero", False):
            made.setdefault(op.unit or op, []).append(op)
    if not made:
        return
    from graphspec.contract.masks import MaskNotEqual

    flow = MaskFlow(graph)
    if any(flow.of(value) is not None for value in graph.outputs.values()):
        return  # whoever computes the loss may want it
    read = {op.span for op in ops if isinstance(op.layer, MaskNotEqual)}
    by_name = {op.span for op in written.walk() if reads_mask(op)}
    for calls in made.values():
        below = list(_below(graph, {call.output for call in calls}))
        if any(op.span in by_name for op in below):
            continue
        dropping = next((op for op in below if _drops(op, flow)), None)
        reader = None
        if any(call.span in read for call in calls):
            after = _below(graph, {*dropping.outputs.values()}) if dropping is not None else ()
            reader = next((op for op in after if _would_read(op, calls[0].output)), None)
            if reader is None:
                continue
        yield calls[0], dropping and _node(dropping, below), reader


def _would_read(op: Op, masked: Value) -> bool:
    """Whether a layer that takes a mask is without one, for steps as many as those of a masked sequence."""
    if op.layer is None or not op.present or reads_mask(op) or not op.inputs:
        return False
    takes = any(argument.name.endswith("mask") for argument in op.layer.arguments)
    return takes and op.inputs[0].tensor.shape[1:2] == masked.tensor.shape[1:2]


def _below(graph: Graph, reached: set[Value]) -> Iterator[Op]:
    """The ops that read from the `reached` ones, directly or not, in data order; those inside an instance
    come before it.
    """
    for op in graph.ops:
        if op.graph is not None:
            inner = op.passed()
            reached.update(value for value, passed in inner if value is not None and passed in reached)
            yield from _below(op.graph, reached)
        inside = reached.intersection(op.results.values())
        if inside or not reached.isdisjoint(op.inputs):
            through = (value for key, value in op.outputs.items() if op.results.get(key) in inside)
            reached.update(op.outputs.values() if op.graph is None else through)
            yield op


def _drops(op: Op, flow: MaskFlow) -> bool:
    """Whether an op gives no mask, though one enters it or is made inside."""
    masked = any(flow.of(value) is not None for value in (*op.inputs, *op.results.values()))
    return masked and all(flow.of(value) is None for value in op.outputs.values())


def _node(op: Op, ops: Iterable[Op]) -> Op:
    """The op that has the name of an op's node: of a formula the last."""
    *_, last = (each for each in ops if each is op or (each.formula and each.formula is op.formula))
    return last
