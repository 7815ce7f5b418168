"""Compiled steps in a row, without what torch.compile does around each: half of a small step's time.

Steps of the small dense benchmark took 97 us in a row and 206 us one by one, on one thread of a CPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from graphspec.data.batches import Batch

HELD = 2**25
"""Bytes of batches and results that a row may hold. A step of a large model has more: none follows."""

Compiler = Callable[..., Callable[..., Sequence[Tensor]]]
Step = Callable[[Sequence[Tensor]], Any]


class StepRow:
    """Repeats a compiled step on other batches. torch.compile compiles the step with its `backend`."""

    def __init__(self, compiler: Compiler):
        self._compiler = compiler
        self._call: tuple[Callable[..., Sequence[Tensor]], tuple[Any, ...], Sequence[Tensor]]
        self._step: Step | None = None
        self._names: tuple[tuple[str, ...], ...] = ()
        self._size = 0

    def backend(self, graph: Any, examples: Any) -> Callable[..., Sequence[Tensor]]:
        """The compiled graph, as a function of all tensors that the step reads; its last call is kept."""
        run = self._compiler(graph, examples)

        def call(*taken: Any) -> Sequence[Tensor]:
            made = run(*taken)
            self._call = run, taken, made
            return made

        return call

    def begin(self, batch: Batch, rates: Tensor, found: Any) -> None:
        """Others may follow the step that has just returned `found` for this batch and these rates."""
        self._names = tuple(batch.arrays), tuple(batch.weights), tuple(batch.masks)
        given, (result, structure) = self._given(batch, rates), tree_flatten(found)
        sizes = {id(each): each.nbytes for each in (*given, *result) if isinstance(each, Tensor)}
        self._size = sum(sizes.values())
        run, taken, made = self._call
        del self._call
        step = _repeating(run, list(taken), made, given, result)
        self._step = lambda given: tree_unflatten(step(given), structure)

    def end(self) -> None:
        """None may follow the next step, until another row begins."""
        self._step = None

    def further(
        self,
        batches: Iterable[Batch],
        rates: Callable[[int], Sequence[Tensor]],
        count: int,
        goes_on: Callable[[], bool],
    ) -> list[tuple[Batch, Any, float]]:
        """At most `count` more steps: batches, results and losses. After each `goes_on` says whether another
        follows; a step whose loss is not finite is the last, and it is not called.
        """
        made: list[tuple[Batch, Any, float]] = []
        if self._step is None:
            return made
        rows = rates(min(count, HELD // self._size))
        for each, batch in zip(rows, batches, strict=False):  # rows end first: no batch is taken in vain
            found = self._step(self._given(batch, each))
            loss = found[0].item()
            made.append((batch, found, loss))
            if not math.isfinite(loss) or not goes_on():
                break
        return made

    def _given(self, batch: Batch, rates: Tensor) -> list[Tensor]:
        """The inputs of a graph that differ from step to step."""
        groups = zip((batch.arrays, batch.weights, batch.masks), self._names, strict=True)
        return [group[name] for group, names in groups for name in names] + [rates]


def _repeating(
    run: Callable[..., Sequence[Tensor]],
    taken: list[Any],
    made: Sequence[Tensor],
    given: Sequence[Tensor],
    result: Sequence[Any],
) -> Callable[[Sequence[Tensor]], tuple[Any, ...]]:
    """A function that repeats a call with others in the place of the tensors that were `given`, and returns
    what `result` was of that call. What neither the graph made nor was given stays as it is. The function
    holds no tensor that was given or made.
    """
    places = {id(tensor): place for place, tensor in enumerate(taken)}
    swaps = [(places[id(tensor)], index) for index, tensor in enumerate(given) if id(tensor) in places]
    found = {id(tensor): place for place, tensor in enumerate((*made, *given))}
    fixed = tuple(each for each in result if id(each) not in found)
    found |= {id(each): len(made) + len(given) + place for place, each in enumerate(fixed)}
    pick = itemgetter(*(found[id(each)] for each in result))
    for place, _ in swaps:
        taken[place] = None

    def call(given: Sequence[Tensor]) -> tuple[Any, ...]:
        arguments = taken.copy()
        for place, index in swaps:
            arguments[place] = given[index]
        picked: tuple[Any, ...] = pick((*run(*arguments), *given, *fixed))
        return picked

    return call
