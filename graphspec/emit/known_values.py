"""What is known of the parameters and attributes of library code: from all calls, and all assignments."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from graphspec.emit.code import walk
from graphspec.emit.inheritance import functions_of
from graphspec.emit.library_calls import Caller, Function, LibraryCall, LibraryCalls
from graphspec.emit.library_source import KEPT, Node
from graphspec.emit.rewriting import assigned, attribute_of_self, is_function, is_none
from graphspec.emit.signatures import allows_none, defaults_of, parameters_of
from graphspec.emit.simplify import compared, is_attribute

Values = Sequence[ast.Constant]
Assignment = tuple[str, ast.FunctionDef | None, ast.expr | None]
"""The class and the method (None: the class's body) that has it, and the value if it is known."""


class KnownValues:
    """The constants, and the few constants that a parameter or an attribute is one of."""

    def __init__(self, calls: LibraryCalls):
        self.calls, self._nodes = calls, calls.nodes
        self._parameters: dict[tuple[Function, str], Values | None] = {}
        self._attributes: dict[tuple[str, str], Values | None] = {}
        self._assigned: dict[str, dict[str, list[Assignment]]] = {}
        self._read_outside = frozenset[str]().union(*map(_attributes_of_others, self._nodes.values()))

    def settled_attributes(self, name: str) -> dict[str, ast.expr]:
        """The attributes of a class that only constructors set, to one constant in each of its modules. An
        attribute that holds the same parameter as one before it is that one.
        """
        if self.calls.tree.related(name) & self.calls.unknown:  # what is not cut may read them
            return {}
        settled: dict[str, ast.expr] = {}
        first: dict[tuple[str, str], str] = {}
        for attribute, assignments in self._assignments(name).items():
            values = [value for _, _, value in assignments if value is not None]
            by_constructor = all(
                function is None or function.name == "__init__" for _, function, _ in assignments
            )
            alike = len(values) == len(assignments) and len(set(map(ast.dump, values))) == 1
            if attribute in self._read_outside or not by_constructor or not alike:
                continue
            owner, function, value = assignments[0]
            if _is_fixed(values[0]):
                settled[attribute] = values[0]
            elif len(assignments) == 1 and function is not None and isinstance(value, ast.Name):
                before = first.setdefault((owner, value.id), attribute)
                if before != attribute and value.id in _plain_parameters(function):
                    settled[attribute] = ast.Attribute(ast.Name("self", ast.Load()), before, ast.Load())
        return settled

    def of_compared(self, owner: Function, function: ast.FunctionDef) -> dict[str, Values]:
        """The values of the attributes that a function compares, where all are constants, and those of
        parameters that have several: one that has a single value is cut, or stays an option.
        """
        caller = owner, function
        words = {word: self._values(each, caller) or () for word, each in _compared(function).items()}
        return {
            word: values
            for word, values in words.items()
            if len(values) > 1 or (values and is_attribute(word))
        }

    def parameter(self, owner: Function, function: ast.FunctionDef, word: str) -> Values | None:
        """All values of a parameter; None if it may have any."""
        key = owner, word
        if key not in self._parameters:
            self._parameters[key] = None  # a function that calls itself
            calls, defaults = self.calls.of(owner), defaults_of(function)
            order = [each.arg for each in parameters_of(function)]
            if calls and owner.owner not in self.calls.unknown and all(each.is_plain for each in calls):
                arguments = [
                    (call.argument(word, order) or defaults.get(word), call.caller) for call in calls
                ]
                self._parameters[key] = self._all(arguments)
        return self._parameters[key]

    def _attribute(self, name: str, attribute: str) -> Values | None:
        """All values of an attribute of a class."""
        key = name, attribute
        if key not in self._attributes:
            self._attributes[key] = None
            assignments = self._assignments(name).get(attribute, ())
            callers = [(Function(owner, f.name), f) if f is not None else None for owner, f, _ in assignments]
            values = [value for _, _, value in assignments]
            self._attributes[key] = self._all(zip(values, callers, strict=True))
        return self._attributes[key]

    def _all(self, expressions: Iterable[tuple[ast.expr | None, Caller | None]]) -> Values | None:
        """The values of expressions, each in the function that has it."""
        values: dict[str, ast.Constant] = {}
        for expression, caller in expressions:
            possible = self._values(expression, caller)
            if possible is None:
                return None
            values.update((repr(each.value), each) for each in possible)
        return list(values.values()) or None

    def _values(self, expression: ast.expr | None, caller: Caller | None) -> Values | None:
        """The values of an expression in a function: of a constant, a parameter or an attribute."""
        if isinstance(expression, ast.Constant):
            return [expression]
        if expression is None or caller is None:
            return None
        owner, function = caller
        if isinstance(expression, ast.Name):
            word, arguments = expression.id, function.args
            is_parameter = word in {each.arg for each in [*arguments.args, *arguments.kwonlyargs]}
            if is_parameter and word not in {each for each, _ in assigned(function)}:
                return self.parameter(owner, function, word)
        word = attribute_of_self(expression)
        return self._attribute(owner.owner, word) if word else None

    def _assignments(self, name: str) -> Mapping[str, Sequence[Assignment]]:
        """All assignments to attributes in a class, and in those that use the same ones in one module."""
        if name not in self._assigned:
            found: dict[str, list[Assignment]] = {}
            for attribute in _assignments_in(self._nodes[name]):
                users = {word for word, node in self._nodes.items() if attribute in _attributes_of_self(node)}
                owners = sorted(self.calls.tree.related(name, users))
                found[attribute] = [
                    a for o in owners for a in _assignments_in(self._nodes[o]).get(attribute, ())
                ]
            self._assigned[name] = found
        return self._assigned[name]


@lru_cache(KEPT)
def _assignments_in(node: Node) -> Mapping[str, Sequence[Assignment]]:
    """The assignments to the attributes that a class uses; a method of its name is one, too."""
    pairs: dict[str, list[Assignment]] = {attribute: [] for attribute in sorted(_attributes_of_self(node))}
    for function in functions_of(node):
        pairs[function.name].append((node.name, None, None))
        for attribute, value in assigned(function, of_self=True):
            pairs[attribute].append((node.name, function, value))
    for statement in node.body:
        if isinstance(statement, ast.Assign):
            for attribute, value in assigned(statement):
                pairs[attribute].append((node.name, None, value))
    return pairs


@lru_cache(KEPT)
def _attributes_of_self(node: Node) -> frozenset[str]:
    """The attributes that a class reads or sets, and its methods."""
    in_body = {word for each in node.body if isinstance(each, ast.Assign) for word, _ in assigned(each)}
    read = {each.attr for each in walk(node) if isinstance(each, ast.Attribute) and attribute_of_self(each)}
    return frozenset(in_body | read | {function.name for function in functions_of(node)})


def _is_fixed(value: ast.expr) -> bool:
    """Whether a value is a constant, or a function of PyTorch."""
    return isinstance(value, ast.Constant) or is_function(value)


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
def _plain_parameters(constructor: ast.FunctionDef) -> frozenset[str]:
    """The parameters that are a number or a word, and stay so."""
    plain = {
        each.arg
        for each in constructor.args.args
        if isinstance(each.annotation, ast.Name) and each.annotation.id in ("int", "float", "bool", "str")
    }
    return frozenset(plain - {word for word, _ in assigned(constructor)})


@lru_cache(KEPT)
def _attributes_of_others(node: Node) -> frozenset[str]:
    """The attributes of objects other than `self`."""
    attributes = (each for each in walk(node) if isinstance(each, ast.Attribute))
    return frozenset(each.attr for each in attributes if not (attribute_of_self(each) or is_function(each)))


@lru_cache(KEPT)
def _compared(function: ast.FunctionDef) -> Mapping[str, ast.expr]:
    """The names and attributes that a function compares with something."""
    left = [each.left for each in walk(function) if isinstance(each, ast.Compare)]
    return {word: each for each in left if (word := compared(each))}
