"""Folds a program for inference: removes training-only layers, folds normalizations into the layers before
them, and joins layers on one input.

A graph is planned (`plan.py`), then rewritten (`rewrite.py`). What happened to its weights is a list of
steps, which `folded_weights.py` takes the state dict of the unfolded module through. Nothing here changes
what a program computes, beyond rounding:

- A normalization goes into a linear layer whose output it alone reads, over that layer's output channels. No
  activation stands between, and no output or path of the spec gives away what the layer computes.
- Of a shared layer all calls fold alike, or none; so do the instances of a repeated node.
- Layers are joined where they read one value, and differ in nothing but their width and activation. Of
  convolutions only those of width 1 that read no less than they write: to cut what is written costs a copy.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from graphspec.fold.plan import leave_out, plans_of
from graphspec.fold.rewrite import Absorbed, Rewriter, Stacked, Step
from graphspec.passes.prune import prune
from graphspec.program import Elaborated


@dataclass(frozen=True, slots=True)
class Folded:
    """A program for inference, and how its weights come from those of the program that it was, step by step.

    A weight that no step speaks of keeps its key.
    """

    program: Elaborated
    steps: tuple[Step, ...]
    dropped: int

    @property
    def absorbed(self) -> int:
        """How many normalizations went into other layers."""
        return sum(isinstance(step, Absorbed) for step in self.steps)

    @property
    def joined(self) -> tuple[int, ...]:
        """How many layers each joined one stands for."""
        return tuple(len(step.parts) for step in self.steps if isinstance(step, Stacked))

    def summary(self) -> str:
        """What was done, in words."""
        parts = [f"{self.absorbed} normalization{'s' * (self.absorbed != 1)} folded"]
        if self.joined:
            parts.append(f"{sum(self.joined)} layers joined into {len(self.joined)}")
        if self.dropped:
            parts.append(f"{self.dropped} training-only layer{'s' * (self.dropped != 1)} dropped")
        return ", ".join(parts)

    def to_json(self) -> dict[str, int]:
        return {"normalizations": self.absorbed, "joined": sum(self.joined), "dropped": self.dropped}


def fold(program: Elaborated) -> Folded:
    """The program for inference. The one given is left as it is."""
    plans = plans_of(program.graph)
    leave_out(plans)
    rewriter = Rewriter(plans)
    graph = rewriter.graph(program.graph, "", True)
    prune(graph)
    folded = dataclasses.replace(program, graph=graph, masks={})  # masks are for losses
    return Folded(folded, tuple(rewriter.steps), rewriter.dropped)


__all__ = ["Absorbed", "Folded", "Stacked", "Step", "fold"]
