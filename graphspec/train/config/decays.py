"""Keras' learning rate schedules as settings. What they compute is in `graphspec.train.schedules`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from graphspec.train.config.schedules import Schedule

Rate = Annotated[float, Field(ge=0)]
Steps = Annotated[int, Field(ge=1)]


class Decay(Schedule):
    """Starts at `initial_learning_rate`, which is the optimizer's `learning_rate` unless it is given."""

    initial_learning_rate: Rate | None = None


class ExponentialDecay(Decay):
    """Times `decay_rate` every `decay_steps`; at once if `staircase`."""

    name: Literal["exponential_decay", "ExponentialDecay"] = "exponential_decay"
    decay_steps: Steps | None = None
    decay_rate: Annotated[float, Field(gt=0)]
    staircase: bool = False


class PiecewiseConstantDecay(Schedule):
    """`values`, each up to and including the step of its boundary; the last one from there on."""

    name: Literal["piecewise_constant_decay", "PiecewiseConstantDecay"] = "piecewise_constant_decay"
    boundaries: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(strict=False, min_length=1)]
    """Steps at which the rate changes."""
    values: Annotated[tuple[Rate, ...], Field(strict=False, min_length=2)]
    """Rates between the boundaries."""

    @model_validator(mode="after")
    def _consistent(self) -> PiecewiseConstantDecay:
        if len(self.values) != len(self.boundaries) + 1:
            counts = f"{len(self.boundaries)} boundaries and {len(self.values)} values"
            raise ValueError(f"`{self.name}` has {counts}: there is one value more than boundaries")
        if list(self.boundaries) != sorted(set(self.boundaries)):
            raise ValueError(f"the boundaries of `{self.name}` do not rise")
        return self


class PolynomialDecay(Decay):
    """Falls to `end_learning_rate` in `decay_steps`, in a line where `power` is 1; `cycle` starts again."""

    name: Literal["polynomial_decay", "PolynomialDecay"] = "polynomial_decay"
    decay_steps: Steps | None = None
    end_learning_rate: Rate = 0.0001
    """Rate at the end."""
    power: Annotated[float, Field(gt=0)] = 1.0
    """Power of the decay."""
    cycle: bool = False
    """Whether the decay restarts."""


class InverseTimeDecay(Decay):
    """Divided by `1 + decay_rate * step / decay_steps`; at once every `decay_steps` if `staircase`."""

    name: Literal["inverse_time_decay", "InverseTimeDecay"] = "inverse_time_decay"
    decay_steps: Steps | None = None
    decay_rate: Annotated[float, Field(ge=0)]
    staircase: bool = False


class CosineDecay(Schedule):
    """Half a cosine down to `alpha` times the rate that it starts from, in `decay_steps`.

    With `warmup_steps` it first rises in a line, from `initial_learning_rate` (0 unless it is given) to
    `warmup_target` (the optimizer's `learning_rate` unless it is given).
    """

    name: Literal["cosine_decay", "CosineDecay"] = "cosine_decay"
    initial_learning_rate: Rate | None = None
    decay_steps: Steps | None = None
    alpha: Rate = 0.0
    """Rate at the end, as a share of the initial one."""
    warmup_target: Rate | None = None
    """Rate after the warm-up."""

    @model_validator(mode="after")
    def _consistent(self) -> CosineDecay:
        if self.warmup_target is not None and not self.warmup_steps:
            raise ValueError("`warmup_target` is where a warm-up ends: give `warmup_steps`, too")
        return self


class CosineDecayRestarts(Decay):
    """Half a cosine in `first_decay_steps`, then again and again, each `t_mul` times as long and from `m_mul`
    times the rate.
    """

    name: Literal["cosine_decay_restarts", "CosineDecayRestarts"] = "cosine_decay_restarts"
    first_decay_steps: Steps | None = None
    """Steps of the first period."""
    t_mul: Annotated[float, Field(ge=1)] = 2.0
    """Factor of the length of each period."""
    m_mul: Annotated[float, Field(gt=0)] = 1.0
    """Factor of the rate in each period."""
    alpha: Rate = 0.0
    """Rate at the end, as a share of the initial one."""
