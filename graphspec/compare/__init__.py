"""What changed from one spec to another: node by node inside blocks, and in data, training and outputs.

    Program -> Outline \
                        > pairs (what became of which node) -> SpecComparison -> table, JSON
    Program -> Outline /

A node, walked through: `conv2: {layer: Conv2D, filters: 64}` became `second: {..., filters: 96}`. No node
of the new spec has the old name, so both are left over in their graph; they are of one type, and read what
became of the same node: they are a pair. Their arguments differ in `filters`, so the change is `renamed`,
with that detail, and the shapes, parameters and FLOPs of both.

Nothing here imports torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphspec.compare.differences import SpecComparison, compare_outlines
from graphspec.compare.outline import outline

if TYPE_CHECKING:
    from graphspec.program import Program

__all__ = ["SpecComparison", "compare"]


def compare(old: Program, new: Program) -> SpecComparison:
    """The differences of two compiled specs."""
    return compare_outlines(outline(old), outline(new))
