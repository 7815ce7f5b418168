"""Every layer, merge and op that a spec can name. A file of this package is a family; adding a layer edits one file."""

from importlib import import_module
from pkgutil import iter_modules

from graphspec.layers.base import HELPERS, REGISTRY

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["HELPERS", "REGISTRY"]
