"""Every layer, merge and op by the name that specs use.

All names are known at once, read off the class headers of the files of `layers/` and `ops/`. The file of a
class is imported when the class is first asked for: a spec names a few layers, and to make the classes of all
takes longer than to check it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from graphspec.contract.layer import Layer

Kind = Literal["layer", "merge", "op"]

ROOMS = ("contract", "layers", "ops")
"""The folders of the package whose classes are layers, merges and ops, and what these inherit from."""


class Classes(Mapping[str, "type[Layer]"]):
    """The classes of one kind by name. Iterating names imports nothing, iterating values or items all."""

    def __init__(self, modules: dict[str, str]):
        self._modules = modules
        self._loaded: dict[str, type[Layer]] = {}

    def __getitem__(self, name: str) -> type[Layer]:
        if name not in self._loaded:
            import_module(self._modules[name])
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self._modules

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)

    def add(self, name: str, cls: type[Layer]) -> None:
        """What a class does for itself when it is made."""
        self._modules.setdefault(name, cls.__module__)
        self._loaded[name] = cls


def scan() -> dict[Kind, dict[str, str]]:
    """The module of each class by kind and name, as `class Add(_Elementwise, spec_name="add"):` gives them.

    `kind` is inherited; a base is sought in the class's own file before others.
    """
    headers: dict[tuple[str, str], tuple[str, str]] = {}
    package = Path(__file__).parent.parent
    for path in sorted(path for room in ROOMS for path in (package / room).glob("*.py")):
        module = f"graphspec.{path.parent.name}.{path.stem}"
        text = _EMITTED.sub("", path.read_text(encoding="utf-8"))
        for name, base, keywords in _HEADER.findall(text):
            headers[module, name] = base, keywords
    anywhere = {name: module for module, name in headers}

    def kind_of(module: str, name: str) -> Kind | None:
        if name == "Layer":
            return "layer"
        if (module, name) not in headers:
            module = anywhere.get(name, "")
        base, keywords = headers.get((module, name), ("", ""))
        stated = _KIND.search(keywords)
        return stated[1] if stated else kind_of(module, base) if base else None  # type: ignore[return-value]

    found: dict[Kind, dict[str, str]] = {kind: {} for kind in get_args(Kind)}
    for (module, name), (_, keywords) in headers.items():
        kind = kind_of(module, name)
        if kind is not None and name != "Layer" and "abstract=True" not in keywords:
            stated = _SPEC_NAME.search(keywords)
            found[kind][stated[1] if stated else name] = module
    return found


_EMITTED = re.compile("'''.*?'''", re.DOTALL)
"""The source of helpers, whose classes are no layers."""
_HEADER = re.compile(r"\nclass (\w+)\((\w+)((?:, [^)]*)?)\):")
_KIND = re.compile(r'\bkind="(\w+)"')
_SPEC_NAME = re.compile(r'\bspec_name="(\w+)"')

REGISTRY: dict[Kind, Classes] = {kind: Classes(modules) for kind, modules in scan().items()}
