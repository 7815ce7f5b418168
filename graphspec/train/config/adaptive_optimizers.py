"""Optimizers that divide each step by the size of past gradients: Adagrad, its successors, and variants of
Adam.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from graphspec.train.config.optimizers import Decay, Momenta, OptimizerSettings, Positive, zeros

if TYPE_CHECKING:
    from torch import Tensor

    from graphspec.train.optimizers.groups import Group, Number, Tensors


class Adagrad(OptimizerSettings):
    """Gradients divided by the root of the sum of their squares."""

    name: Literal["adagrad", "Adagrad"] = "adagrad"
    initial_accumulator_value: Annotated[float, Field(ge=0)] = 0.1
    epsilon: Positive = 1e-7

    @property
    def slots(self) -> dict[str, float]:
        return {"accumulator": self.initial_accumulator_value}

    def update(self, group: Group, gradients: Tensors, rate: Number, step: int) -> None:
        import torch

        accumulator = group.state["accumulator"]
        torch._foreach_addcmul_(accumulator, gradients, gradients)
        below = torch._foreach_add(accumulator, self.epsilon)
        torch._foreach_sqrt_(below)
        group.move(group.weights, gradients, -rate, below)


class Adadelta(OptimizerSettings):
    """Steps scaled by the ratio of the root mean squares of past steps and gradients."""

    name: Literal["adadelta", "Adadelta"] = "adadelta"
    rho: Decay = 0.95
    epsilon: Positive = 1e-7

    @property
    def slots(self) -> dict[str, float]:
        return zeros("accumulated_grad", "accumulated_delta_var")

    def update(self, group: Group, gradients: Tensors, rate: Number, step: int) -> None:
        import torch

        rho, epsilon = self.rho, self.epsilon
        squares, deltas = group.state["accumulated_grad"], group.state["accumulated_delta_var"]
        group.track(squares, gradients, rho, squared=True)
        move = torch._foreach_add(deltas, epsilon)
        torch._foreach_div_(move, torch._foreach_add(squares, epsilon))
        torch._foreach_sqrt_(move)
        torch._foreach_mul_(move, gradients)
        group.track(deltas, list(move), rho, squared=True)
        group.move(group.weights, move, -rate)


class Adamax(Momenta):
    """Adam with the largest gradient in place of the mean square."""

    name: Literal["adamax", "Adamax"] = "adamax"

    @property
    def slots(self) -> dict[str, float]:
        return zeros("momentum", "norm")

    def update(self, group: Group, gradients: Tensors, rate: Number, step: int) -> None:
        import torch

        norm = group.state["norm"]
        group.track(group.state["momentum"], gradients, self.beta_1)
        torch._foreach_mul_(norm, self.beta_2)
        torch._foreach_maximum_(norm, torch._foreach_abs(gradients))
        below = torch._foreach_add(norm, self.epsilon)
        group.move(group.weights, group.state["momentum"], -rate, below)

    def corrected(self, rate: float, step: int) -> float:
        return rate / (1 - self.beta_1**step)


class Nadam(Momenta):
    """Adam with Nesterov momentum."""

    traceable = False
    name: Literal["nadam", "Nadam"] = "nadam"

    def update(self, group: Group, gradients: Tensors, rate: Any, step: int) -> None:
        import torch

        now, after = (self.beta_1 * (1 - 0.5 * 0.96**t) for t in (step, step + 1))
        group.product *= now
        product = group.product
        group.track(group.state["momentum"], gradients, self.beta_1)
        group.track(group.state["velocity"], gradients, self.beta_2, squared=True)
        mean = torch._foreach_mul(group.state["momentum"], after / (1 - product * after))
        torch._foreach_add_(mean, gradients, alpha=(1 - now) / (1 - product))
        below = torch._foreach_sqrt(group.state["velocity"])
        torch._foreach_div_(below, math.sqrt(1 - self.beta_2**step))
        torch._foreach_add_(below, self.epsilon)
        group.move(group.weights, mean, -rate, below)


class Adafactor(OptimizerSettings):
    """Gradients divided by the root of their mean squares, of which it keeps only those of rows and columns.

    It keeps less than any other. Steps are relative to the weights' own size, and none is larger than
    `clip_threshold`.
    """

    traceable = False
    name: Literal["adafactor", "Adafactor"] = "adafactor"
    beta_2_decay: Annotated[float, Field(le=0)] = -0.8
    """Exponent with which the decay of the mean of squares nears 1."""
    epsilon_1: Positive = 1e-30
    """A small number that keeps squares above 0."""
    epsilon_2: Positive = 1e-3
    """Least root mean square of weights."""
    clip_threshold: Positive = 1.0
    """Bound of an update's root mean square."""
    relative_step: bool = True
    """Whether the rate follows the number of steps."""

    @property
    def slots(self) -> dict[str, float]:
        return {}  # what it keeps has the shapes of rows and columns

    def begin(self, group: Group) -> None:
        """Means of squares of rows and of columns; of each element, for vectors. The other ones are empty,
        and so are those of the second weight of a variable.
        """
        import torch

        for slot in ("row", "column", "velocity"):
            group.state[slot] = [weight.new_zeros(0) for weight in group.weights]
        for (first, *_), like in zip(group.variables, group.as_keras(group.weights), strict=True):
            shape = tuple(like.shape)
            if len(shape) > 1:
                group.state["row"][first] = like.new_zeros(shape[:-1])
                group.state["column"][first] = like.new_zeros(shape[:-2] + shape[-1:])
            else:
                group.state["velocity"][first] = torch.zeros_like(like)

    def update(self, group: Group, gradients: Tensors, rate: Any, step: int) -> None:
        """Along the axes that Keras stores last; a vector keeps all its squares."""
        weights = group.weights
        size = min(rate, 1 / math.sqrt(step))  # with `relative_step` and without
        keep = 1 - float(step) ** self.beta_2_decay
        updates = []
        triples = zip(group.variables, group.as_keras(gradients), group.as_keras(weights), strict=True)
        for (first, *_), gradient, weight in triples:
            row, column, velocity = (group.state[slot][first] for slot in ("row", "column", "velocity"))
            squares = gradient.square().add_(self.epsilon_1)
            if gradient.dim() < 2:
                mean = velocity.lerp_(squares, 1 - keep)
            else:
                row.lerp_(squares.mean(-1), 1 - keep)
                column.lerp_(squares.mean(-2), 1 - keep)
                mean = (row / row.mean(-1, keepdim=True)).unsqueeze(-1) * column.unsqueeze(-2)
            update = gradient / mean.sqrt()
            update /= (_root_mean_square(update) / self.clip_threshold).clamp(min=1)
            updates.append(update * (_root_mean_square(weight).clamp(min=self.epsilon_2) * size))
        for index, update in group.of_weights(updates):
            weights[index].sub_(update)


def _root_mean_square(values: Tensor) -> Tensor:
    return values.square().mean().sqrt()


class Lamb(Momenta):
    """Adam with the step of each weight scaled by the norm of the weight: for very large batches."""

    traceable = False
    name: Literal["lamb", "Lamb"] = "lamb"

    def update(self, group: Group, gradients: Tensors, rate: Any, step: int) -> None:
        import torch

        weights = group.weights
        group.track(group.state["momentum"], gradients, self.beta_1)
        group.track(group.state["velocity"], gradients, self.beta_2, squared=True)
        update = torch._foreach_div(group.state["momentum"], 1 - self.beta_1**step)
        below = torch._foreach_div(group.state["velocity"], 1 - self.beta_2**step)
        torch._foreach_sqrt_(below)
        torch._foreach_add_(below, self.epsilon)
        torch._foreach_div_(update, below)
        lengths, steps = (group.together(torch._foreach_norm(each)) for each in (weights, update))
        for weight, change, length, size in zip(weights, update, lengths, steps, strict=True):
            ratio = torch.where((length > 0) & (size > 0), length / size, 1.0)
            weight.sub_(change * (ratio * rate))


class Ftrl(OptimizerSettings):
    """Follow the regularized leader: shallow models on many sparse features."""

    traceable = False
    name: Literal["ftrl", "Ftrl"] = "ftrl"
    learning_rate_power: Annotated[float, Field(le=0)] = -0.5
    """How the rate falls with the sum of squares."""
    initial_accumulator_value: Annotated[float, Field(ge=0)] = 0.1
    l1_regularization_strength: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the sum of absolute values."""
    l2_regularization_strength: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the sum of squares."""
    l2_shrinkage_regularization_strength: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the sum of squares in the gradient alone."""
    beta: Annotated[float, Field(ge=0)] = 0.0
    """Adds `beta / (2 * learning_rate)` to the L2 regularization strength."""

    @property
    def slots(self) -> dict[str, float]:
        return {"accumulator": self.initial_accumulator_value, "linear": 0.0}

    def update(self, group: Group, gradients: Tensors, rate: Any, step: int) -> None:
        if not rate:  # where a schedule begins or ends; what follows divides by it
            return
        power = -self.learning_rate_power
        strength = self.l2_regularization_strength + self.beta / (2 * rate)
        state = zip(group.state["accumulator"], group.state["linear"], strict=True)
        for weight, gradient, (squares, linear) in zip(group.weights, gradients, state, strict=True):
            before = squares.pow(power)
            after = squares.addcmul_(gradient, gradient).pow(power)
            shrunk = gradient + 2 * self.l2_shrinkage_regularization_strength * weight
            linear.add_(shrunk - (after - before) / rate * weight)
            bound = self.l1_regularization_strength
            weight.copy_((linear.clamp(-bound, bound) - linear) / (after / rate + 2 * strength))


class ScheduleFreeAdamW(OptimizerSettings):
    """Adam on an average of past weights, which needs no schedule; `warmup_steps` raise its learning rate."""

    traceable = False
    name: Literal["schedule_free_adamw", "ScheduleFreeAdamW"] = "schedule_free_adamw"
    learning_rate: Positive = 0.0025
    beta_1: Annotated[float, Field(gt=0, lt=1)] = 0.9
    beta_2: Decay = 0.999
    epsilon: Positive = 1e-8
    warmup_steps: Annotated[int, Field(ge=0)] = 0

    def begin(self, group: Group) -> None:
        group.state["momentum"] = [weight.detach().clone() for weight in group.weights]

    def update(self, group: Group, gradients: Tensors, rate: Any, step: int) -> None:
        """Weights lie between an average of past ones and the state, which follows the gradients."""
        import torch

        weights, moving = group.weights, group.state["momentum"]
        if self.warmup_steps:
            rate *= min(step / self.warmup_steps, 1.0)
        group.track(group.state["velocity"], gradients, self.beta_2, squared=True)
        below = torch._foreach_div(group.state["velocity"], 1 - self.beta_2**step)
        torch._foreach_sqrt_(below)
        torch._foreach_add_(below, self.epsilon)
        # the average, from the weights between it and what moved: (weight - (1 - beta_1) * moved) / beta_1
        torch._foreach_add_(weights, moving, alpha=self.beta_1 - 1)
        torch._foreach_div_(weights, self.beta_1)
        group.move(moving, gradients, -rate, below)
        torch._foreach_lerp_(weights, moving, 1 / step)
        torch._foreach_lerp_(weights, moving, 1 - self.beta_1)
