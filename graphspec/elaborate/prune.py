"""Dead code: an instance keeps only what its read outputs and paths need."""

from __future__ import annotations

from collections import defaultdict

from graphspec.graph import Graph, Op, Value


def prune(root: Graph) -> None:
    """Removes from all graphs the ops that no output needs, and from ops the outputs that nobody reads.

    Instances that are one class when emitted keep the same: all of a repeated node, and all calls of a
    shared one.
    """
    owner: dict[Op, Graph] = {}
    groups: dict[object, list[Op]] = defaultdict(list)
    group_of: dict[Op, list[Op]] = {}

    def index(graph: Graph) -> None:
        for op in graph.ops:
            owner[op] = graph
            key = op.unit if op.unit is not None and op.unit.shared else (graph, op.node)
            groups[key].append(op)
            group_of[op] = groups[key]
            if op.graph is not None:
                index(op.graph)

    index(root)
    needed: set[tuple[Op, str]] = set()
    live: set[Op] = set()
    work: list[Value] = list(root.outputs.values())
    while work:
        value = work.pop()
        op = value.op
        if op is None:
            continue
        key = next(name for name, output in op.outputs.items() if output is value)
        for mate in group_of[op]:
            if (mate, key) in needed or (mate not in live and mate is not op and not _together(mate, op)):
                continue
            if mate not in live:
                live.add(mate)
                work += mate.inputs
            if key in mate.outputs:
                needed.add((mate, key))
                if key in mate.results:
                    work.append(mate.results[key])
    for graph in {root, *(op.graph for op in owner if op.graph is not None)}:
        _sweep(graph, live, needed)


def _together(a: Op, b: Op) -> bool:
    """Whether one being needed keeps the other: instances of one repeated node."""
    return a.node == b.node and a.repeated is not None


def _sweep(graph: Graph, live: set[Op], needed: set[tuple[Op, str]]) -> None:
    graph.ops = [op for op in graph.ops if op in live]
    for op in graph.ops:
        if op.graph is not None:
            op.outputs = {key: value for key, value in op.outputs.items() if (op, key) in needed}
            op.results = {key: value for key, value in op.results.items() if key in op.outputs}
            op.graph.outputs = dict(op.results)
    for unit in graph.units:
        unit.calls = [call for call in unit.calls if call in live]
    graph.units = [unit for unit in graph.units if unit.calls]
