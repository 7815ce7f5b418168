"""Inputs to try a module on whose rows differ in length: shorter ones are padded, as in a batch of data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from graphspec.contract.masks import MaskNotEqual
from graphspec.elaborated import BaseProgram
from graphspec.emit.load import divides_integers
from graphspec.graph import Graph, Value
from graphspec.tensor import names_of

if TYPE_CHECKING:
    from torch import Tensor


def padded_inputs(program: BaseProgram, rows: int, sizes: Mapping[str, int], seed: int) -> dict[str, Tensor]:
    """Random inputs: the last steps of all rows but the first are padding, the first step of none is."""
    inputs: dict[str, Tensor] = program.example_inputs(rows, dict(sizes), seed)
    for name, fill in _fills(program).items():
        tensor, steps = inputs[name], inputs[name].shape[1]
        if tensor.dim() == 2 and not tensor.is_floating_point() and program.ranges.get(name) != 1:
            tensor[tensor[:, 0] == fill, 0] = 1
        for row in range(1, rows):
            tensor[row, 1 + (rows - row) * (steps - 1) // rows :] = fill
    return inputs


def _fills(program: BaseProgram) -> dict[str, float]:
    """The padding of each input that may be of any length: 0, or the value that a mask takes for padding."""
    ragged = [n for n, each in program.inputs.items() if each.rank > 1 and names_of(each.shape[1])]
    if divides_integers(program.graph):
        ragged = [name for name in ragged if program.inputs[name].is_float]
    names = {value: name for name, value in program.graph.inputs.items() if value is not None}
    return {**dict.fromkeys(ragged, 0.0), **{n: v for n, v in _masked(program.graph, names) if n in ragged}}


def _masked(graph: Graph, names: Mapping[Value, str]) -> Iterator[tuple[str, float]]:
    """The inputs of which a mask is made, each with what it takes for padding."""
    for op in graph.ops:
        if op.graph is not None:
            passed = op.passed()
            inside = {
                value: names[argument]
                for value, argument in passed
                if value is not None and argument in names
            }
            yield from _masked(op.graph, inside)
        elif isinstance(op.layer, MaskNotEqual) and op.inputs[0] in names:
            yield names[op.inputs[0]], op.layer.value
