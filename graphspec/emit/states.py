"""The methods of a step's class that make its states, and keep those of an encoder."""

from __future__ import annotations

from collections.abc import Iterable

from graphspec.contract.stepping import StateBuffer
from graphspec.graph import Graph
from graphspec.passes.stream import UnitPlace
from graphspec.weights import layers
from graphspec.weights.names import attribute

_BEGIN = """
    def begin(self, batch: int, longest: int) -> None:
        \"\"\"Forgets all steps, and makes room for `longest` of each of a batch.\"\"\"
        begin_states(self, batch, longest)
"""
_ENCODE = """
    def encode(self, states: dict[str, Tensor]) -> None:
        \"\"\"After `begin`: keeps what the module of the encoder gives, for all steps.\"\"\"
        keep_states(self, states)
"""
_ENCODE_ONE = """
    def encode(self, state: Tensor) -> None:
        \"\"\"After `begin`: keeps what the module of the encoder gives, for all steps.\"\"\"
        path = "{path}"
        keep_states(self, {{path: state}})
"""


def path_of(home: Iterable[UnitPlace]) -> str:
    """The path of a state in the module of a step."""
    return ".".join(attribute(name) + ("" if index is None else f".{index}") for name, index in home)


def beginning(graph: Graph) -> list[str]:
    """The lines of the methods, behind those of the model's class; none for a graph without states."""
    states = {path: op.layer.state for path, op in layers(graph) if isinstance(op.layer, StateBuffer)}
    if not states:
        return []
    given = [path for path, state in states.items() if state.given]
    encode = "" if not given else _ENCODE if len(given) > 1 else _ENCODE_ONE.format(path=given[0])
    return (_BEGIN + encode).rstrip("\n").split("\n")
