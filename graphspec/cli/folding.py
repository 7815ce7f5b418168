"""`build --fold`: a program for inference only, compared with the original program."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphspec.cli.common import running
from graphspec.cli.outputs import check_output

if TYPE_CHECKING:
    from torch import nn

    from graphspec.program import Program

MARK, FOLDED = "graphspec", "graphspec.folded"
"""Keys in the metadata of a file of weights: that we wrote it, and that `build --fold` did."""


@dataclass(frozen=True, slots=True)
class Proved:
    """A folded program, its module, and by how much its outputs differ; None where that was not tried."""

    program: Program
    module: nn.Module
    difference: float | None

    def lines(self) -> list[str]:
        """The report of the folding."""
        assert self.program.folding is not None
        done = self.program.folding.folded.summary()
        if self.difference is None:
            return [done]
        return [done, f"equal to the unfolded module to {self.difference:.1e}"]

    def to_json(self) -> dict[str, Any]:
        assert self.program.folding is not None
        return {**self.program.folding.folded.to_json(), "difference": self.difference}


def prove(program: Program, weights: Path | None, seed: int, check: bool) -> Proved:
    """Folds a program. Raises `SpecError` (fold-differs) if the outputs differ."""
    from graphspec.fold.weights import difference

    folded, help = program.fold(), "try without `--fold` first"
    with running(folded, "build-failed", "the forward pass fails", help):
        module = folded.module(seed=seed, weights=weights)
        if not check:
            return Proved(folded, module, None)
        unfolded = program.module(seed=seed, weights=weights)
        deviation, allowed = difference(module, unfolded, program.example_inputs())
    if not deviation <= allowed < math.inf:
        from graphspec.diagnostics import fail

        message = f"the folded outputs differ by {deviation:.1e}; rounding explains at most {allowed:.1e}"
        help = "build without `--fold`; a running variance near 0 or non-finite weights may be the cause"
        raise fail("fold-differs", message, help)
    return Proved(folded, module, deviation)


def weights_target(path: Path, weights: Path | None, force: bool) -> Path:
    """The path of a folded file's weights, next to it. Refuses to overwrite other weights."""
    target = path.with_suffix(".safetensors")
    check_output(target, _is_folded, force, [weights])
    return target


def _is_folded(path: Path) -> bool:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return FOLDED in (file.metadata() or {})
    except (OSError, SafetensorError):
        return False


def write_weights(path: Path, module: nn.Module, folded: bool = False) -> None:
    """Writes a module's weights."""
    from graphspec.files.tensors import save
    from graphspec.train.files import untied
    from graphspec.version import __version__

    tensors, _ = untied(module.state_dict())
    save(path, tensors, {MARK: __version__, **({FOLDED: "true"} if folded else {})})
