"""Calls of a compiled graph without what torch.compile does around each, as long as a small step takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from torch import Tensor

from graphspec.train.inductor import GeneratedCode

Compiler = Callable[..., Callable[..., Sequence[Tensor]]]


class GraphCalls:
    """A backend of torch.compile that remembers the last call of its graph: a function of all tensors that
    the compiled function reads, weights too, which returns those that it makes.
    """

    def __init__(self, compiler: Compiler):
        self.compiler = compiler
        self.code: GeneratedCode
        self.taken: tuple[Any, ...] = ()
        self.made: Sequence[Tensor] = ()

    def __call__(self, graph: Any, examples: Any) -> Callable[..., Sequence[Tensor]]:
        """The compiled graph, as torch.compile calls it."""
        code = GeneratedCode(self.compiler(graph, examples))

        def call(*taken: Any) -> Sequence[Tensor]:
            self.code, self.taken, self.made = code, taken, code(*taken)
            return self.made

        return call

    def again(self, given: Sequence[Tensor], result: Sequence[Any]) -> Callable[[Sequence[Tensor]], Any]:
        """A function that repeats the last call with others in the place of the tensors that were `given`,
        and returns what `result` was of that call. What neither the graph made nor was given stays as it is.
        Neither holds a tensor of that call any longer. To be called under `torch.no_grad`.
        """
        taken, made = list(self.taken), self.made
        self.taken = self.made = ()  # what a step made goes with it
        places = {id(tensor): place for place, tensor in enumerate(taken)}
        swaps = [(places[id(t)], index) for index, t in enumerate(given) if id(t) in places]
        run = self.code.repeats([place for place, _ in swaps])
        found = {id(tensor): place for place, tensor in enumerate((*made, *given))}
        fixed = tuple(each for each in result if id(each) not in found)
        known = len(made) + len(given)
        found |= {id(each): known + place for place, each in enumerate(fixed)}
        pick = itemgetter(*(found[id(each)] for each in result))
        for place, _ in swaps:
            taken[place] = None

        def call(given: Sequence[Tensor]) -> Any:
            arguments = taken.copy()
            for place, index in swaps:
                arguments[place] = given[index]
            return pick((*run(arguments), *given, *fixed))

        return call
