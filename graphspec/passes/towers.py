"""Which inputs the query and the key of an output follow from, that compares the two."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from graphspec.graph import Graph, Value


class Towers(NamedTuple):
    """The inputs of the program that each depends on, in their order."""

    query: tuple[str, ...]
    key: tuple[str, ...]


def towers(graph: Graph, output: str) -> Towers:
    """Those of an output of a program, whose tensors are a query and a key."""
    query, key = (_inputs(graph, graph.outputs[name]) for name in (output, f"{output}.1"))
    return Towers(query, key)


def _inputs(graph: Graph, value: Value) -> tuple[str, ...]:
    """The inputs that a value depends on."""
    known, todo = set[Value](), [value]
    while todo:
        each = todo.pop()
        if each not in known:
            known.add(each)
            todo += each.op.inputs if each.op is not None else ()
    inputs: Mapping[str, Value | None] = graph.inputs
    return tuple(name for name, each in inputs.items() if each in known)
