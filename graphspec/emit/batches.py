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
    found: dict[tuple[Definition, str], set[bool]] = defaultdict(set)
    for graph in root.graphs():
        for word, value in graph.inputs.items():
            if value is not None and graph is not root:
                found[graph.definition, word].add(value.tensor.shape[0] == 1)
    return {key for key, kinds in found.items() if len(kinds) > 1}


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
    """Puts the expansion of an argument before a call, and gives all that follows from it its batch."""
    like, place = _batched(op), list(op.graph.inputs).index(word)  # type: ignore[union-attr]
    value = op.arguments[place]
    assert like is not None and op.graph is not None
    batch = like.tensor.shape[0]
    before = Op(
        f"{value.name}_batch", None, op.span, "op", (value, like), layer=ExpandBatch(), title="expand"
    )
    made = Value(value.tensor.with_shape(batch, *value.tensor.shape[1:]), value.name, before)
    before.outputs = {"": made}
    graph.ops.insert(graph.ops.index(op), before)
    op.arguments = tuple(made if number == place else each for number, each in enumerate(op.arguments))
    _retype(op.graph, word, batch)
    for key, output in op.outputs.items():
        output.tensor = op.results[key].tensor


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
