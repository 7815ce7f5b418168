"""graphspec compiles a declarative YAML graph spec into a PyTorch module, and trains it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphspec.version import __version__

if TYPE_CHECKING:
    from graphspec.compiler import Program, compile
    from graphspec.convert import from_keras
    from graphspec.diagnostics import SpecError
    from graphspec.runs.run import Run

__all__ = ["Program", "Run", "SpecError", "__version__", "compile", "from_keras"]


def __getattr__(name: str) -> Any:
    # Imported on first use, so that `import graphspec` costs nothing and never imports torch.
    if name in ("Program", "compile"):
        from graphspec import compiler

        return getattr(compiler, name)
    if name == "from_keras":
        from graphspec.convert import from_keras

        return from_keras
    if name == "Run":
        from graphspec.runs.run import Run

        return Run
    if name == "SpecError":
        from graphspec.diagnostics import SpecError

        return SpecError
    raise AttributeError(f"module 'graphspec' has no attribute '{name}'")
