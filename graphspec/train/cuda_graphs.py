"""Compiled steps as CUDA graphs: one call launches all kernels of a step."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from graphspec.train.random_state import random_state, restore_random

Run = Callable[[list[Any]], Sequence[Tensor]]
"""A function of tensors, in a list that may be empty afterwards, that moves some of them in place."""
WAITS = "called a synchronizing CUDA operation"
"""What torch warns of, where it is asked to."""
FREE = 3
"""How many times the peak of used memory has to be free for a graph: it has memory of its own, and its proof
takes two copies of the state.
"""
_RECORDING = threading.Lock()
"""Held while a step is recorded: a process can record one at a time, and another thread may train, too."""


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

    def __call__(self, taken: list[Tensor]) -> Sequence[Tensor]:
        """To be called under `torch.no_grad`."""
        if self._is_refused:
            return self._run(taken)
        if self._replay is None or not self._replay.holds(taken):
            return self._recorded(taken)
        if not self._is_proved:
            return self._proved(taken, self._replay)
        return self._replay(taken)

    def _recorded(self, taken: list[Tensor]) -> Sequence[Tensor]:
        """Makes a step by the code, and records it."""
        made, waits = watched(self._run, taken)
        self._replay, self._is_proved, self._is_refused = None, False, True
        if not waits and has_memory(taken[self.places[0]].device):
            with suppress(RuntimeError):  # something in the step cannot be recorded
                self._replay, self._is_refused = Replay(self._run, taken, self.places), False
        return made

    def _proved(self, taken: list[Tensor], replay: Replay) -> Sequence[Tensor]:
        """Makes a step by the code, then the same by the graph, and compares them. This is another step than
        the one that was recorded: what the graph does not compute again would be that of the first.
        """
        state, device = replay.state(taken), taken[self.places[0]].device
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

    def __init__(self, run: Run, taken: Sequence[Tensor], places: Sequence[int]):
        """Records the call; nothing is computed yet. Raises `RuntimeError` where that is not possible."""
        self._places = places
        self._given = [_laid_out_as(taken[place]) for place in places]
        self._others = [place for place in range(len(taken)) if place not in places]
        self._addresses = _addresses(self.state(taken))
        arguments = [*taken]
        for place, memory in zip(places, self._given, strict=True):
            arguments[place] = memory
        with _RECORDING:
            self._launch, self._made = recorded(run, arguments, self._given[0].device)

    def state(self, taken: Sequence[Tensor]) -> list[Tensor]:
        """The tensors of a call that are the same in each."""
        return [taken[place] for place in self._others]

    def holds(self, taken: Sequence[Tensor]) -> bool:
        """Whether the state lies where it lay."""
        return _addresses(self.state(taken)) == self._addresses

    def __call__(self, taken: Sequence[Tensor]) -> list[Tensor]:
        torch._foreach_copy_(self._given, [taken[place] for place in self._places])
        self._launch()
        return _copies(self._made)


def watched(run: Run, taken: Sequence[Tensor]) -> tuple[Sequence[Tensor], bool]:
    """Makes a call, and says whether it waits for the device. Such a step must not be recorded: that fails,
    and torch's allocator stays as it is while it records.
    """
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            made = run([*taken])
        finally:
            torch.cuda.set_sync_debug_mode(before)
    return made, any(WAITS in str(each.message) for each in said)


def recorded(
    run: Run, arguments: list[Tensor], device: torch.device
) -> tuple[Callable[[], None], Sequence[Tensor]]:
    """What repeats a call in the same memory, and what the call returns there."""
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream(device)
    # another thread, which reads data, may ask for memory meanwhile
    recording = torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local")
    with torch.cuda.device(device), torch.cuda.stream(stream), recording:
        made = run(arguments)
    return graph.replay, made


def are_on_one_gpu(values: Sequence[Any]) -> bool:
    """Whether all are tensors of the same GPU: a graph has no other numbers than those that it was recorded
    with, and nothing that is computed elsewhere.
    """
    if not all(isinstance(each, Tensor) for each in values):
        return False
    devices = {each.device for each in values}
    return len(devices) == 1 and devices.pop().type == "cuda"


def has_memory(device: torch.device) -> bool:
    """Whether a graph leaves enough for what runs beside it."""
    free, _ = torch.cuda.mem_get_info(device)
    return free >= FREE * torch.cuda.max_memory_allocated(device)


def _laid_out_as(tensor: Tensor) -> Tensor:
    """A copy with the same strides, which generated code takes for granted; `clone` leaves no gaps."""
    memory = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=tensor.device)
    return memory.copy_(tensor)


def _addresses(tensors: Iterable[Tensor]) -> list[int]:
    return [each.data_ptr() for each in tensors]


def _copies(tensors: Iterable[Tensor]) -> list[Tensor]:
    return [each.clone() for each in tensors]


def _restore(tensors: Sequence[Tensor], kept: Sequence[Tensor]) -> None:
    for tensor, value in zip(tensors, kept, strict=True):
        tensor.copy_(value)


def _are_same(some: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    """Whether they are the same to the bit."""
    return len(some) == len(others) and all(map(_is_same, some, others))


def _is_same(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return torch.equal(one.reshape(-1).view(torch.uint8), other.reshape(-1).view(torch.uint8))
