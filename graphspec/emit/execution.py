"""Emitted source as a running Python module.

Its lines show in tracebacks and in `inspect`. Its modules carry their source when they are pickled, so that
`pickle`, `torch.save` and other processes can make them again, wherever graphspec is installed.
"""

from __future__ import annotations

import hashlib
import linecache
import sys
import weakref
from collections import Counter
from types import ModuleType
from typing import Any

PREFIX = "graphspec_emitted_"

_FILES: dict[str, str] = {}
"""The name of a source in tracebacks: its program's name, with a number where another source has it."""
_NUMBERS: Counter[str] = Counter()
"""How many sources of each program's name there are."""
_HELD: Counter[str] = Counter()
"""How many objects of each executed module there are: PyTorch's tracer and pickle import it by its name."""


def file_name(source: str, program: str) -> str:
    """The file name of a program's emitted source in tracebacks."""
    if source not in _FILES:
        name = ""
        while not name or name in linecache.cache:  # a program may have a number in its name
            _NUMBERS[program] += 1
            name = f"<graphspec {program}{f' {_NUMBERS[program]}' if _NUMBERS[program] > 1 else ''}>"
        _FILES[source] = name
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    return _FILES[source]


def is_emitted(file: str) -> bool:
    """Whether a file of a traceback is emitted source."""
    return file in _FILES.values()


def execute(source: str, program: str, imported: str = "") -> ModuleType:
    """Emitted source as a Python module: the one that there is already, or a new one. `imported` tells apart
    what the names that it imports stand for.
    """
    name = PREFIX + hashlib.sha256((source + imported).encode()).hexdigest()[:16]
    if name in sys.modules:
        return sys.modules[name]
    module = ModuleType(name)
    module.__file__ = file_name(source, program)
    exec(
        compile(source, module.__file__, "exec"), module.__dict__
    )  # what the emitter wrote, never a user's text
    for value in list(vars(module).values()):
        if isinstance(value, type) and value.__module__ == name:
            value.__reduce_ex__ = _Reduce(source, program)  # type: ignore[method-assign,assignment]
    return module


def make(source: str, program: str, name: str) -> Any:
    """An object of an emitted class, before its constructor has run, whose module can be imported from now
    on for as long as it lives.
    """
    module = execute(source, program)
    kind = getattr(module, name)
    instance = kind.__new__(kind)
    hold(module, instance)
    return instance


def hold(module: ModuleType, made: object) -> None:
    """Keeps an executed module as long as an object of it lives."""
    name = module.__name__
    sys.modules[name] = module
    _HELD[name] += 1
    weakref.finalize(made, _let_go, name).atexit = False


def _let_go(name: str) -> None:
    _HELD[name] -= 1
    if not _HELD[name]:
        sys.modules.pop(name, None)


class _Reduce:
    """How objects of emitted classes are pickled: with their source."""

    def __init__(self, source: str, program: str):
        self.source, self.program = source, program

    def __get__(self, made: Any, kind: type) -> Any:
        if made is None or not kind.__module__.startswith(PREFIX):  # a class that someone derived
            return object.__reduce_ex__.__get__(made, kind)

        def reduce(_: int) -> tuple[Any, ...]:
            return make, (self.source, self.program, kind.__name__), made.__getstate__()

        return reduce
