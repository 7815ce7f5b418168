"""Merges of which some instances of a block have fewer operands, as an optional input or node is not there.

A sum, a product or an extreme becomes one of what all instances have, and then one operand after another,
each of which may be left out. What joins a list gets None for the operands that an instance lacks, if it has
no such input or node: a file tells by that what to leave out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace

from graphspec.contract.layer import Layer
from graphspec.emit.slots import common_order
from graphspec.graph import Graph, Op, Value
from graphspec.passes.copying import Copy
from graphspec.tensor import Tensor

Operand = tuple[Hashable, ...]
"""What names an operand in all instances of a block: an input, or the output of a node."""


def with_optional_operands(root: Graph) -> tuple[Graph, dict[Value, Value]]:
    """The graph with these merges rewritten, and its values by those of `root`, if there are any."""
    groups = [ops for ops in _mates(root) if len({_operands(op) for op in ops}) > 1]
    if not groups:
        return root, {}
    copy = Copy(root)
    homes = {op: graph for graph in copy.graph.graphs() for op in graph.ops}
    for ops in ([copy.ops[op] for op in ops] for ops in groups):
        layer = next(op.layer for op in ops if op.layer is not None)
        order = common_order([_operands(op) for op in ops])
        common = [key for key in order if all(key in _operands(op) for op in ops)]
        if not common:
            continue
        if layer.associative:
            words = _words(ops[0].node, len(order), [homes[op] for op in ops])
            for op in ops:
                _split(homes[op], op, layer, common, [key for key in order if key not in common], words)
        elif layer.keeps and all(_has_not(homes[op], set(order) - set(_operands(op))) for op in ops):
            for op in (op for op in ops if op.present):
                operands = dict(zip(_operands(op), op.arguments, strict=True))
                op.arguments = tuple(operands.get(key) for key in order)
    return copy.graph, copy.values


def _mates(root: Graph) -> Iterator[list[Op]]:
    """The merges of each node of a definition whose instances merge single values alike."""
    merges: dict[object, list[Op]] = defaultdict(list)
    for graph in root.graphs():
        for op in graph.ops:
            if op.kind == "merge" and op.wrapper is None and op.when is None and op.formula is None:
                merges[graph.definition, op.node].append(op)
    for ops in merges.values():
        single = all(value.op is None or value.op.repeated is None for op in ops for value in op.inputs)
        once = all(len(set(op.inputs)) == len(op.inputs) and op.repeated is None for op in ops)
        layers = [op.layer for op in ops if op.layer is not None]
        if single and once and layers and all(layer == layers[0] for layer in layers):
            yield ops


def _operands(op: Op) -> tuple[Operand, ...]:
    """The operands of a merge, in order."""
    return tuple(
        (value.name,)
        if value.op is None
        else (value.op.node, next(key for key, output in value.op.outputs.items() if output is value))
        for value in op.inputs
    )


def _has_not(graph: Graph, operands: set[Operand]) -> bool:
    """Whether an instance has none of these inputs and nodes."""
    passed = {(word,) for word, value in graph.inputs.items() if value is not None}
    outputs = {(op.node, key) for op in graph.ops for key in op.outputs}
    return operands.isdisjoint(passed | outputs)


def _words(node: str, count: int, graphs: Sequence[Graph]) -> list[str]:
    """Names for the steps of a merge that no node has."""
    taken, words, number = {op.node for graph in graphs for op in graph.ops}, list[str](), 0
    while len(words) < count:
        number += 1
        if f"{node}_{number}" not in taken:
            words.append(f"{node}_{number}")
    return words


def _split(
    graph: Graph, op: Op, layer: Layer, common: list[Operand], optional: list[Operand], words: list[str]
) -> None:
    """A merge as one of what all instances have, and then of one optional operand after another."""
    by_operand = dict(zip(_operands(op), op.inputs, strict=True))
    steps: list[list[Value | None]] = [[by_operand[key] for key in common]] if len(common) > 1 else []
    before = by_operand[common[0]]
    for step, operands in enumerate([*steps, *([by_operand.get(key)] for key in optional)]):
        last = step == len(steps) + len(optional) - 1
        merge = op if last else replace(op, node=words[step], unit=None, outputs={})
        read = operands if steps and step == 0 else [before, *operands]
        merge.present = None not in read
        merge.arguments = tuple(value for value in read if value is not None)
        merge.layer = layer if merge.present else None
        if last:
            merge.unit = merge.unit if merge.present else None
            return
        tensor = before.tensor
        if merge.present:
            merged = layer.infer(*(value.tensor for value in merge.inputs))
            assert isinstance(merged, Tensor), "a merge has one output"
            tensor = merged
        place = graph.ops.index(op)
        if steps and step == 0:  # all instances have its operands, in one order
            places = [graph.ops.index(value.op) + 1 for value in merge.inputs if value.op is not None]
            place = max(places, default=0)
        graph.ops.insert(place, merge)
        before = Value(tensor, words[step], merge)
        merge.outputs = {next(iter(op.outputs)): before}
