"""Keras' optimizers as settings, with its names and defaults.

What they compute is in `graphspec.train.optimizers`.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from graphspec.objectives.settings import Named, family, leaves

Positive = Annotated[float, Field(gt=0)]
Decay = Annotated[float, Field(ge=0, lt=1)]
"""A moving average's factor."""


class Optimizer(Named):
    """How weights follow their gradients.

    `weight_decay` is decoupled, as in Keras: each weight first loses `learning_rate * weight_decay` of
    itself. At most one kind of clipping: each gradient's norm (`clipnorm`), each value (`clipvalue`), the
    norm of all (`global_clipnorm`).
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

    synonyms: ClassVar = {
        "lr": "learning_rate",
        "alpha": "rho",
        "eps": "epsilon",
        "betas": "beta_1",
        "decay": "weight_decay",
        "max_norm": "global_clipnorm",
        "clip_grad_norm": "global_clipnorm",
        "lambd": "weight_decay",
    }

    @model_validator(mode="after")
    def _one_clipping(self) -> Optimizer:
        given = [
            key for key in ("clipnorm", "clipvalue", "global_clipnorm") if getattr(self, key) is not None
        ]
        if len(given) > 1:
            kinds = " and ".join(f"`{key}`" for key in given)
            raise ValueError(f"optimizer `{self.name}` takes one kind of clipping, not {kinds}")
        return self


class SGD(Optimizer):
    """Gradient descent, with momentum if it is not 0."""

    name: Literal["sgd", "SGD"] = "sgd"
    learning_rate: Positive = 0.01
    momentum: Annotated[float, Field(ge=0, le=1)] = 0.0
    nesterov: bool = False


class RMSprop(Optimizer):
    """Gradients divided by the root of their moving mean square; `centered` subtracts the squared mean."""

    name: Literal["rmsprop", "RMSprop"] = "rmsprop"
    rho: Decay = 0.9
    momentum: Annotated[float, Field(ge=0, le=1)] = 0.0
    epsilon: Positive = 1e-7
    centered: bool = False


class Adam(Optimizer):
    """Moving means of the gradient and of its square, corrected for their start at zero."""

    name: Literal["adam", "Adam"] = "adam"
    beta_1: Decay = 0.9
    beta_2: Decay = 0.999
    epsilon: Positive = 1e-7
    amsgrad: bool = False


class AdamW(Optimizer):
    """Adam with weight decay."""

    name: Literal["adamw", "AdamW"] = "adamw"
    weight_decay: Annotated[float, Field(ge=0)] | None = 0.004
    beta_1: Decay = 0.9
    beta_2: Decay = 0.999
    epsilon: Positive = 1e-7
    amsgrad: bool = False


class Adagrad(Optimizer):
    """Gradients divided by the root of the sum of their squares."""

    name: Literal["adagrad", "Adagrad"] = "adagrad"
    initial_accumulator_value: Annotated[float, Field(ge=0)] = 0.1
    epsilon: Positive = 1e-7


class Adadelta(Optimizer):
    """Steps scaled by the ratio of the root mean squares of past steps and gradients."""

    name: Literal["adadelta", "Adadelta"] = "adadelta"
    rho: Decay = 0.95
    epsilon: Positive = 1e-7


class Adamax(Optimizer):
    """Adam with the largest gradient in place of the mean square."""

    name: Literal["adamax", "Adamax"] = "adamax"
    beta_1: Decay = 0.9
    beta_2: Decay = 0.999
    epsilon: Positive = 1e-7


class Nadam(Optimizer):
    """Adam with Nesterov momentum."""

    name: Literal["nadam", "Nadam"] = "nadam"
    beta_1: Decay = 0.9
    beta_2: Decay = 0.999
    epsilon: Positive = 1e-7


OPTIMIZERS = family(
    "optimizer",
    leaves(Optimizer),
    {
        "momentum": "sgd",
        "gradient_descent": "sgd",
        "rms_prop": "rmsprop",
        "adam_w": "adamw",
        "lion": "adamw",
        "lbfgs": "adam",
    },
    "unknown-optimizer",
)
