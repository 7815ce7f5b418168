"""Reduces library definitions to the options that a file uses.

A parameter that no call gives has its default, and so have the attributes that hold it. This decides the
branches that depend on them, and removes what is then never read. Unchanged statements keep their text,
including comments.

No construct names its static options. Over the examples of all layers, those are 62 % of the parameters that
are cut: the others, of `forward` and of helper functions, are known from calls alone, which would have to be
read all the same.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from graphspec.emit.code import same_items, with_fields
from graphspec.emit.definitions import is_text
from graphspec.emit.inheritance import constructor_of, functions_of, joined
from graphspec.emit.known_values import KnownValues, constant_parameters, present_parameters
from graphspec.emit.library_calls import Function, LibraryCall, LibraryCalls, optional_parameters, passing_of
from graphspec.emit.library_source import KEPT, Node, known_names, library_code, needed, read_names
from graphspec.emit.printer import flat
from graphspec.emit.rewriting import assigned
from graphspec.emit.signatures import defaults_by_place, without
from graphspec.emit.simplify import Facts, simplified

ROUNDS = 12
CALLED_BY_TORCH = ("__init__", "reset_parameters", "extra_repr", "_load_from_state_dict")
"""These methods stay, and keep their parameters where nothing else calls them."""


class Specializer:
    """`nodes` are the definitions in their current form.

    `file` is the code of the file's classes, `helpers` are the library names that it may read (a param may be
    called like another one), and `module_calls` are its calls of modules, by class.
    """

    def __init__(
        self,
        file: ast.Module,
        helpers: Collection[str],
        module_calls: Mapping[str, Sequence[LibraryCall]],
        exporting: bool,
    ):
        self.module_calls, self.exporting = module_calls, exporting
        definitions = [each for each in file.body if isinstance(each, Node)]
        self._file_functions = [
            (node, passing_of(function), optional_parameters(function))
            for node in definitions
            for function in functions_of(node)
        ]
        self.wanted = read_names(file).intersection(helpers) - {each.name for each in definitions}
        library = library_code().nodes
        nodes = {name: library[name] for name in needed(self.wanted)}
        self.nodes = nodes if exporting else joined(nodes, self.wanted)  # exports know classes by their names

    def run(self) -> dict[str, Node]:
        """The needed definitions, dependencies first."""
        for _ in range(ROUNDS):
            before = dict(self.nodes)
            constructors = {name: constructor_of(node) for name, node in before.items()}
            defaults = {
                name: defaults_by_place(each) for name, each in constructors.items() if each is not None
            }
            known = KnownValues(self._calls(before))
            for name, node in before.items():
                if name not in known.calls.unknown:
                    inherited = known.calls.tree.inherited(name).items()
                    above = {f"super().{word}": defaults_by_place(method) for word, method in inherited}
                    reduction = Reduction(node, known, {**defaults, **above}, self.exporting)
                    self.nodes[name] = reduction.definition()
            self._drop()
            if self.nodes == before:
                break
        return self.nodes

    def _calls(self, nodes: Mapping[str, Node]) -> LibraryCalls:
        calls = LibraryCalls(nodes, self.module_calls)
        calls.add_library()
        for node, passing, optional in self._file_functions:
            for each in passing:
                calls.add(node, each, optional)
        return calls

    def _drop(self) -> None:
        """Removes definitions that are no longer needed."""
        kept: dict[str, None] = {}

        def visit(name: str) -> None:
            if name not in kept:
                for other in sorted(known_names(self.nodes[name]) & self.nodes.keys() - {name}):
                    visit(other)
                kept[name] = None

        for name in sorted(self.wanted & self.nodes.keys()):
            visit(name)
        self.nodes = {name: self.nodes[name] for name in kept}


class Reduction:
    """A definition of the library without what is known never to run, or to be used.

    `defaults` are those of all definitions and of inherited methods, whose calls need not give them.
    """

    def __init__(
        self,
        node: Node,
        known: KnownValues,
        defaults: Mapping[str, Sequence[ast.expr | None]],
        exporting: bool,
    ):
        self.node, self.known, self.defaults, self.exporting = node, known, defaults, exporting
        self.attributes = known.settled_attributes(node.name) if isinstance(node, ast.ClassDef) else {}

    def definition(self) -> Node:
        """The function, or the class without methods that nothing calls, and constants."""
        node = self.node
        if isinstance(node, ast.FunctionDef):
            calls = self.known.calls.of(Function("", node.name))
            return self._function(Function("", node.name), node, calls)
        body: list[ast.stmt] = []
        for statement in node.body:
            if isinstance(statement, ast.FunctionDef):
                method = Function(node.name, statement.name)
                calls = self.known.calls.of(method)
                if calls or statement.name in ("forward", *CALLED_BY_TORCH):
                    body.append(self._function(method, statement, calls))
            elif self.exporting or not self._is_constant(statement):
                body.append(statement)
        body = [each for each in body if not _only_passes_on(each)]
        if same_items(body, node.body):
            return node
        return _kept((node, *body), lambda: with_fields(node, body=body))

    def _is_constant(self, statement: ast.stmt) -> bool:
        """Whether a statement of a class only says what is substituted."""
        is_attribute = isinstance(statement, ast.Assign | ast.AnnAssign)
        return is_attribute and {word for word, _ in assigned(statement)} <= self.attributes.keys()

    def _function(
        self, owner: Function, node: ast.FunctionDef, calls: Sequence[LibraryCall]
    ) -> ast.FunctionDef:
        constants: dict[str, ast.expr] = {}
        present: set[str] = set()
        if (calls or not owner.owner) and all(each.is_plain for each in calls):
            constants, present = constant_parameters(node, calls), present_parameters(node, calls)
        arguments = without(node.args, constants, present)
        read = {*known_names(node), *(word for word in self.defaults if word.startswith("super()."))}
        called = {word: self.defaults[word] for word in read if word in self.defaults}
        facts = Facts(present, self.attributes, called, self.exporting)

        def cut() -> ast.FunctionDef:
            body = simplified(node.body, constants, facts)
            if same_items(body, node.body) and arguments is node.args:
                return node
            changed: ast.FunctionDef = with_fields(node, args=arguments, body=body)
            return changed

        shown: list[Mapping[str, Any]] = [constants, self.attributes, called]
        return _kept((node, *map(_shown, shown), frozenset(present), self.exporting), cut)


_KEPT: dict[tuple[object, ...], Any] = {}
Kept = TypeVar("Kept")


def _kept(key: tuple[object, ...], make: Callable[[], Kept]) -> Kept:
    """The result for a definition and the facts about it, which most files have in common."""
    if key not in _KEPT:
        if len(_KEPT) >= KEPT:
            _KEPT.clear()
        _KEPT[key] = make()
    kept: Kept = _KEPT[key]
    return kept


def _shown(facts: Mapping[str, Any]) -> tuple[object, ...]:
    """Facts as a key: expressions, or lists of them, as text."""

    def shown(value: Any) -> object:
        if isinstance(value, ast.AST):
            return ast.dump(value)
        return None if value is None else tuple(map(shown, value))

    return tuple((word, shown(value)) for word, value in facts.items())


def _only_passes_on(statement: ast.stmt) -> bool:
    """Whether a method only calls the method that it overrides, with the same arguments."""
    if not isinstance(statement, ast.FunctionDef) or statement.args.kwonlyargs:
        return False
    body, arguments = [each for each in statement.body if not is_text(each)], statement.args
    value = body[0].value if len(body) == 1 and isinstance(body[0], ast.Expr | ast.Return) else None
    words = [each.arg for each in arguments.args[1:]]
    words += [f"*{each.arg}" for each in [arguments.vararg] if each is not None]
    words += [f"**{each.arg}" for each in [arguments.kwarg] if each is not None]
    return value is not None and flat(value) == f"super().{statement.name}({', '.join(words)})"
