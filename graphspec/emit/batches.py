"""Calls of blocks on tensors without a batch, such as a parameter: they are expanded before the call.

A block that is called on such a tensor here and on a batch there would be two classes: what it computes is
written for one or the other. So where another use gives a batch, and another argument of the call has one,
the call is given a batch, too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from graphspec.contract.layer import Argument, Code, Layer, Site
from graphspec.graph import Definition, Graph, Op, Value
from graphspec.passes.copying import Copy
from graphspec.tensor import Dim, Tensor


class ExpandBatch(Layer, abstract=True):
    """A tensor of one example, as often as another has examples: a view."""

    arguments = (Argument("x"), Argument("like"))
    memory_layout = "any"

    def infer(self, x: Tensor, like: Tensor) -> Tensor:
        return x.with_shape(like.shape[0], *x.shape[1:])

    def code(self, site: Site) -> Code:
        return Code(f"{{x}}.expand({{like}}.shape[0]{', -1' * (site.x.rank - 1)})")


def expanded(root: Graph) -> tuple[Graph, dict[Value, Value]]:
    """The graph with these calls expanded, and its values by those of `root`, if there are any."""
    wanted = _mixed(root)
    if not any(True for _ in _calls(root, wanted)):
        return root, {}
    copy = Copy(root)
    for graph in copy.graph.graphs():
        for op, word in list(_of(graph, wanted)):
            _expand(graph, op, word)
    return copy.graph, copy.values


def _mixed(root: Graph) -> set[tuple[Definition, str]]:
    """The inputs of blocks that are one example in some uses, and batches in others."""
    kinds_by_input: dict[tuple[Definition, str], set[bool]] = defaultdict(set)
    for graph in root.graphs():
        for word, value in graph.inputs.items():
            if value is not None and graph is not root:
                kinds_by_input[graph.definition, word].add(value.tensor.shape[0] == 1)
    return {key for key, kinds in kinds_by_input.items() if len(kinds) > 1}


def _calls(root: Graph, wanted: set[tuple[Definition, str]]) -> Iterator[tuple[Op, str]]:
    for graph in root.graphs():
        yield from _of(graph, wanted)


def _of(graph: Graph, wanted: set[tuple[Definition, str]]) -> Iterator[tuple[Op, str]]:
    """The calls in a graph, each with an input that is to be expanded."""
    for op in graph.ops:
        inner = op.graph
        if inner is None or op.wrapper is not None or any(each.wrapper is not None for each in inner.walk()):
            continue
        for word, argument in zip(inner.inputs, op.arguments, strict=False):
            one = isinstance(argument, Value) and argument.tensor.shape[0] == 1
            if one and (inner.definition, word) in wanted and _batched(op) is not None:
                yield op, word


def _batched(op: Op) -> Value | None:
    """An argument of a call that is a batch."""
    return next((value for value in op.inputs if value.tensor.shape[0] != 1), None)


def _expand(graph: Graph, op: Op, word: str) -> None:
    """Expands an argument before a call, and gives all that follows from it its batch."""
    assert op.graph is not None
    place = list(op.graph.inputs).index(word)
    value = op.arguments[place]  # of an instance before, it may have a batch by now
    batched = value if value.tensor.shape[0] != 1 else _before(graph, op, value)
    batch = batched.tensor.shape[0]
    op.arguments = tuple(batched if number == place else each for number, each in enumerate(op.arguments))
    _retype(op.graph, word, batch)
    for key, output in op.outputs.items():
        output.tensor = op.results[key].tensor


def _before(graph: Graph, op: Op, value: Value) -> Value:
    """The expansion of a value for a call. The instances of a node stay neighbours: those of one value share
    it, before the first of them.
    """
    first = next(each for each in graph.ops if each.node == op.node)
    like = _batched(first)
    if like is None or (value.op is not None and value.op.node == op.node):
        first, like = op, _batched(op)
    assert like is not None
    place = graph.ops.index(first)
    if op is not first:
        for each in graph.ops[:place]:
            if isinstance(each.layer, ExpandBatch) and each.inputs[0] is value and each.span == op.span:
                return each.output
    added = Op(f"{value.name}_batch", None, op.span, "op", (value, like), layer=ExpandBatch(), title="expand")
    output = Value(value.tensor.with_shape(like.tensor.shape[0], *value.tensor.shape[1:]), value.name, added)
    added.outputs = {"": output}
    graph.ops.insert(place, added)
    return output


def _retype(graph: Graph, word: str, batch: Dim) -> None:
    """Gives an input of an inner graph a batch, and all that is computed from it."""
    value = graph.inputs[word]
    assert value is not None
    changed = {value}
    value.tensor = value.tensor.with_shape(batch, *value.tensor.shape[1:])
    for op in graph.ops:
        touched = [place for place, each in enumerate(op.arguments) if changed.intersection(_values(each))]
        if not touched:
            continue
        if op.graph is not None:
            for place, name in enumerate(list(op.graph.inputs)):
                inner = op.graph.inputs[name]
                if place in touched and inner is not None and inner.tensor.shape[0] == 1:
                    _retype(op.graph, name, batch)
        for key, output in op.outputs.items():
            if output.tensor.shape[:1] == (1,):
                shape = (batch, *output.tensor.shape[1:])
                output.tensor = op.results[key].tensor if op.graph else output.tensor.with_shape(*shape)
                changed.add(output)


def _values(argument: Any) -> Iterator[Value]:
    if isinstance(argument, Value):
        yield argument
    elif isinstance(argument, tuple):
        for part in argument:
            yield from _values(part)
