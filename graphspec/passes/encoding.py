"""The graph of what a step needs of the inputs that do not go on: an encoder, keys and values of its memory.

It is computed once for a sequence. Its outputs are values of the whole graph, also from inside of blocks.
"""

from __future__ import annotations

from collections.abc import Iterable

from graphspec.graph import Graph, Op, Value
from graphspec.passes.copying import Copy
from graphspec.passes.prune import prune


def encoder_of(root: Graph, wanted: Iterable[Value]) -> Graph:
    """The graph that gives these values of a graph, as `kept0` and so on."""
    copy = Copy(root)
    owners: dict[Graph, Op] = {op.graph: op for op in copy.ops.values() if op.graph is not None}
    homes = {op: graph for graph in (copy.graph, *owners) for op in graph.ops}
    given = {
        value: (op, argument)
        for op in owners.values()
        for value, argument in op.passed()
        if value is not None and isinstance(argument, Value)
    }

    def lifted(value: Value) -> Value:
        if value in given:
            return lifted(given[value][1])
        owner = None if value.op is None else owners.get(homes[value.op])
        if owner is None:
            return value
        assert owner.graph is not None
        found = next((key for key, inner in owner.results.items() if inner is value), None)
        if found is None:
            found = f"{value.name}_kept"
            for mate in homes[owner].ops:  # what they give is of no chain
                mate.repeated = "parallel" if mate.node == owner.node and mate.repeated else mate.repeated
            owner.graph.outputs[found] = owner.results[found] = value
            owner.outputs[found] = Value(value.tensor, f"{owner.name}.{found}", owner)
        return lifted(owner.outputs[found])

    values = [lifted(copy.values[each]) for each in wanted]
    graph = copy.graph
    graph.outputs = {f"kept{number}": value for number, value in enumerate(values)}
    graph = prune(graph)
    read = {*graph.outputs.values(), *(value for op in graph.ops for value in op.inputs)}
    graph.inputs = {name: value for name, value in graph.inputs.items() if value in read}
    return graph
