"""A spec in place of a run: its weights come from files that it names, or from one next to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphspec.diagnostics import fail
from graphspec.elaborated import BaseProgram
from graphspec.files.run_files import WEIGHTS
from graphspec.runs.directory import Values, places
from graphspec.weights import without_file

if TYPE_CHECKING:
    from graphspec.program import Program

SUFFIXES = (".yaml", ".yml")
SHOWN = 3
"""Layers without weights that a message names."""


@dataclass(frozen=True, slots=True)
class SpecFiles:
    """The counterpart of `RunFiles` for a spec that was never trained."""

    spec: Path

    synthetic = False

    @property
    def path(self) -> Path:
        return self.spec

    def places(self, program: Program) -> tuple[Path, Path | None]:
        return places(self.spec.parent, program)

    @property
    def lengths(self) -> dict[str, int]:
        """None are known."""
        return {}

    def history(self) -> Values:
        return {}

    def weights(self, name: str, program: Program) -> Path | None:
        """The file called `name`; None where that is a run's word and the spec names files for all weights.

        Raises `SpecError` (weights-missing).
        """
        if name not in WEIGHTS:
            return Path(name)
        lacking = without_file(program.graph)
        if lacking:
            others = f" and {len(lacking) - SHOWN} more" if len(lacking) > SHOWN else ""
            named = ", ".join(f"`{key}`" for key in lacking[:SHOWN])
            message = f"`{self.spec}` names no trained weights for {named}{others}"
            beside = self.spec.with_suffix(".safetensors")
            file = beside if beside.is_file() else "FILE"
            help = f"name a file, `--weights {file}`, or the directory of a run instead of the spec"
            raise fail("weights-missing", message, help)
        return None

    def base(self, program: BaseProgram) -> Path | None:
        """None: the spec names the files of its weights."""
        return None

    def instead(self, name: str) -> str | None:
        """None: a spec has no other weights."""
        return None

    def encoders(self, program: Program) -> Mapping[str, Any] | None:
        """None. Raises `SpecError` (data-format) for a spec whose features learn from a table."""
        if program.data is not None and program.data.features:
            message = f"`{self.spec}` has features, and what they learned is in the run that trained it"
            help = "name the directory of that run instead of the spec"
            raise fail("data-format", message, help)
        return None
