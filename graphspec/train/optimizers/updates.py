"""The update rule of each optimizer: weights, gradients and optimizer state to new values.

The rules of `TRACED` are also what torch.compile takes into the graph of a whole step. Learning rate and
number of the step are tensors there, so that no step compiles anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from graphspec.contract.layer import Weight
from graphspec.train import config
from graphspec.train.config.rare_optimizers import Muon
from graphspec.train.penalties import from_keras, to_keras

Tensors = list[Tensor]
Several = Tensors | tuple[Tensor, ...]
Number = float | Tensor
"""In a graph a float64 tensor of no axes."""


@dataclass(slots=True)
class Group:
    """Weights with the same update rule.

    `kind` names the update and `state` has, for each slot of it, one tensor a weight. `factor` multiplies the
    learning rate, `decay` is the weight decay; `layouts` say how Keras stores each weight, where it is known.
    `product` is Nadam's, of its momenta.
    """

    kind: str
    config: Any
    factor: float
    decay: float
    names: list[str]
    weights: Tensors
    layouts: list[Weight | None]
    state: dict[str, Tensors] = field(default_factory=dict)
    product: float = 1.0
    variables: list[tuple[int, ...]] = field(init=False)
    """The weights of each variable of Keras: one, or those that are its rows."""

    def __post_init__(self) -> None:
        found: dict[Any, list[int]] = {}
        for index, (name, layout) in enumerate(zip(self.names, self.layouts, strict=True)):
            row = layout is not None and layout.row is not None
            key = (name.rpartition(".")[0], layout.keras) if layout is not None and row else index
            found.setdefault(key, []).append(index)
        self.variables = [tuple(indices) for indices in found.values()]

    def as_keras(self, tensors: Tensors) -> Tensors:
        """For each variable what Keras would have of these, one for each weight."""
        return [
            self._as_keras(indices[0], tensors)
            if len(indices) == 1
            else torch.stack([self._as_keras(index, tensors) for index in indices])
            for indices in self.variables
        ]

    def _as_keras(self, index: int, tensors: Tensors) -> Tensor:
        layout = self.layouts[index]
        return tensors[index] if layout is None else to_keras(layout, tensors[index])

    def of_weights(self, values: Tensors) -> Iterable[tuple[int, Tensor]]:
        """The same the other way: from a value for each variable one for each weight, with its index."""
        for indices, value in zip(self.variables, values, strict=True):
            for index, own in zip(indices, [value] if len(indices) == 1 else value, strict=True):
                layout = self.layouts[index]
                yield index, own if layout is None else from_keras(replace(layout, row=None), own)

    def together(self, norms: Iterable[Tensor]) -> Tensors:
        """For each weight the norm of the variable that it is or is a row of, from those of the weights."""
        found = list(norms)
        for indices in self.variables:
            if len(indices) > 1:
                whole = torch.stack([found[index] for index in indices]).norm()
                for index in indices:
                    found[index] = whole
        return found

    def step(self, gradients: Tensors, rate: Number, step: Number) -> None:
        """The update of step number `step`, from 1, at a learning rate; both are tensors in a graph."""
        rate, fused = rate * self.factor, not isinstance(rate, Tensor) and self.kind in FUSED
        if self.decay and not fused:
            kept = 1 - rate * self.decay
            torch._foreach_mul_(self.weights, kept.float() if isinstance(kept, Tensor) else kept)
        (FUSED if fused else UPDATES)[self.kind](self, gradients, rate, step)


def groups_of(
    config: config.OptimizerSettings,
    factor: float,
    weights: Mapping[str, Tensor],
    layouts: Mapping[str, Weight],
) -> Iterable[Group]:
    """The groups of weights that have one configuration; none without weights."""
    decay = config.weight_decay or 0.0
    if not isinstance(config, Muon):
        yield from _group(config, factor, decay, weights, layouts)
        return
    matrices = {name: weight for name, weight in weights.items() if _is_matrix(config, name, weight, layouts)}
    others = {name: weight for name, weight in weights.items() if name not in matrices}
    yield from _group(config, factor, decay, matrices, layouts)
    ratio = config.adam_lr_ratio  # which the decay knows nothing of, in Keras
    decay = (config.adam_weight_decay or 0.0) / ratio
    yield from _group(config.adam, factor * ratio, decay, others, layouts)


def _group(
    config: config.OptimizerSettings,
    factor: float,
    decay: float,
    weights: Mapping[str, Tensor],
    layouts: Mapping[str, Weight],
) -> Iterable[Group]:
    if not weights:
        return
    kind = config.canonical
    given = [layouts.get(name) for name in weights]
    group = Group(kind, config, factor, decay, list(weights), list(weights.values()), given)
    BEGIN.get(kind, lambda group: None)(group)
    for slot, value in config.slots.items():
        if slot not in group.state:
            group.state[slot] = [torch.full_like(weight, value) for weight in group.weights]
    yield group


def _sgd(self: Group, gradients: Tensors, rate: Number, step: Number) -> None:
    momentum, weights = self.config.momentum, self.weights
    if not momentum:
        _move(weights, gradients, -rate)
        return
    velocity = self.state["momentum"]
    torch._foreach_mul_(velocity, momentum)
    _move(velocity, gradients, -rate)
    if self.config.nesterov:
        torch._foreach_add_(weights, velocity, alpha=momentum)
        _move(weights, gradients, -rate)
    else:
        torch._foreach_add_(weights, velocity)


def _rmsprop(self: Group, gradients: Tensors, rate: Number, step: Number) -> None:
    config, state = self.config, self.state
    _track(state["velocity"], gradients, config.rho, squared=True)
    if config.centered:
        mean = state["average_gradient"]
        _track(mean, gradients, config.rho)
        below = torch._foreach_addcmul(state["velocity"], mean, mean, value=-1)
        torch._foreach_add_(below, config.epsilon)
    else:
        below = torch._foreach_add(state["velocity"], config.epsilon)
    torch._foreach_sqrt_(below)
    if config.momentum:
        torch._foreach_mul_(state["momentum"], config.momentum)
        _move(state["momentum"], gradients, rate, below)
        torch._foreach_sub_(self.weights, state["momentum"])
    else:
        _move(self.weights, gradients, -rate, below)


def _adam(self: Group, gradients: Tensors, rate: Number, step: Number) -> None:
    config, state = self.config, self.state
    _track(state["momentum"], gradients, config.beta_1)
    _track(state["velocity"], gradients, config.beta_2, squared=True)
    highest = state["velocity"]
    if config.amsgrad:
        highest = state["velocity_hat"]
        torch._foreach_maximum_(highest, state["velocity"])
    below = torch._foreach_sqrt(highest)
    torch._foreach_add_(below, config.epsilon)
    factor = (1 - config.beta_2**step) ** 0.5 / (1 - config.beta_1**step)
    _move(self.weights, state["momentum"], -rate * factor, below)


def _fused_adam(self: Group, gradients: Tensors, rate: float, step: int) -> None:
    """The same, and weight decay, in one kernel, which no graph can hold. Keras adds epsilon to the
    uncorrected root: torch's epsilon, divided by the correction.

    The kernel takes for granted that a gradient lies in memory as its weight does, as autograd sees to.
    """
    config, state, weights = self.config, self.state, self.weights
    correction = math.sqrt(1 - config.beta_2**step)
    number = torch.full((), float(step), device=weights[0].device)
    torch._fused_adamw_(
        weights,
        gradients,
        state["momentum"],
        state["velocity"],
        state["velocity_hat"] if config.amsgrad else [],
        [number] * len(weights),
        lr=rate,
        beta1=config.beta_1,
        beta2=config.beta_2,
        weight_decay=self.decay,
        eps=config.epsilon / correction,
        amsgrad=config.amsgrad,
        maximize=False,
    )


def _adagrad(self: Group, gradients: Tensors, rate: Number, step: Number) -> None:
    accumulator = self.state["accumulator"]
    torch._foreach_addcmul_(accumulator, gradients, gradients)
    below = torch._foreach_add(accumulator, self.config.epsilon)
    torch._foreach_sqrt_(below)
    _move(self.weights, gradients, -rate, below)


def _adadelta(self: Group, gradients: Tensors, rate: Number, step: Number) -> None:
    rho, epsilon = self.config.rho, self.config.epsilon
    squares, deltas = self.state["accumulated_grad"], self.state["accumulated_delta_var"]
    _track(squares, gradients, rho, squared=True)
    move = torch._foreach_add(deltas, epsilon)
    torch._foreach_div_(move, torch._foreach_add(squares, epsilon))
    torch._foreach_sqrt_(move)
    torch._foreach_mul_(move, gradients)
    _track(deltas, list(move), rho, squared=True)
    _move(self.weights, move, -rate)


def _adamax(self: Group, gradients: Tensors, rate: Number, step: Number) -> None:
    config, norm = self.config, self.state["norm"]
    _track(self.state["momentum"], gradients, config.beta_1)
    torch._foreach_mul_(norm, config.beta_2)
    torch._foreach_maximum_(norm, torch._foreach_abs(gradients))
    below = torch._foreach_add(norm, config.epsilon)
    _move(self.weights, self.state["momentum"], -(rate / (1 - config.beta_1**step)), below)


def _nadam(self: Group, gradients: Tensors, rate: float, step: int) -> None:
    config = self.config
    now, after = (config.beta_1 * (1 - 0.5 * 0.96**t) for t in (step, step + 1))
    self.product *= now
    product = self.product
    _track(self.state["momentum"], gradients, config.beta_1)
    _track(self.state["velocity"], gradients, config.beta_2, squared=True)
    mean = torch._foreach_mul(self.state["momentum"], after / (1 - product * after))
    torch._foreach_add_(mean, gradients, alpha=(1 - now) / (1 - product))
    below = torch._foreach_sqrt(self.state["velocity"])
    torch._foreach_div_(below, math.sqrt(1 - config.beta_2**step))
    torch._foreach_add_(below, config.epsilon)
    _move(self.weights, mean, -rate, below)


def _lion(self: Group, gradients: Tensors, rate: Number, step: Number) -> None:
    config, momentum = self.config, self.state["momentum"]
    move = torch._foreach_mul(momentum, config.beta_1)
    torch._foreach_add_(move, gradients, alpha=1 - config.beta_1)
    torch._foreach_sign_(move)
    _move(self.weights, move, -rate)
    _track(momentum, gradients, config.beta_2)


def _lamb(self: Group, gradients: Tensors, rate: float, step: int) -> None:
    config, weights = self.config, self.weights
    _track(self.state["momentum"], gradients, config.beta_1)
    _track(self.state["velocity"], gradients, config.beta_2, squared=True)
    update = torch._foreach_div(self.state["momentum"], 1 - config.beta_1**step)
    below = torch._foreach_div(self.state["velocity"], 1 - config.beta_2**step)
    torch._foreach_sqrt_(below)
    torch._foreach_add_(below, config.epsilon)
    torch._foreach_div_(update, below)
    lengths, steps = (self.together(torch._foreach_norm(each)) for each in (weights, update))
    for weight, change, length, size in zip(weights, update, lengths, steps, strict=True):
        ratio = torch.where((length > 0) & (size > 0), length / size, 1.0)
        weight.sub_(change * (ratio * rate))


def _adafactor(self: Group, gradients: Tensors, rate: float, step: int) -> None:
    """Along the axes that Keras stores last; a vector keeps all its squares."""
    config, weights = self.config, self.weights
    size = min(rate, 1 / math.sqrt(step))  # with `relative_step` and without
    keep = 1 - float(step) ** config.beta_2_decay
    updates = []
    whole = zip(self.variables, self.as_keras(gradients), self.as_keras(weights), strict=True)
    for (first, *_), gradient, weight in whole:
        row, column, velocity = (self.state[slot][first] for slot in ("row", "column", "velocity"))
        squares = gradient.square().add_(config.epsilon_1)
        if gradient.dim() < 2:
            mean = velocity.lerp_(squares, 1 - keep)
        else:
            row.lerp_(squares.mean(-1), 1 - keep)
            column.lerp_(squares.mean(-2), 1 - keep)
            mean = (row / row.mean(-1, keepdim=True)).unsqueeze(-1) * column.unsqueeze(-2)
        update = gradient / mean.sqrt()
        update /= (_root_mean_square(update) / config.clip_threshold).clamp(min=1)
        updates.append(update * (_root_mean_square(weight).clamp(min=config.epsilon_2) * size))
    for index, update in self.of_weights(updates):
        weights[index].sub_(update)


def _begin_adafactor(group: Group) -> None:
    """Means of squares of rows and of columns; of each element, for vectors. The other ones are empty, and so
    are those of the second weight of a variable.
    """
    for slot in ("row", "column", "velocity"):
        group.state[slot] = [weight.new_zeros(0) for weight in group.weights]
    for (first, *_), like in zip(group.variables, group.as_keras(group.weights), strict=True):
        shape = tuple(like.shape)
        if len(shape) > 1:
            group.state["row"][first] = like.new_zeros(shape[:-1])
            group.state["column"][first] = like.new_zeros(shape[:-2] + shape[-1:])
        else:
            group.state["velocity"][first] = torch.zeros_like(like)


def _root_mean_square(values: Tensor) -> Tensor:
    return values.square().mean().sqrt()


def _ftrl(self: Group, gradients: Tensors, rate: float, step: int) -> None:
    config = self.config
    power = -config.learning_rate_power
    strength = config.l2_regularization_strength + config.beta / (2 * rate)
    state = zip(self.state["accumulator"], self.state["linear"], strict=True)
    for weight, gradient, (squares, linear) in zip(self.weights, gradients, state, strict=True):
        before = squares.pow(power)
        after = squares.addcmul_(gradient, gradient).pow(power)
        shrunk = gradient + 2 * config.l2_shrinkage_regularization_strength * weight
        linear.add_(shrunk - (after - before) / rate * weight)
        bound = config.l1_regularization_strength
        weight.copy_((linear.clamp(-bound, bound) - linear) / (after / rate + 2 * strength))


def _is_matrix(config: Muon, name: str, weight: Tensor, layouts: Mapping[str, Weight]) -> bool:
    """Whether Muon takes a weight, by Keras' rule on the variable that Keras stores."""
    layout = layouts.get(name)
    rank = weight.dim()
    if layout is not None:
        rank = len(layout.unmerged or layout.shape) + (layout.row is not None)
        if config.exclude_embeddings and "embedding" in layout.keras:
            return False
    return rank == 2 and not any(word in name for word in config.exclude_layers)


def _muon(self: Group, gradients: Tensors, rate: float, step: int) -> None:
    config, momentum = self.config, self.state["momentum"]
    torch._foreach_mul_(momentum, config.momentum)
    torch._foreach_add_(momentum, gradients)
    updates: Iterable[Tensor] = momentum
    if config.nesterov:
        updates = torch._foreach_add(gradients, momentum, alpha=config.momentum)
    moves = []
    for update in self.as_keras(list(updates)):
        matrix = update if update.dim() == 2 else update.unsqueeze(0)  # a row whose others train otherwise
        scale = 1.0 if config.rms_rate is None else math.sqrt(max(matrix.shape)) * config.rms_rate
        moves.append(_orthogonal(matrix, config).view_as(update) * (rate * scale))
    for index, move in self.of_weights(moves):
        self.weights[index].sub_(move)


def _orthogonal(matrix: Tensor, config: Muon) -> Tensor:
    """The nearest orthogonal matrix, roughly: Newton and Schulz's iteration, on the smaller side."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.mT if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(config.ns_steps):
        square = x @ x.mT
        x = config.muon_a * x + (config.muon_b * square + config.muon_c * square @ square) @ x
    return x.mT if tall else x


def _schedule_free(self: Group, gradients: Tensors, rate: float, step: int) -> None:
    """Weights lie between an average of past ones and the state, which follows the gradients."""
    config, weights, moving = self.config, self.weights, self.state["momentum"]
    if config.warmup_steps:
        rate *= min(step / config.warmup_steps, 1.0)
    _track(self.state["velocity"], gradients, config.beta_2, squared=True)
    below = torch._foreach_div(self.state["velocity"], 1 - config.beta_2**step)
    torch._foreach_sqrt_(below)
    torch._foreach_add_(below, config.epsilon)
    # the average, from the weights between it and what moved: (weight - (1 - beta_1) * moved) / beta_1
    torch._foreach_add_(weights, moving, alpha=config.beta_1 - 1)
    torch._foreach_div_(weights, config.beta_1)
    _move(moving, gradients, -rate, below)
    torch._foreach_lerp_(weights, moving, 1 / step)
    torch._foreach_lerp_(weights, moving, 1 - config.beta_1)


def _begin_schedule_free(group: Group) -> None:
    group.state["momentum"] = [weight.detach().clone() for weight in group.weights]


def _track(mean: Tensors, values: Tensors, factor: float, squared: bool = False) -> None:
    """Updates a moving mean of the values, or of their squares."""
    torch._foreach_mul_(mean, factor)
    if squared:
        torch._foreach_addcmul_(mean, values, values, value=1 - factor)
    else:
        torch._foreach_add_(mean, values, alpha=1 - factor)


def _move(tensors: Tensors, by: Several, rate: Number, below: Several | None = None) -> None:
    """Adds `by`, divided by `below`, at a rate; kernels of one pass take no tensor for it."""
    if isinstance(rate, Tensor):
        moves = by if below is None else torch._foreach_div(by, below)
        torch._foreach_add_(tensors, torch._foreach_mul(moves, rate.float()))
    elif below is None:
        torch._foreach_add_(tensors, by, alpha=rate)
    else:
        torch._foreach_addcdiv_(tensors, by, below, value=rate)


TRACED: dict[str, Callable[[Group, Tensors, Number, Number], None]] = {
    "sgd": _sgd,
    "rmsprop": _rmsprop,
    "adam": _adam,
    "adamw": _adam,
    "adagrad": _adagrad,
    "adadelta": _adadelta,
    "adamax": _adamax,
    "lion": _lion,
}
UPDATES: dict[str, Callable[[Group, Tensors, Any, Any], None]] = {
    **TRACED,
    "nadam": _nadam,
    "adafactor": _adafactor,
    "lamb": _lamb,
    "ftrl": _ftrl,
    "muon": _muon,
    "schedule_free_adamw": _schedule_free,
}
FUSED: dict[str, Callable[[Group, Tensors, Any, Any], None]] = {"adam": _fused_adam, "adamw": _fused_adam}
"""The updates with a kernel of their own, which decays weights, too."""

BEGIN: dict[str, Callable[[Group], None]] = {
    "adafactor": _begin_adafactor,
    "schedule_free_adamw": _begin_schedule_free,
}
"""What starts neither at one value nor in the shape of the weight."""
