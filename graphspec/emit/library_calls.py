"""Which calls reach each function of the library code of a file."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from graphspec.emit.code import walk
from graphspec.emit.inheritance import ClassTree, functions_of
from graphspec.emit.library_source import KEPT, Node
from graphspec.emit.rewriting import assigned, is_super
from graphspec.emit.signatures import allows_none

Passing = ast.Call | ast.Assign
"""Where a function may pass a value on."""


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the library, or a method of one of its classes."""

    owner: str  # "" for a function
    name: str


@dataclass(frozen=True, slots=True)
class LibraryCall:
    """A call of a library function. `optional` are names that may be None there."""

    node: ast.Call
    optional: frozenset[str] = frozenset()

    @property
    def is_plain(self) -> bool:
        """Whether each argument is known."""
        unpacked = any(isinstance(each, ast.Starred) for each in self.node.args)
        return not unpacked and all(keyword.arg is not None for keyword in self.node.keywords)

    def argument(self, word: str, order: Sequence[str]) -> ast.expr | None:
        """The value that it gives for a parameter."""
        for keyword in self.node.keywords:
            if keyword.arg == word:
                return keyword.value
        place = order.index(word) if word in order else len(self.node.args)
        return self.node.args[place] if place < len(self.node.args) else None


class LibraryCalls:
    """All calls of the functions of `nodes`. `module_calls` are those of modules by the file's classes, by
    library class.
    """

    def __init__(self, nodes: Mapping[str, Node], module_calls: Mapping[str, Sequence[LibraryCall]]):
        self.nodes, self.tree = nodes, ClassTree(nodes)
        self._calls: dict[Function, list[LibraryCall]] = defaultdict(list)
        self._passed: set[str] = set()
        for name, calls in module_calls.items():
            for owner in self.tree.orders.get(name, ()):
                self._calls[Function(owner, "forward")] += calls

    def of(self, function: Function) -> Sequence[LibraryCall]:
        """The calls of a function."""
        return self._calls.get(function, ())

    @cached_property
    def unknown(self) -> set[str]:
        """What may have more calls: what is passed as a value, and the classes that it runs."""
        return {other for name in self._passed for other in self.tree.orders[name]}

    def add_library(self) -> None:
        """Adds the calls in the library code itself."""
        for node in self.nodes.values():
            for function in functions_of(node):
                for each in passing_of_library(function):
                    self.add(node, each, _may_be_none_in(function))

    def add(self, node: Node, each: Passing, optional: frozenset[str]) -> None:
        """Records a call of a library function by code of `node`, or its use as a value."""
        if isinstance(each, ast.Assign):
            self._passed |= self._library_names([each.value])
            return
        callee = each.func
        for function in self._reached(node, callee):
            self._calls[function].append(LibraryCall(each, optional))
        values = [*each.args, *(keyword.value for keyword in each.keywords)]
        if isinstance(callee, ast.Name) and callee.id in self.nodes:
            made = self._library_names([v.func for v in values if isinstance(v, ast.Call)])
            self._add_held(
                {w for w in made if isinstance(self.nodes[w], ast.ClassDef)}, self.nodes[callee.id]
            )
        if not (isinstance(callee, ast.Name) and callee.id == "isinstance"):
            self._passed |= self._library_names(values)

    def _library_names(self, values: Iterable[ast.expr]) -> set[str]:
        return {value.id for value in values if isinstance(value, ast.Name) and value.id in self.nodes}

    def _reached(self, node: Node, callee: ast.expr) -> Iterator[Function]:
        """The functions that a call in a definition may run."""
        match callee:
            case ast.Name(id=word) if word in self.nodes:
                if isinstance(self.nodes[word], ast.ClassDef):
                    yield from (Function(owner, "__init__") for owner in self.tree.orders[word])
                else:
                    yield Function("", word)
            case ast.Attribute(value=value, attr=word) if node.name in self.nodes:
                if is_super(value):
                    yield from (Function(owner, word) for owner in self.tree.after(node.name))
                elif _is_self(value):
                    yield from (Function(owner, word) for owner in self.tree.related(node.name))
            case ast.Attribute(value=ast.Attribute() | ast.Subscript(), attr="update"):
                yield Function("State", "update")

    def _add_held(self, made: set[str], holder: Node) -> None:
        """Records the calls of modules that are made for a library class, which calls them itself."""
        if isinstance(holder, ast.FunctionDef):
            self._passed |= made
            return
        owners = [owner for word in sorted(made) for owner in self.tree.orders[word]]
        methods = {f.name for name in self.tree.related(holder.name) for f in functions_of(self.nodes[name])}
        for function in functions_of(holder) if owners else ():
            variables = {word for word, _ in assigned(function)}
            calls = [
                LibraryCall(each, _may_be_none_in(function))
                for each in passing_of_library(function)
                if isinstance(each, ast.Call) and _calls_held(each.func, variables, methods)
            ]
            for owner in owners:
                self._calls[Function(owner, "forward")] += calls


def passing_of(function: ast.FunctionDef) -> tuple[Passing, ...]:
    """The calls and assignments of a function."""
    return tuple(each for each in walk(function) if isinstance(each, Passing))


passing_of_library = lru_cache(KEPT)(passing_of)
"""`passing_of` of functions of the library."""


@lru_cache(KEPT)
def _may_be_none_in(function: ast.FunctionDef) -> frozenset[str]:
    """The names that may be None in a function of the library: those with such a type, and variables."""
    return optional_parameters(function) | {word for word, _ in assigned(function)}


def optional_parameters(function: ast.FunctionDef) -> frozenset[str]:
    """The parameters that may be None."""
    return frozenset(each.arg for each in function.args.args if allows_none(each.annotation))


def _calls_held(callee: ast.expr, variables: set[str], methods: set[str]) -> bool:
    """Whether a call may run a module that a class holds: that of a variable or an attribute."""
    if isinstance(callee, ast.Attribute):
        return _is_self(callee.value) and callee.attr not in methods
    return isinstance(callee, ast.Name) and callee.id in variables


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"
