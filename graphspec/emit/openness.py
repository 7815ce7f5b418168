"""Which names in formulas depend on params of the program."""

from __future__ import annotations

from graphspec.graph import Graph
from graphspec.traced import Symbolic, formula, formulas_in


def open_names(root: Graph) -> dict[Graph, frozenset[Symbolic]]:
    """Those of a program's graph and of each graph inside it."""
    found: dict[Graph, frozenset[Symbolic]] = {}

    def visit(graph: Graph, names: frozenset[Symbolic]) -> None:
        found[graph] = names
        for inner in (op.graph for op in graph.ops if op.graph is not None):
            bound = {leaf: formulas_in(value) for leaf, value in inner.bindings.items()}
            dependent = (
                leaf for leaf, trees in bound.items() if any(x in names for t in trees for x in t.leaves())
            )
            visit(inner, frozenset(dependent))

    visit(root, frozenset(formula("param", word) for word in root.declared))
    return found
