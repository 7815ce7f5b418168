"""The parameters of library functions: their defaults and types, and signatures without some of them."""

from __future__ import annotations

import ast
from collections.abc import Collection

from graphspec.emit.code import walk, with_fields
from graphspec.emit.rewriting import is_none


def parameters_of(function: ast.FunctionDef) -> list[ast.arg]:
    """The parameters that can be given by place, but `self`."""
    return [each for each in function.args.args if each.arg != "self"]


def defaults_of(function: ast.FunctionDef) -> dict[str, ast.expr]:
    """The defaults of parameters."""
    arguments = function.args
    by_place = dict(zip([each.arg for each in arguments.args[::-1]], arguments.defaults[::-1], strict=False))
    by_name = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return by_place | {each.arg: default for each, default in by_name if default is not None}


def defaults_by_place(function: ast.FunctionDef) -> list[ast.expr | None]:
    """The defaults of the parameters that can be given by place, in order."""
    defaults = defaults_of(function)
    return [defaults.get(each.arg) for each in parameters_of(function)]


def allows_none(annotation: ast.expr | None) -> bool:
    """Whether a type includes None."""
    parts = walk(annotation) if isinstance(annotation, ast.BinOp) else [annotation]
    return any(part is not None and is_none(part) for part in parts)


def without(arguments: ast.arguments, constants: Collection[str], present: Collection[str]) -> ast.arguments:
    """Parameters without those that became constants; those in `present`, which are never None, as such.

    A parameter that is always given needs no default, unless it follows one that has one.
    """
    if not constants and not any(
        each.arg in present and allows_none(each.annotation)
        for each in [*arguments.args, *arguments.kwonlyargs]
    ):
        return arguments
    count = len(arguments.args) - len(arguments.defaults)
    required: list[ast.arg] = []
    optional: list[tuple[ast.arg, ast.expr]] = []
    for place, each in enumerate(arguments.args):
        default = arguments.defaults[place - count] if place >= count else None
        if each.arg in constants:
            continue
        if each.arg in present and not optional:
            required.append(_never_none(each))
        elif default is None:
            required.append(each)
        else:
            optional.append((each, default))
    by_name = [
        (_never_none(each) if each.arg in present else each, default)
        for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        if each.arg not in constants
    ]
    return with_fields(
        arguments,
        args=[*required, *(each for each, _ in optional)],
        defaults=[default for _, default in optional],
        kwonlyargs=[each for each, _ in by_name],
        kw_defaults=[default for _, default in by_name],
    )


def _never_none(argument: ast.arg) -> ast.arg:
    annotation = argument.annotation
    if isinstance(annotation, ast.BinOp) and is_none(annotation.right):
        return ast.copy_location(ast.arg(argument.arg, annotation.left), argument)
    return argument
