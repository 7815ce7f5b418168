"""Weights that are moving averages of others, as `average_of` says: after each step they follow."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor, nn

from graphspec.graph import Graph
from graphspec.train.config.varying import Varying
from graphspec.train.parallel.shards import local
from graphspec.weights import averages


class Averages:
    """The averages of a module, weights and statistics; of what is sharded, the parts of this process.

    What is no number with a fraction, such as a seed, becomes that of the other. They are in the state of the
    module, and there is nothing to save beside it.
    """

    def __init__(self, graph: Graph, module: nn.Module):
        self._module, self._averages = module, list(averages(graph))
        self.momenta: list[float | Varying] = list(
            dict.fromkeys(each.momentum for *_, each in self._averages)
        )
        """The start and the values that averages keep of themselves, each other one once."""
        self._kept = [each.to if isinstance(each, Varying) else each for each in self.momenta]
        self._again = any(op.layer is not None and op.layer.opaque for op in graph.walk())
        """Whether code of one's own may assign other tensors to its buffers at each step."""
        self._find()

    def _find(self) -> None:
        self._moved: dict[int, tuple[list[Tensor], list[Tensor]]] = defaultdict(lambda: ([], []))
        self._copied: list[tuple[Tensor, Tensor]] = []
        for mine, theirs, average in self._averages:
            pairs = zip(_state(self._module, mine), _state(self._module, theirs), strict=True)
            for tensor, other in pairs:
                if tensor.is_floating_point():
                    moved, followed = self._moved[self.momenta.index(average.momentum)]
                    moved.append(tensor)
                    followed.append(other)
                else:
                    self._copied.append((tensor, other))

    def keep(self, number: int, share: float) -> None:
        """Sets one of the momenta that vary, by its place."""
        self._kept[number] = share

    @torch.no_grad()
    def follow(self) -> None:
        """After a step: each average keeps its share, and the rest is what it averages."""
        if self._again:
            self._find()
        for number, (moved, followed) in self._moved.items():
            torch._foreach_lerp_(moved, followed, 1 - self._kept[number])
        for tensor, other in self._copied:
            tensor.copy_(other)


def _state(module: nn.Module, path: str) -> list[Tensor]:
    """The weights and statistics that a part of a module saves."""
    return [local(tensor) for tensor in module.get_submodule(path).state_dict().values()]
