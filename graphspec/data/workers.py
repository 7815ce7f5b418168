"""A function over many tasks: in this process, in several of this machine, or in tasks of Ray."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import get_context
from time import perf_counter
from typing import Any, Generic, TypeVar

from graphspec.diagnostics import SpecError, fail
from graphspec.diagnostics.packages import needing
from graphspec.diagnostics.text import first_line

G = TypeVar("G")
T = TypeVar("T")
R = TypeVar("R")
PATIENCE = 5.0
"""Seconds of work until other processes are started."""
RETRIES = 3
"""So often a pool of processes of which one died is made again."""


@dataclass(frozen=True, slots=True)
class Over(Generic[G, T, R]):
    """What is done with each task: `call(given, task)`. `given` is sent to each process once. Where `known`
    gives a result, that is it. `placed` says of a mistake where the task is from.
    """

    call: Callable[[G, T], R]
    given: G
    known: Callable[[T], R | None] = lambda task: None
    placed: Callable[[T, SpecError], SpecError] = lambda task, error: error

    def here(self, task: T) -> R:
        try:
            return self.call(self.given, task)
        except SpecError as error:
            raise self.placed(task, error) from None


@dataclass(frozen=True, slots=True)
class Workers:
    """Where tasks are done: in so many processes of this machine, or in tasks of Ray."""

    workers: int = 1
    ray: bool = False

    def results(self, over: Over[G, T, R], tasks: Iterator[T]) -> Iterator[tuple[T, R]]:
        """Each task with its result, in their order. Raises the `SpecError` of the first one with a mistake,
        as this process finds it: it knows the places of rows.
        """
        if self.ray:
            yield from _by_ray(over, tasks)
            return
        spent = 0.0
        for task in tasks:
            begin, known = perf_counter(), over.known(task)
            result = over.here(task) if known is None else known
            spent += perf_counter() - begin
            yield task, result
            if self.workers > 1 and spent > PATIENCE:
                yield from _by_processes(over, tasks, self.workers)


def _next(over: Over[G, T, R], tasks: Iterator[T]) -> tuple[T, Future[R] | None] | None:
    """The next task, with its result where that is known."""
    task = next(tasks, None)
    if task is None:
        return None
    known = over.known(task)
    if known is None:
        return task, None
    future = Future[R]()
    future.set_result(known)
    return task, future


def _by_processes(over: Over[G, T, R], tasks: Iterator[T], workers: int) -> Iterator[tuple[T, R]]:
    """By several processes; where one of them dies, what it was to do is done again."""
    waiting: deque[tuple[T, Future[R] | None]] = deque()
    for _ in range(RETRIES):
        pool = ProcessPoolExecutor(workers, get_context("spawn"), _begin, (over.call, over.given))
        try:
            while True:
                while len(waiting) < 2 * workers and (more := _next(over, tasks)) is not None:
                    waiting.append(more)
                for place, (task, future) in enumerate(waiting):
                    if future is None:
                        waiting[place] = task, pool.submit(_done, task)
                if not waiting:
                    return
                task, future = waiting[0]
                assert future is not None
                try:
                    result = future.result()
                except SpecError:
                    result = over.here(task)
                waiting.popleft()
                yield task, result
        except BrokenProcessPool:
            lost = [each is None or not each.done() or each.exception() is not None for _, each in waiting]
            waiting = deque(
                (task, None if gone else each) for (task, each), gone in zip(waiting, lost, strict=True)
            )
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    message = f"processes that encode rows were killed {RETRIES} times"
    raise fail("data-space", message, "give them more memory, or run fewer: `--jobs 2`")


def _by_ray(over: Over[G, T, R], tasks: Iterator[T]) -> Iterator[tuple[T, R]]:
    """By tasks of Ray: on the cluster that `RAY_ADDRESS` or this machine names, else on this machine alone.
    Ray does a task again whose process or machine dies.
    """
    with needing("preparing by Ray", "ray", "or let processes of this machine do it: leave `--ray` out"):
        ray = import_module("ray")
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    done_there = ray.remote(max_retries=RETRIES)(_done_there)
    sent = ray.put((over.call, over.given))
    most = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
    waiting: deque[tuple[T, Any]] = deque()
    while True:
        while len(waiting) < most and (more := _next(over, tasks)) is not None:
            task, known = more
            waiting.append((task, known or done_there.remote(sent, task)))
        if not waiting:
            return
        task, there = waiting.popleft()
        try:
            yield task, there.result() if isinstance(there, Future) else ray.get(there)
        except SpecError:
            yield task, over.here(task)
        except ray.exceptions.RayError as error:
            message = f"a task of Ray failed: {first_line(error)}"
            help = "run the command again: it continues; graphspec must be installed on all machines"
            raise fail("data-space", message, help) from None


_HERE: list[Any] = []
"""What this process does with tasks, set when it begins."""


def _begin(call: Callable[[G, T], R], given: G) -> None:
    _HERE[:] = [(call, given)]


def _done(task: T) -> Any:
    return _done_there(_HERE[0], task)


def _done_there(over: tuple[Callable[[G, T], R], G], task: T) -> R:
    import torch

    torch.set_num_threads(1)
    call, given = over
    return call(given, task)
