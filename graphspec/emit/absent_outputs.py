"""Outputs that some instances of a block do not have, as their node is left out and nothing replaces it.

They get them as outputs of an op that is not there, which are None, so that the instances give the same.
"""

from __future__ import annotations

from collections import defaultdict

from graphspec.graph import Definition, Graph, Op, Value
from graphspec.passes.copying import Copy
from graphspec.passes.logits import ends_in


def with_absent_outputs(root: Graph) -> tuple[Graph, dict[Value, Value]]:
    """The graph with these outputs, and its values by those of `root`, if there are any."""
    lacking = _lacking(root)
    if not lacking:
        return root, {}
    copy = Copy(root)
    for op, full in lacking:
        _complete(copy.ops[op], copy.ops[full])
    return copy.graph, copy.values


def _lacking(root: Graph) -> list[tuple[Op, Op]]:
    """Instances that lack outputs, each with one of the same definition that has all."""
    instances: dict[Definition, list[Op]] = defaultdict(list)
    for op in root.walk():
        if op.graph is not None:
            instances[op.graph.definition].append(op)
    pairs = []
    for ops in instances.values():
        full = max(ops, key=lambda op: len(op.outputs))
        pairs += [(op, full) for op in ops if _may_be_completed(op, full)]
    return pairs


def _may_be_completed(op: Op, full: Op) -> bool:
    """Whether an instance lacks outputs of nodes that it does not have, and its call can take None."""
    missing = [key for key in full.outputs if key not in op.outputs]
    shared = op.unit is not None and op.unit.shared
    if not missing or shared or any((o.wrapper, o.repeated) != (None, None) for o in (op, full)):
        return False
    assert op.graph is not None
    nodes = {each.node for each in op.graph.ops}
    sources = [full.results[key] for key in missing]
    absent = all(value.op is not None and value.op.node not in nodes for value in sources)
    in_order = [key for key in full.outputs if key in op.outputs] == list(op.outputs)
    return absent and in_order and not any(map(ends_in, full.results.values()))


def _complete(op: Op, full: Op) -> None:
    """Gives an instance the outputs that it lacks."""
    assert op.graph is not None and full.graph is not None
    for key, value in full.results.items():
        if key not in op.results:
            source = value.op
            assert source is not None
            gone = Op(source.node, None, source.span, source.kind, present=False)
            inner = Value(value.tensor, value.name, gone)
            gone.outputs = {next(iter(source.outputs)): inner}
            op.graph.ops.insert(_place(op.graph, full.graph, source), gone)
            op.results[key], op.outputs[key] = inner, Value(value.tensor, full.outputs[key].name, op)
    op.results = {key: op.results[key] for key in full.results}
    op.outputs = {key: op.outputs[key] for key in full.outputs}
    op.graph.outputs = dict(op.results)


def _place(graph: Graph, full: Graph, source: Op) -> int:
    """Where a node of one instance belongs among those of another: after all that are before it."""
    before = {op.node for op in full.ops[: full.ops.index(source)]}
    return max((place for place, op in enumerate(graph.ops, 1) if op.node in before), default=0)
