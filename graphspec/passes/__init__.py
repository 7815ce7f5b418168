"""The passes over an elaborated graph, and what is derived from it, in order.

A pass takes a graph and returns one: the same one if there is nothing to do, otherwise a new one. No pass
changes the graph that it takes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from graphspec.diagnostics import Diagnostic, Diagnostics
from graphspec.graph import Graph, Value
from graphspec.passes.activities import watch_activities
from graphspec.passes.drop_idle import leave_out_idle
from graphspec.passes.logits import ends_in
from graphspec.passes.masks import carry_masks, check_masks
from graphspec.passes.prune import prune
from graphspec.passes.ranges import CountedIntegers, counted_integers, maximum_sizes, minimum_sizes, ranges
from graphspec.tensor import Limit


@dataclass(frozen=True, slots=True)
class Findings:
    """The results of the passes: the graph, the masks and final activations of outputs, the ranges of inputs,
    and the bounds of symbolic sizes.
    """

    graph: Graph
    masks: dict[str, Value]
    activations: dict[str, str | None]
    ranges: dict[str, Limit]
    minimum_sizes: dict[str, int]
    maximum_sizes: dict[str, int]


def run_passes(graph: Graph, masked: Collection[str], diagnostics: Diagnostics) -> Findings | None:
    """Takes a graph through all passes; `masked` are the outputs whose masks are wanted.

    None after an error. Only emission runs `layout`, which decides where axes are permuted.
    """
    watched = watch_activities(leave_out_idle(prune(graph)), diagnostics)
    if watched is None:
        return None
    integers = counted_integers(watched)
    if not _in_range(integers, diagnostics):
        return None
    graph, masks = carry_masks(watched, masked)
    if graph is not watched and not check_masks(graph, diagnostics):
        return None
    activations = {name: ends_in(value) for name, value in graph.outputs.items()}
    sizes = minimum_sizes(graph), maximum_sizes(graph, integers)
    return Findings(graph, masks, activations, ranges(graph), *sizes)


def _in_range(integers: Iterable[CountedIntegers], diagnostics: Diagnostics) -> bool:
    """Whether integers that the graph creates are in the range that their readers accept."""
    fine = True
    for each in integers:
        if isinstance(each.count, int) and each.count > each.limit:
            message = (
                f"`{each.reader.name}` takes integers below {each.limit}, "
                f"and those of `{each.source.name}` go up to {each.count - 1}"
            )
            diagnostics.add(Diagnostic("out-of-range", message, each.reader.span))
            fine = False
    return fine
