"""All examples of a layer: the one that its class has, and further ones. Those are in the file here that is
called as its file in `graphspec/layers/` or `graphspec/ops/`, by the name of the class.
"""

from functools import cache
from importlib import import_module
from importlib.util import find_spec

from graphspec.contract.layer import Example, Layer


def examples_of(cls: type[Layer]) -> tuple[Example, ...]:
    """The examples of a class; without own ones it has those of the class that it inherits from."""
    for base in cls.__mro__:
        more = _further(base.__module__).get(base.__name__, ())
        if more or "examples" in vars(base):
            return (*cls.examples, *more)
    return cls.examples


@cache
def _further(module: str) -> dict[str, tuple[Example, ...]]:
    """Further examples of the classes of a module of the package."""
    name = module.replace("graphspec", __name__, 1)
    if not module.startswith(("graphspec.layers.", "graphspec.ops.")) or find_spec(name) is None:
        return {}
    found: dict[str, tuple[Example, ...]] = import_module(name).MORE
    return found
