"""Tensors of another checkpoint as the weights of a spec.

    FILE -> Checkpoint (keys, shapes)  \\
    RULES -> Rules                      > Plan (what goes where, what is left) -> state dict
    Graph -> Targets (keys, shapes)    /

One tensor of GPT-2, as Hugging Face stores it, walked through. The spec's target, and the rule for it:

    layers.3.attention.key.weight [64, 64]

    layers.{i}.attention.{part}.{w}:
      from: h.{i}.attn.c_attn.{w}
      transpose: true
      split: {part: [query, key, value]}

The rule's key matches the target with i = 3, part = key, w = weight; `from` with these is the name in the
file, where the voted prefix `transformer.` is before it. The tensor there, [64, 192], is turned to
[192, 64], cut into the three parts, as long as the targets are, of which the second is taken: [64, 64], as
it should be.

Rules say what targets come from, not where sources go: so each target has one origin, several may share
one, and what is left of the file is what nobody named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from graphspec.graph import Graph
    from graphspec.transfer.matching import Plan
    from graphspec.transfer.origins import ImportedWeights
    from graphspec.transfer.rules import Rules

__all__ = ["Transferred", "transfer"]


@dataclass(frozen=True, slots=True)
class Transferred:
    """A state dict for the module of a spec, and the plan by which it was made. `weights` lacks the keys of
    `plan.missing`.
    """

    weights: dict[str, Tensor]
    plan: Plan


def transfer(
    graph: Graph,
    path: Path,
    rules: Rules | None = None,
    fresh: Sequence[str] = (),
    initial: Mapping[str, Tensor] | None = None,
    imported: ImportedWeights | None = None,
) -> Transferred:
    """Converts the weights of a checkpoint, a file or a folder, for a graph.

    What matches a pattern of `fresh` comes from `initial`, a state dict of the module. `imported` are the
    weights of a module that was imported, of which the file may be another checkpoint. Raises `SpecError`
    (weights-missing, weights-unsafe, weights-ambiguous, package-missing) where the checkpoint cannot be read;
    what does not fit is in the plan.
    """
    from graphspec.transfer.checkpoints import open_checkpoint
    from graphspec.transfer.matching import match
    from graphspec.transfer.rules import Rules
    from graphspec.transfer.targets import targets

    wanted = list(targets(graph))
    rules = (rules or Rules()).with_fresh(fresh)
    with open_checkpoint(path) as checkpoint:
        plan = match(wanted, checkpoint, rules, None if imported is None else imported.origins)
        weights = plan.read(checkpoint)
    if plan.fixed and imported is not None:
        with open_checkpoint(imported.path) as checkpoint:
            weights |= {key: checkpoint.read(key) for key in plan.fixed}
    for key in plan.fresh:
        if initial is not None:
            weights[key] = initial[key]
    return Transferred({target.key: weights[target.key] for target in wanted if target.key in weights}, plan)
