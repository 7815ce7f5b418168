"""Simplifies a function with partly known values: decides branches and removes dead code.

Unchanged statements stay the same objects, so that they keep their text.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from graphspec.emit.code import walk, with_fields
from graphspec.emit.library_source import KEPT

ROUNDS = 10
Constants = Mapping[str, ast.expr]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about a function.

    The names in `present` are not None. `attributes` of `self` are constants, and `possible` lists those that
    have one of several values. `defaults` are those of other definitions, whose calls may leave out arguments
    with their default values.
    """

    present: Collection[str]
    attributes: Constants
    possible: Mapping[str, Sequence[ast.Constant]]
    defaults: Mapping[str, Sequence[ast.expr | None]]
    exporting: bool


def simplified(body: list[ast.stmt], constants: Constants, facts: Facts) -> list[ast.stmt]:
    """The simplified body of a function. `constants` are the values of parameters."""
    known = dict(constants)
    for _ in range(ROUNDS):
        decide = Decide(known, facts)
        after = _straightened(decide.block(body))
        known = _assigned_once(after)
        if not known and len(after) == len(body) and all(a is b for a, b in zip(after, body, strict=True)):
            return body
        body = _without_dead(after, known)
    return body


class Decide:
    """Substitutes known values, and decides the branches that depend on them."""

    def __init__(self, known: Constants, facts: Facts):
        self.known, self.facts, self.attributes = known, facts, facts.attributes

    def block(self, body: Sequence[ast.stmt]) -> list[ast.stmt]:
        statements: list[ast.stmt] = []
        for statement in body:
            statements += self.statement(statement)
            if statements and isinstance(statements[-1], ast.Return | ast.Raise):
                break
        return statements

    def statement(self, statement: ast.stmt) -> list[ast.stmt]:
        if isinstance(statement, ast.If):
            test = _asked(self.expression(statement.test))
            truth = _truth(test)
            if truth is not None:
                return self.block(statement.body if truth else statement.orelse)
            body, orelse = self.block(statement.body), self.block(statement.orelse)
            unchanged = test is statement.test and same_items(body, statement.body)
            if unchanged and same_items(orelse, statement.orelse):
                return [statement]
            return [_at(statement, ast.If(test, body, orelse))] if body else []
        if isinstance(statement, ast.For | ast.With | ast.While):
            inner = self.block(statement.body)
            changed = rewritten_fields(statement, self.expression, skip=("body", "orelse"))
            if same_items(inner, statement.body) and changed is statement:
                return [statement]
            return [with_fields(changed, body=inner)]
        if isinstance(statement, ast.FunctionDef):
            return [statement]
        decided = rewritten_fields(statement, self.expression)
        if isinstance(decided, ast.Assign):
            return self._assignment(decided)
        return [decided]

    def _assignment(self, statement: ast.Assign) -> list[ast.stmt]:
        """An assignment without the parts that set known constant attributes, or a name to itself."""
        if len(statement.targets) > 1:
            return [statement]
        (target,) = statement.targets
        if isinstance(target, ast.Tuple) and isinstance(statement.value, ast.Tuple):
            pairs = list(zip(target.elts, statement.value.elts, strict=False))
            kept = [pair for pair in pairs if not self._is_idle(*pair)]
            if len(kept) == len(pairs):
                return [statement]
            if not kept:
                return []
            names: list[ast.expr] = [name for name, _ in kept]
            values = [value for _, value in kept]
            if len(kept) == 1:
                return [_at(statement, ast.Assign(names, values[0]))]
            return [_at(statement, ast.Assign([ast.Tuple(names)], ast.Tuple(values)))]
        return [] if self._is_idle(target, statement.value) else [statement]

    def _is_idle(self, target: ast.expr, value: ast.expr) -> bool:
        if isinstance(target, ast.Name):
            return isinstance(value, ast.Name) and value.id == target.id
        known = self.attributes.get(_own(target))
        return known is not None and (isinstance(value, ast.Constant) or bool(_own(known)))

    def expression(self, node: ast.expr) -> ast.expr:
        """An expression, simplified from its parts up."""
        return rewritten(node, self._decided)

    def _decided(self, node: ast.expr) -> ast.expr:
        match node:
            case ast.Name(id=word, ctx=ast.Load()) if word in self.known:
                return self.known[word]
            case ast.Attribute(ctx=ast.Load()) if (word := _own(node)) in self.attributes:
                return self.attributes[word]
            case ast.Attribute(value=ast.Attribute(attr=word), attr="__name__") if is_function(node.value):
                return ast.Constant(word)
            case ast.Compare():
                return self._comparison(node)
            case ast.UnaryOp(op=ast.Not()):
                truth = _truth(node.operand)
                return node if truth is None else ast.Constant(not truth)
            case ast.BoolOp():
                return _bool(node)
            case ast.BinOp(op=ast.Mult(), right=ast.Constant(value=1)):
                return node.left
            case ast.IfExp():
                truth = _truth(node.test)
                if truth is not None:
                    return node.body if truth else node.orelse
                return node.body if ast.dump(node.body) == ast.dump(node.orelse) else node
            case ast.Tuple(ctx=ast.Load()) if any(map(_is_spread, node.elts)):
                return ast.Tuple(_spread_out(node.elts), node.ctx)
            case ast.Call():
                return self._call(node)
            case ast.Subscript(value=ast.Tuple(elts=items), slice=ast.Constant(value=int(place))):
                return items[place]
        return node

    def _comparison(self, node: ast.Compare) -> ast.expr:
        if len(node.ops) != 1:
            return node
        left, op, right = node.left, node.ops[0], node.comparators[0]
        if isinstance(op, ast.Is | ast.IsNot) and is_none(right):
            here = isinstance(left, ast.Name) and left.id in self.facts.present
            literal = isinstance(left, ast.Constant | ast.Tuple | ast.List)
            if here or literal or is_function(left):
                return ast.Constant(is_none(left) == isinstance(op, ast.Is))
        compare = COMPARISONS.get(type(op))
        if compare is not None and _own(left) and _own(left) == _own(right):
            return ast.Constant(compare(0, 0))
        values = [left] if isinstance(left, ast.Constant) else self.facts.possible.get(_own(left), ())
        if compare is None or not isinstance(right, ast.Constant):
            return node
        outcomes = {compare(value.value, right.value) for value in values if value.value is not None}
        return ast.Constant(outcomes.pop()) if len(outcomes) == 1 else node

    def _call(self, node: ast.Call) -> ast.expr:
        if ast.unparse(node.func) == "torch.compiler.is_exporting":
            return ast.Constant(self.facts.exporting)
        args, keywords = _spread_out(node.args), [part for each in node.keywords for part in _spread(each)]
        if isinstance(node.func, ast.Attribute) and is_super(node.func.value):
            while args and is_none(args[-1]) and not keywords:
                args.pop()
        # an option that is passed on under its own name has the same default there
        keywords = [k for k in keywords if not (k.arg in DEFAULTS and _is(k.value, DEFAULTS[k.arg]))]
        function = ast.unparse(node.func)
        defaults: Sequence[ast.expr | None] = self.facts.defaults.get(function, POSITIONAL.get(function, ()))
        while args and len(args) <= len(defaults) and _equal(args[-1], defaults[len(args) - 1]):
            args.pop()
        if function.startswith("nn.Conv"):
            keywords = [k for k in keywords if not (k.arg == "stride" and _is(k.value, 1))]
        if len(args) == len(node.args) and same_items(keywords, node.keywords):
            return node
        return ast.Call(node.func, args, keywords)


DEFAULTS: dict[str | None, object] = {
    "bias": True,
    "dilation": 1,
    "groups": 1,
    "is_causal": False,
    "enable_gqa": False,
    "keepdim": False,
    "affine": True,
    "nonlinearity": "tanh",
    "initial_state": None,
    "mask": None,
}
"""Keywords of PyTorch's modules and of recurrent layers with their defaults, which need not be given."""
POSITIONAL: dict[str, list[ast.expr | None]] = {
    "F.scaled_dot_product_attention": [None, None, None, *map(ast.Constant, (None, 0.0, False))]
}
"""The defaults of functions of PyTorch, by position."""
COMPARISONS: dict[type, Callable[[Any, Any], bool]] = {
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
    ast.Gt: lambda a, b: a > b,
    ast.Lt: lambda a, b: a < b,
}


def _is_spread(item: ast.expr) -> bool:
    return isinstance(item, ast.Starred) and isinstance(item.value, ast.Tuple)


def _spread_out(items: Sequence[ast.expr]) -> list[ast.expr]:
    """Items where `*(a, b)` is `a, b`."""
    return [
        part
        for item in items
        for part in (
            item.value.elts if isinstance(item, ast.Starred) and isinstance(item.value, ast.Tuple) else [item]
        )
    ]


def _spread(keyword: ast.keyword) -> list[ast.keyword]:
    """`**{"bias": True}` as its keywords."""
    if keyword.arg is not None or not isinstance(keyword.value, ast.Dict):
        return [keyword]
    names = [str(key.value) for key in keyword.value.keys if isinstance(key, ast.Constant)]
    return [ast.keyword(name, value) for name, value in zip(names, keyword.value.values, strict=True)]


def is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _is(node: ast.expr, value: object) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is type(value) and node.value == value


def _asked(test: ast.expr) -> ast.expr:
    """A test without alternatives that are never true, or conditions that always are."""
    if not isinstance(test, ast.BoolOp):
        return test
    idle = isinstance(test.op, ast.And)
    kept = [value for value in test.values if _truth(value) is not idle]
    return test if len(kept) == len(test.values) else kept[0] if len(kept) == 1 else ast.BoolOp(test.op, kept)


def _equal(node: ast.expr, other: ast.expr | None) -> bool:
    return other is not None and isinstance(node, ast.Constant) and ast.dump(node) == ast.dump(other)


def is_super(node: ast.expr) -> bool:
    """Whether an expression is `super()`."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"


def is_function(node: ast.expr) -> bool:
    """Whether an expression is a function of PyTorch, such as `torch.tanh`."""
    return (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in ("torch", "F")
    )


def _own(node: ast.expr) -> str:
    """The attribute of `self` that an expression is, or ""."""
    of_self = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
    return node.attr if of_self and isinstance(node, ast.Attribute) else ""


def _truth(node: ast.expr) -> bool | None:
    """Whether a constant is true; None if it is not a constant."""
    if isinstance(node, ast.Tuple):
        return bool(node.elts)
    return bool(node.value) if isinstance(node, ast.Constant) else None


def _bool(node: ast.BoolOp) -> ast.expr:
    """`and` and `or` without operands that are known to have no effect."""
    stops = isinstance(node.op, ast.Or)
    kept: list[ast.expr] = []
    for place, value in enumerate(node.values):
        truth = _truth(value)
        last = place == len(node.values) - 1
        if truth is stops:
            kept.append(value)
            break
        if truth is None or last:
            kept.append(value)
    if len(kept) == 1:
        return kept[0]
    if not stops and _is(kept[-1], False):
        return kept[-1]
    return node if len(kept) == len(node.values) else ast.BoolOp(node.op, kept)


# --- trees


def rewritten(node: ast.expr, change: Callable[[ast.expr], ast.expr]) -> ast.expr:
    """An expression changed from its leaves up; the same object if nothing changes."""
    if isinstance(node, ast.Name | ast.Constant):
        return change(node)
    return change(rewritten_fields(node, lambda part: rewritten(part, change)))


def rewritten_fields(node: Any, change: Callable[[ast.expr], ast.expr], skip: Collection[str] = ()) -> Any:
    """A node whose expressions are changed, including those in keywords and comprehensions."""
    fields: dict[str, Any] = {}
    for name, value in ast.iter_fields(node):
        if name in skip:
            continue
        if isinstance(value, list):
            items = [_part(item, change) for item in value]
            if not same_items(items, value):
                fields[name] = items
        elif isinstance(value, ast.AST) and (part := _part(value, change)) is not value:
            fields[name] = part
    return with_fields(node, **fields) if fields else node


def _part(node: Any, change: Callable[[ast.expr], ast.expr]) -> Any:
    if isinstance(node, ast.expr):
        return change(node)
    if isinstance(node, ast.keyword | ast.comprehension | ast.withitem):
        return rewritten_fields(node, change)
    return node


def _at(place: ast.stmt, node: ast.stmt) -> ast.stmt:
    return ast.copy_location(node, place)


def same_items(a: Sequence[object], b: Sequence[object]) -> bool:
    """Whether two lists hold the same objects."""
    return len(a) == len(b) and all(x is y for x, y in zip(a, b, strict=True))


# --- assignments and reads


Assigned = tuple[str, ast.expr | None]


@lru_cache(KEPT)
def assigned(node: ast.AST, of_self: bool = False) -> tuple[Assigned, ...]:
    """The assigned names, or attributes of `self`, with their values where these are known."""
    return tuple(_assigned(node, of_self))


def _assigned(node: ast.AST, of_self: bool) -> Iterator[Assigned]:
    for each in walk(node):
        if isinstance(each, ast.Assign):
            for target in each.targets:
                yield from _pairs(target, each.value, of_self)
        elif isinstance(each, ast.AugAssign | ast.AnnAssign | ast.For | ast.comprehension):
            value = each.value if isinstance(each, ast.AnnAssign) else None
            yield from _pairs(each.target, value, of_self)
        elif isinstance(each, ast.NamedExpr):
            yield from _pairs(each.target, None, of_self)


def _pairs(target: ast.expr, value: ast.expr | None, of_self: bool) -> Iterator[Assigned]:
    if isinstance(target, ast.Tuple | ast.List):
        values: Sequence[ast.expr | None] = [None] * len(target.elts)
        if isinstance(value, ast.Tuple) and len(value.elts) == len(target.elts):
            values = value.elts
        for part, of_part in zip(target.elts, values, strict=True):
            yield from _pairs(part, of_part, of_self)
    elif isinstance(target, ast.Starred):
        yield from _pairs(target.value, None, of_self)
    elif of_self and (word := _own(target)):
        yield word, value
    elif not of_self and isinstance(target, ast.Name):
        yield target.id, value


@lru_cache(KEPT)
def _reads(node: ast.AST) -> tuple[str, ...]:
    """The names that are read, with repetitions."""
    return tuple(
        each.id for each in walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load)
    )


def _assigned_once(body: Sequence[ast.stmt]) -> dict[str, ast.expr]:
    """The names that the outermost block assigns once, to a constant or to a name that does not change."""
    assignments: dict[str, list[ast.expr | None]] = {}
    for statement in body:
        for word, value in assigned(statement):
            assignments.setdefault(word, []).append(value)
    outermost: set[str] = set()
    settled: set[str] = set()  # other names of what was assigned before, and never is again
    for statement in body:
        pairs = assigned(statement) if isinstance(statement, ast.Assign) else ()
        settled |= {w for w, v in pairs if isinstance(v, ast.Name) and v.id in outermost}
        outermost |= {word for word, _ in pairs}
    known = {
        word: values[0]
        for word, values in assignments.items()
        if len(values) == 1 and word in outermost
        if isinstance(values[0], ast.Constant)
        or (isinstance(values[0], ast.Name) and _stays(word, values[0].id, assignments, settled))
    }
    # what is another name of a known one has its value in the next round
    return {word: value for word, value in known.items() if getattr(value, "id", None) not in known}


def _stays(
    word: str, source: str, assigned_values: Mapping[str, Sequence[ast.expr | None]], settled: Collection[str]
) -> bool:
    """Whether the name that another one is assigned to has the same value wherever that one is read."""
    return source not in assigned_values or (word in settled and len(assigned_values[source]) == 1)


def _straightened(body: list[ast.stmt]) -> list[ast.stmt]:
    """Merges `y = value; return y` into one statement."""
    if len(body) < 2:
        return body
    before, last = body[-2:]
    if not isinstance(before, ast.Assign) or not isinstance(last, ast.Return) or len(before.targets) > 1:
        return body
    (target,) = before.targets
    if not isinstance(target, ast.Name) or not isinstance(last.value, ast.Name):
        return body
    if target.id != last.value.id:
        return body
    return _straightened([*body[:-2], _at(before, ast.Return(before.value))])


def _without_dead(body: list[ast.stmt], known: Constants) -> list[ast.stmt]:
    """Removes dead assignments.

    These are assignments to names that are known, never read, or assigned again before any read. Where one
    value is unpacked, such a name becomes `_`.
    """
    read = Counter(word for statement in body for word in _reads(statement))
    statements: list[ast.stmt] = []
    for index, statement in enumerate(body):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and not read[statement.target.id]
            and (statement.value is None or _is_pure(statement.value))
        ):
            continue
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            (target,) = statement.targets
            if isinstance(target, ast.Name):
                unread = not read[target.id] or _is_assigned_next(target.id, body[index + 1 :])
                if target.id in known or (unread and _is_pure(statement.value)):
                    continue
            elif isinstance(target, ast.Tuple):
                kept = _without_unread(statement, target, read)
                if kept is None:
                    continue
                statement = kept
        elif isinstance(statement, ast.For):
            statement = _uncounted(statement, read)
        statements.append(statement)
    return statements


def _without_unread(statement: ast.Assign, target: ast.Tuple, read: Mapping[str, int]) -> ast.Assign | None:
    """An assignment to several targets without the names that are never read; None if nothing is left."""
    value = statement.value
    if not isinstance(value, ast.Tuple) or len(value.elts) != len(target.elts):
        short = _named(target, read)
        return statement if short is target else with_fields(statement, targets=[short])
    pairs = list(zip(target.elts, value.elts, strict=True))
    kept = [(a, b) for a, b in pairs if not isinstance(a, ast.Name) or read.get(a.id) or not _is_pure(b)]
    if not kept or len(kept) == len(pairs):
        return statement if kept else None
    names, values = ([pair[side] for pair in kept] for side in (0, 1))
    if len(kept) == 1:
        return with_fields(statement, targets=names, value=values[0])
    return with_fields(
        statement, targets=[ast.Tuple(names, ast.Store())], value=ast.Tuple(values, ast.Load())
    )


def _uncounted(loop: ast.For, read: Mapping[str, int]) -> ast.For:
    """`for x in xs` of `for number, x in enumerate(xs)`, if nothing reads the number."""
    match loop:
        case ast.For(
            target=ast.Tuple(elts=[ast.Name(id=number), item]),
            iter=ast.Call(func=ast.Name(id="enumerate"), args=[items]),
        ) if not read[number]:
            return with_fields(loop, target=item, iter=items)
    return loop


def _is_assigned_next(word: str, body: Sequence[ast.stmt]) -> bool:
    """Whether statements assign a name before any of them reads it."""
    for statement in body:
        if word in _reads(statement):
            return False
        if isinstance(statement, ast.Assign) and any(name == word for name, _ in assigned(statement)):
            return True
    return False


def _named(target: ast.expr, read: Mapping[str, int]) -> ast.expr:
    """Targets, with `_` for names that are never read."""
    if isinstance(target, ast.Name):
        return target if read.get(target.id) or target.id == "_" else ast.Name("_", ast.Store())
    if isinstance(target, ast.Tuple):
        parts = [_named(part, read) for part in target.elts]
        return target if same_items(parts, target.elts) else ast.Tuple(parts, ast.Store())
    return target


def _is_pure(value: ast.expr) -> bool:
    """Whether an expression has no side effects: it calls no in-place method, and no method of a parent."""
    calls = [each for each in walk(value) if isinstance(each, ast.Call)]
    return not any(is_super(each) or ast.unparse(each.func).endswith("_") for each in calls)
