"""Which parameters and attributes of library code are constants: from all calls, and all assignments."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from functools import lru_cache

from graphspec.emit.code import walk
from graphspec.emit.inheritance import functions_of
from graphspec.emit.library_calls import LibraryCall, LibraryCalls
from graphspec.emit.library_source import KEPT, Node
from graphspec.emit.rewriting import assigned, attribute_of_self, is_function, is_none
from graphspec.emit.signatures import allows_none, defaults_of, parameters_of

Assignment = tuple[ast.FunctionDef | None, ast.expr | None]
"""The method (None: the class's body) that has it, and the value if it is known."""


class KnownValues:
    """The attributes that are constants."""

    def __init__(self, calls: LibraryCalls):
        self.calls, self._nodes = calls, calls.nodes
        self._read_outside = frozenset[str]().union(*map(_attributes_of_others, self._nodes.values()))

    def settled_attributes(self, name: str) -> dict[str, ast.expr]:
        """The attributes of a class that only constructors set, to one constant in each of its modules."""
        if self.calls.tree.related(name) & self.calls.unknown:  # what is not cut may read them
            return {}
        settled: dict[str, ast.expr] = {}
        for attribute, assignments in self._assignments(name).items():
            values = [value for _, value in assignments if value is not None]
            by_constructor = all(f is None or f.name == "__init__" for f, _ in assignments)
            alike = len(values) == len(assignments) and len(set(map(ast.dump, values))) == 1
            if attribute in self._read_outside or not by_constructor or not alike:
                continue
            if isinstance(values[0], ast.Constant) or is_function(values[0]):
                settled[attribute] = values[0]
        return settled

    def _assignments(self, name: str) -> Mapping[str, Sequence[Assignment]]:
        """All assignments to attributes in a class, and in those that use the same ones in one module."""
        found: dict[str, list[Assignment]] = {}
        for attribute in _assignments_in(self._nodes[name]):
            users = {word for word, node in self._nodes.items() if attribute in _attributes_of_self(node)}
            owners = sorted(self.calls.tree.related(name, users))
            found[attribute] = [a for o in owners for a in _assignments_in(self._nodes[o]).get(attribute, ())]
        return found


@lru_cache(KEPT)
def _assignments_in(node: Node) -> Mapping[str, Sequence[Assignment]]:
    """The assignments to the attributes that a class uses; a method of its name is one, too."""
    pairs: dict[str, list[Assignment]] = {attribute: [] for attribute in sorted(_attributes_of_self(node))}
    for function in functions_of(node):
        pairs[function.name].append((None, None))
        for attribute, value in assigned(function, of_self=True):
            pairs[attribute].append((function, value))
    for statement in node.body:
        if isinstance(statement, ast.Assign):
            for attribute, value in assigned(statement):
                pairs[attribute].append((None, value))
    return pairs


@lru_cache(KEPT)
def _attributes_of_self(node: Node) -> frozenset[str]:
    """The attributes that a class reads or sets, and its methods."""
    in_body = {word for each in node.body if isinstance(each, ast.Assign) for word, _ in assigned(each)}
    read = {each.attr for each in walk(node) if isinstance(each, ast.Attribute) and attribute_of_self(each)}
    return frozenset(in_body | read | {function.name for function in functions_of(node)})


def constant_parameters(function: ast.FunctionDef, calls: Sequence[LibraryCall]) -> dict[str, ast.expr]:
    """The parameters that no call gives, with their defaults."""
    order, defaults = [each.arg for each in parameters_of(function)], defaults_of(function)
    changed = {word for word, _ in assigned(function)}
    return {
        word: default
        for word, default in defaults.items()
        if word not in changed and all(call.argument(word, order) is None for call in calls)
    }


def present_parameters(function: ast.FunctionDef, calls: Sequence[LibraryCall]) -> set[str]:
    """The parameters that may be None by their type, and are not in any call."""
    order = [each.arg for each in parameters_of(function)]
    optional = [
        each.arg for each in [*function.args.args, *function.args.kwonlyargs] if allows_none(each.annotation)
    ]
    return {word for word in optional if calls and not any(_may_be_none(call, word, order) for call in calls)}


def _may_be_none(call: LibraryCall, word: str, order: Sequence[str]) -> bool:
    """Whether a call may give None for a parameter."""
    value = call.argument(word, order)
    if value is None or is_none(value):
        return True
    if isinstance(value, ast.Attribute | ast.IfExp):
        return not is_function(value)
    return isinstance(value, ast.Name) and value.id in call.optional


@lru_cache(KEPT)
def _attributes_of_others(node: Node) -> frozenset[str]:
    """The attributes of objects other than `self`."""
    attributes = (each for each in walk(node) if isinstance(each, ast.Attribute))
    return frozenset(each.attr for each in attributes if not (attribute_of_self(each) or is_function(each)))
