"""Numbers that vary over a training: weights of losses, constants of the graph, momenta of averages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import nn

from graphspec.elaborated import BaseProgram
from graphspec.graph import Graph
from graphspec.train.averages import Averages
from graphspec.train.config.decays import PolynomialDecay
from graphspec.train.config.varying import Varying
from graphspec.train.objective import Objective
from graphspec.train.schedules import Rate, schedule
from graphspec.weights import key_prefix
from graphspec.weights.names import attribute

LINE = PolynomialDecay(end_learning_rate=0)


def value_at(varying: Varying, steps: int, of_epoch: int) -> Rate:
    """The number at a step, from the steps before it, in a training of so many `steps`."""
    length = varying.steps or (varying.epochs or 0) * of_epoch or steps
    said = varying.schedule or LINE
    if isinstance(said, PolynomialDecay) and "end_learning_rate" not in said.model_fields_set:
        said = said.model_copy(update={"end_learning_rate": 0.0})
    left = schedule(said, 1.0, length)
    return lambda step: varying.to + (varying.start - varying.to) * left(step)


class Varied:
    """The values that vary in a training. The numbers are tensors where a compiled step reads them, and are
    set before each step; between epochs, and at the end, they are those that evaluation takes.
    """

    def __init__(
        self,
        program: BaseProgram,
        module: nn.Module,
        objective: Objective,
        averages: Averages,
        steps: int,
        of_epoch: int,
    ):
        self._all: list[tuple[Callable[[float], Any], Rate, float]] = []
        buffers = dict(module.named_buffers())
        found: list[tuple[Callable[[float], Any], Varying]] = [
            (buffers[path].fill_, varying) for path, varying in constants(program.graph)
        ]
        for name, weight in objective.varying.items():
            if isinstance(varying := program.outputs[name].loss_weight, Varying):
                found.append((weight.fill_, varying))
        for number, momentum in enumerate(averages.momenta):
            if isinstance(momentum, Varying):
                found.append((partial(averages.keep, number), momentum))
        for put, varying in found:
            self._all.append((put, value_at(varying, steps, of_epoch), varying.to))

    @torch.no_grad()
    def begin(self, step: int) -> None:
        """Sets the numbers of a step, from the number of steps before it."""
        for put, value, _ in self._all:
            put(value(step))

    @torch.no_grad()
    def rest(self) -> None:
        """Sets the numbers of evaluation."""
        for put, _, value in self._all:
            put(value)


def constants(graph: Graph, prefix: str = "") -> Iterator[tuple[str, Varying]]:
    """The constants that vary, by the names of their buffers."""
    for op in graph.ops:
        if op.kind == "constant" and op.present and isinstance(op.varying, Varying):
            yield f"{prefix}{attribute(op.node)}", op.varying
    for unit in graph.units:
        inner = unit.first_call.graph
        if inner is not None:
            yield from constants(inner, key_prefix(prefix, unit))
