"""Calls of a compiled graph without what torch.compile does around each, as long as a small step takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from torch import Tensor

Compiler = Callable[..., Callable[..., Sequence[Tensor]]]


class GraphCalls:
    """A backend of torch.compile that remembers the last call of its graph: a function of all tensors that
    the compiled function reads, weights too, which returns those that it makes.
    """

    def __init__(self, compiler: Compiler):
        self.compiler = compiler
        self.run: Callable[..., Sequence[Tensor]]
        self.taken: tuple[Any, ...] = ()
        self.made: Sequence[Tensor] = ()

    def __call__(self, graph: Any, examples: Any) -> Callable[..., Sequence[Tensor]]:
        """The compiled graph, as torch.compile calls it."""
        run = self.compiler(graph, examples)

        def call(*taken: Any) -> Sequence[Tensor]:
            self.run, self.taken, self.made = run, taken, run(*taken)
            return self.made

        return call

    def again(self, given: Sequence[Tensor], result: Sequence[Any]) -> Callable[[Sequence[Tensor]], Any]:
        """A function that repeats the last call with others in the place of the tensors that were `given`,
        and returns what `result` was of that call. What neither the graph made nor was given stays as it is.
        """
        run, taken = self.run, list(self.taken)
        places = {id(tensor): place for place, tensor in enumerate(taken)}
        swaps = [(places[id(t)], index) for index, t in enumerate(given) if id(t) in places]
        known = (*self.made, *given)
        found = {id(tensor): place for place, tensor in enumerate(known)}
        fixed = tuple(each for each in result if id(each) not in found)
        found |= {id(each): len(known) + place for place, each in enumerate(fixed)}
        pick = itemgetter(*(found[id(each)] for each in result))

        def call(given: Sequence[Tensor]) -> Any:
            for place, index in swaps:
                taken[place] = given[index]
            return pick((*run(*taken), *given, *fixed))

        return call
