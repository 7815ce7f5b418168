"""The schedules of `graphspec.train.config`: Keras' formulas, on plain numbers.

rate = schedule(CosineDecay(warmup_steps=100), learning_rate=0.001, steps=2000)
rate(0), rate(100), rate(2000)      0.0, 0.001, 0.0
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from functools import singledispatch

from graphspec.train.config.decays import (
    CosineDecay,
    CosineDecayRestarts,
    ExponentialDecay,
    InverseTimeDecay,
    PiecewiseConstantDecay,
    PolynomialDecay,
)
from graphspec.train.config.schedules import Schedule

Rate = Callable[[int], float]
"""The learning rate of a step, from the number of steps before it."""


def schedule(settings: Schedule, learning_rate: float, steps: int) -> Rate:
    """The learning rates of a run.

    `learning_rate` is the optimizer's, and `steps` are those of the whole run, in which a schedule that names
    no number of its own decays, after its warm-up.
    """
    warmup = settings.warmup_steps
    rest = max(1, steps - warmup)
    low = 0.0
    if isinstance(settings, CosineDecay):
        start = settings.initial_learning_rate
        high = settings.warmup_target if settings.warmup_target is not None else learning_rate
        if warmup:
            low = start if start is not None else 0.0
        else:
            high = start if start is not None else learning_rate
        after = _cosine(settings, high, rest)
    else:
        start = getattr(settings, "initial_learning_rate", None)
        after = _decay(settings, start if start is not None else learning_rate, rest)
        high = after(0)
    if not warmup:
        return after

    def rate(step: int) -> float:
        return low + (high - low) * step / warmup if step < warmup else after(step - warmup)

    return rate


@singledispatch
def _decay(settings: Schedule, start: float, steps: int) -> Rate:
    """A schedule without its warm-up, from the rate that it starts with."""
    raise TypeError(settings)


@_decay.register
def _exponential(settings: ExponentialDecay, start: float, steps: int) -> Rate:
    length = settings.decay_steps or steps
    return lambda step: start * settings.decay_rate ** _passed(step, length, settings.staircase)


@_decay.register
def _inverse(settings: InverseTimeDecay, start: float, steps: int) -> Rate:
    length = settings.decay_steps or steps
    return lambda step: start / (1 + settings.decay_rate * _passed(step, length, settings.staircase))


@_decay.register
def _piecewise(settings: PiecewiseConstantDecay, start: float, steps: int) -> Rate:
    return lambda step: settings.values[bisect_left(settings.boundaries, step)]


@_decay.register
def _polynomial(settings: PolynomialDecay, start: float, steps: int) -> Rate:
    length, end = settings.decay_steps or steps, settings.end_learning_rate

    def rate(step: int) -> float:
        decay_steps = length * max(1, math.ceil(step / length)) if settings.cycle else length
        return (start - end) * math.pow(1 - min(step, decay_steps) / decay_steps, settings.power) + end

    return rate


@_decay.register
def _cosine(settings: CosineDecay, start: float, steps: int) -> Rate:
    length = settings.decay_steps or steps
    return lambda step: start * _wave(min(step, length) / length, 1.0, settings.alpha)


@_decay.register
def _restarts(settings: CosineDecayRestarts, start: float, steps: int) -> Rate:
    first = (0.0, float(settings.first_decay_steps or steps), 1.0)
    last = first  # where the last period began, how long it is, and from what height: steps seldom go back

    def rate(step: int) -> float:
        nonlocal last
        begin, length, height = last if step >= last[0] else first
        while step - begin >= length:
            begin, length, height = begin + length, length * settings.t_mul, height * settings.m_mul
        last = (begin, length, height)
        return start * _wave((step - begin) / length, height, settings.alpha)

    return rate


def _wave(fraction: float, height: float, alpha: float) -> float:
    """Half a cosine, from `height` to `alpha`."""
    return (1 - alpha) * 0.5 * height * (1 + math.cos(math.pi * fraction)) + alpha


def _passed(step: int, length: int, whole: bool) -> float:
    return step // length if whole else step / length
