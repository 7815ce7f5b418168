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


class OptimizerSettings(Named):
    """How weights follow their gradients.

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

    @property
    def slots(self) -> int:
        """How many numbers it keeps for each trainable one, the average apart."""
        return 2

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
    def slots(self) -> int:
        return bool(self.momentum)


class RMSprop(OptimizerSettings):
    """Gradients divided by the root of their moving mean square; `centered` subtracts the squared mean."""

    name: Literal["rmsprop", "RMSprop"] = "rmsprop"
    rho: Decay = 0.9
    momentum: Annotated[float, Field(ge=0, le=1)] = 0.0
    epsilon: Positive = 1e-7
    centered: bool = False

    @property
    def slots(self) -> int:
        return 1 + bool(self.momentum) + self.centered


class Adam(OptimizerSettings):
    """Moving means of the gradient and of its square, corrected for their start at zero."""

    name: Literal["adam", "Adam"] = "adam"
    beta_1: Decay = 0.9
    beta_2: Decay = 0.999
    epsilon: Positive = 1e-7
    amsgrad: bool = False

    @property
    def slots(self) -> int:
        return 2 + self.amsgrad


class AdamW(OptimizerSettings):
    """Adam with weight decay."""

    name: Literal["adamw", "AdamW"] = "adamw"
    weight_decay: Annotated[float, Field(ge=0)] | None = 0.004
    beta_1: Decay = 0.9
    beta_2: Decay = 0.999
    epsilon: Positive = 1e-7
    amsgrad: bool = False

    @property
    def slots(self) -> int:
        return 2 + self.amsgrad


class Adagrad(OptimizerSettings):
    """Gradients divided by the root of the sum of their squares."""

    name: Literal["adagrad", "Adagrad"] = "adagrad"
    initial_accumulator_value: Annotated[float, Field(ge=0)] = 0.1
    epsilon: Positive = 1e-7

    @property
    def slots(self) -> int:
        return 1


class Adadelta(OptimizerSettings):
    """Steps scaled by the ratio of the root mean squares of past steps and gradients."""

    name: Literal["adadelta", "Adadelta"] = "adadelta"
    rho: Decay = 0.95
    epsilon: Positive = 1e-7


class Adamax(OptimizerSettings):
    """Adam with the largest gradient in place of the mean square."""

    name: Literal["adamax", "Adamax"] = "adamax"
    beta_1: Decay = 0.9
    beta_2: Decay = 0.999
    epsilon: Positive = 1e-7


class Nadam(OptimizerSettings):
    """Adam with Nesterov momentum."""

    name: Literal["nadam", "Nadam"] = "nadam"
    beta_1: Decay = 0.9
    beta_2: Decay = 0.999
    epsilon: Positive = 1e-7


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
    def slots(self) -> int:
        return 0


class Lamb(OptimizerSettings):
    """Adam whose step for each weight is as long as the weight's norm asks: for very large batches."""

    name: Literal["lamb", "Lamb"] = "lamb"
    beta_1: Decay = 0.9
    beta_2: Decay = 0.999
    epsilon: Positive = 1e-7


class Lion(OptimizerSettings):
    """The sign of a moving mean: learning rates are 3 to 10 times smaller than Adam's."""

    name: Literal["lion", "Lion"] = "lion"
    beta_1: Annotated[float, Field(gt=0, le=1)] = 0.9
    beta_2: Decay = 0.99

    @property
    def slots(self) -> int:
        return 1


class Ftrl(OptimizerSettings):
    """Follow the regularized leader: shallow models on many sparse features."""

    name: Literal["ftrl", "Ftrl"] = "ftrl"
    learning_rate_power: Annotated[float, Field(le=0)] = -0.5
    initial_accumulator_value: Annotated[float, Field(ge=0)] = 0.1
    l1_regularization_strength: Annotated[float, Field(ge=0)] = 0.0
    l2_regularization_strength: Annotated[float, Field(ge=0)] = 0.0
    l2_shrinkage_regularization_strength: Annotated[float, Field(ge=0)] = 0.0
    beta: Annotated[float, Field(ge=0)] = 0.0


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
    def slots(self) -> int:
        return 1  # two, of the weights that follow Adam

    @property
    def adam(self) -> Adam:
        """What the weights that are no matrices follow."""
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


OPTIMIZERS = family(
    "optimizer",
    leaves(OptimizerSettings),
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
        "Optimizer": ("it is what optimizers of one's own derive from", "use one that Keras has"),
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
