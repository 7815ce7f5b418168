"""Where an output ends in a softmax or sigmoid, `forward(..., logits=True)` returns that step's input."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from graphspec.contract.activations import LINEAR
from graphspec.diagnostics import Span
from graphspec.graph import Definition, Graph, Op, Value

SKIPPED = ("softmax", "sigmoid")
"""The activations that losses compute from logits."""


def origin(value: Value) -> Value:
    """The value itself, or that which replaces the left-out nodes before it."""
    while value.op is not None and not value.op.present and value.op.inputs:
        value = value.op.inputs[0]
    return value


def inside(value: Value) -> Iterator[Value]:
    """All values that are this one: before left-out nodes, and inside blocks, models and wrappers."""
    yield value
    source = origin(value)
    if source is not value:
        yield source
    op = source.op
    if op is not None and op.graph is not None and _passes_on(op):
        for key, output in op.outputs.items():
            if output is source:
                yield from inside(op.results[key])


def _passes_on(op: Op) -> bool:
    """Whether what an op gives are the values of its layer or graph."""
    return op.wrapper is None or op.wrapper.passes_on


def ends_in(value: Value) -> str | None:
    """`softmax` or `sigmoid` where the value's last step is one over the last axis, through blocks, models
    and wrappers.
    """
    *_, last = inside(value)
    op = last.op
    if op is None or op.layer is None or not _passes_on(op) or len(op.outputs) != 1 or len(op.inputs) > 1:
        return None  # the softmax of what a mask leaves has no logits
    activation = op.layer.output_activation()
    return activation if activation in SKIPPED else None


def ending(value: Value) -> str:
    """The range of a value: the activation that it ends in, `linear` for a layer that applies none, `unknown`
    where the values come from elsewhere, as in an average of probabilities.

    Beyond `ends_in` this looks through layers that only rearrange, for activations of each element alone.
    """
    *_, last = inside(value)
    op = last.op
    if op is None or op.layer is None or not _passes_on(op) or len(op.inputs) > 1:
        return "unknown"
    if op.layer.rearranges:
        before = ending(op.inputs[0])
        return before if before == "sigmoid" else "unknown"
    return op.layer.output_activation() or "unknown"


def shared_endings(logits: set[Value], graphs: Sequence[Graph]) -> dict[Value, str]:
    """The last activations of values whose logits are asked for. `graphs` has all, inner ones first.

    If one instance of a definition must return logits, all do that end in the same node, so that they still
    share a class; where that node has no activation, its output is its logits.
    """
    endings = {value: word for value in logits if (word := ends_in(value)) is not None}
    wanted: dict[tuple[Definition, str], set[Span | None]] = defaultdict(set)
    for graph in graphs:
        for key, value in graph.outputs.items():
            if value in endings:
                wanted[graph.definition, key].add(_ending_node(value))
    for graph in reversed(graphs):
        for key, value in graph.outputs.items():
            nodes = wanted.get((graph.definition, key), ())
            word = ends_in(value) if nodes else None
            if word is None and _ending_node(value) in nodes and ending(value) == LINEAR.word:
                word = LINEAR.word
            if word is not None:
                for each in inside(value):
                    endings.setdefault(each, word)
    return endings


def _ending_node(value: Value) -> Span | None:
    """The node that computes a value, through blocks and models."""
    *_, last = inside(value)
    return last.op.span if last.op is not None else None
