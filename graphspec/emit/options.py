"""Options that all modules of a library class in a file share: the class has them, and no call gives them."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeGuard, TypeVar

from graphspec.contract.layer import ModuleCall
from graphspec.emit.code import with_fields
from graphspec.emit.library_source import Node, known_names, library_code

D = TypeVar("D", ast.expr, ast.expr | None)
Options = Mapping[str, Mapping[str, str]]
"""The shared options, by class and parameter."""


def shared_options(calls_of_nodes: Iterable[Sequence[ModuleCall]], carried: Collection[str]) -> Options:
    """The texts that all calls of a class give for one of its parameters, unlike its default.

    `calls_of_nodes` has for each node the calls that may make its modules. `carried` is the library code of
    the file. A class keeps its parameters if other library code reads it, or reads the base that has its
    constructor; that base has the options, too.
    """
    by_class: dict[str, list[ModuleCall]] = defaultdict(list)
    for calls in calls_of_nodes:
        differ = len({each.target for each in calls}) > 1
        for each in calls:
            for target in {each.target, each.general or each.target} if differ else {each.target}:
                by_class[target].append(each)
    nodes = library_code().nodes
    readers: dict[str, set[str]] = defaultdict(set)
    for name in nodes.keys() & {*carried}:
        for word in known_names(nodes[name]) - {name}:
            readers[word].add(name)
    shared: dict[str, dict[str, str]] = {}
    for target in sorted(by_class.keys() & nodes.keys() - readers.keys()):
        home = _home(target)
        if home is None or readers[home] - {target}:
            continue
        options = _agreed(by_class[target], _parameters(nodes[home]))
        if options:
            shared[target] = shared[home] = options
    return shared


def _home(name: str) -> str | None:
    """The class of the library that has the constructor of a class."""
    node = library_code().nodes.get(name)
    if node is None or any(map(_is_constructor, node.body)):
        return name if node is not None else None
    bases = node.bases if isinstance(node, ast.ClassDef) else []
    return next((home for each in bases if isinstance(each, ast.Name) and (home := _home(each.id))), None)


def _agreed(calls: Sequence[ModuleCall], words: set[str]) -> dict[str, str]:
    """The texts that all calls give for these parameters, but for defaults."""
    agreed: dict[str, str] = {}
    for word in words & calls[0].keyword.keys():
        values = {each.keyword.get(word, (None, None)) for each in calls}
        value, default = next(iter(values))
        if len(values) == 1 and isinstance(value, str) and value != default:
            agreed[word] = value
    return agreed


def with_defaults(node: Node, options: Mapping[str, str]) -> Node:
    """A class whose constructor has these options as its defaults."""
    if not isinstance(node, ast.ClassDef) or not options:
        return node
    body = [_settled(each, options) if _is_constructor(each) else each for each in node.body]
    changed: Node = with_fields(node, body=body)
    return changed


def _settled(made: ast.FunctionDef, options: Mapping[str, str]) -> ast.FunctionDef:
    old = made.args

    def settled(parameters: Sequence[ast.arg], defaults: Sequence[D]) -> list[D | ast.Constant]:
        return [
            ast.Constant(options[each.arg]) if each.arg in options else default
            for each, default in zip(parameters, defaults, strict=True)
        ]

    by_name = settled(old.kwonlyargs, old.kw_defaults)
    by_place = settled(old.args[len(old.args) - len(old.defaults) :], old.defaults)
    changed: ast.FunctionDef = with_fields(
        made, args=with_fields(old, kw_defaults=by_name, defaults=by_place)
    )
    return changed


def _is_constructor(statement: ast.stmt) -> TypeGuard[ast.FunctionDef]:
    return isinstance(statement, ast.FunctionDef) and statement.name == "__init__"


def _parameters(node: Node) -> set[str]:
    """The parameters of a class's own constructor that have a default."""
    inits = [each.args for each in node.body if _is_constructor(each)]
    by_place = [argument for each in inits for argument in each.args[len(each.args) - len(each.defaults) :]]
    by_name = [argument for each in inits for argument in each.kwonlyargs]
    return {argument.arg for argument in [*by_place, *by_name]}
