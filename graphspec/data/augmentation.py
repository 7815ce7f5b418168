"""`augment` of an image feature: a chain of layers, compiled as a spec of its own.

It runs on batches of training data, and is no part of the program that is built.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from graphspec.diagnostics import foreign_terms
from graphspec.tensor import Tensor

MIXING = ("MixUp", "CutMix", "Mosaic")
"""Layers that mix examples, which is done to whole batches."""
PREFIX, OTHERS = "Random", ("Solarization",)
"""The prefix of the augmenting layers' names, and the names without it."""
IMAGE = "image"


def chain(layers: list[dict[str, Any]], tensor: Tensor, more: int = 0) -> str:
    """The text of a spec that applies the layers to float images of a type's shape, a node each line.

    With `more`, that many channels come after those of the image. They are moved with its pixels, and
    otherwise left as they are.
    """
    from graphspec.data.features.vision import MOVING  # every spec that is checked imports this file

    *sides, channels = tensor.shape[1:]
    nodes: dict[str, Mapping[str, Any]] = {}
    for index, layer in enumerate(layers):
        name = f"step_{index}"
        if not more or layer["layer"] in MOVING:
            nodes[name] = layer
            continue
        above = list(nodes)[-1] if nodes else IMAGE
        nodes[f"own_{index}"] = {"op": "get_item", "key": f":, :, :, :{channels}"}
        nodes[f"changed_{index}"] = layer
        nodes[f"rest_{index}"] = {"op": "get_item", "from": above, "key": f":, :, :, {channels}:"}
        nodes[name] = {"merge": "concatenate", "from": [f"changed_{index}", f"rest_{index}"]}
    width = channels if not more else channels + more
    lines = [
        f"inputs: {{{IMAGE}: {{shape: [{', '.join(map(str, (*sides, width)))}]}}}}",
        "nodes:",
        *(f"  {name}: {_flow(layer)}" for name, layer in nodes.items()),
        f"outputs: [{list(nodes)[-1]}]",
    ]
    return "\n".join(lines) + "\n"


def _flow(layer: Mapping[str, Any]) -> str:
    text: str = yaml.safe_dump(layer, default_flow_style=True, width=2**31, sort_keys=False)
    return text.strip()


def misfits(layers: list[dict[str, Any]]) -> Iterator[tuple[int, str, str | None]]:
    """The wrong entries of an `augment`: the position of each, a message, and a remedy."""
    for index, layer in enumerate(layers):
        name = layer.get("layer")
        if name in MIXING:
            what = f"`{name}` mixes the examples of a batch and their targets, and `augment` sees one input"
            yield index, what, f"write `data: {{mix: [{{layer: {name}}}]}}`"
            continue
        if not isinstance(name, str) or not name.startswith((PREFIX, *OTHERS)):
            what = f"`augment` takes layers whose names begin with `{PREFIX}`, and `{'`, `'.join(OTHERS)}`"
            yield index, what, f"write {foreign_terms.augmentation(layer)}"
        elif "from" in layer or "repeat" in layer or "when" in layer:
            yield index, "an entry of `augment` has only a layer and its arguments", None


def step_of(line: int) -> int:
    """The entry that a line of `chain` holds, both counted as they are there (lines from 1)."""
    return line - 3
