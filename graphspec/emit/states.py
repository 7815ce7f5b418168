"""The method of a step's class that makes its states."""

from __future__ import annotations

from graphspec.contract.stepping import StateBuffer
from graphspec.graph import Graph

_METHOD = """
    def begin(self, batch: int, longest: int) -> None:
        \"\"\"Forgets all steps, and makes room for `longest` of each of a batch.\"\"\"
        begin_states(self, batch, longest)
"""


def beginning(graph: Graph) -> list[str]:
    """The lines of the method, behind those of the model's class; none for a graph without states."""
    if not any(isinstance(op.layer, StateBuffer) for op in graph.walk()):
        return []
    return _METHOD.rstrip("\n").split("\n")
