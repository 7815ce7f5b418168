"""What learning rate schedules share. `decays.py` has them, and is imported when one is named."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, ClassVar

from pydantic import Field

from graphspec.objectives.settings import Family, Members, Named


class Schedule(Named):
    """The learning rate as a function of the steps before; a step is one update of the weights.

    Over the first `warmup_steps` it rises, in a line from 0, to where the schedule starts.
    """

    warmup_steps: Annotated[int, Field(ge=0)] = 0

    synonyms: ClassVar = {
        "warmup": "warmup_steps",
        "num_warmup_steps": "warmup_steps",
        "gamma": "decay_rate",
        "T_max": "decay_steps",
        "steps": "decay_steps",
        "total_steps": "decay_steps",
        "milestones": "boundaries",
        "T_0": "first_decay_steps",
        "T_mult": "t_mul",
        "eta_min": "alpha",
        "learning_rate": "initial_learning_rate",
    }


SCHEDULES = Family(
    "schedule",
    Members(Schedule, lambda: import_module("graphspec.train.config.decays")),
    {
        "cosine": "cosine_decay",
        "cosine_annealing": "cosine_decay",
        "CosineAnnealingLR": "cosine_decay",
        "CosineAnnealingWarmRestarts": "cosine_decay_restarts",
        "exponential": "exponential_decay",
        "ExponentialLR": "exponential_decay",
        "step": "piecewise_constant_decay",
        "StepLR": "exponential_decay",
        "MultiStepLR": "piecewise_constant_decay",
        "linear": "polynomial_decay",
        "LinearLR": "polynomial_decay",
        "linear_decay": "polynomial_decay",
        "PolynomialLR": "polynomial_decay",
        "inverse_sqrt": "inverse_time_decay",
    },
    "unknown-schedule",
)
