"""Further uses of the blocks of a file, with other params: a class is written for these, too.

They turn the conditions of a block both ways, and its flags; numbers change only to turn a condition. So a
class says what its block says, however the file uses it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

from graphspec.contract.activations import ACTIVATIONS
from graphspec.elaborated import Elaborated
from graphspec.graph import Definition, Graph, Op
from graphspec.tensor import Tensor
from graphspec.traced import plain

Params = Mapping[str, Any]
Use = Callable[[str, Mapping[str, Tensor], Params], Elaborated | None]
"""The file with one node alone: of this block, with these inputs and params. None where it is wrong."""
Uses = Mapping[tuple[str, ...], Graph]
"""Graphs around one use of a block each, by the block and what is changed."""
TRIES = 24
"""So many uses of a block are tried."""


def further_uses(program: Elaborated, use: Use, others: Callable[[Any], list[Any]]) -> Uses:
    """Uses of all blocks of a program, with other values for params of theirs."""
    instances: dict[Definition, list[Op]] = {}
    for op in (op for graph in program.graph.graphs() for op in graph.ops):
        if op.kind == "block" and op.graph is not None and op.present and op.wrapper is None:
            instances.setdefault(op.graph.definition, []).append(op)
    found: dict[tuple[str, ...], Graph] = {}
    for definition, ops in instances.items():
        for words, graph in _uses(ops, definition, use, others):
            found[f"block {definition.file} {definition.block}", *words] = graph
    return found


def _uses(
    ops: list[Op], definition: Definition, use: Use, others: Callable[[Any], list[Any]]
) -> Iterator[tuple[tuple[str, ...], Graph]]:
    """Those of one block that differ from its instances in what is there, or in a flag or an activation."""
    graphs = [op.graph for op in ops if op.graph is not None]
    seen = {each for graph in graphs for each in _conditions(graph)}
    given = {key: plain(value) for key, value in ops[0].options.items()}
    for shapes, changed in islice(_changes(graphs, others), TRIES):
        kind = any(isinstance(value, bool | str) for value in changed.values())
        if not kind and all((node, not there) in seen for node, there in seen):
            continue
        assert definition.block is not None
        probe = use(definition.block, shapes, {**given, **changed})
        made = next((op.graph for op in probe.graph.ops if op.graph), None) if probe is not None else None
        if probe is not None and made is not None and (kind or not seen.issuperset(_conditions(made))):
            seen.update(_conditions(made))
            words = *map(str, shapes.values()), *(f"{word}: {value}" for word, value in changed.items())
            yield words, probe.graph


def _conditions(graph: Graph) -> Iterator[tuple[str, bool]]:
    """The nodes under a condition, and whether they are there."""
    yield from ((op.node, op.present) for op in graph.ops if op.when is not None)


def _changes(
    graphs: list[Graph], others: Callable[[Any], list[Any]]
) -> Iterator[tuple[Mapping[str, Tensor], Params]]:
    """Other inputs and params of a block, likely ones first; no flag that its instances have both ways."""
    graph = graphs[0]
    inputs = {word: value.tensor for word, value in graph.inputs.items() if value is not None}
    own = {word: plain(value) for word, value in graph.params.items()}
    for word, value in own.items():
        if len({repr(each.params.get(word)) for each in graphs}) > 1:
            continue
        if isinstance(value, bool):
            yield inputs, {word: not value}
        elif isinstance(value, str) and value in ACTIVATIONS:
            yield inputs, {word: "silu" if value != "silu" else "gelu"}
    widths = {size for x in inputs.values() if isinstance(size := plain(x.shape[-1]), int)}
    for word, value in own.items():
        if type(value) in (int, float):
            likely = (*widths, 1) if type(value) is int else (0.0,)
            yield from ((inputs, {word: each}) for each in (*likely, *others(value)) if each != value)
    results = {plain(value.tensor.shape[-1]) for value in graph.outputs.values()}
    for size in results - widths:
        if isinstance(size, int):
            yield {word: x.with_shape(*x.shape[:-1], size) for word, x in inputs.items()}, {}
