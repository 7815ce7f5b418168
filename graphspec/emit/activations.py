"""Activations in a class's `forward`: one for all its instances, a flag, or an argument."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from typing import Any

from graphspec.contract.activations import ACTIVATIONS, LINEAR, ActivationFunction, AlongAxis
from graphspec.contract.fields import same
from graphspec.contract.layer import Code, Leaf, Ref
from graphspec.emit.code import fill, name
from graphspec.emit.module_class import Arg, Cell, ModuleClass, Varies
from graphspec.graph import Value


def overwriting(codes: Iterable[Code]) -> bool:
    """Whether one statement for all of these may overwrite the input of its activation."""
    return all(code.inplace for code in codes if code.activation.overwriting is not None)


def applied(activation: ActivationFunction, x: ast.expr, inplace: bool = False) -> ast.expr:
    """An expression after an activation."""
    return fill(activation.expression(inplace), {"x": x})


def activated(activation: str, x: ast.expr, value: Value, channels_first: bool) -> ast.expr:
    """An expression after an activation over the spec's last axis."""
    last = 1 if channels_first and value.tensor.rank > 2 else -1
    return applied(ActivationFunction.parse(activation).with_axis(lambda axis: last), x)


def function_argument(group: ModuleClass, codes: Mapping[Cell, Code], hint: str) -> ast.Name:
    """The argument that holds an activation that differs between bodies."""
    inplace = overwriting(codes.values())
    word = _param_of(group, codes)
    values = {cell: Ref(code.activation.callable(inplace)) for cell, code in codes.items()}
    argument = _argument(group, values, word or hint, word)
    declared = group.graph.declared.get(word) if word is not None else None
    if isinstance(declared, str) and declared in ACTIVATIONS:
        along = next((code.activation for code in codes.values() if code.activation.along_axis), None)
        place = along.axis if isinstance(along, AlongAxis) else -1
        function = ActivationFunction.parse(declared).with_axis(lambda axis: place)
        default = Ref(function.callable(inplace))
        if "(" not in default.text:  # a call as a default would be one module that all instances share
            argument.default = default
    return name(argument.name)


def flag_argument(group: ModuleClass, codes: Mapping[Cell, Code], activation: ActivationFunction) -> ast.Name:
    """The argument that says whether an activation is applied that only some bodies have."""
    word = _param_of(group, codes)
    declared = group.graph.declared.get(word) if word is not None else None
    values: dict[Cell, Leaf] = {cell: code.activation == activation for cell, code in codes.items()}
    argument = _argument(group, values, activation.word, None)
    argument.default = declared == activation.word
    return name(argument.name)


def _argument(group: ModuleClass, values: Mapping[Cell, Leaf], hint: str, param: str | None) -> Arg:
    in_bodies: dict[int, Leaf] = {}
    for (body, _), value in values.items():
        if not same(in_bodies.setdefault(body, value), value):
            raise Varies(hint)
    fallback = next(iter(in_bodies.values()))
    filled = [in_bodies.get(body, fallback) for body in range(len(group.bodies))]
    return group.argument(hint, filled, param=param)


def _param_of(group: ModuleClass, codes: Mapping[Cell, Code]) -> str | None:
    """The param that names the activation of each body."""
    named = {body: code.activation.word for (body, _), code in codes.items()}
    for word in group.graph.visible:
        visible = {body: group.bodies[body].visible.get(word) for body in named}
        if all(_named_by(value) == named[body] for body, value in visible.items()):
            return word
    return None


def _named_by(value: Any) -> str | None:
    """The activation that a param's value names, if any."""
    if not value:
        return LINEAR.word
    return ACTIVATIONS[value].word if isinstance(value, str) and value in ACTIVATIONS else None
