"""Keras' optimizers as settings, with its names and defaults. Here are those that most specs name;
`rare_optimizers.py` has the others, and is imported when one is named.

What they compute is in `graphspec.train.optimizers`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from graphspec.diagnostics import by_word
from graphspec.settings import Family, Members, Named
from graphspec.train.config.schedules import as_schedule

Positive = Annotated[float, Field(gt=0)]
Decay = Annotated[float, Field(ge=0, lt=1)]
"""A moving average's factor."""


def zeros(*slots: str) -> dict[str, float]:
    """Slots that start at 0, without those that have no name."""
    return dict.fromkeys(filter(None, slots), 0.0)


class OptimizerSettings(Named):
    """The settings of an optimizer.

    `weight_decay` is decoupled, as in Keras: each weight first loses `learning_rate * weight_decay` of
    itself. At most one kind of clipping: each gradient's norm (`clipnorm`), each value (`clipvalue`), the
    norm of all (`global_clipnorm`). `use_ema` keeps moving averages of the weights, which they become at the
    end of training, and after every `ema_overwrite_frequency` steps. `gradient_accumulation_steps` batches
    make one step, that of one batch as large as all of them, the epoch's last and smaller ones included.
    """

    learning_rate: Positive = 0.001
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    clipnorm: Positive | None = None
    clipvalue: Positive | None = None
    global_clipnorm: Positive | None = None
    use_ema: bool = False
    ema_momentum: Annotated[float, Field(ge=0, le=1)] = 0.99
    ema_overwrite_frequency: Annotated[int, Field(ge=1)] | None = None
    gradient_accumulation_steps: Annotated[int, Field(ge=2)] | None = None

    synonyms: ClassVar = by_word(
        learning_rate="lr",
        rho="alpha",
        epsilon="eps",
        weight_decay="decay lambd",
        global_clipnorm="max_norm clip_grad_norm",
    )
    remedies: ClassVar = {"betas": "write `beta_1: 0.9, beta_2: 0.999`"}

    @field_validator("learning_rate", mode="before")
    @classmethod
    def _no_schedule(cls, value: object) -> object:
        """Keras has schedules in the place of the rate; a spec has them beside the optimizer."""
        if (written := as_schedule(value)) is not None:
            help = {"written": f"{written} beside `optimizer`, and the number alone here"}
            raise PydanticCustomError(
                "named_type", "a learning rate is a number, and a schedule stands by itself", help
            )
        return value

    @property
    def slots(self) -> dict[str, float]:
        """What it remembers for each trainable weight, without the average, and where that starts."""
        return zeros("momentum", "velocity")

    @model_validator(mode="after")
    def _averages(self) -> OptimizerSettings:
        if self.ema_overwrite_frequency is not None and not self.use_ema:
            raise ValueError("`ema_overwrite_frequency` needs averages: set `use_ema: true`")
        return self

    @model_validator(mode="after")
    def _one_clipping(self) -> OptimizerSettings:
        given = [
            key for key in ("clipnorm", "clipvalue", "global_clipnorm") if getattr(self, key) is not None
        ]
        if len(given) > 1:
            kinds = " and ".join(f"`{key}`" for key in given)
            raise ValueError(f"optimizer `{self.name}` takes one kind of clipping, not {kinds}")
        return self


class SGD(OptimizerSettings):
    """Gradient descent, with momentum if it is not 0."""

    name: Literal["sgd", "SGD"] = "sgd"
    learning_rate: Positive = 0.01
    momentum: Annotated[float, Field(ge=0, le=1)] = 0.0
    nesterov: bool = False

    @property
    def slots(self) -> dict[str, float]:
        return zeros("momentum" if self.momentum else "")


class RMSprop(OptimizerSettings):
    """Gradients divided by the root of their moving mean square; `centered` subtracts the squared mean."""

    name: Literal["rmsprop", "RMSprop"] = "rmsprop"
    rho: Decay = 0.9
    momentum: Annotated[float, Field(ge=0, le=1)] = 0.0
    epsilon: Positive = 1e-7
    centered: bool = False

    @property
    def slots(self) -> dict[str, float]:
        added = "momentum" if self.momentum else "", "average_gradient" if self.centered else ""
        return zeros("velocity", *added)


class Momenta(OptimizerSettings):
    """An optimizer with moving means of the gradient (`beta_1`) and of its size (`beta_2`)."""

    beta_1: Decay = 0.9
    beta_2: Decay = 0.999
    epsilon: Positive = 1e-7


class Adam(Momenta):
    """Moving means of the gradient and of its square, corrected for their start at zero."""

    name: Literal["adam", "Adam"] = "adam"
    amsgrad: bool = False

    @property
    def slots(self) -> dict[str, float]:
        return zeros("momentum", "velocity", "velocity_hat" if self.amsgrad else "")


class AdamW(Momenta):
    """Adam with weight decay."""

    name: Literal["adamw", "AdamW"] = "adamw"
    weight_decay: Annotated[float, Field(ge=0)] | None = 0.004
    amsgrad: bool = False

    @property
    def slots(self) -> dict[str, float]:
        return zeros("momentum", "velocity", "velocity_hat" if self.amsgrad else "")


OPTIMIZERS = Family(
    "optimizer",
    Members(OptimizerSettings, lambda: import_module("graphspec.train.config.rare_optimizers")),
    {
        "momentum": "sgd",
        "gradient_descent": "sgd",
        "rms_prop": "rmsprop",
        "adam_w": "adamw",
        "lbfgs": "adam",
        "schedule_free": "schedule_free_adamw",
    },
    "unknown-optimizer",
    {
        "Optimizer": ("it is the base class of custom optimizers", "use one that Keras has"),
        "LossScaleOptimizer": ("nothing needs it", "`precision: bf16` needs no scaling of losses"),
        **dict.fromkeys(
            ("MultiOptimizer", "OptimizerMap"),
            (
                "one optimizer trains all weights, in groups",
                "write parameter_groups: [{match: ..., learning_rate: ...}]",
            ),
        ),
    },
)
