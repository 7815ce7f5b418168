"""Classes, categories and tokens by name: what their numbers were in the old run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphspec.data.encoders import Encoders
from graphspec.elaborated import BaseProgram
from graphspec.graph import Graph, Op, Value
from graphspec.migrate.tracking import Indices
from graphspec.transfer.targets import Origins

Names = Mapping[str, list[Any]]
"""By field, the name of each id; of an id that no name has its number alone is known."""


def names_of(encoders: Encoders | None) -> dict[str, list[Any]]:
    """The names of the ids of each field that has some. `encoders` are None where data were arrays."""
    if encoders is None:
        return {}
    id_names = {name: encoder.id_names() for name, encoder in encoders.encoders.items()}
    return {name: ids for name, ids in id_names.items() if ids is not None}


def by_name(old: list[Any], new: list[Any], size: int, unseen: bool) -> Indices:
    """For each new id the old one of its name; with `unseen`, that of unseen names where there is none."""
    place = {name: index for index, name in enumerate(old)}
    indices = []
    for index in range(size):
        name = new[index] if index < len(new) else None
        other = place.get(name, -1) if name is not None else -1
        if other < 0 and unseen and isinstance(name, tuple):
            other = place.get((*name[:-1], None), -1)
        indices.append(other)
    return tuple(indices)


def heads(
    program: BaseProgram, graph_old: Graph, old: Names, new: Names, known: Mapping[str, str]
) -> dict[str, Indices]:
    """By path, the layers whose units are the classes of an output, where their number changed, or what they
    are: for each class its old number.
    """
    origins, paths = Origins(program.graph), _paths(program.graph)
    before = _by_path(graph_old)
    by_path = {}
    for name, output in program.outputs.items():
        op = _head(origins, program.graph.outputs.get(name))
        path = paths.get(op) if op is not None else None
        if op is None or path is None or path not in known or output.loss is None:
            continue
        size, mate = op.output.tensor.shape[-1], before.get(known[path])
        length = mate.output.tensor.shape[-1] if mate is not None and mate.outputs else None
        if not isinstance(size, int) or not isinstance(length, int):
            continue
        target = output.target
        if target in old and target in new:
            indices = by_name(old[target], new[target], size, False)
        else:
            indices = tuple(index if index < length else -1 for index in range(size))
        if indices != tuple(range(length)):
            by_path[path] = indices
    return by_path


def tables(program: BaseProgram, old: Names, new: Names) -> dict[str, Indices]:
    """By path, the layers that look up ids of an input by name: for each id its old one."""
    origins, by_path = Origins(program.graph), {}
    inputs = {value: name for name, value in program.graph.inputs.items() if value is not None}
    for op, path in _paths(program.graph).items():
        limit = op.layer.limit() if op.layer is not None and op.weights() else None
        name = inputs.get(_source(origins, op.inputs[0])) if limit is not None and op.inputs else None
        if limit is not None and name is not None and name in old and name in new:
            indices = by_name(old[name], new[name], limit, True)
            if old[name] != new[name] or len(indices) != len(old[name]):
                by_path[path] = indices
    return by_path


def _head(origins: Origins, value: Value | None) -> Op | None:
    """The layer with weights that gives the logits of an output."""
    while value is not None:
        op = origins.origin(value).op
        if op is None or op.layer is None or op.wrapper is not None or not op.inputs:
            return None
        if op.weights():
            return op
        if op.layer.output_activation() is None:
            return None
        value = op.inputs[0]
    return None


def _source(origins: Origins, value: Value) -> Value:
    """The value before all casts."""
    value = origins.origin(value)
    while value.op is not None and value.op.layer is not None and value.op.layer.spec_name == "cast":
        value = origins.origin(value.op.inputs[0])
    return value


def _paths(graph: Graph, prefix: str = "") -> dict[Op, str]:
    paths = {}
    for op in graph.ops:
        paths[op] = prefix + op.name
        if op.graph is not None:
            paths |= _paths(op.graph, f"{prefix}{op.name}.")
    return paths


def _by_path(graph: Graph) -> dict[str, Op]:
    return {path: op for op, path in _paths(graph).items()}
