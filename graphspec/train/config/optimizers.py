"""Keras' optimizers: names, settings, defaults, and their updates of weights. Here are those that most specs
name; another file beside it is imported when one of its optimizers is named.

torch is imported inside of updates: a spec is checked without it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from graphspec.diagnostics import become, by_word
from graphspec.settings import show
from graphspec.settings.families import Family, Members, Named
from graphspec.train.config.schedules import as_schedule

if TYPE_CHECKING:
    from torch import Tensor

    from graphspec.train.optimizers.groups import Group, Number, Tensors

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
    """Bound of each gradient's norm."""
    clipvalue: Positive | None = None
    """Bound of each gradient's elements."""
    global_clipnorm: Positive | None = None
    """Bound of the norm of all gradients together."""
    use_ema: bool = False
    """Whether averages of the weights are kept."""
    ema_momentum: Annotated[float, Field(ge=0, le=1)] = 0.99
    """Decay of the average of weights."""
    ema_overwrite_frequency: Annotated[int, Field(ge=1)] | None = None
    """Number of steps after which weights become their average."""
    gradient_accumulation_steps: Annotated[int, Field(ge=2)] | None = None
    """Batches that make one step, as one large batch."""

    synonyms: ClassVar = by_word(
        learning_rate="lr",
        rho="alpha",
        epsilon="eps",
        weight_decay="lambd",
        global_clipnorm="max_norm clip_grad_norm",
        ema_momentum="ema_decay",
    )
    remedies: ClassVar = {
        "decay": "of the weights it is `weight_decay`; a rate that falls is a schedule: "
        "train: {schedule: {name: inverse_time_decay, decay_rate: VALUE:0.01, decay_steps: 1}}"
    }
    traceable: ClassVar[bool] = True
    """Whether torch.compile takes its update into the graph of a step: none that asks for its number."""

    @classmethod
    def first(cls) -> str:
        return "learning_rate"

    @classmethod
    def meaning(cls, key: str, beside: dict[str, Any]) -> str | None:
        given = beside[key]
        if (
            key != "betas"
            or "beta_1" not in cls.model_fields
            or not isinstance(given, list)
            or len(given) != 2
        ):
            return super().meaning(key, beside)
        rest = {word: item for word, item in beside.items() if word != key}
        words = f"write `beta_1: {show(given[0])}, beta_2: {show(given[1])}`"
        new = {**rest, "beta_1": given[0], "beta_2": given[1]}
        return become(new, words, around=True, safe=len(new) == len(rest) + 2)

    @field_validator("learning_rate", mode="before")
    @classmethod
    def _no_schedule(cls, value: object) -> object:
        """Keras has schedules in the place of the rate; a spec has them beside the optimizer."""
        if (written := as_schedule(value)) is not None:
            help = {"written": f"{written} next to `optimizer`, and only the number here"}
            raise PydanticCustomError(
                "named_type", "`learning_rate` takes a number; a schedule has its own key", help
            )
        return value

    @property
    def slots(self) -> dict[str, float]:
        """The slots for each trainable weight, without the average, and their first values."""
        return zeros("momentum", "velocity")

    def parts(
        self, weights: Mapping[str, Tensor], layouts: Mapping[str, Any]
    ) -> Iterable[tuple[OptimizerSettings, float, float, Mapping[str, Tensor]]]:
        """The settings of some weights each, what multiplies their learning rate, and their weight decay.
        `layouts` say how Keras stores the weights.
        """
        yield self, 1.0, self.weight_decay or 0.0, weights

    def begin(self, group: Group) -> None:
        """State that starts neither at one value nor in the shape of the weight."""

    def corrected(self, rate: float, step: int) -> float:
        """The learning rate that `update` takes in step number `step`, from 1. What depends on the number
        belongs here: within a graph it would be computed for every few values anew.
        """
        return rate

    def step(self, group: Group, gradients: Tensors, rate: Number, corrected: Number, step: int) -> None:
        """A step of some weights: they decay at the learning rate, and are updated."""
        if group.decay:
            group.shrink(rate)
        self.update(group, gradients, corrected, step)

    def update(self, group: Group, gradients: Tensors, rate: Number, step: int) -> None:
        """Moves the weights. In a graph the rate is a tensor, and the number of the step is 0."""
        raise NotImplementedError(f"{type(self).__name__} has no update")

    @model_validator(mode="after")
    def _averages(self) -> OptimizerSettings:
        if self.ema_overwrite_frequency is not None and not self.use_ema:
            raise ValueError("`ema_overwrite_frequency` needs averages: set `use_ema: true`")
        return self

    @model_validator(mode="after")
    def _one_clipping(self) -> OptimizerSettings:
        clippings = [
            key for key in ("clipnorm", "clipvalue", "global_clipnorm") if getattr(self, key) is not None
        ]
        if len(clippings) > 1:
            kinds = " and ".join(f"`{key}`" for key in clippings)
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

    def update(self, group: Group, gradients: Tensors, rate: Number, step: int) -> None:
        import torch

        momentum, weights = self.momentum, group.weights
        if not momentum:
            group.move(weights, gradients, -rate)
            return
        velocity = group.state["momentum"]
        torch._foreach_mul_(velocity, momentum)
        group.move(velocity, gradients, -rate)
        if self.nesterov:
            torch._foreach_add_(weights, velocity, alpha=momentum)
            group.move(weights, gradients, -rate)
        else:
            torch._foreach_add_(weights, velocity)


class RMSprop(OptimizerSettings):
    """Gradients divided by the root of their moving mean square; `centered` subtracts the squared mean."""

    name: Literal["rmsprop", "RMSprop"] = "rmsprop"
    rho: Decay = 0.9
    momentum: Annotated[float, Field(ge=0, le=1)] = 0.0
    epsilon: Positive = 1e-7
    centered: bool = False
    """Whether the mean of the gradients is subtracted."""

    @property
    def slots(self) -> dict[str, float]:
        added = "momentum" if self.momentum else "", "average_gradient" if self.centered else ""
        return zeros("velocity", *added)

    def update(self, group: Group, gradients: Tensors, rate: Number, step: int) -> None:
        import torch

        state = group.state
        group.track(state["velocity"], gradients, self.rho, squared=True)
        if self.centered:
            mean = state["average_gradient"]
            group.track(mean, gradients, self.rho)
            below = torch._foreach_addcmul(state["velocity"], mean, mean, value=-1)
            torch._foreach_add_(below, self.epsilon)
        else:
            below = torch._foreach_add(state["velocity"], self.epsilon)
        torch._foreach_sqrt_(below)
        if self.momentum:
            torch._foreach_mul_(state["momentum"], self.momentum)
            group.move(state["momentum"], gradients, rate, below)
            torch._foreach_sub_(group.weights, state["momentum"])
        else:
            group.move(group.weights, gradients, -rate, below)


class Momenta(OptimizerSettings):
    """An optimizer with moving means of the gradient (`beta_1`) and of its size (`beta_2`)."""

    beta_1: Decay = 0.9
    beta_2: Decay = 0.999
    epsilon: Positive = 1e-7


class AdamRule(Momenta):
    """Moving means of the gradient and of its square, corrected for their start at zero."""

    amsgrad: bool = False
    """Whether the largest mean of squares so far is used."""

    @property
    def slots(self) -> dict[str, float]:
        return zeros("momentum", "velocity", "velocity_hat" if self.amsgrad else "")

    def update(self, group: Group, gradients: Tensors, rate: Number, step: int) -> None:
        import torch

        state = group.state
        group.track(state["momentum"], gradients, self.beta_1)
        group.track(state["velocity"], gradients, self.beta_2, squared=True)
        highest = state["velocity"]
        if self.amsgrad:
            highest = state["velocity_hat"]
            torch._foreach_maximum_(highest, state["velocity"])
        below = torch._foreach_sqrt(highest)
        torch._foreach_add_(below, self.epsilon)
        group.move(group.weights, state["momentum"], -rate, below)

    def corrected(self, rate: float, step: int) -> float:
        correction: float = (1 - self.beta_2**step) ** 0.5 / (1 - self.beta_1**step)
        return rate * correction

    def _fused(self, group: Group, gradients: Tensors, rate: float, step: int) -> None:
        """The same, and weight decay, in one kernel, which no graph can hold. Keras adds epsilon to the
        uncorrected root: torch's epsilon, divided by the correction.

        The kernel takes for granted that a gradient lies in memory as its weight does, as autograd sees to.
        """
        import torch

        state, weights = group.state, group.weights
        correction = math.sqrt(1 - self.beta_2**step)
        number = torch.full((), float(step), device=weights[0].device)
        torch._fused_adamw_(
            weights,
            gradients,
            state["momentum"],
            state["velocity"],
            state["velocity_hat"] if self.amsgrad else [],
            [number] * len(weights),
            lr=rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            weight_decay=group.decay,
            eps=self.epsilon / correction,
            amsgrad=self.amsgrad,
            maximize=False,
        )

    def step(self, group: Group, gradients: Tensors, rate: Number, corrected: Number, step: int) -> None:
        if isinstance(rate, float):
            self._fused(group, gradients, rate, step)
        else:
            super().step(group, gradients, rate, corrected, step)


class Adam(AdamRule):
    """Moving means of the gradient and of its square, corrected for their start at zero."""

    name: Literal["adam", "Adam"] = "adam"


class AdamW(AdamRule):
    """Adam with weight decay."""

    name: Literal["adamw", "AdamW"] = "adamw"
    weight_decay: Annotated[float, Field(ge=0)] | None = 0.004


OPTIMIZERS = Family(
    "optimizer",
    Members(OptimizerSettings, __package__),
    {
        "gradient_descent": "sgd",
        "rms_prop": "rmsprop",
        "adam_w": "adamw",
        "schedule_free": "schedule_free_adamw",
    },
    "unknown-optimizer",
    {
        "Optimizer": ("it is the base class of custom optimizers", "use one that Keras has"),
        **dict.fromkeys(
            ("lbfgs", "LBFGS"), ("it computes the loss many times for each step", "`adam` is the usual one")
        ),
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
