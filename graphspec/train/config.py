"""What `train:` in a spec may say: Keras' optimizers, with its names and defaults, and the run's settings.

Nothing here imports torch; what the optimizers compute is in `graphspec.train.optimizers`.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, SerializeAsAny, model_validator

from graphspec.objectives.settings import (
    Named,
    Problem,
    Setting,
    SettingError,
    family,
    leaves,
    show,
    validate,
)

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
LATER = {
    "schedule": "give `optimizer` one `learning_rate`",
    "callbacks": "the best and the last weights are saved in any case",
    "parameter_groups": "one `optimizer` serves all weights",
}
"""Keys of the language that this version does not read, and what to do instead."""


class TrainConfig(Setting):
    """How a spec is trained.

    The defaults are Keras' (`fit` and `compile`), with one seed for weights, order and split.
    """

    optimizer: SerializeAsAny[Optimizer] = Field(default_factory=RMSprop)
    epochs: Annotated[int, Field(ge=1)] = 1
    batch_size: Annotated[int, Field(ge=1)] = 32
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    precision: Literal["float32"] = "float32"

    synonyms: ClassVar = {
        "optim": "optimizer",
        "batch": "batch_size",
        "num_epochs": "epochs",
        "max_epochs": "epochs",
        "steps": "epochs",
        "learning_rate": "optimizer",
        "lr": "optimizer",
    }


def parse_train(value: object) -> TrainConfig:
    """The `train:` section of a spec; None gives the defaults. Raises `SettingError` with every problem."""
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise SettingError(Problem("wrong-type", f"`train` is a mapping, not {show(value)}"))
    problems: list[Problem] = []
    rest: dict[str, object] = {}
    for key, item in value.items():
        if key in LATER:
            problems.append(
                Problem("not-supported", f"`train` does not read `{key}` in this version", LATER[key], (key,))
            )
        elif key == "precision" and item in ("bf16", "bfloat16", "float16"):
            problems.append(
                Problem(
                    "not-supported", "this version trains in float32 only", "leave `precision` out", (key,)
                )
            )
        elif key == "optimizer":
            try:
                rest[key] = OPTIMIZERS.read(item)
            except SettingError as error:
                problems += error.under(key).problems
        else:
            rest[key] = item
    try:
        config = validate(TrainConfig, rest, "`train`")
    except SettingError as error:
        problems += error.problems
    if problems:
        raise SettingError(*problems)
    return config
