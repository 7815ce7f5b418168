"""The layers that low-rank adapters of `train` are for, by shapes alone."""

from __future__ import annotations

from collections.abc import Iterator

from graphspec.graph import Graph
from graphspec.train.config import TrainConfig
from graphspec.train.config.adapters import AdapterSettings
from graphspec.weights import held


def adaptable(graph: Graph) -> Iterator[tuple[str, tuple[int, int]]]:
    """The modules with one matrix that can have an adapter, by their paths, and the matrix' shape: Dense,
    Embedding, and each projection of attention.
    """
    for each in held(graph):
        path, _, leaf = each.key.rpartition(".")
        word = each.weight.keras.rpartition("/")[2]
        plain = leaf == "weight" and word in ("kernel", "embeddings") and not each.layer.recurrent
        if plain and len(each.weight.shape) == 2 and each.layer.spec_name != "EinsumDense":
            yield path, each.weight.shape


def adapted(graph: Graph, config: TrainConfig) -> dict[str, tuple[AdapterSettings, tuple[int, int]]]:
    """The modules that have an adapter, with its settings, the last that match, and the matrix' shape."""
    found = {}
    for path, shape in adaptable(graph):
        for settings in config.adapters:
            if settings.matches(path):
                found[path] = settings, shape
    return found


def adapter_params(graph: Graph, config: TrainConfig) -> int:
    """The number of weights in all adapters."""
    return sum(settings.rank * sum(shape) for settings, shape in adapted(graph, config).values())
