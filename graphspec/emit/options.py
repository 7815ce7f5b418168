"""Options that all modules of a library class in a file share: the class has them, and no call gives them."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import TypeGuard

from graphspec.contract.layer import ModuleCall
from graphspec.emit.library_source import Node, known_names, library_code

Options = Mapping[str, Mapping[str, str]]
"""The shared options, by class and parameter."""


def shared_options(calls: Iterable[ModuleCall], carried: Collection[str]) -> Options:
    """The texts that all calls of a class give for one of its parameters, unlike its default.

    `carried` is the library code of the file. A class that other library code makes or inherits from keeps
    its parameters, as does one that inherits its constructor.
    """
    by_class: dict[str, list[ModuleCall]] = defaultdict(list)
    for each in calls:
        for target in {each.target, each.general or each.target}:
            by_class[target].append(each)
    nodes = library_code().nodes
    read = {word for name in carried & nodes.keys() for word in known_names(nodes[name]) - {name}}
    found: dict[str, dict[str, str]] = {}
    for target in sorted(by_class.keys() & nodes.keys() - read):
        words = _parameters(nodes[target])
        for word in words & by_class[target][0].keyword.keys():
            given = {each.keyword.get(word, (None, None)) for each in by_class[target]}
            value, default = next(iter(given))
            if len(given) == 1 and isinstance(value, str) and value != default:
                found.setdefault(target, {})[word] = value
    return found


def with_defaults(node: Node, options: Mapping[str, str]) -> Node:
    """A class whose constructor has these options as its defaults."""
    if not isinstance(node, ast.ClassDef) or not options:
        return node
    body = [_settled(each, options) if _is_constructor(each) else each for each in node.body]
    made = ast.ClassDef(node.name, node.bases, node.keywords, body, node.decorator_list)
    return ast.copy_location(made, node)


def _settled(made: ast.FunctionDef, options: Mapping[str, str]) -> ast.FunctionDef:
    old = made.args
    required = len(old.args) - len(old.defaults)
    defaults = [
        ast.Constant(options[argument.arg]) if argument.arg in options else default
        for argument, default in zip(old.args[required:], old.defaults, strict=True)
    ]
    arguments = ast.arguments(
        old.posonlyargs, old.args, old.vararg, old.kwonlyargs, old.kw_defaults, old.kwarg, defaults
    )
    return ast.copy_location(
        ast.FunctionDef(made.name, arguments, made.body, made.decorator_list, made.returns), made
    )


def _is_constructor(statement: ast.stmt) -> TypeGuard[ast.FunctionDef]:
    return isinstance(statement, ast.FunctionDef) and statement.name == "__init__"


def _parameters(node: Node) -> set[str]:
    """The parameters of a class's own constructor that have a default."""
    made = [each.args for each in node.body if _is_constructor(each)]
    return {argument.arg for each in made for argument in each.args[len(each.args) - len(each.defaults) :]}
