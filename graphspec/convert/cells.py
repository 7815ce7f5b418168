"""Cells of recurrent layers, which a config holds inside the layer that runs them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from graphspec.contract import REGISTRY
from graphspec.convert.arguments import arguments
from graphspec.convert.config import KerasLayer, read_layer
from graphspec.convert.refusals import Unsupported
from graphspec.language.naming import snake_case

CELLS = ("LSTMCell", "GRUCell", "SimpleRNNCell")


def of_cells(layer: KerasLayer) -> tuple[KerasLayer, tuple[tuple[str, ...], ...]]:
    """An `RNN` or a stack of cells with its cells as a spec writes them, and where their variables are below
    its own. Another layer stays as it is. Raises `Unsupported`.
    """
    key = {"RNN": "cell", "StackedRNNCells": "cells"}.get(layer.class_name)
    if key is None or key not in layer.config:
        return layer, ()
    held = layer.config[key]
    cells: Any
    if key == "cells":
        cells, parts = _stack(held)
    else:
        inner = read_layer(held)
        if inner.class_name == "StackedRNNCells":
            cells, parts = _stack(inner.config["cells"])
            parts = tuple(("cell", *part) for part in parts)
        else:
            cells, parts = _cell(inner), ()
    config = {**layer.config, key: cells}
    return KerasLayer(layer.name, layer.class_name, layer.module, config, layer.calls), parts


def _stack(held: Any) -> tuple[list[Any], tuple[tuple[str, ...], ...]]:
    """The cells of a stack, and their groups: numbered by class."""
    counts: Counter[str] = Counter()
    cells, parts = [], []
    for entry in held:
        cell = read_layer(entry)
        cells.append(_cell(cell))
        word = snake_case(cell.class_name)
        parts.append(("cells", f"{word}_{counts[word]}" if counts[word] else word))
        counts[word] += 1
    return cells, tuple(parts)


def _cell(cell: KerasLayer) -> dict[str, Any]:
    if cell.class_name not in CELLS or cell.module == "?":
        raise Unsupported(
            f"its cell `{cell.class_name}` is not one of {', '.join(CELLS)}",
            "use one of these, or write this part of the spec by hand",
        )
    return {
        "layer": cell.class_name,
        **arguments(REGISTRY["layer"][cell.class_name], cell, None),
    }
