"""How weights start where a spec is trained without those of its module: constants are initializers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from graphspec.convert.arguments import shortest
from graphspec.convert.nodes import CalledEntry, ConvertedBody, ConvertedNode
from graphspec.convert.pytorch.state import Weights
from graphspec.convert.specs import ConvertedSpec
from graphspec.graph import Op
from graphspec.weights import layers, paths

ROUND = 4
"""Digits of a number that somebody wrote: one that was drawn has more."""


def initialize(body: ConvertedBody, spec: ConvertedSpec, weights: Weights) -> None:
    """Gives the nodes of a body the initializers of constant weights. `spec` is that of the body, flat."""
    items = {item.stored.path: item for item in _stored(body) if item.stored is not None}
    for path, item in items.items():
        if item.form == "parameter" and (word := _initializer([weights[path][""].tensor], True)) is not None:
            item.arguments["initializer"] = word
    for place, op in layers(spec.program.graph):
        path = spec.places[place].stored.path if place in spec.places else ()
        if path in items:
            arguments = items[path].arguments
            found = _arguments(op, {name: known.tensor for name, known in weights[path].items()})
            arguments.get("wraps", arguments).update(found)


def _stored(body: ConvertedBody) -> Iterator[ConvertedNode | CalledEntry]:
    for item in body.with_weights():
        if item.body is not None:
            yield from _stored(item.body)
        yield item


def _arguments(op: Op, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The initializers of a layer that differ from those that it has, where they fill weights as they are."""
    filled: dict[str, list[Tensor]] = defaultdict(list)
    owner = op.layer
    assert owner is not None
    for weight in op.weights():
        owner = op.layer.owner(weight)  # type: ignore[union-attr]
        filled[f"{weight.word}_initializer"].append(tensors[weight.name])
    found: dict[str, Any] = {}
    for argument, values in filled.items():
        before = getattr(owner, argument, None)
        word = _initializer(values, False)
        if word is None or before is None:
            continue
        if word != before.word:
            found[argument] = word
        if argument == "bias_initializer" and getattr(owner, "unit_forget_bias", False):
            found["unit_forget_bias"] = False
    return found


def _initializer(tensors: Sequence[Tensor], bare: bool) -> Any:
    """The initializer that fills these tensors, None where they are no constants: a single number of a layer
    is one if it is round, and that of a `bare` parameter always.
    """
    first = tensors[0]
    if not first.numel() or not first.is_floating_point():
        return None
    value = first.flatten()[0].item()
    if all(bool((tensor == value).all()) for tensor in tensors):
        several = any(tensor.numel() > 1 for tensor in tensors)
        if several or bare or float(f"{value:.{ROUND}g}") == shortest(value):
            words = {0.0: "zeros", 1.0: "ones"}
            return words.get(float(value)) or {"name": "constant", "value": shortest(value)}
    square = first.dim() == 2 and len(set(first.shape)) == 1 < first.numel()
    return "identity" if square and all(map(_is_identity, tensors)) else None


def _is_identity(tensor: Tensor) -> bool:
    return torch.equal(tensor, torch.eye(*tensor.shape, dtype=tensor.dtype))


def left_out(spec: ConvertedSpec, state: Mapping[str, Tensor]) -> tuple[list[str], list[str]]:
    """The layers and parameters of a spec that start with other numbers without those of the module, `state`:
    those that train, and those that do not.
    """
    fresh = spec.program.module().state_dict()
    trained = {_owner(spec, key) for key in paths(spec.program.graph, frozen=False)}
    changed = dict.fromkeys(_owner(spec, key) for key in state if not torch.equal(state[key], fresh[key]))
    return [path for path in changed if path in trained], [path for path in changed if path not in trained]


def _owner(spec: ConvertedSpec, key: str) -> str:
    """The path of what has a weight."""
    while key not in spec.places and "." in key:
        key = key.rpartition(".")[0]
    return key
