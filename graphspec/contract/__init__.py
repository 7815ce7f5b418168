"""The layer contract, and what layers and ops share.

`Layer` (layer.py) is the contract: one class says everything about a layer, merge or op. The classes are in
`layers/` (what Keras has a layer for, merges among them) and `ops/` (what `keras.ops` has).
"""

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from graphspec.contract.layer import Layer
from graphspec.contract.registry import REGISTRY as CLASSES
from graphspec.contract.registry import ROOMS, Kind, LayerClasses

REGISTRY: dict[Kind, LayerClasses[type[Layer]]] = CLASSES
"""Every layer, merge and op by its kind and the name that specs use."""


def load_all() -> None:
    """Imports every family."""
    for room in ROOMS:
        package = import_module(f"graphspec.{room}")
        for module in iter_modules(package.__path__):
            import_module(f"{package.__name__}.{module.name}")


def argument_names(node: Mapping[str, Any]) -> list[str]:
    """The names of the arguments of what a node's text names, in their order; none where it names nothing."""
    for kind in REGISTRY:
        name = node.get(kind)
        if isinstance(name, str) and name in REGISTRY[kind]:
            return list(REGISTRY[kind][name].model_fields)
    return []


__all__ = ["REGISTRY", "argument_names", "load_all"]
