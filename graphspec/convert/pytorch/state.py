"""The weights of a converted module, by their keys in the spec's state dict."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

import torch
from torch import Tensor

from graphspec.convert.nodes import StoredPlace
from graphspec.convert.pytorch.writer import Known, NodeWriter
from graphspec.convert.weights import owners
from graphspec.diagnostics import fail
from graphspec.graph import Graph
from graphspec.transfer.origins import WeightOrigin, WeightOrigins, origin_of

Weights = Mapping[tuple[str, ...], Mapping[str, Known]]


def held(graph: Graph, where: Mapping[str, StoredPlace], weights: Weights) -> Iterator[tuple[str, Known]]:
    """Each weight of the spec by its key."""
    for path, wanted in owners(graph):
        held = weights[where[path].stored.path]
        for weight in wanted:
            key = f"{path}.{weight.name}" if weight.name else path
            if weight.name not in held:
                raise fail("import-unsupported", f"the module has no weight for `{key}`", None)
            known = held[weight.name]
            if tuple(known.tensor.shape) != tuple(weight.shape):
                shape = list(known.tensor.shape)
                message = f"the weight for `{key}` has the shape {shape}, not {list(weight.shape)}"
                raise fail("import-unsupported", message, None)
            yield key, known


def state(graph: Graph, where: Mapping[str, StoredPlace], weights: Weights) -> dict[str, Tensor]:
    """The state dict of a program's module."""
    state_dict = {}
    for key, known in held(graph, where, weights):
        tensor = known.tensor.contiguous().clone()
        state_dict[key] = tensor.float() if tensor.is_floating_point() else tensor
    return state_dict


def origins(
    graph: Graph, where: Mapping[str, StoredPlace], w: NodeWriter, names: Collection[str]
) -> WeightOrigins:
    """Where the weights of a spec are from; `names` are the tensors of the module's state dict."""
    starts, stored = sorted((w.start(name), name) for name in w.shapes), frozenset(names)
    found: dict[str, WeightOrigin] = {}
    fixed = []
    for key, known in held(graph, where, w.weights):
        if not known.names & stored:
            fixed.append(key)
        elif known.names <= stored and (elements := w.elements(known)) is not None:
            origin = origin_of(elements, starts, bool(known.terms))
            found |= {} if origin is None else {key: origin.model_copy(update={"longest": known.longest})}
    used = dict.fromkeys(view.source for origin in found.values() for view in origin.views)
    return WeightOrigins(
        tensors={name: tuple(w.shapes[name]) for name in used}, weights=found, fixed=tuple(fixed)
    )


def gradients(
    graph: Graph, where: Mapping[str, StoredPlace], weights: Weights, look: Callable[[str], Tensor | None]
) -> dict[str, Tensor]:
    """The expected gradient of each weight, given those of the module's parameters."""
    expected = {}
    for key, known in held(graph, where, weights):
        if known.source is None or not known.names:
            continue
        known_tensors = {name: tensor for name in known.names if (tensor := look(name)) is not None}
        if len(known_tensors) < len(known.names):
            continue
        with torch.no_grad():
            source = known.terms[0] if known.terms else known.source
            expected[key] = source(known_tensors.__getitem__)
    return expected
