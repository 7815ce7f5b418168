"""Reduces library definitions to the options that a file uses.

A parameter that no call gives has its default, and so have the attributes that hold it. This decides the
branches that depend on them, and removes what is then never read. Unchanged statements keep their text,
including comments.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar

from graphspec.emit.code import walk, with_fields
from graphspec.emit.definitions import is_text
from graphspec.emit.inheritance import joined
from graphspec.emit.library_source import KEPT, Node, known_names, library_code, needed, read_names
from graphspec.emit.options import Options, with_defaults
from graphspec.emit.printer import flat
from graphspec.emit.simplify import Facts, assigned, is_function, is_none, is_super, same_items, simplified

ROUNDS = 12


@dataclass(frozen=True, slots=True)
class Key:
    """A function of the library, or a method of one of its classes."""

    owner: str  # "" for a function
    name: str


@dataclass(frozen=True, slots=True)
class Use:
    """A call of a library function. `optional` are names that may be None at the call. A `final` one is not
    of the library: its arguments stay.
    """

    call: ast.Call
    optional: frozenset[str] = frozenset()
    final: bool = False


@dataclass(eq=False, slots=True)
class Uses:
    """All calls of all functions. Functions that are passed as values are `unknown`, and are not reduced."""

    calls: dict[Key, list[Use]] = field(default_factory=lambda: defaultdict(list))
    unknown: set[str] = field(default_factory=set)


class Specializer:
    """`nodes` are the definitions in their current form.

    `own` is the file's code, `helpers` are the library names that it may read (a param may be called like
    another one), `options` are what its modules of a library class share, and `forwards` are its calls of
    modules, by class.
    """

    def __init__(
        self,
        own: ast.Module,
        helpers: Collection[str],
        options: Options,
        forwards: Mapping[str, Sequence[Use]],
        exporting: bool,
    ):
        self.forwards, self.exporting = forwards, exporting
        definitions = [each for each in own.body if isinstance(each, Node)]
        self._own_passing = [
            (node, each, _passing(each)) for node in definitions for each in functions_of(node)
        ]
        self.wanted = read_names(own).intersection(helpers) - {each.name for each in definitions}
        self.defaults: dict[str, list[ast.expr | None]] = {}
        library = library_code().nodes
        nodes = {name: _with_options(library[name], options.get(name, {})) for name in needed(self.wanted)}
        self.nodes = nodes if exporting else joined(nodes, self.wanted)  # exports know classes by their names

    def run(self) -> dict[str, Node]:
        """The needed definitions, dependencies first."""
        for _ in range(ROUNDS):
            before = dict(self.nodes)
            self.defaults = {name: defaults_of(node) for name, node in before.items()}
            uses = self._uses()
            constants, possible = self._constant_attributes(uses), self._possible_attributes(uses)
            for name, node in before.items():
                self.nodes[name] = self._cut(node, uses, constants, possible.get(name, {}))
            self._drop()
            if self.nodes == before:
                break
        return self.nodes

    # --- calls

    def _uses(self) -> Uses:
        uses = Uses()
        for name, calls in self.forwards.items():
            for owner in self._called(name):
                uses.calls[Key(owner, "forward")] += calls
        for node in self.nodes.values():
            for function in functions_of(node):
                optional = frozenset(_optional(function)) | {word for word, _ in assigned(function)}
                for each in _known_passing(function):
                    self._note(node, each, optional, uses)
        for node, function, passing in self._own_passing:
            for each in passing:  # values of local variables are not tracked
                self._note(node, each, frozenset(_optional(function)), uses, final=True)
        uses.unknown = {other for name in uses.unknown for other in self._related(name)}
        return uses

    def _note(
        self, node: Node, each: Passing, optional: frozenset[str], uses: Uses, final: bool = False
    ) -> None:
        """Records a call of a library function, or its use as a value."""
        if isinstance(each, ast.Call):
            use, callee = Use(each, optional, final), each.func
            if isinstance(callee, ast.Name) and callee.id in self.nodes:
                target = self.nodes[callee.id]
                if isinstance(target, ast.ClassDef):
                    for owner in self._above(callee.id):
                        uses.calls[Key(owner, "__init__")].append(use)
                else:
                    uses.calls[Key("", callee.id)].append(use)
            elif isinstance(callee, ast.Attribute) and (is_super(callee.value) or _is_self(callee.value)):
                reached = self._after if is_super(callee.value) else self._related
                for owner in reached(node.name) if node.name in self.nodes else ():
                    uses.calls[Key(owner, callee.attr)].append(use)
            values = [*each.args, *(keyword.value for keyword in each.keywords)]
            if isinstance(callee, ast.Name) and callee.id in self.nodes:
                ids = [v.func.id for v in values if isinstance(v, ast.Call) and isinstance(v.func, ast.Name)]
                given = {word for word in ids if isinstance(self.nodes.get(word), ast.ClassDef)}
                self._note_given(given, self.nodes[callee.id], uses)
            if not (isinstance(callee, ast.Name) and callee.id == "isinstance"):
                uses.unknown |= {v.id for v in values if isinstance(v, ast.Name) and v.id in self.nodes}
        elif isinstance(each.value, ast.Name):
            uses.unknown |= {each.value.id} & self.nodes.keys()

    def _note_given(self, given: set[str], taker: Node, uses: Uses) -> None:
        """Records the calls of modules that are created for a library class, which calls them itself."""
        if isinstance(taker, ast.FunctionDef):
            uses.unknown |= given
            return
        owners = [owner for word in sorted(given) for owner in self._called(word)]
        methods = {each.name for name in self._related(taker.name) for each in functions_of(self.nodes[name])}
        for function in functions_of(taker) if owners else ():
            variables = {word for word, _ in assigned(function)}
            optional = frozenset(_optional(function)) | variables
            calls = [each for each in _known_passing(function) if isinstance(each, ast.Call)]
            forwards = [Use(each, optional) for each in calls if _calls_held(each.func, variables, methods)]
            for owner in owners:
                uses.calls[Key(owner, "forward")] += forwards

    def _above(self, name: str) -> list[str]:
        """A class, and its bases."""
        if name not in self.nodes:
            return []
        return [name, *(word for base in bases_of(self.nodes[name]) for word in self._above(base))]

    def _called(self, name: str) -> set[str]:
        """The classes whose methods a call of a class may run. A shared module may be of a class below."""
        return {owner for other in self.nodes if name in (above := self._above(other)) for owner in above}

    def _after(self, name: str) -> set[str]:
        """The classes that `super()` may reach from a class: those behind it in the order in which some class
        looks up its methods.
        """
        upward = (dict.fromkeys(reversed(self._above(other))) for other in self._related(name))
        orders = [list(reversed(each)) for each in upward]
        return {other for order in orders if name in order for other in order[order.index(name) + 1 :]}

    def _related(self, name: str) -> set[str]:
        """The bases, subclasses and siblings of a class."""
        related, size = {name}, 0
        while len(related) > size:
            size = len(related)
            for other, node in self.nodes.items():
                bases = set(bases_of(node))
                if other in related:
                    related |= bases & self.nodes.keys()
                elif bases & related:
                    related.add(other)
        return related

    # --- constants

    def _constant_attributes(self, uses: Uses) -> dict[str, dict[str, ast.expr]]:
        """For each class the attributes that only `__init__` assigns, and to a constant."""
        outside = frozenset[str]().union(*map(_attributes_of_others, self.nodes.values()))
        attributes: dict[str, dict[str, ast.expr]] = {}
        for name, node in self.nodes.items():
            if not isinstance(node, ast.ClassDef) or name in uses.unknown:
                continue
            own: dict[str, list[ast.expr | None]] = defaultdict(list)
            for function in functions_of(node):
                for attribute, value in assigned(function, of_self=True):
                    own[attribute].append(value if function.name == "__init__" else None)
            for statement in node.body:  # class attributes
                if isinstance(statement, ast.Assign):
                    for attribute, value in assigned(statement):
                        own[attribute].append(value)
            attributes[name] = {
                attribute: value
                for attribute, (value, *others) in own.items()
                if not others and value is not None and _is_fixed(value) and attribute not in outside
            }
            if not self.exporting:
                attributes[name] |= _repeated(node, own, outside)
        return {name: self._inherited(name, attributes) for name in self.nodes}

    def _inherited(self, name: str, own: Mapping[str, dict[str, ast.expr]]) -> dict[str, ast.expr]:
        """The constants of a class and of related classes, if these do not differ."""
        merged: dict[str, ast.expr] = {}
        differing = set()
        for other in sorted(self._related(name)):
            for attribute, value in own.get(other, {}).items():
                if attribute in merged and ast.dump(merged[attribute]) != ast.dump(value):
                    differing.add(attribute)
                merged[attribute] = value
            node = self.nodes[other]
            if isinstance(node, ast.ClassDef):
                held = {attribute for f in functions_of(node) for attribute, _ in assigned(f, of_self=True)}
                differing |= held - own.get(other, {}).keys()
        return {attribute: value for attribute, value in merged.items() if attribute not in differing}

    def _possible_attributes(self, uses: Uses) -> dict[str, dict[str, list[ast.Constant]]]:
        """For each class the attributes that hold a parameter of `__init__`, with all values of it."""
        attributes: dict[str, dict[str, list[ast.Constant]]] = {}
        for name, node in self.nodes.items():
            if not isinstance(node, ast.ClassDef) or name in uses.unknown:
                continue
            held = [pair for f in functions_of(node) for pair in assigned(f, of_self=True)]
            for function in (each for each in functions_of(node) if each.name == "__init__"):
                given = _values(function, uses.calls.get(Key(name, "__init__"), []))
                changed = {word for word, _ in assigned(function)}
                attributes[name] = {
                    attribute: given[value.id]
                    for attribute, value in assigned(function, of_self=True)
                    if isinstance(value, ast.Name) and value.id in given.keys() - changed
                    if [word for word, _ in held].count(attribute) == 1
                }
        return attributes

    # --- one definition

    def _cut(
        self,
        node: Node,
        uses: Uses,
        constants: Mapping[str, Mapping[str, ast.expr]],
        possible: Mapping[str, Sequence[ast.Constant]],
    ) -> Node:
        if node.name in uses.unknown:
            return node
        if isinstance(node, ast.FunctionDef):
            calls = uses.calls.get(Key("", node.name), [])
            return self._function(_with_defaults(node, calls), calls, {}, True, {})
        body: list[ast.stmt] = []
        own = constants[node.name]
        for statement in node.body:
            if isinstance(statement, ast.FunctionDef):
                key = Key(node.name, statement.name)
                calls, is_method = uses.calls.get(key, []), statement.name not in FIXED
                if is_method and statement.name != "forward" and not calls:
                    continue  # it is never called
                body.append(self._function(statement, calls, own, bool(calls), possible))
            elif isinstance(statement, ast.Assign | ast.AnnAssign):
                if self.exporting or not {word for word, _ in assigned(statement)} <= own.keys():
                    body.append(statement)
            else:
                body.append(statement)
        body = [each for each in body if not _only_passes_on(each)]
        if same_items(body, node.body):
            return node
        return _kept((node, *body), lambda: with_fields(node, body=body))

    def _function(
        self,
        node: ast.FunctionDef,
        uses: Sequence[Use],
        attributes: Mapping[str, ast.expr],
        known: bool,
        possible: Mapping[str, Sequence[ast.Constant]],
    ) -> ast.FunctionDef:
        constants: dict[str, ast.expr] = {}
        present: set[str] = set()
        arguments = node.args
        if known and all(_is_plain(use.call) for use in uses):
            constants, present = self._folded(node, uses)
            arguments = _without(arguments, constants.keys(), present)
        called = {word: self.defaults[word] for word in known_names(node) if word in self.defaults}
        facts = Facts(present, attributes, possible, called, self.exporting)
        key = (node, *map(_shown, (constants, attributes, possible, called)), frozenset(present))

        def made() -> ast.FunctionDef:
            body = simplified(node.body, constants, facts)
            returns = node.returns if any(map(_gives_several, body)) else _single(node.returns)
            if same_items(body, node.body) and arguments is node.args and returns is node.returns:
                return node
            changed: ast.FunctionDef = with_fields(node, args=arguments, body=body, returns=returns)
            return changed

        return _kept((*key, self.exporting), made)

    def _folded(self, node: ast.FunctionDef, uses: Sequence[Use]) -> tuple[dict[str, ast.expr], set[str]]:
        """The parameters that no call gives, with their defaults, and those that are never None."""
        named = [each for each in node.args.args if each.arg != "self"]
        keyword_only = list(zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True))
        defaults = dict(zip([each.arg for each in named[::-1]], node.args.defaults[::-1], strict=False))
        defaults |= {each.arg: value for each, value in keyword_only if value is not None}
        constants: dict[str, ast.expr] = {}
        present: set[str] = set()
        order, changed = [each.arg for each in named], {word for word, _ in assigned(node)}
        for argument in [*named, *(each for each, _ in keyword_only)]:
            given = [_given(use.call, argument.arg, order) for use in uses]
            if argument.arg in defaults and all(each is None for each in given):
                if argument.arg in changed:  # the name is reassigned later
                    continue
                constants[argument.arg] = defaults[argument.arg]
            elif argument.annotation is not None and _allows_none(argument.annotation):
                pairs = zip(given, uses, strict=True)
                if uses and all(each is not None and not _may_be_none(each, use) for each, use in pairs):
                    present.add(argument.arg)
        return constants, present

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


_KEPT: dict[tuple[object, ...], Any] = {}
Made = TypeVar("Made")


def _kept(key: tuple[object, ...], make: Callable[[], Made]) -> Made:
    """What is made of a definition and the facts about it, which most files have in common."""
    if key not in _KEPT:
        if len(_KEPT) >= KEPT:
            _KEPT.clear()
        _KEPT[key] = make()
    kept: Made = _KEPT[key]
    return kept


def _with_options(node: Node, options: Mapping[str, Any]) -> Node:
    """A definition of the library with these options as its defaults."""
    return _kept((node, repr(sorted(options.items()))), lambda: with_defaults(node, options))


def _shown(facts: Mapping[str, Any]) -> tuple[object, ...]:
    """Facts as a key: expressions, or lists of them, as text."""

    def shown(value: Any) -> object:
        if isinstance(value, ast.AST):
            return ast.dump(value)
        return None if value is None else tuple(map(shown, value))

    return tuple((word, shown(value)) for word, value in facts.items())


Passing = ast.Call | ast.Assign


def _passing(function: ast.FunctionDef) -> tuple[Passing, ...]:
    """The calls and assignments of a function: the places where it may pass a value on."""
    return tuple(each for each in walk(function) if isinstance(each, Passing))


_known_passing = lru_cache(KEPT)(_passing)
"""`_passing` of functions of the library."""


def _calls_held(callee: ast.expr, variables: set[str], methods: set[str]) -> bool:
    """Whether a call may run a module that a class holds: that of a variable or an attribute."""
    if isinstance(callee, ast.Attribute):
        return _is_self(callee.value) and callee.attr not in methods
    return isinstance(callee, ast.Name) and callee.id in variables


def _repeated(
    node: ast.ClassDef, own: Mapping[str, Sequence[ast.expr | None]], outside: Collection[str]
) -> dict[str, ast.expr]:
    """The attributes that only hold the same number or word as one before them: that one for each."""
    constructor = next((each for each in functions_of(node) if each.name == "__init__"), None)
    parameters: set[str] = set()
    if constructor is not None:
        parameters = {each.arg for each in constructor.args.args if _is_plain_type(each.annotation)}
        parameters -= {word for word, _ in assigned(constructor)}
    first: dict[str, str] = {}
    aliases: dict[str, ast.expr] = {}
    for attribute, values in own.items():
        value = values[0] if len(values) == 1 and attribute not in outside else None
        if isinstance(value, ast.Name) and value.id in parameters:
            before = first.setdefault(value.id, attribute)
            if before != attribute:
                aliases[attribute] = ast.Attribute(ast.Name("self", ast.Load()), before, ast.Load())
    return aliases


def _is_plain_type(annotation: ast.expr | None) -> bool:
    """Whether a parameter is a number or a word."""
    return isinstance(annotation, ast.Name) and annotation.id in ("int", "float", "bool", "str")


def _optional(function: ast.FunctionDef) -> Iterator[str]:
    """The parameters that may be None."""
    for argument in function.args.args:
        if argument.annotation is not None and _allows_none(argument.annotation):
            yield argument.arg


@lru_cache(KEPT)
def _attributes_of_others(node: Node) -> frozenset[str]:
    """The attributes of objects other than `self`."""
    return frozenset(
        each.attr for each in walk(node) if isinstance(each, ast.Attribute) and not _is_self(each.value)
    )


FIXED = ("__init__", "reset_parameters", "extra_repr", "_load_from_state_dict")
"""What PyTorch calls: these methods stay, and keep their parameters where nothing else calls them."""


def functions_of(node: Node) -> list[ast.FunctionDef]:
    """A function itself, or a class's methods."""
    if isinstance(node, ast.FunctionDef):
        return [node]
    return [each for each in node.body if isinstance(each, ast.FunctionDef)]


def bases_of(node: Node) -> list[str]:
    """The names of a class's bases."""
    bases = node.bases if isinstance(node, ast.ClassDef) else []
    return [each.id for each in bases if isinstance(each, ast.Name)]


def defaults_of(node: Node) -> list[ast.expr | None]:
    """The defaults of the positional parameters of a function, or of a class's constructor, in order."""
    functions = [each for each in functions_of(node) if each is node or each.name == "__init__"]
    if not functions:
        return []
    arguments = functions[0].args
    required = len(arguments.args) - len(arguments.defaults)
    defaults: list[ast.expr | None] = [*[None] * required, *arguments.defaults]
    return defaults[1:] if isinstance(node, ast.ClassDef) else defaults


@lru_cache(KEPT)
def _gives_several(statement: ast.stmt) -> bool:
    """Whether a statement returns a tuple, or may do so."""
    values = [each.value for each in walk(statement) if isinstance(each, ast.Return) and each.value]
    return any(isinstance(part, ast.Tuple) for value in values for part in (value, *_branches(value)))


def _branches(value: ast.expr) -> list[ast.expr]:
    return [value.body, value.orelse] if isinstance(value, ast.IfExp) else []


def _single(returns: ast.expr | None) -> ast.expr | None:
    """`Tensor` of `Tensor | tuple[Tensor, ...]`."""
    union = isinstance(returns, ast.BinOp) and isinstance(returns.right, ast.Subscript)
    return returns.left if union and isinstance(returns, ast.BinOp) else returns


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def _is_plain(call: ast.Call) -> bool:
    """Whether each argument of a call is known."""
    return not any(isinstance(each, ast.Starred) for each in call.args) and all(
        keyword.arg is not None for keyword in call.keywords
    )


def _given(call: ast.Call, name: str, order: Sequence[str]) -> ast.expr | None:
    """The value that a call gives for a parameter."""
    for keyword in call.keywords:
        if keyword.arg == name:
            return keyword.value
    place = order.index(name) if name in order else len(call.args)
    return call.args[place] if place < len(call.args) else None


def _allows_none(annotation: ast.expr) -> bool:
    parts = walk(annotation) if isinstance(annotation, ast.BinOp) else [annotation]
    return any(is_none(part) for part in parts)


def _values(function: ast.FunctionDef, uses: Sequence[Use]) -> dict[str, list[ast.Constant]]:
    """The parameters that only get constants, with these constants."""
    named = [each.arg for each in function.args.args if each.arg != "self"]
    defaults = dict(zip(named[::-1], function.args.defaults[::-1], strict=False))
    values: dict[str, list[ast.Constant]] = {}
    for word in named if uses and all(_is_plain(use.call) for use in uses) else ():
        given = [_given(use.call, word, named) or defaults.get(word) for use in uses]
        constants = [each for each in given if isinstance(each, ast.Constant)]
        if len(constants) == len(given):
            values[word] = constants
    return values


def _with_defaults(function: ast.FunctionDef, uses: Sequence[Use]) -> ast.FunctionDef:
    """A function whose last parameters have the options as defaults that all calls give, which then need not
    give them: what no call gives is cut. Numbers are no options.
    """
    if any(use.final for use in uses):
        return function
    named, defaults = function.args.args, function.args.defaults
    before = [*[None] * (len(named) - len(defaults)), *defaults]
    values, agreed = _values(function, uses), list[ast.expr]()
    for argument, default in zip(reversed(named), reversed(before), strict=True):
        given = {ast.dump(value): value for value in values.get(argument.arg, ())}
        options = [each for each in given.values() if isinstance(each.value, bool | str | None)]
        value = options[0] if len(options) == len(given) == 1 else default
        if value is None:
            break
        agreed.insert(0, value)
    alike = len(agreed) == len(defaults) and all(map(_equal, agreed, defaults))
    return function if alike else with_fields(function, args=with_fields(function.args, defaults=agreed))


def _equal(a: ast.expr, b: ast.expr) -> bool:
    return ast.dump(a) == ast.dump(b)


def _is_fixed(value: ast.expr) -> bool:
    """Whether a value is a constant, or a function of PyTorch."""
    return isinstance(value, ast.Constant) or is_function(value)


def _may_be_none(value: ast.expr, use: Use) -> bool:
    unknown = isinstance(value, ast.Attribute | ast.IfExp) and not is_function(value)
    return unknown or is_none(value) or (isinstance(value, ast.Name) and value.id in use.optional)


def _without(arguments: ast.arguments, folded: Iterable[str], present: set[str]) -> ast.arguments:
    """Parameters without those that became constants. A parameter that is always given needs no default."""
    gone = set(folded)
    if not gone and not any(
        each.arg in present and each.annotation is not None and _allows_none(each.annotation)
        for each in [*arguments.args, *arguments.kwonlyargs]
    ):
        return arguments
    count = len(arguments.args) - len(arguments.defaults)
    paired = [
        (each, arguments.defaults[place - count] if place >= count else None)
        for place, each in enumerate(arguments.args)
        if each.arg not in gone
    ]
    kept: list[tuple[ast.arg, ast.expr | None]] = []
    for each, default in paired:  # no parameter without a default may follow one with a default
        certain = each.arg in present and all(value is None for _, value in kept)
        kept.append((_certain(each), None) if certain else (each, default))
    required = [each for each, default in kept if default is None]
    optional = [(each, default) for each, default in kept if default is not None]
    only = [
        (_certain(each) if each.arg in present else each, default)
        for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        if each.arg not in gone
    ]
    return with_fields(
        arguments,
        args=[*required, *(each for each, _ in optional)],
        defaults=[default for _, default in optional],
        kwonlyargs=[each for each, _ in only],
        kw_defaults=[default for _, default in only],
    )


def _certain(argument: ast.arg) -> ast.arg:
    """A parameter that is never None."""
    annotation = argument.annotation
    if isinstance(annotation, ast.BinOp) and is_none(annotation.right):
        return ast.copy_location(ast.arg(argument.arg, annotation.left), argument)
    return argument


def _only_passes_on(statement: ast.stmt) -> bool:
    """Whether a method only calls the method that it overrides, with the same arguments."""
    if not isinstance(statement, ast.FunctionDef):
        return False
    body = [each for each in statement.body if not is_text(each)]
    only = body[0] if len(body) == 1 else None
    value = only.value if isinstance(only, ast.Expr | ast.Return) else None
    if not isinstance(value, ast.Call) or not isinstance(value.func, ast.Attribute):
        return False
    if not is_super(value.func.value) or value.func.attr != statement.name:
        return False
    arguments = statement.args
    own = [each.arg for each in arguments.args[1:]]
    own += [f"*{each.arg}" for each in [arguments.vararg] if each is not None]
    words = [f"**{each.arg}" for each in [arguments.kwarg] if each is not None]
    given = [f"**{flat(each.value)}" if each.arg is None else f"{each.arg}=" for each in value.keywords]
    return [flat(each) for each in value.args] == own and given == words and not arguments.kwonlyargs
