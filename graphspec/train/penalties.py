"""Regularizers and constraints of a program's weights, on the tensors of its module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from functools import singledispatch

import torch
from torch import Tensor, nn

from graphspec.contract.constraints import MaxNorm, MinMaxNorm, NonNeg, UnitNorm
from graphspec.contract.layer import Weight
from graphspec.contract.penalties import Constraint, Regularizer
from graphspec.contract.regularizers import L1, L1L2, L2, OrthogonalRegularizer
from graphspec.graph import Graph
from graphspec.train.parallel.shards import full_tensor, put
from graphspec.weights import Held, held_weights, layers

Formula = Callable[[Tensor], Tensor]

EPSILON = 1e-7
"""The number that Keras adds to a norm before it divides by it."""


class Penalties:
    """The regularizers that count in the loss of a module, and the constraints that follow each step.

    Only weights that train have either. Each Keras variable is one: of the rows of one that the module holds
    apart, all are taken together. Activities are penalized, divided by the batch size, wherever the module
    is called.
    """

    def __init__(self, graph: Graph, module: nn.Module):
        self._activities: list[Tensor] = []
        self._watches = [
            module.get_submodule(f"{path}.{part}".strip(".")).register_forward_hook(self._watch(regularizer))
            for path, op in layers(graph)
            if op.layer is not None
            for part, regularizer in op.layer.activities().items()
        ]
        self._variables = variables(list(held_weights(graph)))
        self.bind({name: each for name, each in module.named_parameters() if each.requires_grad})

    def only(self, weights: Mapping[str, Tensor]) -> Penalties:
        """The penalties on some weights, with those on activities."""
        penalties = copy(self)
        penalties.bind(weights)
        return penalties

    def bind(self, named: Mapping[str, Tensor]) -> None:
        """Look at these weights, by their names: those that train."""
        regularized: list[tuple[Formula, list[tuple[Weight, Tensor]]]] = []
        constrained: list[tuple[Formula, list[tuple[Weight, Tensor]]]] = []
        for variable in self._variables:
            first = variable[0]
            tensors = [(each.weight, named[each.key]) for each in variable if each.key in named]
            if not tensors:
                continue
            if (regularizer := first.layer.regularizer(first.weight)) is not None:
                regularized.append((penalty(regularizer), tensors))
            if (constraint := first.layer.constraint(first.weight)) is not None:
                constrained.append((projection(constraint), tensors))
        self._regularized, self._constrained = regularized, constrained

    def _watch(self, regularizer: Regularizer) -> Callable[..., None]:
        formula = penalty(regularizer)

        def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor | tuple[Tensor, ...]) -> None:
            outputs = output if isinstance(output, tuple) else (output,)
            self._activities += [formula(x) / len(x) for x in outputs]

        return add

    def __bool__(self) -> bool:
        return bool(self._regularized or self._watches)

    @property
    def of_activities(self) -> bool:
        """Whether some are of what layers return, which only the module itself shows."""
        return bool(self._watches)

    def loss(self) -> Tensor:
        """The sum of all penalties: of the weights as they are, and of the last call's activities."""
        parts = [formula(variable(tensors)) for formula, tensors in self._regularized]
        parts += self._activities
        self.forget()
        return torch.stack(parts).sum()

    def forget(self) -> None:
        """Removes the activities of the last call from the next loss."""
        self._activities.clear()

    def constrain(self) -> None:
        """Applies the constraints to the weights that train at this step."""
        for formula, tensors in self._constrained:
            if not any(tensor.requires_grad for _, tensor in tensors):
                continue
            with torch.no_grad():
                value = formula(variable(tensors))
                for weight, tensor in tensors:
                    put(tensor, from_keras(weight, value))


def variables(held: list[Held]) -> list[list[Held]]:
    """The weights of each Keras variable: one, or the rows of it."""
    groups: list[list[Held]] = []
    for each in held:
        if each.weight.row:
            groups[-1].append(each)
        else:
            groups.append([each])
    return groups


def variable(tensors: list[tuple[Weight, Tensor]]) -> Tensor:
    """The Keras variable that a module's tensors hold, as Keras stores it."""
    values = [to_keras(weight, full_tensor(tensor)) for weight, tensor in tensors]
    return values[0] if tensors[0][0].row is None else torch.stack(values)


def to_keras(weight: Weight, value: Tensor) -> Tensor:
    """A module's tensor in the layout of the Keras variable, or of the row of it."""
    if weight.gates is not None:
        blocks = value.chunk(len(weight.gates))
        value = torch.cat([blocks[weight.gates.index(gate)] for gate in range(len(blocks))])
    value = value.reshape(weight.unmerged or weight.shape)
    if weight.permute is None:
        return value
    return value.permute([weight.permute.index(axis) for axis in range(len(weight.permute))])


def from_keras(weight: Weight, value: Tensor) -> Tensor:
    """A Keras variable in the layout of the module."""
    value = value if weight.row is None else value[weight.row]
    value = value.permute(weight.permute) if weight.permute is not None else value
    value = value.reshape(weight.shape)
    if weight.gates is not None:
        blocks = value.chunk(len(weight.gates))
        value = torch.cat([blocks[gate] for gate in weight.gates])
    return value


@singledispatch
def penalty(regularizer: Regularizer) -> Formula:
    """The penalty of a regularizer for a Keras variable."""
    raise TypeError(regularizer)


@penalty.register
def _(regularizer: L1) -> Formula:
    return lambda w: regularizer.l1 * w.abs().sum()


@penalty.register
def _(regularizer: L2) -> Formula:
    return lambda w: regularizer.l2 * w.square().sum()


@penalty.register
def _(regularizer: L1L2) -> Formula:
    return lambda w: regularizer.l1 * w.abs().sum() + regularizer.l2 * w.square().sum()


@penalty.register
def _(regularizer: OrthogonalRegularizer) -> Formula:
    def mean_cosine(w: Tensor) -> Tensor:
        rows = nn.functional.normalize(w if regularizer.mode == "rows" else w.T, dim=1)
        cosines = (rows @ rows.T).fill_diagonal_(0)
        return regularizer.factor * cosines.abs().sum() / (len(rows) * (len(rows) - 1))

    return mean_cosine


@singledispatch
def projection(constraint: Constraint) -> Formula:
    """A Keras variable after its constraint."""
    raise TypeError(constraint)


@projection.register
def _(constraint: NonNeg) -> Formula:
    return lambda w: w.clamp(min=0)


@projection.register
def _(constraint: MaxNorm) -> Formula:
    def project(w: Tensor) -> Tensor:
        size = norm(w, constraint.axis)
        return w * (size.clamp(max=constraint.max_value) / (EPSILON + size))

    return project


@projection.register
def _(constraint: UnitNorm) -> Formula:
    return lambda w: w / (EPSILON + norm(w, constraint.axis))


@projection.register
def _(constraint: MinMaxNorm) -> Formula:
    def project(w: Tensor) -> Tensor:
        size = norm(w, constraint.axis)
        bounded = size.clamp(constraint.min_value, constraint.max_value)
        return w * ((constraint.rate * bounded + (1 - constraint.rate) * size) / (EPSILON + size))

    return project


def norm(w: Tensor, axis: int | tuple[int, ...]) -> Tensor:
    """Euclidean norms along axes, which stay with size 1."""
    return w.square().sum(axis, keepdim=True).sqrt()
