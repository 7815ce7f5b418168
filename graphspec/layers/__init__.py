"""Every layer, merge and op that a spec can name.

A file of this package is a family; adding a layer edits one file.
"""

from importlib import import_module
from pkgutil import iter_modules

from graphspec.layers.helpers import HELPERS
from graphspec.layers.registry import REGISTRY


def load_all() -> None:
    """Imports every family: `HELPERS` is then complete. The helpers of a layer are there as soon as it is."""
    for module in iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")


__all__ = ["HELPERS", "REGISTRY", "load_all"]
