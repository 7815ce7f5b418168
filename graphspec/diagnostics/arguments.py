"""Checks of the arguments that a caller gives in Python, before anything is done with them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from numbers import Integral
from typing import Any, Protocol

from graphspec.diagnostics import did_you_mean, fail

PATH, TEXT, FLAG = (str, os.PathLike), (str,), (bool,)
KINDS: Mapping[str, tuple[tuple[type, ...], str]] = {
    "spec": ((*PATH, Mapping), "a path, the text of a spec, or a dict"),
    "params": ((Mapping,), "a dict: {'width': 64}"),
    "settings": ((Mapping,), "a dict: {'train.epochs': 3}"),
    "sizes": ((Mapping,), "a dict: {'length': 40}"),
    "path": (PATH, "a path"),
    "run_dir": (PATH, "a path"),
    "weights": ((*PATH, Mapping), "a path, or a state dict"),
    "allow": ((Iterable,), "a list of names"),
    "callbacks": ((Iterable,), "a list of callbacks"),
    "epochs": ((Integral,), "a whole number"),
    "limit": ((Integral,), "a whole number"),
    "batch_size": ((Integral,), "a whole number"),
    "seed": ((Integral,), "a whole number"),
    "allow_url": (FLAG, "True or False"),
    "resume": (FLAG, "True or False"),
    "overwrite": (FLAG, "True or False"),
}
"""The types of arguments, and what these are in words."""
REQUIRED = ("spec", "path")
SEEDS = range(-(2**63), 2**64)
"""What torch takes."""


def need(**given: Any) -> None:
    """Raises `SpecError` (wrong-type, out-of-range) for an argument of a wrong type, and for a number that is
    too small; None is an argument that is not given.
    """
    for name, value in given.items():
        if value is None and name not in REQUIRED:
            continue
        types, words = KINDS[name]
        number: Any = value
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise fail("wrong-type", f"`{name}` is {value!r:.60}, but must be {words}")
        if name == "seed" and number not in SEEDS:
            raise fail("out-of-range", f"`seed` is {value}, but must have 64 bits at most")
        if Integral in types and name != "seed" and number < 1:
            raise fail("out-of-range", f"`{name}` is {value}, but must be at least 1")


class Sized(Protocol):
    """What has inputs with named sizes, which have bounds: a program."""

    @property
    def minimum_sizes(self) -> Mapping[str, int]: ...

    @property
    def maximum_sizes(self) -> Mapping[str, int]: ...


def size_mistake(program: Sized, name: str, size: int) -> tuple[str, str, str | None] | None:
    """The code, the message and the remedy for a value of a named size that the inputs of a program do not
    name, or that is out of its range.
    """
    least, most = program.minimum_sizes, program.maximum_sizes
    if name not in least:
        known = ", ".join(n for n in least if not n.startswith("?"))
        help = did_you_mean(name, least, f"its sizes: {known or 'all are numbers'}")
        return "unknown-name", f"the spec names no size `{name}`", help
    if not least[name] <= size <= most.get(name, size):
        bounds = f"at least {least[name]}" + (f", at most {most[name]}" if name in most else "")
        return "out-of-range", f"`{name}` is {bounds}", None
    return None


def need_sizes(program: Sized, sizes: Mapping[str, Any]) -> None:
    """Raises `SpecError` for sizes that a program cannot have."""
    need(sizes=sizes)
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, Integral):
            raise fail("wrong-type", f"the size `{name}` is {size!r:.60}, but must be a whole number")
        mistake = size_mistake(program, name, int(size))
        if mistake is not None:
            raise fail(*mistake)
