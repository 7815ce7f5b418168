"""graphspec compiles a declarative YAML graph spec into a PyTorch module, and trains it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from graphspec.version import __version__

if TYPE_CHECKING:
    from graphspec import export
    from graphspec.compiler import compile
    from graphspec.convert import from_keras
    from graphspec.convert.pytorch import from_torch
    from graphspec.diagnostics import SpecError
    from graphspec.program import Program
    from graphspec.runs.run import Run

__all__ = ["Program", "Run", "SpecError", "__version__", "compile", "export", "from_keras", "from_torch"]

_HOMES = {
    "Program": "program",
    "Run": "runs.run",
    "SpecError": "diagnostics",
    "compile": "compiler",
    "from_keras": "convert",
    "from_torch": "convert.pytorch",
}


def __getattr__(name: str) -> Any:
    # Imported on first use, so that `import graphspec` costs nothing and never imports torch.
    if name == "export":
        return import_module("graphspec.export")
    if name in _HOMES:
        return getattr(import_module(f"graphspec.{_HOMES[name]}"), name)
    words = import_module("graphspec.diagnostics.attributes")
    raise words.no_attribute("graphspec", name, words.OF_PACKAGE, __all__)


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
