"""Buffers that learn of training data before the first step: boundaries of bins, means and variances.

The part of the module in front of such a layer runs on all training inputs, and what the layer would see is
summarized as Keras' `adapt` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from graphspec.contract.learned import MeanAndVariance, Quantiles
from graphspec.custom.adaptive import adaptive, misplaced
from graphspec.diagnostics import SpecError
from graphspec.graph import Graph

BLOCK = 2**26
"""Numbers that are sorted at a time; more are merged from summaries, as Keras merges batches."""

Inputs = Callable[[], Iterable[Mapping[str, Tensor]]]
"""Gives batches of a program's inputs by name, from the start at each call."""


def adapt(graph: Graph, names: Iterable[str], module: nn.Module, inputs: Inputs) -> list[str]:
    """Fills the buffers of a module that are NaN, and returns the paths of their layers. `names` are the
    arguments of the module.

    Raises `SpecError` (cannot-adapt) where weights that train, or random layers, are before such a layer.
    """
    layers = [each for each in adaptive(graph) if _unknown(module.get_submodule(each.path))]
    problems = misplaced(layers)
    if problems:
        raise SpecError(problems)
    listed, training = list(names), module.training
    module.eval()
    for each in sorted(layers, key=lambda each: len(each.before)):  # one may be before another
        part = module.get_submodule(each.path)
        values = _seen(module, part, listed, inputs)
        if isinstance(each.learned, Quantiles):
            statistics: Mapping[str, NDArray[Any]] = _quantiles(values, each.learned)
        else:
            statistics = _means(values, each.learned)
        with torch.no_grad():
            for name, value in statistics.items():
                buffer = part.get_buffer(name)
                buffer.copy_(torch.from_numpy(value).reshape(buffer.shape))
    module.train(training)
    return [each.path for each in layers]


@contextmanager
def adapted(graph: Graph, names: Iterable[str], module: nn.Module, inputs: Inputs) -> Iterator[None]:
    """A module whose unknown buffers are those of some inputs, and unknown again afterwards."""
    filled = adapt(graph, names, module, inputs)
    try:
        yield
    finally:
        for path in filled:
            for buffer in module.get_submodule(path).buffers():
                buffer.fill_(torch.nan)


def _unknown(part: nn.Module) -> bool:
    """Whether a module has not learned yet."""
    return any(bool(buffer.isnan().any()) for buffer in part.buffers() if buffer.is_floating_point())


class _Reached(Exception):
    """Stops a forward pass once it has reached a layer."""


@torch.no_grad()
def _seen(module: nn.Module, part: nn.Module, names: list[str], inputs: Inputs) -> Iterator[Tensor]:
    """The arguments of a part of a module, batch by batch; nothing after it runs."""
    seen: list[Tensor] = []

    def stop(_: nn.Module, arguments: tuple[Any, ...]) -> None:
        seen.append(arguments[0])
        raise _Reached

    device = next(iter(module.state_dict().values())).device
    handle = part.register_forward_pre_hook(stop)
    try:
        for batch in inputs():
            inputs_here = [batch[name].to(device) if name in batch else None for name in names]
            try:
                module(*inputs_here)
            except _Reached:
                yield seen.pop()
    finally:
        handle.remove()


# --- statistics

Summary = NDArray[np.float32]
"""Numbers in order, and the weight of each: [2, n]."""


def _quantiles(values: Iterable[Tensor], learned: Quantiles) -> dict[str, Summary]:
    """Boundaries of bins, as Keras' `Discretization.adapt` finds them. Where there are fewer numbers than
    bins, the last boundaries are infinite.
    """
    summary: Summary = np.zeros((2, 0), np.float32)
    for block in _blocks(values):
        both = np.concatenate((summarized(block, learned.epsilon), summary), 1)
        summary = compressed(both[:, np.argsort(both[0])], learned.epsilon)
    boundaries = compressed(summary, 1 / learned.bins)[0, :-1][: learned.bins - 1]
    missing = np.full(learned.bins - 1 - len(boundaries), np.inf, np.float32)
    return {learned.boundaries: np.concatenate((boundaries, missing))}


def _blocks(values: Iterable[Tensor]) -> Iterator[Summary]:
    """All numbers, in blocks of `BLOCK` or more, the last one smaller."""
    waiting: list[Summary] = []
    for value in values:
        waiting.append(value.float().flatten().cpu().numpy())
        if sum(map(len, waiting)) >= BLOCK:
            yield np.concatenate(waiting)
            waiting = []
    if waiting:
        yield np.concatenate(waiting)


def summarized(values: Summary, epsilon: float) -> Summary:
    """About `1 / epsilon` of some numbers, in order, each with how many it stands for."""
    step = max(len(values) / (1 / epsilon), 1)
    chosen = np.sort(values)[int(step - 1) :: int(step)]
    return np.stack([chosen, np.full_like(chosen, step)])


def compressed(summary: Summary, epsilon: float) -> Summary:
    """A summary of at most about `1 / epsilon` numbers, between those that it had."""
    if summary.shape[1] * epsilon < 1:
        return summary
    shares = epsilon + np.arange(0, 1, epsilon)
    total = summary[1].cumsum()
    numbers = np.interp(shares, total / total[-1], summary[0])
    weights = np.interp(shares, total / total[-1], total)
    return np.stack((numbers, np.diff(weights, prepend=0))).astype(np.float32)


def _means(values: Iterable[Tensor], learned: MeanAndVariance) -> dict[str, NDArray[np.float64]]:
    """Means and variances, merged batch by batch (Chan, Golub and LeVeque)."""
    count = 0
    mean: Any = 0.0
    squares: Any = 0.0
    for value in values:
        over = [axis for axis in range(value.dim()) if axis not in learned.axes]
        numbers = value.double()
        batch_mean = numbers.mean(over)
        more = numbers.numel() // batch_mean.numel()
        deviations = (numbers - numbers.mean(over, keepdim=True)).square().sum(over)
        apart = batch_mean.cpu().numpy() - mean
        squares = squares + deviations.cpu().numpy() + apart**2 * (count * more / (count + more))
        mean = mean + apart * (more / (count + more))
        count += more
    return {learned.mean: np.asarray(mean), learned.variance: np.asarray(squares) / count}
