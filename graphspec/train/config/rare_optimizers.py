"""Keras' optimizers that few specs name: imported when one is."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from graphspec.train.config.optimizers import Adam, Decay, Momenta, OptimizerSettings, Positive, zeros


class Adagrad(OptimizerSettings):
    """Gradients divided by the root of the sum of their squares."""

    name: Literal["adagrad", "Adagrad"] = "adagrad"
    initial_accumulator_value: Annotated[float, Field(ge=0)] = 0.1
    epsilon: Positive = 1e-7

    @property
    def slots(self) -> dict[str, float]:
        return {"accumulator": self.initial_accumulator_value}


class Adadelta(OptimizerSettings):
    """Steps scaled by the ratio of the root mean squares of past steps and gradients."""

    name: Literal["adadelta", "Adadelta"] = "adadelta"
    rho: Decay = 0.95
    epsilon: Positive = 1e-7

    @property
    def slots(self) -> dict[str, float]:
        return zeros("accumulated_grad", "accumulated_delta_var")


class Adamax(Momenta):
    """Adam with the largest gradient in place of the mean square."""

    name: Literal["adamax", "Adamax"] = "adamax"

    @property
    def slots(self) -> dict[str, float]:
        return zeros("momentum", "norm")


class Nadam(Momenta):
    """Adam with Nesterov momentum."""

    name: Literal["nadam", "Nadam"] = "nadam"


class Adafactor(OptimizerSettings):
    """Gradients divided by the root of their mean squares, of which it keeps only those of rows and columns.

    It keeps less than any other. Steps are relative to the weights' own size, and none is larger than
    `clip_threshold`.
    """

    name: Literal["adafactor", "Adafactor"] = "adafactor"
    beta_2_decay: Annotated[float, Field(le=0)] = -0.8
    epsilon_1: Positive = 1e-30
    epsilon_2: Positive = 1e-3
    clip_threshold: Positive = 1.0
    relative_step: bool = True

    @property
    def slots(self) -> dict[str, float]:
        return {}  # what it keeps has the shapes of rows and columns


class Lamb(Momenta):
    """Adam with the step of each weight scaled by the norm of the weight: for very large batches."""

    name: Literal["lamb", "Lamb"] = "lamb"


class Lion(OptimizerSettings):
    """The sign of a moving mean: learning rates are 3 to 10 times smaller than Adam's."""

    name: Literal["lion", "Lion"] = "lion"
    beta_1: Annotated[float, Field(gt=0, le=1)] = 0.9
    beta_2: Decay = 0.99

    @property
    def slots(self) -> dict[str, float]:
        return zeros("momentum")


class Ftrl(OptimizerSettings):
    """Follow the regularized leader: shallow models on many sparse features."""

    name: Literal["ftrl", "Ftrl"] = "ftrl"
    learning_rate_power: Annotated[float, Field(le=0)] = -0.5
    initial_accumulator_value: Annotated[float, Field(ge=0)] = 0.1
    l1_regularization_strength: Annotated[float, Field(ge=0)] = 0.0
    l2_regularization_strength: Annotated[float, Field(ge=0)] = 0.0
    l2_shrinkage_regularization_strength: Annotated[float, Field(ge=0)] = 0.0
    beta: Annotated[float, Field(ge=0)] = 0.0

    @property
    def slots(self) -> dict[str, float]:
        return {"accumulator": self.initial_accumulator_value, "linear": 0.0}


class Muon(OptimizerSettings):
    """Orthogonal steps for matrices, by Newton and Schulz; Adam for all other weights.

    Matrices are what Keras stores with two axes, but for embeddings (`exclude_embeddings`) and weights in
    whose path a word of `exclude_layers` stands: there the last layer belongs.
    """

    name: Literal["muon", "Muon"] = "muon"
    weight_decay: Annotated[float, Field(ge=0)] | None = 0.004
    adam_beta_1: Decay = 0.9
    adam_beta_2: Decay = 0.999
    adam_weight_decay: Annotated[float, Field(ge=0)] | None = 0.004
    adam_lr_ratio: Positive = 1.0
    epsilon: Positive = 1e-7
    exclude_layers: Annotated[tuple[str, ...], Field(strict=False)] = ()
    exclude_embeddings: bool = True
    muon_a: float = 3.4445
    muon_b: float = -4.7750
    muon_c: float = 2.0315
    momentum: Annotated[float, Field(ge=0, le=1)] = 0.95
    ns_steps: Annotated[int, Field(ge=1)] = 5
    nesterov: bool = True
    rms_rate: Positive | None = 0.2

    @property
    def slots(self) -> dict[str, float]:
        return zeros("momentum")  # the weights that follow Adam have its own

    @property
    def adam(self) -> Adam:
        """The optimizer of the weights that are not matrices."""
        return Adam(
            learning_rate=self.learning_rate,
            beta_1=self.adam_beta_1,
            beta_2=self.adam_beta_2,
            epsilon=self.epsilon,
        )


class ScheduleFreeAdamW(OptimizerSettings):
    """Adam on an average of past weights, which needs no schedule; `warmup_steps` raise its learning rate."""

    name: Literal["schedule_free_adamw", "ScheduleFreeAdamW"] = "schedule_free_adamw"
    learning_rate: Positive = 0.0025
    beta_1: Annotated[float, Field(gt=0, lt=1)] = 0.9
    beta_2: Decay = 0.999
    epsilon: Positive = 1e-8
    warmup_steps: Annotated[int, Field(ge=0)] = 0
