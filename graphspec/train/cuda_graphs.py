"""Compiled steps as CUDA graphs: one call launches all kernels of a step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from graphspec.train.random_state import random_state, restore_random

Run = Callable[[list[Any]], Sequence[Any]]
"""A function of tensors, in a list that may be empty afterwards, that moves some of them in place."""
FREE = 3
"""How many times the peak of used memory has to be free for a graph: it has memory of its own, and its proof
takes two copies of the state.
"""


class CudaGraph:
    """A compiled step that is recorded at its first call here, proved at the second, and replayed after that.

    A graph reads and writes the memory that it was recorded in: what differs from call to call is copied into
    that, and results are copied out of it. It is used only if it has done to the bit what the code does: the
    same results, weights and random numbers. Else the code goes on.
    """

    def __init__(self, run: Run, places: Sequence[int]):
        """`places` are those of the tensors that differ from call to call; the others are the state."""
        self._run, self.places = run, tuple(places)
        self._replay: Replay | None = None
        self._is_proved = self._is_refused = False

    def __call__(self, taken: list[Any]) -> Sequence[Any]:
        """To be called under `torch.no_grad`."""
        if self._is_refused:
            return self._run(taken)
        if self._replay is None or not self._replay.holds(taken):
            return self._recorded(taken)
        if not self._is_proved:
            return self._proved(taken, self._replay)
        return self._replay(taken)

    def _recorded(self, taken: list[Any]) -> Sequence[Any]:
        """Makes a step by the code, and records it."""
        made = self._run([*taken])
        self._replay, self._is_proved, self._is_refused = None, False, True
        if has_memory(taken[self.places[0]].device):
            with suppress(RuntimeError):  # something in the step cannot be recorded
                self._replay, self._is_refused = Replay(self._run, taken, self.places), False
        return made

    def _proved(self, taken: list[Any], replay: Replay) -> Sequence[Any]:
        """Makes a step by the code, then the same by the graph, and compares them. This is another step than
        the one that was recorded: what the graph does not compute again would be that of the first.
        """
        state, device = replay.state, taken[self.places[0]].device
        before, random = _copies(state), random_state(device)
        made = self._run([*taken])
        after, random_after = _copies(state), random_state(device)
        _restore(state, before)
        restore_random(random, device)
        try:
            found = [*replay(taken), *state, *random_state(device).values()]
        except RuntimeError:  # there is too little memory
            found = []
        self._is_proved = _are_same(found, [*made, *after, *random_after.values()])
        if not self._is_proved:
            self._replay, self._is_refused = None, True
            _restore(state, after)
            restore_random(random_after, device)
        return made


class Replay:
    """The graph of a call."""

    def __init__(self, run: Run, taken: Sequence[Any], places: Sequence[int]):
        """Records the call; nothing is computed yet. Raises `RuntimeError` where that is not possible."""
        self._places = places
        self._given = [taken[place].clone() for place in places]
        arguments = [*taken]
        for place, memory in zip(places, self._given, strict=True):
            arguments[place] = memory
        self._others = _others(taken, places)
        self.state = [taken[place] for place in self._others]
        self._addresses = [each.data_ptr() for each in self.state]
        self._launch, self._made = recorded(run, arguments, self._given[0].device)

    def holds(self, taken: Sequence[Any]) -> bool:
        """Whether the state lies where it lay."""
        return [taken[place].data_ptr() for place in self._others] == self._addresses

    def __call__(self, taken: Sequence[Any]) -> list[Any]:
        torch._foreach_copy_(self._given, [taken[place] for place in self._places])
        self._launch()
        return _copies(self._made)


def recorded(
    run: Run, arguments: list[Any], device: torch.device
) -> tuple[Callable[[], None], Sequence[Any]]:
    """What repeats a call in the same memory, and what the call returns there."""
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream(device)
    # another thread, which reads data, may ask for memory meanwhile
    recording = torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local")
    with torch.cuda.device(device), torch.cuda.stream(stream), recording:
        made = run(arguments)
    return graph.replay, made


def are_on_one_gpu(tensors: Iterable[Any]) -> bool:
    """Whether all tensors are on the same GPU: what is computed elsewhere is not recorded."""
    devices = {each.device for each in tensors if isinstance(each, Tensor)}
    return len(devices) == 1 and devices.pop().type == "cuda"


def has_memory(device: torch.device) -> bool:
    """Whether a graph leaves enough for what runs beside it."""
    free, _ = torch.cuda.mem_get_info(device)
    return free >= FREE * torch.cuda.max_memory_allocated(device)


def _others(taken: Sequence[Any], places: Sequence[int]) -> list[int]:
    """The other places where tensors are."""
    return [place for place, each in enumerate(taken) if place not in places and isinstance(each, Tensor)]


def _copies(tensors: Iterable[Any]) -> list[Any]:
    return [each.clone() if isinstance(each, Tensor) else each for each in tensors]


def _restore(tensors: Sequence[Tensor], kept: Sequence[Tensor]) -> None:
    for tensor, value in zip(tensors, kept, strict=True):
        tensor.copy_(value)


def _are_same(some: Sequence[Any], others: Sequence[Any]) -> bool:
    """Whether they are the same to the bit."""
    return len(some) == len(others) and all(map(_is_same, some, others))


def _is_same(one: Any, other: Any) -> bool:
    if not isinstance(one, Tensor):
        return bool(one == other)
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return torch.equal(one.reshape(-1).view(torch.uint8), other.reshape(-1).view(torch.uint8))
