"""The layers that low-rank adapters of `train` are for, by shapes alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from graphspec.graph import Graph
from graphspec.train.config import TrainConfig
from graphspec.train.config.adapters import AdapterSettings
from graphspec.weights import held_weights


class AdaptedMatrix(NamedTuple):
    """A weight as an adapter sees it: a matrix of outputs by inputs."""

    shape: tuple[int, int]
    axes: tuple[int, ...] = ()
    """Where they are several, the weight's axes of outputs, then those of inputs."""


class EinsumTerms(NamedTuple):
    """The equation of an EinsumDense, as an adapter sees it."""

    x: str
    kernel: str
    output: str

    @classmethod
    def of(cls, equation: str) -> EinsumTerms:
        x, _, rest = equation.replace(" ", "").partition(",")
        kernel, _, output = rest.partition("->")
        return cls(x, kernel, output)

    @property
    def inner(self) -> str:
        """The letters of the kernel that are summed."""
        return "".join(letter for letter in self.kernel if letter not in self.output)

    @property
    def outer(self) -> str:
        """The letters that the kernel gives the output."""
        return "".join(letter for letter in self.kernel if letter in self.output)

    @property
    def is_one_matrix(self) -> bool:
        """Whether all places of the input have the same kernel."""
        return bool(self.inner and self.outer) and not set(self.outer) & set(self.x)


def adaptable(graph: Graph) -> Iterator[tuple[str, AdaptedMatrix]]:
    """The modules with one matrix that can have an adapter, by their paths: Dense, EinsumDense, Embedding,
    and each projection of attention.
    """
    for each in held_weights(graph):
        path, _, leaf = each.key.rpartition(".")
        word = each.weight.keras.rpartition("/")[2]
        if leaf != "weight" or word not in ("kernel", "embeddings") or each.layer.recurrent:
            continue
        shape = each.weight.shape
        if each.layer.spec_name == "EinsumDense":
            layer: Any = each.layer
            einsum = EinsumTerms.of(layer.equation)
            if einsum.is_one_matrix:
                axes = tuple(einsum.kernel.index(letter) for letter in einsum.outer + einsum.inner)
                sizes = [shape[axis] for axis in axes]
                split = len(einsum.outer)
                yield path, AdaptedMatrix((math.prod(sizes[:split]), math.prod(sizes[split:])), axes)
        elif len(shape) == 2:
            yield path, AdaptedMatrix((shape[0], shape[1]))


def adapted(graph: Graph, config: TrainConfig) -> dict[str, tuple[AdapterSettings, AdaptedMatrix]]:
    """The modules that have an adapter, with its settings, the last that match, and their matrix."""
    modules = {}
    for path, matrix in adaptable(graph):
        for settings in config.adapters:
            if settings.matches(path):
                modules[path] = settings, matrix
    return modules


def adapter_params(graph: Graph, config: TrainConfig) -> int:
    """The number of weights in all adapters."""
    return sum(settings.rank * sum(matrix.shape) for settings, matrix in adapted(graph, config).values())
