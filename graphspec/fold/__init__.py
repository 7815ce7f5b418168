"""Folds a program for inference: removes training-only layers, and folds normalizations into the layers
before them.

A graph is planned (`plan.py`), then rewritten (`rewrite.py`). What happened to its weights is a list of
steps, which `weights.py` takes the state dict of the unfolded module through. Nothing here changes
what a program computes, beyond rounding:

- A normalization goes into a linear layer whose output it alone reads, over that layer's output channels. No
  activation is between, and no output or path of the spec gives away what the layer computes.
- Of a shared layer all calls fold alike, or none; so do the instances of a repeated node.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphspec.fold.plan import leave_out, plans_of
from graphspec.fold.rewrite import Absorbed, Rewriter
from graphspec.graph import Graph
from graphspec.passes.prune import prune


@dataclass(frozen=True, slots=True)
class Folded:
    """A folded graph, and the steps that compute its weights from those of the original.

    A weight that no step mentions keeps its key.
    """

    graph: Graph
    steps: tuple[Absorbed, ...]
    dropped: int

    @property
    def absorbed(self) -> int:
        """The number of normalizations that were folded into other layers."""
        return len(self.steps)

    def summary(self) -> str:
        """A summary of the folding as text."""
        parts = [f"{self.absorbed} normalization{'s' * (self.absorbed != 1)} folded"]
        if self.dropped:
            parts.append(f"{self.dropped} training-only layer{'s' * (self.dropped != 1)} dropped")
        return ", ".join(parts)

    def to_json(self) -> dict[str, int]:
        return {"normalizations": self.absorbed, "dropped": self.dropped}


def fold(graph: Graph) -> Folded:
    """The folded graph of a program. The original is not changed."""
    plans = plans_of(graph)
    leave_out(plans)
    rewriter = Rewriter(plans)
    folded = prune(rewriter.graph(graph, "", True))
    return Folded(folded, tuple(rewriter.steps), rewriter.dropped)


__all__ = ["Absorbed", "Folded", "fold"]
