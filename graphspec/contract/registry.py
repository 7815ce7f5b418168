"""Every layer, merge and op by the name that specs use.

All names are known at once: they are read from the class headers of the files of `layers/` and `ops/`. The
file of a class is imported when the class is first used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, NamedTuple, get_args

from graphspec.settings.headers import Class, ClassesByName, files, headers

Kind = Literal["layer", "merge", "op"]

ROOMS = ("contract", "layers", "ops")
"""The folders of the package whose classes are layers, merges and ops, and what these inherit from."""


class Place(NamedTuple):
    """The module of a class, and what other libraries call it."""

    module: str
    also: tuple[str, ...] = ()


class LayerClasses(ClassesByName[Class]):
    """The classes of one kind by name.

    Iterating over names imports nothing; iterating over values or items imports all. `synonyms` maps the
    names of other libraries to the names here.
    """

    def __init__(self, places: Mapping[str, Place]):
        super().__init__(lambda: {name: place.module for name, place in places.items()})
        self.synonyms = {word: name for name, place in places.items() for word in place.also}

    def add(self, name: str, cls: Class, also: str) -> None:
        """Registers a class when it is made."""
        self._modules.setdefault(name, cls.__module__)
        self.synonyms.update(dict.fromkeys(also.split(), name))
        self._loaded[name] = cls


def scan() -> dict[Kind, dict[str, Place]]:
    """The classes by kind and name, read off `class Add(_Elementwise, spec_name="add", also="sum"):`, and off
    `row("add", ...` in tables of ops.

    `kind` is inherited; a base is sought in the class's own file before others.
    """
    known: dict[tuple[str, str], tuple[str, str]] = {}
    for room in ROOMS:
        package = f"graphspec.{room}"
        for module, name, base, keywords, _ in headers(package):
            known[module, name] = base, keywords
        for module, text in files(package).items():
            for name, row in _ROW.findall(text) if "\n    row(" in text else ():
                known[module, name] = "Operation", row
    anywhere = {name: module for module, name in known}

    @cache
    def kind_of(module: str, name: str) -> Kind | None:
        if name == "Layer":
            return "layer"
        if (module, name) not in known:
            module = anywhere.get(name, "")
        base, keywords = known.get((module, name), ("", ""))
        stated = _KIND.search(keywords) if "kind=" in keywords else None
        return stated[1] if stated else kind_of(module, base) if base else None  # type: ignore[return-value]

    classes: dict[Kind, dict[str, Place]] = {kind: {} for kind in get_args(Kind)}
    for (module, name), (_, keywords) in known.items():
        kind = kind_of(module, name)
        if kind is not None and name != "Layer" and "abstract=True" not in keywords:
            stated = _SPEC_NAME.search(keywords) if "spec_name=" in keywords else None
            also = _ALSO.search(keywords) if "also=" in keywords else None
            words = tuple(also[1].split()) if also else ()
            classes[kind][stated[1] if stated else name] = Place(module, words)
    return classes


_ROW = re.compile(r'\n    row\(\s*"(\w+)"(.*?)(?=\n    row\(|\n\))', re.DOTALL)
"""A line of a table of ops."""
_KIND = re.compile(r'\bkind="(\w+)"')
_SPEC_NAME = re.compile(r'\bspec_name="(\w+)"')
_ALSO = re.compile(r'\balso="([^"]*)"')

REGISTRY: dict[Kind, LayerClasses[Any]] = {kind: LayerClasses(places) for kind, places in scan().items()}
"""Import it from `graphspec.contract`, where its classes are known to be layers."""
